"""A threshold that follows the robot: adaptive conformal inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.detectors.learning.ranks import checked, require_episodes, spread
from workbench.errors import ConfigError
from workbench.types import AdaptiveThreshold, Array


class AdaptiveConformal:
    """Split conformal prediction whose level and scores move with every successful episode after the calibration.

    Gibbs and Candes ("Adaptive Conformal Inference Under Distribution Shift", NeurIPS 2021, proposition 4.1).  Whatever
    the episodes, be it that an adversary chose them, over any T successful ones in a row::

        | share with an alarm - level |  <=  (max(level, 1 - level) + step) / (step T)

    where each ends before the next begins; k in lockstep make it ``k step`` in the numerator.  Nothing is promised of
    any one episode.  Scores of the last n episodes take the place of the calibration's.

    MAPIE's TimeSeriesRegressor has the method for two-sided intervals, but rounds levels to two digits and clips the
    moving one to 0..1, with which the bound no longer holds; within 0..1 both agree (see the tests).

    Parameters
    ----------
    step : gamma of the paper: by how much an episode moves the level; larger follows faster and is less steady.
    """

    def __init__(self, step: float = 0.05) -> None:
        if not 0 < step <= 1:
            raise ConfigError(f"step={step} of adaptive conformal inference is impossible: it lies in (0, 1]")
        self.step = step

    def calibrate(self, curves: Sequence[Array], level: float) -> AdaptiveThreshold:
        """Constant threshold to begin with, from one curve (C_i,) an episode.

        Raises
        ------
        CalibrationError
            if there are fewer than ``ceil(1/level) - 1`` episodes.
        """
        highest = np.array([curve.max() for curve in checked(curves, level)])
        require_episodes(len(highest), level)
        return AdaptiveThreshold(
            values=AdaptiveThreshold.at(highest, level),
            scale=np.array([spread(highest)]),
            level=level,
            episodes=len(highest),
            guarantee=(
                f"over any T successful episodes one after the other, whatever they are, the share with an alarm is "
                f"within {(max(level, 1 - level) + self.step) / self.step:.3g}/T of {level:g} (adaptive conformal "
                "inference, told of every success); none for a single episode"
            ),
            recent=highest,
            current=level,
            step=self.step,
        )
