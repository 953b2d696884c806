"""Thresholds under which a rate is controlled with a stated confidence over the calibration set: Learn then Test."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np

from workbench.detectors.learning.ranks import checked, spread
from workbench.errors import CalibrationError, ConfigError
from workbench.types import Array, RateLaw, Threshold

ROUNDING = 1e-12
"""Relative: a hair, for what has to lie just below.

MAPIE multiplies a share by its count and rounds up, which now and then would add an episode (7 of 25).
"""


class FalseAlarmControl:
    """The lowest threshold under which, with ``confidence``, at most ``level`` of the successes see an alarm.

    Angelopoulos, Bates, Candes, Jordan and Lei ("Learn then Test", Annals of Applied Statistics 2025), by MAPIE's
    BinaryClassificationController: from the highest threshold down, each is tested (exact binomial p-value) until one
    cannot be certified.  The rate falls with the threshold and changes at the calibration scores alone, so testing at
    these is testing all real thresholds in order (Bates et al., "Distribution-Free, Risk-Controlling Prediction Sets",
    JACM 2021), and no grid is chosen.  Split conformal prediction holds the rate on average over calibration sets; here
    it holds for all but a share ``1 - confidence`` of them.

    Parameters
    ----------
    confidence : between 0 and 1.
    """

    def __init__(self, confidence: float = 0.9) -> None:
        self.confidence = _probability(confidence)

    def calibrate(self, curves: Sequence[Array], level: float) -> Threshold:
        """Constant threshold from one curve (C_i,) an episode.

        Raises
        ------
        CalibrationError
            if there are fewer than ``log(1 - confidence) / log(1 - level)`` episodes.
        """
        highest = np.array([curve.max() for curve in checked(curves, level)])
        _require(len(highest), "successful", level, self.confidence)
        # Candidate j lies at the j-th distinct score: what is above it alarms.
        lowest = _certified(highest, 0.5, alarms_count=True, level=level, confidence=self.confidence)[0]
        return Threshold(
            values=np.unique(highest)[[lowest]],
            scale=np.array([spread(highest)]),
            level=level,
            episodes=len(highest),
            guarantee=(
                f"with a probability of at least {self.confidence:g} over the draw of the {len(highest)} calibration "
                f"episodes, at most {level:g} of the successful episodes of their distribution see an alarm "
                "(Learn then Test)"
            ),
            laws=(_law(len(highest), level, self.confidence),),
        )


class RecallControl:
    """The highest threshold under which, with ``confidence``, at most ``level`` of the failures pass without an alarm.

    :class:`FalseAlarmControl` with the classes exchanged: recall is at least ``1 - level``, an alarm at any call of a
    failed episode counting as found.  Of all thresholds certified to do so it is the one with the fewest false alarms,
    of which nothing is promised.  The failures that it meets later must be like those of the calibrate split.

    Parameters
    ----------
    confidence : between 0 and 1.
    """

    uses = frozenset({"failures"})

    def __init__(self, confidence: float = 0.9) -> None:
        self.confidence = _probability(confidence)

    def calibrate(self, curves: Sequence[Array], level: float, failures: Sequence[Array]) -> Threshold:
        """Constant threshold from one curve (C_i,) a failed episode; the successful ones give the unit of margins.

        Raises
        ------
        CalibrationError
            if there are fewer than ``log(1 - confidence) / log(1 - level)`` failed episodes, or no successful one.
        """
        quiet = np.array([curve.max() for curve in checked(curves, level)])
        found = np.array([curve.max() for curve in checked(failures, level)])
        _require(len(found), "failed", level, self.confidence)
        if not len(quiet):
            raise CalibrationError(
                "recall is controlled at the cost of false alarms: there is no success to count them"
            )
        # Candidate j lies just below the j-th distinct score, so that what reaches it alarms.
        certified = _certified(found, -0.5, alarms_count=False, level=level, confidence=self.confidence)
        reached, unit = np.unique(found)[[certified[-1]]], spread(quiet)
        return Threshold(
            values=reached - ROUNDING * (np.abs(reached) + unit),
            scale=np.array([unit]),
            level=level,
            episodes=len(found),
            guarantee=(
                f"with a probability of at least {self.confidence:g} over the draw of the {len(found)} failed "
                f"calibration episodes, at least {1 - level:g} of the failures of their distribution see an alarm "
                "(Learn then Test); false alarms are not bounded"
            ),
            on_failures=True,
            laws=(_law(len(found), level, self.confidence),),
        )


def _certified(highest: Array, offset: float, *, alarms_count: bool, level: float, confidence: float) -> list[int]:
    """Which distinct scores, by their rank, are certified when each plus ``offset`` ranks is the threshold.

    What must not happen in more than ``level`` of the episodes is an alarm if ``alarms_count``, else none.  Ranks take
    the place of scores, as MAPIE compares probabilities with thresholds by >=.
    """
    from mapie.risk_control import BinaryClassificationController, BinaryRisk

    class Share(BinaryRisk):  # type: ignore[misc]
        """Share of the episodes with (or without) an alarm, a rounding error below what it is."""

        def get_value_and_effective_sample_size(self, y_true: Array, y_pred: Array) -> tuple[float, int]:
            value, count = super().get_value_and_effective_sample_size(y_true, y_pred)
            return value * (1 - ROUNDING), count

    distinct, ranks = np.unique(highest, return_inverse=True)
    risk = Share(lambda _, alarm: alarm == int(alarms_count), lambda _, alarm: np.full(len(alarm), True), False)
    between = (np.arange(len(distinct)) + offset + 1) / (len(distinct) + 1)
    controller = BinaryClassificationController(
        predict_function=lambda rows: np.column_stack([1 - rows[:, 0], rows[:, 0]]),
        risk=risk,
        target_level=float(level),
        confidence_level=confidence,
        best_predict_param_choice=risk,
        list_predict_params=between,
        fwer_method="fixed_sequence",
    )
    rows = (ranks[:, None] + 1) / (len(distinct) + 1)
    with warnings.catch_warnings():
        # MAPIE wonders when every threshold is certified, which is what equal scores come to.
        warnings.filterwarnings("ignore", message="All provided predict_params control the risk")
        controller.calibrate(rows, np.full(len(rows), int(not alarms_count)))
    return sorted(int(np.flatnonzero(between == chosen)[0]) for chosen in controller.valid_predict_params)


def _law(count: int, level: float, confidence: float) -> RateLaw:
    """Of the rate at which episodes err: as many of the ``count`` as an exact test certifies, and one block more."""
    from scipy.stats import binom  # type: ignore[import-untyped,unused-ignore]

    allowed = np.flatnonzero(binom.cdf(np.arange(count), count, level) <= 1 - confidence)[-1]
    return RateLaw(beyond=int(allowed) + 1, ranked=count)


def _probability(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence={confidence} is impossible: it lies in (0, 1)")
    return confidence


def _require(count: int, kind: str, level: float, confidence: float) -> None:
    """Even a calibration set without a single error certifies nothing if it is too small."""
    needed = math.ceil(math.log(1 - confidence) / math.log(1 - level) - 1e-9)
    if count < needed:
        raise CalibrationError(
            f"a rate of {level:g} with a confidence of {confidence:g} needs at least {needed} {kind} calibration "
            f"episodes, and there are {count}: roll out more of the calibrate split, raise the level or lower the "
            "confidence"
        )
