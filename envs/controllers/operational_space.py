"""Operational-space control of an arm, equal to robosuite's own step: robosuite's OSC_POSE, compiled.

Every control step is 25 physics steps.  Each of them calls MuJoCo's ``mj_step1``, computes the torques, and calls
``mj_step2``.

Operational-space control (Khatib, IEEE J. Robotics and Automation 3(1), 1987), uncoupled as in robosuite 1.5.1
(``controllers/parts/arm/osc.py``); M is the arm's mass matrix, J = [Jp; Jr] the grip site's Jacobian, q0 the posture::

    F   = kp (p* - p) - kd v                   T = kp e(R*, R) - kd w        kd = 2 sqrt(kp) damping_ratio
    tau = Jp' (Jp M^-1 Jp')^-1 F + Jr' (Jr M^-1 Jr')^-1 T + bias
          + (I - J' (J M^-1 J')^-1 J M^-1) M a      a = 10 (q0 - q) - 2 sqrt(10) dq/dt

The null-space term is evaluated as M a - J' (J M^-1 J')^-1 (J a), so M is factorised once and never inverted.  The goal
(p*, R*) is set once per control step from the pose then achieved, so it need not be part of a snapshot.
"""

from __future__ import annotations

import mujoco
import numpy as np

from workbench.envs.controllers.arm import (
    ArmController,
    arm_inertia,
    average,
    command_arm,
    command_fingers,
    move_gripper,
)
from workbench.envs.robots.robosuite import RobotCell
from workbench.envs.stepper import addresses, bounded, call, compiled
from workbench.types import Array

POSTURE_KP = 10.0
"""Gain that pulls the null space to the posture (robosuite's ``nullspace_torques``)."""


class OperationalSpace(ArmController):
    """Moves the grip site by an action (7,): translation and rotation vector in the base's frame, then the gripper.

    Attributes
    ----------
    posture_rad : (J,) joint positions to which the null space is pulled: those at reset, noise included.
    gains : (2, 6) kp in 1/s^2 and kd in 1/s, per axis.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, cell: RobotCell) -> None:
        super().__init__(model, data, cell)
        self.posture_rad = np.array(cell.arm.home_rad)
        site, base = model.site(cell.arm.grip_site).id, model.site(cell.arm.base_site).id
        root = model.body_rootid[model.site_bodyid[site]]
        self._ids = np.array([site, base, root, self._dof, self._joint, cell.substeps], dtype=np.int64)
        kp = np.array(cell.kp)
        self.gains = np.stack([kp, 2 * np.sqrt(kp) * cell.damping_ratio])
        scale = [cell.robot.action_m] * 3 + [cell.arm.action_rad] * 3
        self._action_scale = np.array([*scale, cell.fingers.speed])
        names = ("cdof", "subtree_com", "site_xpos", "site_xmat")
        self._data_views = (*self._common_views, *(getattr(data, name) for name in names))

    def reset(self) -> None:
        """Take the arm's present joints as its posture and forget the gripper's command."""
        self.posture_rad[:] = self._data_views[0][self._joint : self._joint + len(self._arm)]
        self.memory[:] = 0.0

    def step(self, action: Array) -> bool:
        """Apply one action (7,) in -1..1 for one control step; False if the physics diverged on the way."""
        return bool(
            _control_step(
                addresses(),
                self._pointers,
                self._ids,
                self._arm,
                self._fingers,
                self.gains,
                self._action_scale,
                action,
                self.posture_rad,
                self.memory,
                self._model_views,
                self._data_views,
            )
        )


@compiled
def _control_step(
    functions: Array,
    pointers: Array,
    ids: Array,
    arm: tuple[int, ...],
    fingers: Array,
    gains: Array,
    action_scale: Array,
    action: Array,
    posture_rad: Array,
    gripper: Array,
    model_views: tuple[Array, ...],
    data_views: tuple[Array, ...],
) -> bool:
    ctrl_range, mass_address = model_views
    qpos, qvel, qacc, ctrl, mass, bias, sensors, kept, cdof, subtree_com, site_position, site_rotation = data_views
    kept[:] = 0.0
    site, base, root, dof, joint, substeps = ids
    joints = len(arm)
    torque = np.empty(joints)
    goal_position = np.empty(3)
    goal_rotation = np.empty((3, 3))
    for substep in range(substeps):
        call(functions[0], pointers[0], pointers[1])
        position, rotation = site_position[site], site_rotation[site].reshape(3, 3)
        if substep == 0:
            _set_goal(
                action, action_scale, position, rotation, site_position[base], site_rotation[base].reshape(3, 3),
                goal_position, goal_rotation,
            )  # fmt: skip
            move_gripper(action[6], action_scale[6], gripper)
        _arm_torque(
            goal_position, goal_rotation, position, rotation, gains, posture_rad,
            qpos[joint : joint + joints], qvel[dof : dof + joints], bias[dof : dof + joints],
            cdof[dof : dof + joints], subtree_com[root], mass, mass_address[dof : dof + joints], arm, torque,
        )  # fmt: skip
        command_arm(torque, arm, ctrl_range, ctrl)
        command_fingers(gripper, fingers, ctrl_range, ctrl)
        call(functions[1], pointers[0], pointers[1])
        average(sensors, kept, substeps)
        if not (bounded(qpos) and bounded(qvel) and bounded(qacc)):
            return False
    # positions, contacts and Jacobians of the state just reached; the next step computes them again from that state
    call(functions[2], pointers[0], pointers[1])
    return True


@compiled
def _set_goal(
    action: Array,
    action_scale: Array,
    position: Array,
    rotation: Array,
    base_position: Array,
    base_rotation: Array,
    goal_position: Array,
    goal_rotation: Array,
) -> None:
    """Goal in the world frame: the achieved pose moved by the action, which is given in the base's frame."""
    in_base = np.empty(3)
    for i in range(3):
        in_base[i] = action[i] * action_scale[i]
        for j in range(3):
            in_base[i] += base_rotation[j, i] * (position[j] - base_position[j])
    turn = rotation_of(action[3] * action_scale[3], action[4] * action_scale[4], action[5] * action_scale[5])
    world_turn = np.zeros((3, 3))
    for i in range(3):
        goal_position[i] = base_position[i]
        for j in range(3):
            goal_position[i] += base_rotation[i, j] * in_base[j]
            for k in range(3):
                for m in range(3):
                    world_turn[i, j] += base_rotation[i, k] * turn[k, m] * base_rotation[j, m]
    for i in range(3):
        for j in range(3):
            goal_rotation[i, j] = 0.0
            for k in range(3):
                goal_rotation[i, j] += world_turn[i, k] * rotation[k, j]


@compiled
def rotation_of(x: float, y: float, z: float) -> Array:
    """Rotation matrix (3, 3) of a rotation vector in rad, rounded to float32 exactly as robosuite's ``quat2mat`` does.

    The unit quaternion is a float32; its squared norm is summed in float64 (as OpenBLAS's ``sdot`` does for so short a
    vector); products are float32 and the diagonal is float64.
    """
    turn = np.eye(3)
    angle = np.sqrt(x * x + y * y + z * z)
    if angle <= 1e-9:  # math.isclose(angle, 0.0) of robosuite holds for exactly zero alone; below this all is rounding
        return turn
    sine = np.sin(angle / 2.0)
    q = np.empty(4, dtype=np.float32)
    q[0] = np.cos(angle / 2.0)
    q[1], q[2], q[3] = x / angle * sine, y / angle * sine, z / angle * sine
    square = 0.0
    for i in range(4):
        square += np.float64(q[i] * q[i])
    scale = np.sqrt(2.0 / np.float64(np.float32(square)))
    for i in range(4):
        q[i] = np.float32(np.float64(q[i]) * scale)
    turn[0, 0] = 1.0 - np.float64(q[2] * q[2]) - np.float64(q[3] * q[3])
    turn[1, 1] = 1.0 - np.float64(q[1] * q[1]) - np.float64(q[3] * q[3])
    turn[2, 2] = 1.0 - np.float64(q[1] * q[1]) - np.float64(q[2] * q[2])
    turn[0, 1], turn[1, 0] = q[1] * q[2] - q[3] * q[0], q[1] * q[2] + q[3] * q[0]
    turn[0, 2], turn[2, 0] = q[1] * q[3] + q[2] * q[0], q[1] * q[3] - q[2] * q[0]
    turn[1, 2], turn[2, 1] = q[2] * q[3] - q[1] * q[0], q[2] * q[3] + q[1] * q[0]
    return turn


@compiled
def _arm_torque(
    goal_position: Array,
    goal_rotation: Array,
    position: Array,
    rotation: Array,
    gains: Array,
    posture_rad: Array,
    qpos: Array,
    qvel: Array,
    bias: Array,
    cdof: Array,
    subtree_com: Array,
    mass: Array,
    mass_address: Array,
    arm: tuple[int, ...],
    torque: Array,
) -> None:
    """Joint torques (J,) in N m, gravity compensation included; the formula stands at the top of this file."""
    joints = len(arm)
    jacobian = np.empty((6, joints))
    _site_jacobian(cdof, subtree_com, position, arm, jacobian)
    inertia = np.empty((joints, joints))
    arm_inertia(mass, mass_address, arm, inertia)
    wrench = np.empty(6)
    _wrench(goal_position, goal_rotation, position, rotation, jacobian, qvel, gains, arm, wrench)
    acceleration = np.empty(joints)
    for i in range(joints):
        acceleration[i] = POSTURE_KP * (posture_rad[i] - qpos[i]) - 2.0 * np.sqrt(POSTURE_KP) * qvel[i]
    for i in range(joints):
        torque[i] = bias[i]
        for j in range(joints):
            torque[i] += inertia[i, j] * acceleration[j]
    force = np.empty(6)
    _task_force(inertia, jacobian, wrench, acceleration, arm, force)
    for i in range(joints):
        for k in range(6):
            torque[i] += jacobian[k, i] * force[k]


@compiled
def _site_jacobian(cdof: Array, subtree_com: Array, position: Array, arm: tuple[int, ...], jacobian: Array) -> None:
    """Jacobian (6, J) of a point from the motion axes, which MuJoCo gives about the centre of mass of the tree."""
    x, y, z = position[0] - subtree_com[0], position[1] - subtree_com[1], position[2] - subtree_com[2]
    for i in range(len(arm)):
        a, b, c = cdof[i, 0], cdof[i, 1], cdof[i, 2]
        jacobian[0, i] = cdof[i, 3] + b * z - c * y
        jacobian[1, i] = cdof[i, 4] + c * x - a * z
        jacobian[2, i] = cdof[i, 5] + a * y - b * x
        jacobian[3, i], jacobian[4, i], jacobian[5, i] = a, b, c


@compiled
def _wrench(
    goal_position: Array,
    goal_rotation: Array,
    position: Array,
    rotation: Array,
    jacobian: Array,
    qvel: Array,
    gains: Array,
    arm: tuple[int, ...],
    wrench: Array,
) -> None:
    """Desired force and torque (6,) before they are weighted with the task-space inertia."""
    for k in range(6):
        velocity = 0.0
        for i in range(len(arm)):
            velocity += jacobian[k, i] * qvel[i]
        wrench[k] = -gains[1, k] * velocity
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        turn = 0.0  # half the sum of the cross products of the axes: robosuite's orientation_error
        for axis in range(3):
            turn += rotation[i, axis] * goal_rotation[j, axis] - rotation[j, axis] * goal_rotation[i, axis]
        wrench[k] += gains[0, k] * (goal_position[k] - position[k])
        wrench[3 + k] += gains[0, 3 + k] * 0.5 * turn


@compiled
def _task_force(
    inertia: Array, jacobian: Array, wrench: Array, acceleration: Array, arm: tuple[int, ...], force: Array
) -> None:
    """The six forces that J' maps to torques: uncoupled control less the posture's share; overwrites the inertia.

    With L L' = M and Y = L^-1 J', the task-space inertia is the inverse of Y'Y; the Cholesky factor of its leading 3x3
    block is the leading block of its factor, so the position's needs no factorisation of its own.
    """
    joints = len(arm)
    _cholesky(inertia, joints)
    half = np.empty((joints, 6))
    for k in range(6):
        for i in range(joints):
            value = jacobian[k, i]
            for j in range(i):
                value -= inertia[i, j] * half[j, k]
            half[i, k] = value / inertia[i, i]
    mobility = np.empty((6, 6))
    turning = np.empty((3, 3))
    for k in range(6):
        for m in range(k + 1):
            value = 0.0
            for i in range(joints):
                value += half[i, k] * half[i, m]
            mobility[k, m] = value
            if m >= 3:
                turning[k - 3, m - 3] = value
    _cholesky(mobility, 6)
    _cholesky(turning, 3)
    for k in range(6):
        value = 0.0
        for i in range(joints):
            value += jacobian[k, i] * acceleration[i]
        force[k] = value
    _solve(mobility, 6, force)
    _solve(mobility, 3, wrench[:3])
    _solve(turning, 3, wrench[3:])
    for k in range(6):
        force[k] = wrench[k] - force[k]


@compiled
def _cholesky(matrix: Array, size: int) -> None:
    """Factorise the lower triangle in place; a pivot of zero stands for a direction in which the arm cannot move."""
    for i in range(size):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            if i == j:
                matrix[i, i] = np.sqrt(value) if value > 1e-15 * matrix[i, i] else np.inf
            else:
                matrix[i, j] = value / matrix[j, j]


@compiled
def _solve(factor: Array, size: int, vector: Array) -> None:
    """Solve L L' x = b in place; infinite pivots give zeros."""
    for i in range(size):
        for k in range(i):
            vector[i] -= factor[i, k] * vector[k]
        vector[i] /= factor[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            vector[i] -= factor[k, i] * vector[k]
        vector[i] /= factor[i, i]
