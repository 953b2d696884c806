"""The robot does again what it has just done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream, Task
from workbench.types.reading import among, typed, whole

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

CHUNK_STEPS = Magnitude("chunk_steps", 2, 64, whole=True)


class StaleChunkEffect(Effect):
    """Executes the k actions before its start over and over."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.kept = np.zeros((int(record["chunk_steps"]), int(record["action_size"])))
        self.memory_size = self.kept.size

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The kept actions in turn while active; what an episode's start leaves empty of them is no motion."""
        if self.active(scene.step_index):
            again: Array = self.kept[(scene.step_index - self.started) % len(self.kept)].copy()
            return again
        self.kept = np.vstack([self.kept[1:], action])
        return action

    def recall(self) -> Array:
        """The kept actions, oldest first."""
        return self.kept.ravel().copy()

    def remember(self, memory: Array) -> None:
        """Take up kept actions."""
        self.kept = memory.reshape(self.kept.shape).copy()


class StaleChunk(Specification):
    """A policy server that answers with the chunk before: the last actions are run again instead of new ones.

    Source: none found for the fault; real-time chunking (Black et al., NeurIPS 2025) studies chunks that come late.

    Parameters
    ----------
    duration_steps : for how many control steps.
    chunk_steps : how many actions before its start are run again, over and over.
    start : when; see :class:`Specification`.
    """

    channel = "action"
    effect = StaleChunkEffect
    magnitude = Magnitude("duration_steps", 2, 200, whole=True)
    drawn = typed(chunk_steps=CHUNK_STEPS.drawn, action_size=whole(1, 1000))
    seen_as = ("overshoot", "collision", "knocked", "timeout")

    def __init__(
        self,
        duration_steps: int | Sequence[int],
        chunk_steps: int | Sequence[int],
        **start: Unpack[Start],
    ) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)
        self.chunk_steps = CHUNK_STEPS.steps(chunk_steps)

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the size of an action, so that the record alone says how much is kept."""
        return super().draw(stream, task) | {"action_size": task.action_size}

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Actions of the task's size."""
        return super().fields_on(task) | {"action_size": among([task.action_size])}

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number of actions, beside the duration."""
        return {"chunk_steps": uniform_int(rng, self.chunk_steps)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the last {record['chunk_steps']} actions are run again"
