"""The hand does not turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

TURN = slice(3, 6)
"""The numbers of an action that command the rotation."""


class MissingRotationEffect(Effect):
    """Commands no rotation, whatever was asked."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action without its rotation."""
        if not self.active(scene.step_index):
            return action
        still = action.copy()
        still[TURN] = 0.0
        return still


class MissingRotation(Specification):
    """A rotation that is left out (AHA's *No_Rotation*, Duan et al., ICLR 2025): the hand stays turned as it is.

    Parameters
    ----------
    duration_steps : for how many control steps.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = MissingRotationEffect
    magnitude = Magnitude("duration_steps", 1, 1000, whole=True)
    needs_pose_control = True
    seen_as = ("stall", "missed grasp", "collision")

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "the hand does not turn"
