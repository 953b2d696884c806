"""What every fault shares: a strict specification, a schedule, a drawn record, and the effect it has on a scene.

A *specification* (one class a file in ``perturbations/``) holds bounds and refuses what lies outside them.  Its
``draw`` turns them into a *record*: plain data, stored as drawn, from which the scene makes an *effect*.  Replaying the
record therefore replays the fault bit for bit, and no draw is ever repeated.

Order within one control step t of :meth:`workbench.envs.scene.MujocoScene.step`::

    action(t) --> effects' action() --> physics --> t + 1 --> effects' advance() --> effects' observation()

so an effect that starts at step s is seen in the observation of step s and acts on the action of step s.  Beside it, in
that order: ``chunk()`` when the policy has planned, ``instruction()`` when it is told what to do, ``images()`` when a
camera looks.

A privileged driver (the expert whose branches say what could still be won) is handed the truth instead of observations,
and faults that are in the driver's head alone (``of_planning``, ``chunk()``, ``settings()``, ``instruction()``) do not
reach it; everything else does.

Of a scene, effects use ``task`` (with the names ``object_body``, ``object_joint``, ``object_geoms`` of the manipulated
object, and ``finger_geoms``, what touches it), ``step_index``, ``truth()``, and MuJoCo's own ``model`` and ``data``.
A task whose object hangs on a hinge has ``object_is_free = False``; faults that need a free joint are then refused when
drawn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict

import numpy as np

from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Array, Observation, Policy, Record, Stream, Task
from workbench.types.trust import OURS, named

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene

FOREVER = 1_000_000
"""Duration, in control steps, of a fault that does not end."""


def within(name: str, value: float | Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Bounds of a magnitude as (min, max), or a ConfigError if they leave ``low..high`` or are out of order.

    ``low`` is above zero for every magnitude, so that no draw is a fault that does nothing.
    """
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in pair):
        raise ConfigError(f"{name} must be a number or a pair [min, max], not {value!r}")
    first, last = float(pair[0]), float(pair[1])
    if not low <= first <= last <= high:  # NaN fails every comparison
        shown = first if first == last else [first, last]
        raise ConfigError(f"{name}={shown} is impossible: it must lie within {low} .. {high} (min before max)")
    return first, last


def within_steps(name: str, value: int | Sequence[int], low: int, high: int) -> tuple[int, int]:
    """Like :func:`within`, for numbers of control steps: whole numbers only."""
    first, last = within(name, value, low, high)
    if not (first.is_integer() and last.is_integer()):
        raise ConfigError(f"{name}={value!r} is impossible: control steps are whole numbers")
    return int(first), int(last)


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """The parameter that says how strong a fault is, and between what it may lie.

    Attributes
    ----------
    name : of the parameter, with its unit.
    low, high : bounds; ``low`` is above zero, so that no draw is a fault that does nothing.
    worse : which end is the stronger fault.
    whole : whether it counts control steps or things.
    """

    name: str
    low: float
    high: float
    worse: Literal["larger", "smaller"] = "larger"
    whole: bool = False

    def within(self, value: float | Sequence[float]) -> tuple[float, float]:
        """Bounds of a draw as (min, max), or a ConfigError."""
        return within(self.name, value, self.low, self.high)

    def steps(self, value: int | Sequence[int]) -> tuple[int, int]:
        """The same for a magnitude that is whole."""
        return within_steps(self.name, value, int(self.low), int(self.high))


class Start(TypedDict, total=False):
    """When a fault strikes; see :class:`Specification`."""

    start_step: int | Sequence[int]
    stage: str | None
    predicate: str | None


class Schedule(Start, total=False):
    """When a fault strikes and how long it lasts; see :class:`Specification`."""

    duration_steps: int | Sequence[int] | None


class Specification:
    """One kind of fault and when it strikes.

    Parameters
    ----------
    start_step : control step at which it starts, or bounds [min, max] of it.
    stage : count ``start_step`` from when this stage is under way (all stages before it are reached) instead of from
        the start of the episode.
    predicate : count it from when a predicate of the task first holds: its name (``grasped``), or a comparison with a
        number (``cube_height_m > 0.02``).  With ``stage``, from when both have come.
    duration_steps : control steps for which it lasts, or bounds; None for the rest of the episode.
    """

    channel: ClassVar[str]
    effect: ClassVar[type[Effect]]
    magnitude: ClassVar[Magnitude]
    """How strong it is; what searches and severities turn."""
    axes: ClassVar[tuple[str, ...]] = ()
    """What the parameter ``axis`` may be, where there is one."""
    seen_as: ClassVar[tuple[str, ...]] = ()
    """Failure modes that it is meant to cause."""
    needs_gripper: ClassVar[bool] = False
    """Whether it is a fault of the fingers, which the task must then have."""
    needs_free_object: ClassVar[bool] = False
    """Whether it moves or weighs the object, which must then hang on nothing."""
    needs_cameras: ClassVar[bool] = False
    """Whether only images show it."""
    needs_pose_control: ClassVar[bool] = False
    """Whether it is a fault of the gripper's pose, which an action must then command."""
    needs_arm: ClassVar[bool] = False
    """Whether it is a fault of an arm's joints or motors, which the robot must then have."""
    alters: ClassVar[tuple[str, ...]] = ()
    """Parameters that are settings of the policy."""

    def __init__(
        self,
        start_step: int | Sequence[int] = 0,
        stage: str | None = None,
        predicate: str | None = None,
        duration_steps: int | Sequence[int] | None = None,
    ) -> None:
        self.start_step = within_steps("start_step", start_step, 0, FOREVER)
        self.stage = stage
        self.predicate = predicate
        if predicate is not None:
            comparison(predicate)
        self.duration_steps = (FOREVER, FOREVER)
        if duration_steps is not None:
            self.duration_steps = within_steps("duration_steps", duration_steps, 1, FOREVER)

    @property
    def name(self) -> str:
        """That of its file."""
        return type(self).__module__.rsplit(".", 1)[-1]

    def draw(self, stream: Stream, task: Task) -> Record:
        """One fault as it will be applied; see :class:`workbench.types.Perturbation`."""
        self.check(task)
        rng = stream.child("perturbation", self.name).at()
        return {
            "name": self.name,
            "channel": self.channel,
            "target": f"{type(self).__module__}.{type(self).__qualname__}",
            "start_step": uniform_int(rng, self.start_step),
            "stage": self.stage,
            "predicate": self.predicate,
            "duration_steps": uniform_int(rng, self.duration_steps),
            **self.parameters(rng),
        }

    def check(self, task: Task) -> None:
        """Raise a ConfigError or UnknownNameError if the task cannot have this fault."""
        needs = {
            "is a fault of the fingers, and task {} has none": self.needs_gripper and not task.gripper,
            "needs an object that can go anywhere, and that of task {} hangs on a hinge": self.needs_free_object
            and not task.object_is_free,
            "needs images, and task {} takes none (task.cameras)": self.needs_cameras and task.cameras is None,
            "is a fault of the gripper's pose, which actions of task {} do not command": self.needs_pose_control
            and not task.commands_pose,
            "is a fault of an arm's joints, and the robot of task {} has none": self.needs_arm
            and not hasattr(getattr(task, "cell", None), "arm_joints"),
        }
        for why, lacking in needs.items():
            if lacking:
                raise ConfigError(f"perturbation {self.name} {why.format(task.name)}: leave it out")
        if self.stage is not None and self.stage not in task.stages:
            raise UnknownNameError(f"stage of task {task.name}", self.stage, task.stages)
        if self.predicate is not None and comparison(self.predicate)[0] not in task.predicate_names:
            raise UnknownNameError(f"predicate of task {task.name}", self.predicate, task.predicate_names)

    def suits(self, policy: Policy) -> None:
        """Raise a ConfigError if the policy cannot have this fault; asked once, before anything is rolled."""
        if self.channel == "language" and not policy.listens:
            raise ConfigError(
                f"policy {type(policy).__name__} does not listen to instructions, so perturbation {self.name} would do "
                "nothing: leave it out, or roll a policy that listens, such as policy=expert"
            )
        if not self.alters:
            return
        drawn = self.parameters(np.random.default_rng(0))
        settings = {name: drawn[name] for name in self.alters}
        if not hasattr(policy, "altered"):
            raise ConfigError(
                f"perturbation {self.name} changes {', '.join(settings)} of a policy, and {type(policy).__name__} "
                "cannot be changed: leave it out, or roll a policy that can"
            )
        policy.altered(settings)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn parameters, SI units in their names."""
        raise NotImplementedError

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words for people; the schedule is told by :func:`describe`."""
        raise NotImplementedError


class Effect:
    """A drawn fault at work in one scene: does nothing unless a subclass says so.

    Subclasses override what they need: ``edit`` (the model, while active, by :meth:`change`), ``strike`` (the state,
    once, at the start), ``push`` (forces, before every control step while active), ``action``, ``chunk``, ``executed``,
    ``observation``, ``instruction``, ``look`` and ``images``, ``settings``, and ``remember``/``recall``
    with ``memory_size`` for what they carry from step to step.
    """

    memory_size: int = 0
    of_planning: ClassVar[bool] = False
    """Whether what it makes of an action is in the driver's head alone, and none of a privileged driver's."""
    derives: ClassVar[bool] = False
    """Whether MuJoCo has to derive constants anew from what ``edit`` changes (``mj_setConst``)."""
    shows_the_past: ClassVar[bool] = False
    """Whether its images are those of an earlier step; see :meth:`MujocoScene.looked_back`."""

    def __init__(self, record: Record, stream: Stream) -> None:
        self.record = record
        self.noise = stream.child("perturbation", record["name"], "noise")
        self.started = -1
        self._armed = -1
        self._changed: list[tuple[Any, Any, Array]] = []

    def active(self, step: int) -> bool:
        """Whether it acts at a control step."""
        return 0 <= self.started <= step < self.started + int(self.record["duration_steps"])

    def advance(self, scene: MujocoScene) -> None:
        """Start, if the scene's current step is the one."""
        if self.started < 0 and self.due(scene):
            self.started = scene.step_index

    def due(self, scene: MujocoScene) -> bool:
        """Whether its start, or a later step, has come."""
        if self._armed < 0 and self._called_for(scene):
            self._armed = scene.step_index
        return self._armed >= 0 and scene.step_index >= self._armed + int(self.record["start_step"])

    def _called_for(self, scene: MujocoScene) -> bool:
        """Whether the stage is under way and the predicate holds from which its start is counted."""
        stage, predicate = self.record["stage"], self.record["predicate"]
        if stage is None and predicate is None:
            return scene.step_index == 0
        truth = scene.truth()
        under_way = stage is None or truth.stage >= scene.task.stages.index(stage)
        return under_way and (predicate is None or holds(predicate, truth.predicates))

    def memory(self) -> Array:
        """(2 + memory_size,) float64: everything that is carried from step to step."""
        return np.concatenate([[self.started, self._armed], self.recall()]).astype(np.float64)

    def restore(self, memory: Array) -> None:
        """Take up a memory; the scene sees to the edits of its model."""
        self.started, self._armed = int(memory[0]), int(memory[1])
        self._changed.clear()
        self.remember(memory[2:])

    def edit(self, scene: MujocoScene) -> None:
        """Change the scene's model, by :meth:`change` alone."""

    def change(self, model: Any, field: str, index: Any, values: Any) -> None:
        """Set ``model.<field>[index]``; :meth:`undo` puts back what was there, bit for bit."""
        array = getattr(model, field)
        self._changed.append((array, index, np.array(array[index])))
        array[index] = values

    def undo(self, kept: int = 0) -> None:
        """Put back, last first, what was changed, all but the ``kept`` first changes; nothing if nothing was."""
        while len(self._changed) > kept:
            array, index, before = self._changed.pop()
            array[index] = before

    @contextlib.contextmanager
    def looked(self, scene: MujocoScene, model: mujoco.MjModel) -> Iterator[None]:
        """:meth:`look` for as long as one drawing takes; what :meth:`edit` changed stays."""
        kept = len(self._changed)
        try:
            self.look(scene, model)
            yield
        finally:
            self.undo(kept)

    def strike(self, scene: MujocoScene) -> None:
        """Change the scene's state once."""

    def push(self, scene: MujocoScene) -> None:
        """Apply forces for the coming control step."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The action as executed; called at every step, active or not."""
        return action

    def chunk(self, scene: MujocoScene, chunk: Array) -> Array:
        """What becomes of a chunk (H, A) that the policy has just planned; called while active alone.

        Depends on nothing that it would have to remember of earlier calls.
        """
        return chunk

    def executed(self, execute: int, horizon: int) -> int:
        """How many actions of a chunk are run before the policy is asked again; called while active alone."""
        return execute

    def settings(self) -> Mapping[str, Any]:
        """What is changed about the policy while active; see ``ChunkPolicy.altered``."""
        return {}

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation as seen; called at every step, active or not; may change the dict it is given."""
        return observation

    def instruction(self, scene: MujocoScene, instruction: str) -> str:
        """The instruction as heard; called while active alone."""
        return instruction

    def look(self, scene: MujocoScene, model: mujoco.MjModel) -> None:
        """Change what is only seen, in the model that is drawn, by :meth:`change`; called while active alone.

        Cameras, lights and colours: bodies and joints stand already where they are drawn.  It is undone after drawing.
        """

    def furnish(self, model: mujoco.MjModel) -> None:
        """Show what it brings into the scene at any time, in a model whose shapes a viewer asks for once an episode."""

    def images(self, scene: MujocoScene, images: dict[str, Array]) -> dict[str, Array]:
        """The images as seen; called while active alone; may change the dict it is given, not the arrays.

        ``scene.step_index`` is the step that is shown, an earlier one where a fault behind this one shows the past; so
        it must follow from the record, that step and the images.
        """
        return images

    def recall(self) -> Array:
        """(memory_size,) float64."""
        return np.zeros(0)

    def remember(self, memory: Array) -> None:
        """The inverse of :meth:`recall`."""


_COMPARISON = re.compile(r"(\w+)(?:\s*([<>])\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?))?")


def comparison(predicate: str) -> tuple[str, str, float]:
    """A schedule's predicate as (name, ``<`` or ``>``, number); a bare name asks whether it holds."""
    found = _COMPARISON.fullmatch(predicate.strip()) if isinstance(predicate, str) else None
    if found is None:
        raise ConfigError(
            f"predicate={predicate!r} must be a predicate's name, or compare it with a number: cube_height_m > 0.02"
        )
    name, sign, number = found.groups()
    return (name, sign, float(number)) if sign else (name, ">", 0.5)


def holds(predicate: str, predicates: Mapping[str, float]) -> bool:
    """Whether a schedule's predicate holds."""
    name, sign, number = comparison(predicate)
    return predicates[name] > number if sign == ">" else predicates[name] < number


def effect_of(record: Record, stream: Stream) -> Effect:
    """Make the effect that a stored record describes."""
    return _kind(record).effect(record, stream)


def describe(record: Record) -> str:
    """One line for people: what was drawn, and when it strikes."""
    start, duration = int(record["start_step"]), int(record["duration_steps"])
    since = [f"stage {record['stage']}"] if record["stage"] else []
    since += [f"{record['predicate']}"] if record["predicate"] else []
    when = f"{start} steps into {' and '.join(since)}" if since else f"step {start}"
    span = "to the end" if duration >= FOREVER else f"for {duration} steps"
    schedule = f"at {when}" if duration == 1 else f"from {when} {span}"
    return f"{record['name']}: {_kind(record).phrase(record)}, {schedule}"


def _kind(record: Record) -> type[Specification]:
    """The class that a record names: ours, one of an installed package of parts, or one that is loaded already."""
    target = str(record.get("target", ""))
    prefix = f"{__name__.rsplit('.', 2)[0]}.perturbations."
    if not target.startswith(f"{OURS}."):
        kind = _loaded(target) or named(target)
    elif target.startswith(prefix):
        kind = named(target)
    else:
        raise ConfigError(f"a perturbation record must name a target below {prefix}, not {target!r}")
    if not (isinstance(kind, type) and issubclass(kind, Specification)):
        raise ConfigError(f"{target!r} is not a perturbation")
    return kind


def _loaded(target: str) -> type[Specification] | None:
    """A class that somebody handed to us or defined, wherever; the latest of that name."""
    waiting, found = [Specification], None
    while waiting:
        kind = waiting.pop(0)
        waiting += kind.__subclasses__()
        if f"{kind.__module__}.{kind.__qualname__}" == target:
            found = kind
    return found


def uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """A number uniform within bounds; one draw whatever the bounds."""
    return float(bounds[0] + (bounds[1] - bounds[0]) * rng.random())


def uniform_int(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """A whole number uniform within bounds, both included; one draw whatever the bounds."""
    return bounds[0] + int((bounds[1] - bounds[0] + 1) * rng.random())


def horizontal(rng: np.random.Generator, bounds: tuple[float, float]) -> list[float]:
    """A vector [x, y] whose length is uniform within bounds and whose direction is uniform on the circle."""
    length, angle_rad = uniform(rng, bounds), 2.0 * np.pi * rng.random()
    return [float(length * np.cos(angle_rad)), float(length * np.sin(angle_rad))]


def one_of(what: str, asked: str | None, known: Iterable[str]) -> str | None:
    """A name that may be left open, or an UnknownNameError."""
    if asked is not None and asked not in known:
        raise UnknownNameError(what, str(asked), known)
    return asked


def direction(rng: np.random.Generator, axis: str | None, size: int = 3) -> Array:
    """A unit vector (size,): along x, y or z with a drawn sign, or uniform on the sphere if ``axis`` is None.

    The same numbers are drawn either way.
    """
    drawn: Array = rng.standard_normal(size)
    unit: Array = drawn / np.linalg.norm(drawn)
    if axis is not None:
        along = "xyz".index(axis)
        unit = np.where(np.arange(size) == along, np.sign(drawn[along]), 0.0)
    return unit


def object_seen_at(scene: MujocoScene, observation: dict[str, Array], offset_m: Sequence[float]) -> Observation:
    """The observation as it would be if the manipulated object stood elsewhere, and with it all that derives from it.

    ``offset_m`` is [x, y] in the world frame.  What the task observes is compared with and without it, so no task has
    to say which of its vectors depend on the object's position, and what other effects did to the observation stays.
    """
    position = scene.data.xpos[scene.model.body(scene.task.object_body).id]
    there, here = scene.task.observation(scene.data), position.copy()
    position[: len(offset_m)] += offset_m
    elsewhere = scene.task.observation(scene.data)
    position[:] = here
    return {name: value + (elsewhere[name] - there[name]) for name, value in observation.items()}
