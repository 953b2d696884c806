"""A robot as everyone may know it: one frozen record, which a task offers as ``robot``.

A second arm of robosuite's takes four files and no logic:

1. ``envs/robots/<name>.py``: its record, beside :data:`workbench.envs.robots.panda.PANDA`.  Names and scales are
   compared with robosuite's own when its cell is built, so a wrong one is refused and told.
2. ``envs/tasks/shared/tabletop.py``: the record in the place of ``PANDA``, by a parameter of its tasks.
3. ``conf/task/*.yaml``: that parameter, for the tasks that it can do.
4. ``tests/envs/test_robots.py``: the record among those that are compared with robosuite.

Controllers drive any serial chain of hinges whose gripper is two fingers that slide in opposite directions, and faults,
the scripted expert, failure modes and the layouts of servers read this record.  Another kind of gripper needs
``move_gripper`` of its own in ``envs/controllers/arm.py``.
"""

from __future__ import annotations

import dataclasses
import math

PLACE = ("eef_pos", "pusher_pos")
"""Keys of an observation that say where the robot's hand is."""
PROPRIOCEPTION = (*PLACE, "eef_quat", "gripper_qpos")
"""Keys that follow from the robot's joints alone."""
OWN_READINGS = (*PROPRIOCEPTION, "wrench")
"""Keys of what a robot measures of itself."""


@dataclasses.dataclass(frozen=True)
class Fingers:
    """Two fingers that slide in opposite directions, commanded by the last number of an action: above zero to close.

    Attributes
    ----------
    joints, actuators : names in the model, of the finger that opens upwards and of the one that opens downwards.
    left_pads, right_pads : geometries of the two pads.
    start_m : (2,) positions of the joints at reset.
    speed : change of a finger's command, -1 .. 1, in one control step.
    open_m : distance between them when they are as far apart as they can be.
    opened_m : distance from which they count as open.
    shut_m : distance below which they are shut, with nothing between them.
    still_m : change of their distance in one control step below which they have stopped.
    near_m : distance from the grip site within which they could have closed on an object.
    """

    joints: tuple[str, str]
    actuators: tuple[str, str]
    left_pads: tuple[str, ...]
    right_pads: tuple[str, ...]
    start_m: tuple[float, float]
    speed: float
    open_m: float
    opened_m: float
    shut_m: float
    still_m: float
    near_m: float

    @property
    def stroke_steps(self) -> int:
        """Control steps that their command takes from one end to the other."""
        return math.ceil(2.0 / self.speed)


@dataclasses.dataclass(frozen=True)
class Arm:
    """A serial chain of hinges from a fixed base to a hand that turns in space.

    Attributes
    ----------
    home_rad : positions of the joints at reset, before noise.
    grip_site, base_site : the site that is controlled, and the one in whose frame actions are given.
    wrist_site : the site of the force and torque sensor.
    wrist_camera : the camera that is called ``wrist``.
    action_rad : what an action of one asks the hand to turn about each axis.
    joint_action_rad : what an action of one asks a joint to turn, where joints are commanded.
    """

    home_rad: tuple[float, ...]
    grip_site: str
    base_site: str
    wrist_site: str
    wrist_camera: str
    action_rad: float
    joint_action_rad: float


@dataclasses.dataclass(frozen=True)
class Robot:
    """What moves in a task.

    Attributes
    ----------
    name : what its file is called.
    joints, actuators : names in the model, base first; those of the fingers are not among them.
    hand_body : the body that an action moves; its path is worth drawing.
    contact_geoms : geometries that are meant to touch the object, all of both fingers or the disc that pushes.
    action_m : what an action of one asks the hand to move along each axis, in one control step.
    arm : if it has one; None for what slides.
    fingers : if it has any.
    robosuite : what robosuite calls it; "" for a model of our own.
    """

    name: str
    joints: tuple[str, ...]
    actuators: tuple[str, ...]
    hand_body: str
    contact_geoms: tuple[str, ...]
    action_m: float
    arm: Arm | None = None
    fingers: Fingers | None = None
    robosuite: str = ""

    @property
    def finger_channels(self) -> int:
        """How many of an action's last numbers command fingers."""
        return int(self.fingers is not None)
