"""The fingers do not follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import with_fingers
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class GripperStuckEffect(Effect):
    """Keeps the fingers' command of its first step."""

    memory_size = 1

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.kept = 0.0

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the fingers' channel replaced."""
        if scene.step_index == self.started:
            self.kept = float(action[-1])
        return with_fingers(action, self.kept) if self.active(scene.step_index) else action

    def recall(self) -> Array:
        """The kept command."""
        return np.array([self.kept])

    def remember(self, memory: Array) -> None:
        """Take up a command."""
        self.kept = float(memory[0])


class GripperStuck(Specification):
    """A gripper that does not react: its driver keeps the command of the first step (a lock-in-place fault, Zhang and
    Jiang, Annual Reviews in Control, 2008).

    Parameters
    ----------
    duration_steps : for how many control steps.
    start : when; see :class:`Specification`.
    """

    channel = "action"
    effect = GripperStuckEffect
    magnitude = Magnitude("duration_steps", 1, 200, whole=True)
    needs_gripper = True
    seen_as = ("missed grasp", "timeout")

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "the fingers keep the command of the first step"
