"""A threshold given by hand, for baselines; nothing is promised of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.types import Array, Threshold


class Fixed:
    """The same threshold whatever the calibration episodes say.

    Parameters
    ----------
    threshold : in the unit of the windowed score.
    """

    by_hand = True
    """It reads no episode and is in the unit of one score: a baseline that names it has it for itself."""

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def calibrate(self, curves: Sequence[Array], level: float) -> Threshold:
        """Constant threshold; the curves and the level play no part."""
        return Threshold(
            values=np.array([self.threshold]),
            scale=np.ones(1),
            level=level,
            episodes=0,
            guarantee="none: the threshold was set by hand",
        )
