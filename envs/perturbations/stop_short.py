"""The hand stops before it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, within_steps
from workbench.envs.faults.hand import WayEffect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record


class StopShortEffect(WayEffect):
    """Shows the hand further on its way from where it was when the fault began."""

    def aside_m(self, way_m: Array) -> Array:
        """On, so that the way is stretched by 1 / (1 - remaining)."""
        remaining = float(self.record["remaining_fraction"])
        return way_m * (remaining / (1.0 - remaining))


class StopShort(Specification):
    """A way that ends before its keyframe (RACER's in-line perturbation, Dai et al., ICRA 2025, n in 0.2 .. 0.5).

    The way is the straight line from where the hand is when the fault begins.  The driver is shown its hand, and what
    it holds, further on that line, and takes itself to be there.

    Parameters
    ----------
    remaining_fraction : part of the way that is not made.
    duration_steps : for how many control steps.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = StopShortEffect
    magnitude = Magnitude("remaining_fraction", 0.02, 0.8)
    lasts = (1, 1000)
    needs_hand = True
    seen_as = ("missed grasp", "stall")

    def __init__(
        self, remaining_fraction: float | Sequence[float], duration_steps: int | Sequence[int], **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, *self.lasts), **start)
        self.remaining_fraction = self.magnitude.within(remaining_fraction)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn part."""
        return {"remaining_fraction": uniform(rng, self.remaining_fraction)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"ways end {record['remaining_fraction']:.3g} of their length before the keyframe"
