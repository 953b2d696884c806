"""From which predicted benefit on an arm is to act: where it is shown to win more than the placebo, or never.

Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei, Annals of Applied Statistics 2025, arXiv 2110.01052):
thresholds are tested in a fixed sequence, from the strictest down, until one cannot be certified.  The test of a
threshold is the exact one-sided McNemar test of arm and placebo at the calls that it would act on, one an episode, so
that they are exchangeable, and in one branch each with shared noise.  Which thresholds are tested, and where the
sequence begins, is decided by the fit split and by how many calls there are, never by what came of them.  So with the
stated confidence over the calibrate episodes no certified threshold is one at which the arm wins no more than the
placebo; whichever of them is chosen.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from workbench.errors import ConfigError
from workbench.recovery.gains import Gain
from workbench.stats.multiple import fixed_sequence
from workbench.stats.proportions import clopper_pearson, more_often
from workbench.types import Array, Record
from workbench.types.results import Tabular

SHARES = tuple(number / 10 for number in range(1, 11))
"""Of the fit split's alarms that the thresholds act on, from the strictest down; the last acts on all there are."""
ALL = -1.0
"""The threshold that every predicted benefit reaches."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A threshold, and what acting from it on came to.

    Attributes
    ----------
    gain : of the arm over the placebo at the calls that are acted on, one an episode.
    p_value : of the exact one-sided test that the arm wins no more; None where the sequence did not come so far.
    certified : whether it is shown to win more.
    """

    threshold: float
    gain: Gain
    p_value: float | None = None
    certified: bool = False


@dataclasses.dataclass(frozen=True)
class Acting(Tabular):
    """When an arm is to act.

    Attributes
    ----------
    arm : its name.
    threshold : predicted benefit from which on it acts; None: it abstains, for nothing could be shown.
    confidence : of the guarantee, over the calibrate episodes.
    learned : policy calls and episodes of the fit split.
    alarmed : episodes of the calibrate split with an alarm.
    candidates : from the strictest down.
    """

    arm: str
    threshold: float | None
    confidence: float
    learned: tuple[int, int]
    alarmed: int
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> Candidate | None:
        """The threshold at which it acts; None where it abstains."""
        return next((each for each in self.candidates if each.threshold == self.threshold), None)

    @property
    def least(self) -> float | None:
        """Lower bound of the gain at the threshold, of so many pairs that differ; above 0 if it is certified."""
        if self.chosen is None:
            return None
        gain = self.chosen.gain
        differing = gain.only_arm + gain.only_control
        share, _ = clopper_pearson(gain.only_arm, differing, 2 * self.confidence - 1)
        return (2 * share - 1) * differing / gain.pairs

    def rows_of_table(self) -> list[Record]:
        """One row a threshold."""
        return [{**dataclasses.asdict(each), "gain": each.gain.gain} for each in self.candidates]

    def record(self) -> Record:
        """The section ``benefit`` of ``metrics.json``."""
        return {**dataclasses.asdict(self), "learned": list(self.learned), "least": self.least}

    @classmethod
    def of(cls, record: Record) -> Acting:
        """What :meth:`record` was made of."""
        given = {key: value for key, value in record.items() if key != "least"}
        candidates = tuple(Candidate(**{**each, "gain": Gain(**each["gain"])}) for each in record["candidates"])
        return cls(**{**given, "learned": tuple(record["learned"]), "candidates": candidates})


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """Calls, one an episode.

    Attributes
    ----------
    predicted : (n,) benefit of the arm, by what has not learned from these episodes.
    arm, placebo : (n,) whether each wins.
    """

    predicted: Array
    arm: Array
    placebo: Array


def certified(fit: Outcome, calibrate: Outcome, confidence: float) -> tuple[Candidate, ...]:
    """Thresholds from the strictest down, with those that are certified."""
    level = level_of(confidence)
    found = [_candidate(threshold, calibrate) for threshold in thresholds(fit, len(calibrate.predicted), confidence)]
    tested = [more_often(each.gain.only_arm, each.gain.only_control) for each in found]
    passed = fixed_sequence(tested, level)
    reached = [
        dataclasses.replace(each, p_value=p_value, certified=place < passed) if place <= passed else each
        for place, (each, p_value) in enumerate(zip(found, tested, strict=True))
    ]
    return tuple(reached)


def level_of(confidence: float) -> float:
    """Chance at which a confidence may err; ConfigError for one that is none."""
    if not 0.5 < confidence < 1:
        raise ConfigError(f"confidence={confidence} must be above 0.5 and below 1")
    return 1 - confidence


def best(candidates: tuple[Candidate, ...]) -> float | None:
    """Of the certified thresholds the one that won most; of several the strictest; None of none."""
    won = {each.threshold: each.gain.only_arm - each.gain.only_control for each in candidates if each.certified}
    return max(won, key=lambda threshold: won[threshold]) if won else None


def thresholds(fit: Outcome, calls: int, confidence: float) -> list[float]:
    """Thresholds that are tested on so many calls: from the first at which enough pairs are to be expected on."""
    found = [float(np.quantile(fit.predicted, 1 - share)) for share in SHARES[:-1]] if len(fit.predicted) else []
    differing = np.asarray(fit.arm) != np.asarray(fit.placebo)
    expected = [calls * float((differing & (fit.predicted >= threshold)).mean()) for threshold in found]
    least = pairs_needed(confidence)
    kept = [threshold for threshold, pairs in zip(found, expected, strict=True) if pairs >= least]
    return list(dict.fromkeys([*kept, ALL]))


def pairs_needed(confidence: float) -> int:
    """The fewest pairs that differ of which one may be won by the placebo."""
    pairs = 2
    while more_often(pairs - 1, 1) > level_of(confidence):
        pairs += 1
    return pairs


def _candidate(threshold: float, calls: Outcome) -> Candidate:
    acted = calls.predicted >= threshold
    return Candidate(threshold, Gain.of(calls.arm[acted], calls.placebo[acted]))
