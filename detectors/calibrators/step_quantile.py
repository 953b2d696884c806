"""A quantile at every call, as FIPER's headline numbers have it; a heuristic without a guarantee."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.detectors.learning.ranks import checked, require_episodes, spread
from workbench.types import Array, Threshold


class StepQuantile:
    """``threshold(t)`` = the plain ``1 - level`` quantile of the scores at call t of the episodes that reach it.

    Roemer et al. (FIPER, NeurIPS 2025), their time-varying threshold, of which they say themselves that no guarantee
    applies: a curve has as many chances to cross it as it has calls, so that far more than ``level`` of the successful
    episodes are alarmed at.  Beyond the longest episode it holds its last value (theirs takes the mean over time).
    """

    def calibrate(self, curves: Sequence[Array], level: float) -> Threshold:
        """Threshold (C,) from one curve (C_i,) an episode.

        Raises
        ------
        CalibrationError
            if there are fewer than ``ceil(1/level) - 1`` episodes.
        """
        arrays = checked(curves, level)
        require_episodes(len(arrays), level)
        longest = max(len(curve) for curve in arrays)
        reached = ([curve[call] for curve in arrays if call < len(curve)] for call in range(longest))
        return Threshold(
            values=np.array([np.quantile(scores, 1 - level) for scores in reached]),
            scale=np.array([spread(np.array([curve.max() for curve in arrays]))]),
            level=level,
            episodes=len(arrays),
            guarantee="none: a quantile at every call is no bound over an episode (heuristic)",
        )
