"""What both controllers of an arm share: its joints in the model, its gripper, its inertia, its sensors."""

from __future__ import annotations

import mujoco
import numpy as np

from workbench.envs.robots.robosuite import RobotCell
from workbench.envs.stepper import compiled
from workbench.types import Array


class ArmController:
    """Where the arm and the fingers are in a model, and the command of the gripper.

    A model with ``nuserdata`` = n keeps the mean of its first n sensor values over the last control step in
    ``data.userdata``, which is part of MuJoCo's integration state: a wrist's force is then a function of the snapshot.

    Attributes
    ----------
    memory : (2,) the gripper's command per finger in -1..1, which moves by ``gripper_speed`` per control step.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, cell: RobotCell) -> None:
        robot = cell.robot
        joints = np.array([model.joint(name).id for name in robot.joints])
        dofs, positions = model.jnt_dofadr[joints], model.jnt_qposadr[joints]
        parents = np.concatenate([[-1], dofs[:-1]])
        in_order = positions[0] + np.arange(len(joints))
        if not (np.array_equal(model.dof_parentid[dofs], parents) and np.array_equal(positions, in_order)):
            raise NotImplementedError(f"the arm of robot {robot.name} must be a serial chain of hinges on a fixed base")
        self.memory = np.zeros(2)
        # the compiled function reads raw addresses: keep alive what they belong to
        self._owners = (model, data)
        self._pointers = np.array([model._address, data._address], dtype=np.int64)
        self._dof, self._joint = int(dofs[0]), int(positions[0])
        # a tuple, since numba knows its length when it compiles: loops over the joints are as quick as over a constant
        self._arm = tuple(int(model.actuator(name).id) for name in robot.actuators)
        self._fingers = np.array([model.actuator(name).id for name in cell.fingers.actuators], dtype=np.int64)
        # views are taken once: making them costs more than passing them
        self._model_views = (model.actuator_ctrlrange, model.dof_Madr)
        names = ("qpos", "qvel", "qacc", "ctrl", "qM", "qfrc_bias", "sensordata", "userdata")
        self._common_views = tuple(getattr(data, name) for name in names)


@compiled
def move_gripper(command: float, speed: float, gripper: Array) -> None:
    """Change the commands (2,) of two fingers that slide in opposite directions, above zero to close."""
    step = speed * np.sign(command)
    gripper[0] = min(max(gripper[0] - step, -1.0), 1.0)
    gripper[1] = min(max(gripper[1] + step, -1.0), 1.0)


@compiled
def command_fingers(gripper: Array, fingers: Array, ctrl_range: Array, ctrl: Array) -> None:
    """Write the gripper's command (2,) into the controls, mapped from -1..1 to the actuators' ranges."""
    for i in range(2):
        low, high = ctrl_range[fingers[i], 0], ctrl_range[fingers[i], 1]
        ctrl[fingers[i]] = min(max(0.5 * (high + low) + 0.5 * (high - low) * gripper[i], low), high)


@compiled
def command_arm(torque: Array, arm: tuple[int, ...], ctrl_range: Array, ctrl: Array) -> None:
    """Write the joint torques (J,) into the controls, within the actuators' ranges."""
    for i in range(len(arm)):
        ctrl[arm[i]] = min(max(torque[i], ctrl_range[arm[i], 0]), ctrl_range[arm[i], 1])


@compiled
def arm_inertia(mass: Array, mass_address: Array, arm: tuple[int, ...], inertia: Array) -> None:
    """The arm's mass matrix (J, J); row i of MuJoCo's sparse qM runs from degree of freedom i back to the base."""
    for i in range(len(arm)):
        for j in range(i + 1):
            inertia[i, j] = inertia[j, i] = mass[mass_address[i] + i - j]


@compiled
def average(sensors: Array, kept: Array, substeps: int) -> None:
    """Add one substep's share to the mean of the first sensor values."""
    for i in range(len(kept)):
        kept[i] += sensors[i] / substeps
