"""The fingers open where they should close."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import with_fingers
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class GripperInvertedEffect(Effect):
    """Turns the fingers' command round."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the fingers' channel negated."""
        return with_fingers(action, -action[-1]) if self.active(scene.step_index) else action


class GripperInverted(Specification):
    """A gripper with the sign of its command the wrong way round, as between data sets with other conventions (Open
    X-Embodiment, ICRA 2024, has both).

    Parameters
    ----------
    duration_steps : for how many control steps.
    start : when; see :class:`Specification`.
    """

    channel = "action"
    effect = GripperInvertedEffect
    magnitude = Magnitude("duration_steps", 1, 200, whole=True)
    needs_gripper = True
    seen_as = ("missed grasp", "drop", "timeout")

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "the fingers open to close and close to open"
