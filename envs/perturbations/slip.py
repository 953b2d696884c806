"""The object slips out of the fingers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import OPEN, with_fingers
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class SlipEffect(Effect):
    """Commands the fingers open while active, whatever was asked."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the fingers' channel replaced."""
        return with_fingers(action, OPEN) if self.active(scene.step_index) else action


class Slip(Specification):
    """A grasp that does not hold (AHA's *Slip*, Duan et al., ICLR 2025), after which control returns.

    Parameters
    ----------
    duration_steps : for how many control steps the fingers are commanded open.
    start : by default as soon as the object has been grasped and is to be lifted.
    """

    channel = "keyframe"
    effect = SlipEffect
    magnitude = Magnitude("duration_steps", 1, 200, whole=True)
    needs_gripper = True
    seen_as = ("slip", "drop")

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "the fingers are commanded open"
