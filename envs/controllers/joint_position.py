"""Joint-position control of an arm, compiled; equal to robosuite's JOINT_POSITION with its default gains.

In every physics step, with M the arm's mass matrix (robosuite 1.5.1, ``controllers/parts/generic/joint_pos.py``)::

    tau = M (kp (q* - q) - kd dq/dt) + bias        kp = 50, kd = 2 sqrt(kp)

The goal q* is set once per control step, from the joints then achieved, so it need not be part of a snapshot.
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

KP = 50.0


class JointPosition(ArmController):
    """Turns the joints by an action (J + 1,): J joints, each in -1..1 of the robot's largest turn, then the gripper.

    Attributes
    ----------
    gains : (2,) kp in 1/s^2 and kd in 1/s.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, cell: RobotCell) -> None:
        super().__init__(model, data, cell)
        self._ids = np.array([self._dof, self._joint, cell.substeps], dtype=np.int64)
        self.gains = np.array([KP, 2 * np.sqrt(KP)])
        self._scale = np.array([cell.arm.joint_action_rad, cell.fingers.speed])

    def reset(self) -> None:
        """Forget the gripper's command."""
        self.memory[:] = 0.0

    def step(self, action: Array) -> bool:
        """Apply one action (J + 1,) in -1..1 for one control step; False if the physics diverged on the way."""
        return bool(
            _control_step(
                addresses(),
                self._pointers,
                self._ids,
                self._arm,
                self._fingers,
                self.gains,
                self._scale,
                action,
                self.memory,
                self._model_views,
                self._common_views,
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
    scale: Array,
    action: Array,
    gripper: Array,
    model_views: tuple[Array, ...],
    data_views: tuple[Array, ...],
) -> bool:
    ctrl_range, mass_address = model_views
    qpos, qvel, qacc, ctrl, mass, bias, sensors, kept = data_views
    dof, joint, substeps = ids
    joints = len(arm)
    goal_rad = np.empty(joints)
    torque = np.empty(joints)
    for i in range(joints):
        goal_rad[i] = qpos[joint + i] + action[i] * scale[0]
    move_gripper(action[joints], scale[1], gripper)
    kept[:] = 0.0
    for _ in range(substeps):
        call(functions[0], pointers[0], pointers[1])
        _arm_torque(
            goal_rad, gains, qpos[joint : joint + joints], qvel[dof : dof + joints], bias[dof : dof + joints],
            mass, mass_address[dof : dof + joints], arm, torque,
        )  # fmt: skip
        command_arm(torque, arm, ctrl_range, ctrl)
        command_fingers(gripper, fingers, ctrl_range, ctrl)
        call(functions[1], pointers[0], pointers[1])
        average(sensors, kept, substeps)
        if not (bounded(qpos) and bounded(qvel) and bounded(qacc)):
            return False
    # positions and contacts of the state just reached; the next step computes them again from that state
    call(functions[2], pointers[0], pointers[1])
    return True


@compiled
def _arm_torque(
    goal_rad: Array,
    gains: Array,
    qpos: Array,
    qvel: Array,
    bias: Array,
    mass: Array,
    mass_address: Array,
    arm: tuple[int, ...],
    torque: Array,
) -> None:
    """Joint torques (J,) in N m, gravity compensation included."""
    joints = len(arm)
    inertia = np.empty((joints, joints))
    arm_inertia(mass, mass_address, arm, inertia)
    for i in range(joints):
        torque[i] = bias[i]
        for j in range(joints):
            torque[i] += inertia[i, j] * (gains[0] * (goal_rad[j] - qpos[j]) - gains[1] * qvel[j])
