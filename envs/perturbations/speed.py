"""The arm moves too slowly or too fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Record
from workbench.types.abilities import finger_channels

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

NEAR_ONE = (0.9, 1.1)
"""Between these a scale is as good as none."""


class SpeedEffect(Effect):
    """Scales all channels but the fingers'."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the arm's motion scaled; the scene clips it."""
        if not self.active(scene.step_index):
            return action
        scaled: Array = action * self.record["speed_scale"]
        if finger_channels(scene.task):
            scaled[-1] = action[-1]
        return scaled


class Speed(Specification):
    """A wrong speed (RoboFAC's timing error, arXiv 2505.12224, 2025, at 2 to 5 times): motions are scaled by a factor.

    Parameters
    ----------
    speed_scale : the factor; bounds lie below 0.9 or above 1.1.
    schedule : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = SpeedEffect
    magnitude = Magnitude("speed_scale", 0.02, 5.0, worse="smaller")
    seen_as = ("stall", "timeout", "overshoot", "collision", "knocked")

    def __init__(self, speed_scale: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.speed_scale = self.magnitude.within(speed_scale)
        low, high = self.speed_scale
        if high > NEAR_ONE[0] and low < NEAR_ONE[1]:
            raise ConfigError(
                f"speed_scale={[low, high]} allows draws that change nothing: "
                f"stay below {NEAR_ONE[0]} (slow) or above {NEAR_ONE[1]} (fast)"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"speed_scale": uniform(rng, self.speed_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the arm's motions are scaled by {record['speed_scale']:.3g}"
