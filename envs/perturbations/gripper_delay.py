"""The fingers react late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import with_fingers
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class GripperDelayEffect(Effect):
    """Gives the fingers the command of k control steps ago; until the first arrives, the last before the fault."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.queue = np.zeros(int(record["delay_steps"]))
        self.memory_size = len(self.queue)

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the oldest queued command; the asked one takes its place at the end of the queue."""
        if not self.active(scene.step_index):
            self.queue[:] = action[-1]
            return action
        late = self.queue[0]
        self.queue = np.append(self.queue[1:], action[-1])
        return with_fingers(action, late)

    def recall(self) -> Array:
        """The queue, oldest command first."""
        return self.queue.copy()

    def remember(self, memory: Array) -> None:
        """Take up a queue."""
        self.queue = memory.copy()


class GripperDelay(Specification):
    """A gripper on a slow bus of its own: the arm obeys at once and the fingers k control steps late.

    Source: none found for the fingers alone; for all channels see :mod:`workbench.envs.perturbations.latency`.

    Parameters
    ----------
    delay_steps : k.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = GripperDelayEffect
    magnitude = Magnitude("delay_steps", 1, 100, whole=True)
    needs_gripper = True
    seen_as = ("missed grasp", "drop", "misplacement")

    def __init__(
        self,
        delay_steps: int | Sequence[int],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.delay_steps = self.magnitude.steps(delay_steps)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number of control steps."""
        return {"delay_steps": uniform_int(rng, self.delay_steps)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the fingers obey {record['delay_steps']} steps late"
