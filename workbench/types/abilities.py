"""What a task or a scene may offer beyond what it must.

Whoever cannot do without an ability asks for it by :func:`ability` and is refused in one line where it is missing; what
only describes a task has a default, given by the functions ``..._of``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from workbench.errors import ConfigError
from workbench.types.data import Array, Observation
from workbench.types.random import Stream
from workbench.types.robot import Fingers, Robot
from workbench.types.scene import Keyframe, Picture, Scene, Shape, Task

Kind = TypeVar("Kind")


@runtime_checkable
class HasStages(Protocol):
    """A task that is done in steps; see ``Truth.stage``."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages in their order, each once."""
        ...


@runtime_checkable
class HasPlan(Protocol):
    """A task that knows how it is done."""

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """Keyframes from a (true) observation."""
        ...


@runtime_checkable
class HasGoals(Protocol):
    """A task in whose scene several things can be asked for, or one in several words."""

    @property
    def goals(self) -> Mapping[str, str]:
        """What can be asked for in its scene, name -> instruction; the first is the task's own."""
        ...

    def of_episode(self, stream: Stream) -> Task:
        """The task as one episode has it: where the goal is drawn, with that goal; its scene's own ``task``."""
        ...

    def as_if(self, goal: str, observation: Observation) -> Observation:
        """The observation relabelled so that the plan pursues one of the goals."""
        ...

    def ground(self, instruction: str) -> str | None:
        """The goal that an instruction means; None if it means none of them, or it cannot be decided which."""
        ...


@runtime_checkable
class HasCameras(Protocol):
    """A task whose scenes draw images."""

    @property
    def image_sizes(self) -> Mapping[str, tuple[int, int]]:
        """Camera -> (height, width) of its images in pixels; empty if it takes none."""
        ...


@runtime_checkable
class HasRobot(Protocol):
    """A task with a robot whose numbers are known."""

    @property
    def robot(self) -> Robot:
        """What moves; see :mod:`workbench.types.robot`."""
        ...

    @property
    def commands_pose(self) -> bool:
        """Whether an action's first six numbers command the hand's translation and rotation in space."""
        ...


@runtime_checkable
class HasActionGroups(Protocol):
    """A task that says what kinds of numbers an action is made of."""

    @property
    def action_groups(self) -> Mapping[str, tuple[int, int]]:
        """Name -> first column and one past the last; together all.

        Their errors are told apart, since a mean over all of them hides the one that fails.
        """
        ...


@runtime_checkable
class HasTrails(Protocol):
    """A task that says what is worth following with the eyes."""

    @property
    def trails(self) -> Sequence[str]:
        """Bodies whose paths are worth drawing: the hand's, the manipulated object's."""
        ...


@runtime_checkable
class HasDemonstrationNoise(Protocol):
    """A task that bears more noise on demonstrations, or less, than others."""

    @property
    def demonstration_noise(self) -> tuple[float, float]:
        """Bounds of the noise's standard deviation, as fractions of the action's range."""
        ...


@runtime_checkable
class HasImages(Protocol):
    """A scene that draws images."""

    def images(self) -> Mapping[str, Array]:
        """What the task's cameras see now, drawn when this is called; empty if the task has none.

        ``images/<camera>`` (H, W, 3) uint8 RGB; where asked for, ``depth/<camera>`` (H, W) float32 metres along the
        camera's axis, and ``segmentation/<camera>`` (H, W) int32, index into ``list(body_poses())`` or -1.  The origin
        is at the top left.
        """
        ...


@runtime_checkable
class HasPictures(Protocol):
    """A scene that can be photographed, whatever cameras its task has."""

    def picture(self, camera: str, width_px: int, height_px: int) -> Picture:
        """The scene now, through a camera by its name; UnknownNameError for one that it does not have."""
        ...


@runtime_checkable
class HasShapes(Protocol):
    """A scene that viewers can draw."""

    def shapes(self) -> Sequence[Shape]:
        """Visual geometry."""
        ...

    def body_poses(self) -> Mapping[str, tuple[Array, Array]]:
        """Body name -> world position (3,) in metres and quaternion (w, x, y, z)."""
        ...


@runtime_checkable
class HasStiffness(Protocol):
    """A scene whose controller can be made softer than it is.

    Attributes
    ----------
    stiffness : factor on the controller's stiffness at every control step until it is set anew, at the same damping
        ratio; begin and restore set it to 1.
    """

    stiffness: float


@dataclasses.dataclass(frozen=True)
class Offer:
    """An ability in words.

    Attributes
    ----------
    what : as in "needs ...".
    members : what a task or a scene is to have for it.
    filled : of them, the one that must not be empty; "" for none.
    """

    what: str
    members: str
    filled: str = ""


ABILITIES: Mapping[Any, Offer] = {
    HasStages: Offer("stages", "stages", filled="stages"),
    HasPlan: Offer("a plan of keyframes", "plan(observation)"),
    HasGoals: Offer("goals that instructions can mean", "goals, of_episode, as_if and ground"),
    HasCameras: Offer("images", "image_sizes (task.cameras)", filled="image_sizes"),
    HasRobot: Offer("a robot whose numbers are known", "robot and commands_pose"),
    HasImages: Offer("a scene that draws images", "images()"),
    HasPictures: Offer("a scene that can be photographed", "picture(camera, width_px, height_px)"),
    HasShapes: Offer("a scene with shapes to draw", "shapes() and body_poses()"),
    HasStiffness: Offer("a controller that can be made softer", "stiffness"),
}
"""What can be asked for by :func:`ability`; the rest has a default."""
DEMONSTRATION_NOISE = (0.05, 0.2)
"""Under noise of these standard deviations the expert shows how to come back, and most tasks still succeed."""


def ability(offers: Task | Scene, wanted: Callable[..., Kind], who: str) -> Kind:
    """A task or a scene as one of the abilities that it has.

    Parameters
    ----------
    wanted : one of :data:`ABILITIES`.
    who : who needs it, as in "<who> needs ...".

    Raises
    ------
    ConfigError
        If it does not have it, or has none to show: no stage, no camera.
    """
    offer, task = ABILITIES[wanted], cast(Task, getattr(offers, "task", offers))
    if not isinstance(offers, cast(type, wanted)) or (offer.filled and not getattr(offers, offer.filled)):
        raise ConfigError(
            f"{who} needs {offer.what}, and task {task.name} has none: give it {offer.members} "
            f"(workbench.types.{wanted.__name__}), or leave out what needs it"
        )
    return cast(Kind, offers)


def fingers_for(task: Task, who: str) -> Fingers:
    """The fingers of a task's robot; raises ConfigError if it has none."""
    found = fingers_of(task)
    if found is None:
        raise ConfigError(f"{who} needs fingers, and the robot of task {task.name} has none: leave out what needs them")
    return found


def stages_of(task: Task) -> tuple[str, ...]:
    """Names of its stages; none where it has none."""
    return task.stages if isinstance(task, HasStages) else ()


def trails_of(task: Task) -> Sequence[str]:
    """Bodies whose paths are worth drawing; none where it names none."""
    return task.trails if isinstance(task, HasTrails) else ()


def action_groups_of(task: Task) -> Mapping[str, tuple[int, int]]:
    """Name -> first column and one past the last of an action; all in one where it tells none apart."""
    return task.action_groups if isinstance(task, HasActionGroups) else {"action": (0, task.action_size)}


def demonstration_noise_of(task: Task) -> tuple[float, float]:
    """Bounds of the noise on its demonstrations; those of most tasks where it has none of its own."""
    return task.demonstration_noise if isinstance(task, HasDemonstrationNoise) else DEMONSTRATION_NOISE


def image_sizes_of(task: Task) -> Mapping[str, tuple[int, int]]:
    """Camera -> (height, width) of its images in pixels; empty where it takes none."""
    return task.image_sizes if isinstance(task, HasCameras) else {}


def goals_of(task: Task) -> Mapping[str, str]:
    """What can be asked for, name -> instruction; its own alone where it has no others."""
    return task.goals if isinstance(task, HasGoals) else {task.name: task.instruction}


def goal_meant(task: Task, instruction: str) -> str | None:
    """The goal that an instruction means; of a task without goals, its own words alone mean its own."""
    if isinstance(task, HasGoals):
        return task.ground(instruction)
    return task.name if instruction == task.instruction else None


def of_episode(task: Task, stream: Stream) -> Task:
    """The task as one episode has it; itself where its goal is not drawn."""
    return task.of_episode(stream) if isinstance(task, HasGoals) else task


def robot_of(task: Task) -> Robot | None:
    """Its robot; None where its numbers are not known."""
    return task.robot if isinstance(task, HasRobot) else None


def fingers_of(task: Task) -> Fingers | None:
    """The fingers of its robot; None where it has none."""
    robot = robot_of(task)
    return None if robot is None else robot.fingers


def finger_channels(task: Task) -> int:
    """How many of an action's last numbers command fingers."""
    return int(fingers_of(task) is not None)


def commands_pose(task: Task) -> bool:
    """Whether an action's first six numbers command the hand's translation and rotation in space."""
    return isinstance(task, HasRobot) and task.commands_pose


def images_of(scene: Scene) -> Mapping[str, Array]:
    """What a scene's cameras see now; empty where it draws nothing."""
    return scene.images() if isinstance(scene, HasImages) else {}
