"""What every task of ours has: its settings, its compiled model, and where things are in it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from workbench.envs.words.grounding import ground
from workbench.errors import UnknownNameError
from workbench.types import Array, Observation, Stream

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import Cell, MujocoScene
    from workbench.envs.sensors.cameras import Cameras
    from workbench.envs.words.wordings import Wording
    from workbench.types.robot import Robot

OUT_OF_RANGE = ("clip", "error")


@runtime_checkable
class HasModel(Protocol):
    """A task whose scenes are MuJoCo's, with an object to manipulate."""

    @property
    def cell(self) -> Cell: ...
    @property
    def object_is_free(self) -> bool:
        """Whether the manipulated object hangs on nothing but a free joint."""
        ...


@dataclasses.dataclass(frozen=True)
class Receptacle:
    """Where a task's object is to be put.

    Attributes
    ----------
    body : that carries it.
    opening_m : (3,) where the object goes in or stands, in that body's frame.
    half_width_m : of a box that takes its place.
    """

    body: str
    opening_m: tuple[float, float, float]
    half_width_m: float


class SceneTask:
    """A task whose scene is a :class:`workbench.envs.scene.MujocoScene`; the rest of ``MujocoTask`` is the task's own.

    Parameters
    ----------
    out_of_range : what is done with an action outside -1 .. 1: ``clip`` or ``error``.
    cameras : what :class:`workbench.envs.sensors.cameras.Cameras` takes, as plain settings; None for no images.

    Attributes
    ----------
    robot : what moves in it.
    commands_pose : whether an action's first six numbers command the hand's translation and rotation in space.
    object_is_free : whether the manipulated object hangs on nothing but a free joint.
    stages : in their order; none if nothing comes before the end.
    goals_of_another_object : those of its goals that handle another object than ``object_body``; the others lead that
        object to another target.
    wording : how people say what is to be done; None if nobody has written it down.
    support_m : height of what the object stands on.
    receptacle : where the object is to be put; None if nowhere in particular.
    """

    name: str
    instruction: str
    robot: Robot
    object_body: str
    commands_pose = False
    object_is_free = True
    stages: tuple[str, ...] = ()
    goals_of_another_object: frozenset[str] = frozenset()
    wording: Wording | None = None
    support_m = 0.0
    receptacle: Receptacle | None = None

    def __init__(self, out_of_range: str = "clip", cameras: Mapping[str, Any] | None = None) -> None:
        if out_of_range not in OUT_OF_RANGE:
            raise UnknownNameError("task.out_of_range", out_of_range, OUT_OF_RANGE)
        self.out_of_range = out_of_range
        self.cameras: Cameras | None = None
        if cameras is not None:
            from workbench.envs.sensors.cameras import Cameras

            self.cameras = Cameras.of(cameras)

    @property
    def image_sizes(self) -> Mapping[str, tuple[int, int]]:
        """Camera -> (height, width) of its images in pixels; empty if it takes none."""
        if self.cameras is None:
            return {}
        return dict.fromkeys(self.cameras.names, (self.cameras.height_px, self.cameras.width_px))

    @property
    def trails(self) -> Sequence[str]:
        """Bodies whose paths are worth drawing: the hand's and the manipulated object's."""
        return (self.robot.hand_body, self.object_body)

    @property
    def cell(self) -> Cell:
        """Where the compiled models come from."""
        raise NotImplementedError

    def scene(self) -> MujocoScene:
        """Make a new scene of this task."""
        from workbench.envs.scene import MujocoScene

        return MujocoScene(self)  # type: ignore[arg-type]  # the rest of MujocoTask is the task's own

    @property
    def variants(self) -> Sequence[SceneTask]:
        """The tasks that episodes may have, where their goal is drawn; itself alone where it is not."""
        return (self,)

    def of_episode(self, stream: Stream) -> SceneTask:
        """The task as one episode has it, its goal drawn; uniform over the variants, from the stream alone."""
        variants = self.variants
        if len(variants) == 1:
            return variants[0]
        return variants[int(stream.child("goal").at().integers(len(variants)))]

    @property
    def goals(self) -> Mapping[str, str]:
        """What can be asked for in its scene, name -> instruction; the first is the task's own."""
        return {self.name: self.instruction}

    def as_if(self, goal: str, observation: Observation) -> Observation:
        """The observation relabelled so that the plan pursues one of the goals."""
        if goal not in self.goals:
            raise UnknownNameError(f"goal of task {self.name}", goal, self.goals)
        return observation if goal == next(iter(self.goals)) else self.relabelled(goal, observation)

    def relabelled(self, goal: str, observation: Observation) -> dict[str, Array]:
        """The observation as the plan has to see it in order to pursue another goal than the task's own."""
        raise NotImplementedError

    def ground(self, instruction: str) -> str | None:
        """The goal that an instruction means; see :func:`workbench.envs.words.grounding.ground`."""
        return ground(instruction, self)

    def whereabouts(self, observation: Observation) -> Mapping[str, str]:
        """What fills the blanks of the wording's references by place, for things that do not always lie alike."""
        return {}

    def edit(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Draw what varies in the model: nothing here."""

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself."""
        return 0

    def rise_m(self, data: mujoco.MjData) -> float:
        """By how much what the object stands on is higher than it should be; nothing moves it here."""
        return 0.0

    def shift_m(self, data: mujoco.MjData, offset_m: Sequence[float]) -> Array:
        """By how much (2,) a drawn displacement of the object moves it: as drawn, where there is room for it."""
        return np.array(offset_m)

    @functools.cached_property
    def model(self) -> mujoco.MjModel:
        """The compiled model that is never changed, for names and addresses."""
        from workbench.envs.scene import pristine

        return pristine(self.cell)

    @functools.cached_property
    def predicate_names(self) -> tuple[str, ...]:
        """Names of the predicates, in the order in which they are stored."""
        return tuple(self.scene().truth().predicates)

    def qpos_of(self, joints: Sequence[str]) -> Array:
        """(joints,) first addresses of joints in qpos."""
        return np.array([self.model.joint(name).qposadr[0] for name in joints])

    def marks_of(self, *groups: Sequence[str]) -> Array:
        """(geometries,) the number, from 1, of the group of names that each geometry is in; 0 for none."""
        marks = np.zeros(self.model.ngeom, dtype=np.int64)
        for mark, names in enumerate(groups, start=1):
            marks[[self.model.geom(name).id for name in names]] = mark
        return marks
