"""A constant threshold with an exact rank: split conformal prediction of an episode's highest score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.detectors.learning.ranks import checked, conformal_rank, law_of, require_episodes, spread
from workbench.types import Array, Threshold


class SplitConformal:
    """Threshold = the ``ceil((n+1)(1-level))``-th smallest of the n calibration episodes' highest scores.

    Vovk, Gammerman and Shafer ("Algorithmic Learning in a Random World", 2005); Lei et al. ("Distribution-Free
    Predictive Inference for Regression", JASA 2018).  An alarm is a score *above* the threshold, so ties are harmless.
    """

    def calibrate(self, curves: Sequence[Array], level: float) -> Threshold:
        """Constant threshold from one curve (C_i,) an episode.

        Raises
        ------
        CalibrationError
            if there are fewer than ``ceil(1/level) - 1`` episodes.
        """
        highest = np.array([curve.max() for curve in checked(curves, level)])
        require_episodes(len(highest), level)
        rank = conformal_rank(len(highest), level)
        return Threshold(
            values=np.array([upper_bound(highest, rank)]),
            scale=np.array([spread(highest)]),
            level=level,
            episodes=len(highest),
            guarantee=(
                f"P(any alarm in a successful episode exchangeable with the {len(highest)} calibration episodes) "
                f"<= {level:g}, over the draw of both (split conformal)"
            ),
            laws=(law_of(rank, len(highest)),),
        )


def upper_bound(values: Array, rank: int) -> float:
    """The ``rank``-th smallest value, as the upper end of MAPIE's interval around a constant prediction of 0.

    MAPIE has no one-sided interval, but ranks the two ends of an asymmetric one apart, the upper at
    (1 + confidence) / 2.  Asked for 1 - 2 level it computes that in floating point and is a rank too high now and then
    (n = 59 and 119 at 0.05), so it is asked for a confidence well inside the exact rank's interval instead.
    """
    from mapie.conformity_scores import AbsoluteConformityScore
    from mapie.regression import SplitConformalRegressor
    from sklearn.dummy import DummyRegressor

    nowhere = np.zeros((len(values), 1))
    zero = DummyRegressor(strategy="constant", constant=0.0).fit(nowhere, values)
    regressor = SplitConformalRegressor(
        zero,
        confidence_level=2 * (rank - 0.25) / (len(values) + 1) - 1,
        conformity_score=AbsoluteConformityScore(sym=False),
        prefit=True,
    ).conformalize(nowhere, values)
    _, interval = regressor.predict_interval(nowhere[:1], allow_infinite_bounds=True)
    return float(interval[0, 1, 0])
