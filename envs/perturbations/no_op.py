"""The arm is held still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream
from workbench.types.abilities import finger_channels

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class NoOpEffect(Effect):
    """Commands no motion; the fingers keep the last command before it, or stay if there was none."""

    memory_size = 1

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.fingers = 0.0

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """No motion while active."""
        if not self.active(scene.step_index):
            self.fingers = float(action[-1])
            return action
        still = np.zeros_like(action)
        if finger_channels(scene.task):
            still[-1] = self.fingers
        return still

    def recall(self) -> Array:
        """The fingers' last command."""
        return np.array([self.fingers])

    def remember(self, memory: Array) -> None:
        """Take up a command."""
        self.fingers = float(memory[0])


class NoOp(Specification):
    """An arm that is held still for a while (FailSafe's *no-op*, arXiv 2510.01642, 2025).

    Parameters
    ----------
    duration_steps : for how many control steps.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = NoOpEffect
    magnitude = Magnitude("duration_steps", 1, 1000, whole=True)
    seen_as = ("stall", "timeout")

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "the arm is held still"
