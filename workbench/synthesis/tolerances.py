"""How much of a fault a policy bears: the magnitude at which its success falls under one half.

Along the axis of a magnitude, a sequential bisection asks for batches of episodes until the exact interval of the
failure rate lies on one side of one half.  It assumes that a larger severity never makes failure rarer; where the
episodes that were rolled say otherwise, the answer says so (:attr:`Tolerance.contradictions`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from workbench.errors import ConfigError
from workbench.stats.proportions import clopper_pearson
from workbench.synthesis.axis import Scale
from workbench.types import EPISODES_PER_SPLIT, Array

HALF = 0.5
"""Failure rate at the tolerance."""

Fails = Callable[[float, range], Sequence[bool]]
"""Whether the episodes with these numbers fail at a magnitude."""
Verdict = Literal["found", "never fails", "always fails", "unclear at the mildest", "unclear at the worst"]


@dataclasses.dataclass(frozen=True)
class Search:
    """How a tolerance is searched for.

    Attributes
    ----------
    batch : episodes at a time.
    most : episodes at a magnitude, at most.
    resolution : the bracket's width, as a share of the axis, at which the search stops.
    confidence : with which the interval contains the tolerance.
    """

    batch: int = 12
    most: int = 48
    resolution: float = 0.05
    confidence: float = 0.95

    def __post_init__(self) -> None:
        counted = 1 <= self.batch <= self.most <= EPISODES_PER_SPLIT
        if not (counted and 0 < self.resolution <= HALF and 0 < self.confidence < 1):
            raise ConfigError(
                f"batch={self.batch}, most={self.most}, resolution={self.resolution}, confidence={self.confidence} "
                f"must keep to 1 <= batch <= most <= {EPISODES_PER_SPLIT}, 0 < resolution <= 0.5, 0 < confidence < 1"
            )


@dataclasses.dataclass(frozen=True)
class Trial:
    """How many episodes failed at a magnitude."""

    magnitude: float
    failures: int
    episodes: int

    @property
    def rate(self) -> float:
        """Share that failed."""
        return self.failures / self.episodes


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What a search found.

    Attributes
    ----------
    trials : one a magnitude that was asked for, the mildest first.
    verdict : ``found``; ``never fails`` or ``always fails`` on the whole axis; or unclear, where the failure rate at an
        end of the axis could not be told from one half, so that the tolerance may lie beyond that end.
    interval : (low, high) of the magnitude; it ends where the axis does if the tolerance may lie beyond.
    contradictions : pairs (milder, worse) of magnitudes of which the milder one certainly failed more often.
    """

    scale: Scale
    trials: tuple[Trial, ...]
    verdict: Verdict
    interval: tuple[float, float]
    contradictions: tuple[tuple[float, float], ...] = ()

    @property
    def episodes(self) -> int:
        """Episodes that were rolled for it."""
        return sum(trial.episodes for trial in self.trials)

    @property
    def magnitude(self) -> float | None:
        """The tolerance; None where the policy never or always fails."""
        if self.verdict in ("never fails", "always fails"):
            return None
        at_half = self.at(HALF)
        return None if at_half is None else min(max(at_half, self.interval[0]), self.interval[1])

    def at(self, rate: float) -> float | None:
        """Magnitude at which a share ``rate`` of episodes fails; None if it is nowhere on the axis.

        The failure rates of the trials are made monotone by isotonic regression (Barlow et al., Statistical Inference
        under Order Restrictions, 1972), weighted by their episodes and interpolated linearly in the severity; where
        the rate holds on a stretch, its middle.  Whole magnitudes are rounded to the worse side: the first of which
        the rate is reached.  It is an estimate without an interval; only the tolerance has one.
        """
        if not 0 < rate < 1:
            raise ConfigError(f"failure rate {rate} must lie between 0 and 1")
        severities = np.array([self.scale.severity(trial.magnitude) for trial in self.trials])
        fitted = isotonic([trial.rate for trial in self.trials], [trial.episodes for trial in self.trials])
        if fitted[0] > rate or fitted[-1] < rate:
            return None
        reached, passed = int(np.argmax(fitted >= rate)), int(np.sum(fitted <= rate)) - 1
        middle = (_crossing(severities, fitted, reached - 1, rate) + _crossing(severities, fitted, passed, rate)) / 2
        magnitude = self.scale.magnitude(middle)
        if self.scale.whole and self.scale.severity(magnitude) < middle - 1e-9:
            magnitude += 1 if self.scale.worse == "larger" else -1
        return magnitude


def isotonic(rates: Sequence[float], weights: Sequence[float]) -> Array:
    """(N,) the nearest rising sequence by weighted least squares (isotonic regression)."""
    from sklearn.isotonic import isotonic_regression

    fitted: Array = isotonic_regression(np.asarray(rates, np.float64), sample_weight=np.asarray(weights, np.float64))
    return fitted


def _crossing(severities: Array, fitted: Array, index: int, rate: float) -> float:
    """Where the line from point ``index`` to the next one meets a rate; at an end of the axis, that end."""
    if index < 0 or index >= len(fitted) - 1 or fitted[index] == rate:
        return float(severities[min(max(index, 0), len(fitted) - 1)])
    share = (rate - fitted[index]) / (fitted[index + 1] - fitted[index])
    return float(severities[index] + share * (severities[index + 1] - severities[index]))


def find_tolerance(
    scale: Scale, fails: Fails, *, batch: int = 12, most: int = 48, resolution: float = 0.05, confidence: float = 0.95
) -> Tolerance:
    """The magnitude at which success falls under one half, with an interval.

    Parameters
    ----------
    scale : the axis to search.
    fails : rolls episodes at a magnitude.  Every magnitude is asked for the same numbers from 0 on, so that the search
        compares magnitudes and not episodes (common random numbers).
    batch, most, resolution, confidence : as in :class:`Search`.

    Notes
    -----
    A magnitude is called clear once the exact interval of its failure rate (Clopper and Pearson, Biometrika 1934) lies
    on one side of one half.  The bracket runs from the worst magnitude that clearly succeeds to the mildest one that
    clearly fails; around a magnitude that stays unclear, both sides are searched.  The chance of error is shared
    equally by all looks at all magnitudes that the search can ask for, so by the union bound the bracket misses the
    tolerance with at most ``1 - confidence`` where failure is monotone in the magnitude.
    """
    search = _Bisection(scale, fails, Search(batch, most, resolution, confidence))
    verdict, low, high = search.run()
    interval = sorted((scale.magnitude(low), scale.magnitude(high)))
    trials = search.trials()
    return Tolerance(scale, trials, verdict, (interval[0], interval[1]), contradictions(trials, confidence))


def contradictions(trials: Sequence[Trial], confidence: float) -> tuple[tuple[float, float], ...]:
    """Pairs (milder, worse) whose intervals say that the milder magnitude fails more often.

    The chance of error is shared equally by the trials, which come with the mildest first.
    """
    share = 1 - (1 - confidence) / max(len(trials), 1)
    bounds = [clopper_pearson(trial.failures, trial.episodes, share) for trial in trials]
    return tuple(
        (trials[milder].magnitude, trials[worse].magnitude)
        for worse in range(len(trials))
        for milder in range(worse)
        if bounds[milder][0] > bounds[worse][1]
    )


@dataclasses.dataclass
class _Bisection:
    """One search as it goes: what is known of every magnitude that was asked for."""

    scale: Scale
    fails: Fails
    search: Search
    counts: dict[float, tuple[int, int]] = dataclasses.field(default_factory=dict)

    @property
    def look_confidence(self) -> float:
        """Confidence of one interval; an error is possible on one side of it alone, as the truth lies on the other."""
        looks = math.ceil(self.search.most / self.search.batch)
        # The ends and the middle; then one bisection, or one on either side of a magnitude that stays unclear.
        magnitudes = 3 + 2 * math.ceil(math.log2(1 / self.search.resolution))
        return 1 - 2 * (1 - self.search.confidence) / (looks * magnitudes)

    def run(self) -> tuple[Verdict, float, float]:
        """Verdict, and the bracket in severities."""
        worst = self.side(1.0)
        if worst < 0:
            self.side(HALF)  # shows whether the axis is monotone at all
            return "never fails", 1.0, 1.0
        mildest = self.side(0.0)
        if mildest > 0:
            self.side(HALF)
            return "always fails", 0.0, 0.0
        low, high = self.bracket()
        return (
            "unclear at the mildest" if mildest == 0 else "unclear at the worst" if worst == 0 else "found",
            low,
            high,
        )

    def bracket(self) -> tuple[float, float]:
        """Bisect until the bracket is narrow, or both sides of what stays unclear are."""
        low, high = 0.0, 1.0
        while (middle := self.between(low, high)) is not None:
            side = self.side(middle)
            if side == 0:
                return self.edge(low, middle, -1), self.edge(high, middle, 1)
            low, high = (middle, high) if side < 0 else (low, middle)
        return low, high

    def edge(self, clear: float, unclear: float, sign: int) -> float:
        """The severity nearest to an unclear one that is clear on this side."""
        while (middle := self.between(clear, unclear)) is not None:
            clear, unclear = (middle, unclear) if self.side(middle) == sign else (clear, middle)
        return clear

    def between(self, first: float, last: float) -> float | None:
        """The severity half-way, or None where there is nothing left to ask for."""
        middle = (first + last) / 2
        magnitude = self.scale.magnitude(middle)
        if abs(last - first) <= self.search.resolution or magnitude in map(self.scale.magnitude, (first, last)):
            return None
        return self.scale.severity(magnitude)

    def side(self, severity: float) -> int:
        """-1 where the policy clearly succeeds, 1 where it clearly fails, 0 where ``most`` episodes do not tell."""
        magnitude = self.scale.magnitude(severity)
        failures, episodes = self.counts.get(magnitude, (0, 0))
        while (side := self.clear(failures, episodes)) == 0 and episodes < self.search.most:
            numbers = range(episodes, min(episodes + self.search.batch, self.search.most))
            failed = self.fails(magnitude, numbers)
            if len(failed) != len(numbers):
                raise ValueError(f"{len(numbers)} episodes were asked for, not {len(failed)}")
            failures, episodes = failures + sum(map(bool, failed)), episodes + len(numbers)
            self.counts[magnitude] = failures, episodes
        return side

    def clear(self, failures: int, episodes: int) -> int:
        """The side of one half on which the interval of a failure rate lies, or 0."""
        low, high = clopper_pearson(failures, episodes, self.look_confidence)
        return 1 if low > HALF else -1 if high < HALF else 0

    def trials(self) -> tuple[Trial, ...]:
        """What was asked for, the mildest first."""
        ordered = sorted(self.counts, key=self.scale.severity)
        return tuple(Trial(magnitude, *self.counts[magnitude]) for magnitude in ordered)
