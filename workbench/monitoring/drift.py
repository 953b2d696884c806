"""Whether a calibration still holds after deployment: exchangeability martingale, and risk monitoring."""

from __future__ import annotations

import numpy as np

from workbench.errors import CalibrationError, ConfigError
from workbench.types import Array


class Drift:
    """Says when the episodes are no longer like those of the calibration; needs no label beyond "it succeeded".

    MAPIE's OnlineMartingaleTest with the simple jumper (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random
    World", 2005, section 7.1): each episode's highest windowed score gets a conformal p-value among all before it, and
    a bet against uniform p-values gains if they are not.  While the episodes stay exchangeable with the calibration's,
    the probability that it *ever* says otherwise is at most ``level``, however long one looks (Ville's inequality).

    Fed with successful episodes alone it watches what the threshold was calibrated for; fed with all, it also answers
    to more failures.

    Parameters
    ----------
    level : probability of ever raising it for nothing.
    seed : of the tie-breaking noise that makes p-values exactly uniform.

    Attributes
    ----------
    episodes : how many were looked at.
    since : after how many of them it was raised first; None while it was not.
    """

    def __init__(self, level: float = 0.05, seed: int = 0) -> None:
        self.level = _rate(level)
        self.seed = seed

    def begin(self, highest: Array) -> None:
        """Start anew from the highest windowed scores (n,) of the calibration episodes."""
        from mapie.exchangeability_testing import OnlineMartingaleTest

        known = np.asarray(highest, np.float64)
        if known.ndim != 1 or len(known) < 2 or not np.isfinite(known).all():
            raise CalibrationError("drift is measured against the finite highest scores of at least 2 episodes")
        self._test = OnlineMartingaleTest(test_level=self.level, warn=False, random_state=self.seed)
        self._test.conformity_score_history = known.tolist()
        self.episodes = 0
        self.since: int | None = None

    def update(self, highest: float) -> bool:
        """Whether, with one more episode's highest windowed score, the calibration no longer holds; then for good."""
        history = self._test.conformity_score_history
        p_value = self._test.compute_p_value(highest, np.array(history))
        history.append(float(highest))
        self.episodes += 1
        if self._test.update_simple_jumper_martingale(p_value) > self._test.reject_threshold and self.since is None:
            self.since = self.episodes
        return self.since is not None


class FalseAlarmDrift:
    """Says when the rate of false alarms is above what was promised, from episodes that are known to have succeeded.

    MAPIE's RiskMonitoring (Podkopaev and Ramdas, "Tracking the risk of a deployed model and detecting harmful
    distribution shifts", ICLR 2022): a lower confidence bound of the rate that holds at all times at once is compared
    with the promised rate.  While the rate is at most ``promised``, the probability that it ever says otherwise is at
    most ``level``.

    Parameters
    ----------
    promised : the monitor's nominal false-alarm rate.
    level : probability of ever raising it for nothing.

    Attributes
    ----------
    episodes, since : as for :class:`Drift`.
    """

    def __init__(self, promised: float, level: float = 0.05) -> None:
        from mapie.exchangeability_testing import RiskMonitoring

        # MAPIE spends half of its level on a reference set; here the reference is the promise, so all is left.
        self._monitoring = RiskMonitoring(
            "fpr", test_level=min(2 * _rate(level), 0.999), threshold=_rate(promised), warn=False
        )
        self.episodes = 0
        self.since: int | None = None

    def update(self, alarmed: bool) -> bool:
        """Whether, with one more successful episode, the rate is above what was promised; then for good."""
        self._monitoring.update(np.zeros(1), np.array([int(alarmed)]))
        self.episodes += 1
        if self._monitoring.harmful_shift_detected and self.since is None:
            self.since = self.episodes
        return self.since is not None


def _rate(level: float) -> float:
    if not 0 < level < 0.5:
        raise ConfigError(f"level={level} is impossible: it lies in (0, 0.5)")
    return level
