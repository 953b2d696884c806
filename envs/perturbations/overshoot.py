"""The hand goes beyond where it should stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, within_steps
from workbench.envs.faults.hand import WayEffect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record


class OvershootEffect(WayEffect):
    """Shows the hand less far on its way from where it was when the fault began."""

    def aside_m(self, way_m: Array) -> Array:
        """Back by a distance, or by all of the way."""
        beyond_m = float(self.record["beyond_m"])
        return way_m * (-beyond_m / max(float(np.linalg.norm(way_m)), beyond_m))


class Overshoot(Specification):
    """A way that goes on beyond its keyframe, as of an arm that brakes too late.  Source: none found.

    The way is the straight line from where the hand is when the fault begins.  The driver is shown its hand, and what
    it holds, less far on that line.

    Parameters
    ----------
    beyond_m : how far it goes on.
    duration_steps : for how many control steps.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = OvershootEffect
    magnitude = Magnitude("beyond_m", 0.002, 0.2)
    lasts = (1, 1000)
    needs_hand = True
    seen_as = ("overshoot", "collision", "jam", "knocked", "missed grasp")

    def __init__(
        self, beyond_m: float | Sequence[float], duration_steps: int | Sequence[int], **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, *self.lasts), **start)
        self.beyond_m = self.magnitude.within(beyond_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn distance."""
        return {"beyond_m": uniform(rng, self.beyond_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"ways go {record['beyond_m']:.3f} m beyond the keyframe"
