"""What every fault shares: a strict specification, a schedule, a drawn record, and the effect it has on a scene.

A *specification* (one class a file in ``perturbations/``) holds bounds and refuses what lies outside them.  Its
``draw`` turns them into a *record*: plain data, stored as drawn, from which the scene makes an *effect*.  Replaying the
record therefore replays the fault bit for bit, and no draw is ever repeated.

Order within one control step t of :meth:`workbench.envs.scene.MujocoScene.step`::

    action(t) --> effects' action() --> physics --> t + 1 --> effects' advance() --> effects' observation()

so an effect that starts at step s is seen in the observation of step s and acts on the action of step s.

Of a scene, effects use ``task`` (with the names ``object_body``, ``object_joint``, ``object_geoms`` of the manipulated
object, and ``finger_geoms``, what touches it), ``step_index``, ``truth()``, and MuJoCo's own ``model`` and ``data``.
A task whose object hangs on a hinge has ``object_is_free = False``; faults that need a free joint are then refused when
drawn.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Array, Observation, Record, Stream, Task

if TYPE_CHECKING:
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


class Specification:
    """One kind of fault and when it strikes.

    Parameters
    ----------
    start_step : control step at which it starts, or bounds [min, max] of it.
    stage : count ``start_step`` from when this stage is under way (all stages before it are reached) instead of from
        the start of the episode.
    duration_steps : control steps for which it lasts, or bounds; None for the rest of the episode.
    """

    channel: ClassVar[str]
    effect: ClassVar[type[Effect]]
    needs_gripper: ClassVar[bool] = False
    """Whether it is a fault of the fingers, which the task must then have."""
    needs_free_object: ClassVar[bool] = False
    """Whether it moves or weighs the object, which must then hang on nothing."""

    def __init__(
        self,
        start_step: int | Sequence[int] = 0,
        stage: str | None = None,
        duration_steps: int | Sequence[int] | None = None,
    ) -> None:
        self.start_step = within_steps("start_step", start_step, 0, FOREVER)
        self.stage = stage
        self.duration_steps = (FOREVER, FOREVER)
        if duration_steps is not None:
            self.duration_steps = within_steps("duration_steps", duration_steps, 1, FOREVER)

    def draw(self, stream: Stream, task: Task) -> Record:
        """One fault as it will be applied; see :class:`workbench.types.Perturbation`."""
        name = type(self).__module__.rsplit(".", 1)[-1]
        if self.needs_gripper and not task.gripper:
            raise ConfigError(
                f"perturbation {name} is a fault of the fingers, and task {task.name} has none: leave it out"
            )
        if self.needs_free_object and not task.object_is_free:
            raise ConfigError(
                f"perturbation {name} needs an object that can go anywhere, and that of task {task.name} hangs on a "
                "hinge: leave it out"
            )
        if self.stage is not None and self.stage not in task.stages:
            raise UnknownNameError(f"stage of task {task.name}", self.stage, task.stages)
        rng = stream.child("perturbation", name).at()
        return {
            "name": name,
            "channel": self.channel,
            "target": f"{type(self).__module__}.{type(self).__qualname__}",
            "start_step": uniform_int(rng, self.start_step),
            "stage": self.stage,
            "duration_steps": uniform_int(rng, self.duration_steps),
            **self.parameters(rng),
        }

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn parameters, SI units in their names."""
        raise NotImplementedError

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words for people; the schedule is told by :func:`describe`."""
        raise NotImplementedError


class Effect:
    """A drawn fault at work in one scene: does nothing unless a subclass says so.

    Subclasses override what they need: ``edit``/``undo`` (the model, while active), ``strike`` (the state, once, at the
    start), ``push`` (forces, before every control step while active), ``action``, ``observation``, and
    ``remember``/``recall`` with ``memory_size`` for what they carry from step to step.
    """

    memory_size: int = 0

    def __init__(self, record: Record, stream: Stream) -> None:
        self.record = record
        self.noise = stream.child("perturbation", record["name"], "noise")
        self.started = -1
        self._stage_reached = -1

    def active(self, step: int) -> bool:
        """Whether it acts at a control step."""
        return 0 <= self.started <= step < self.started + int(self.record["duration_steps"])

    def advance(self, scene: MujocoScene) -> None:
        """Start or stop at the scene's current step."""
        step = scene.step_index
        if self.started < 0 and self.due(scene):
            self.started = step
            self.edit(scene)
            self.strike(scene)
        elif self.started >= 0 and step == self.started + int(self.record["duration_steps"]):
            self.undo(scene)

    def due(self, scene: MujocoScene) -> bool:
        """Whether its start, or a later step, has come."""
        if self.record["stage"] is None:
            return scene.step_index >= int(self.record["start_step"])
        if self._stage_reached < 0 and scene.truth().stage >= scene.task.stages.index(self.record["stage"]):
            self._stage_reached = scene.step_index
        return self._stage_reached >= 0 and scene.step_index >= self._stage_reached + int(self.record["start_step"])

    def memory(self) -> Array:
        """(2 + memory_size,) float64: everything that is carried from step to step."""
        return np.concatenate([[self.started, self._stage_reached], self.recall()]).astype(np.float64)

    def restore(self, scene: MujocoScene, memory: Array) -> None:
        """Take up a memory; the scene's model carries no edits of this effect when this is called."""
        self.started, self._stage_reached = int(memory[0]), int(memory[1])
        self.remember(memory[2:])
        if self.active(scene.step_index):
            self.edit(scene)

    def edit(self, scene: MujocoScene) -> None:
        """Change the scene's model."""

    def undo(self, scene: MujocoScene) -> None:
        """Put the model back exactly as it was."""

    def strike(self, scene: MujocoScene) -> None:
        """Change the scene's state once."""

    def push(self, scene: MujocoScene) -> None:
        """Apply forces for the coming control step."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The action as executed; called at every step, active or not."""
        return action

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation as seen; called at every step, active or not; may change the dict it is given."""
        return observation

    def recall(self) -> Array:
        """(memory_size,) float64."""
        return np.zeros(0)

    def remember(self, memory: Array) -> None:
        """The inverse of :meth:`recall`."""


def effect_of(record: Record, stream: Stream) -> Effect:
    """Make the effect that a stored record describes."""
    return _kind(record).effect(record, stream)


def describe(record: Record) -> str:
    """One line for people: what was drawn, and when it strikes."""
    start, duration = int(record["start_step"]), int(record["duration_steps"])
    when = f"step {start}" if record["stage"] is None else f"{start} steps into stage {record['stage']}"
    span = "to the end" if duration >= FOREVER else f"for {duration} steps"
    schedule = f"at {when}" if duration == 1 else f"from {when} {span}"
    return f"{record['name']}: {_kind(record).phrase(record)}, {schedule}"


def _kind(record: Record) -> type[Specification]:
    target = str(record.get("target", ""))
    prefix = f"{__name__.rsplit('.', 1)[0]}.perturbations."
    if not target.startswith(prefix):
        raise ConfigError(f"a perturbation record must name a target below {prefix}, not {target!r}")
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"there is no perturbation {target!r}: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, Specification)):
        raise ConfigError(f"{target!r} is not a perturbation")
    return kind


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
