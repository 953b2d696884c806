"""Actions arrive late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream, Task
from workbench.types.abilities import finger_channels
from workbench.types.reading import among, typed, whole

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class LatencyEffect(Effect):
    """Executes the action that was asked for k control steps ago; until the first arrives, the robot holds still."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.queue = np.zeros((int(record["latency_steps"]), int(record["action_size"])))
        self.memory_size = self.queue.size

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The oldest queued action; the asked one takes its place at the end of the queue."""
        if self.active(scene.step_index):
            late: Array = self.queue[0].copy()
            self.queue = np.vstack([self.queue[1:], action])
            return late
        # Holding still is a zero motion of the arm; the fingers keep their last command.
        self.queue[:] = 0.0
        if finger_channels(scene.task):
            self.queue[:, -1] = action[-1]
        return action

    def recall(self) -> Array:
        """The queue, oldest action first."""
        return self.queue.ravel().copy()

    def remember(self, memory: Array) -> None:
        """Take up a queue."""
        self.queue[:] = memory.reshape(self.queue.shape)


class Latency(Specification):
    """A slow link between policy and robot: every action is executed k control steps after it was asked.

    Real-time chunking (Black et al., NeurIPS 2025) studies policies under such delays.

    Parameters
    ----------
    latency_steps : k.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = LatencyEffect
    magnitude = Magnitude("latency_steps", 1, 40, whole=True)
    drawn = typed(action_size=whole(1, 1000))

    def __init__(
        self,
        latency_steps: int | Sequence[int],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.latency_steps = self.magnitude.steps(latency_steps)

    def draw(self, stream: Stream, task: Task) -> Record:
        """Add the size of an action, so that the record alone says how much the queue holds."""
        return super().draw(stream, task) | {"action_size": task.action_size}

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Actions of the task's size."""
        return super().fields_on(task) | {"action_size": among([task.action_size])}

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number of control steps."""
        return {"latency_steps": uniform_int(rng, self.latency_steps)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"actions arrive {record['latency_steps']} steps late"
