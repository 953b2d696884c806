"""A drawn fault at work in one scene.

Order within one control step t of :meth:`workbench.envs.scene.MujocoScene.step`::

    action(t) --> effects' action() --> physics --> t + 1 --> effects' advance() --> effects' observation()

so an effect that starts at step s is seen in the observation of step s and acts on the action of step s.  Beside it, in
that order: ``chunk()`` when the policy has planned, ``instruction()`` when it is told what to do, ``images()`` when a
camera looks.

A privileged driver (the expert whose branches say what could still be won) is handed the truth instead of observations,
and faults that are in the driver's head alone (``of_planning``, ``chunk()``, ``settings()``, ``instruction()``) do not
reach it; everything else does.

Of a scene, effects use ``task`` (with its ``robot``, and the names ``object_body``, ``object_joint``, ``object_geoms``
of the manipulated object), ``step_index``, ``truth()``, and MuJoCo's own ``model`` and ``data``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from workbench.envs.faults.schedule import holds
from workbench.types import Array, HasPlan, Keyframe, Observation, Record, Stream
from workbench.types.abilities import stages_of

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene


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
        under_way = stage is None or truth.stage >= stages_of(scene.task).index(stage)
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


def plan_of(scene: MujocoScene, observation: Observation) -> Sequence[Keyframe]:
    """The plan of the scene's task, which a fault of the plan is refused without."""
    return cast(HasPlan, scene.task).plan(observation)


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
