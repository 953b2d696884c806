"""From which predicted benefit on an arm is to act: where it is shown to win more than the placebo, or never.

Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei, Annals of Applied Statistics 2025, arXiv 2110.01052), by
split fixed sequence testing.  The fit split says which thresholds are tried and in which order: first the one at which
a test on so many calibrate episodes would most probably come out.  They are tested until one cannot be certified.  The
test is the exact one-sided McNemar test of arm and placebo at the calls that would be acted on: one an episode, so that
they are exchangeable, and one branch each, with shared noise.  So with the stated confidence over the calibrate
episodes the arm wins more than the placebo from every threshold that is certified, and any of them may be chosen.

From the strictest threshold down the sequence would mostly end at once: it acts on too few calls to show anything.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from workbench.errors import ConfigError
from workbench.recovery.gains import Gain
from workbench.stats.multiple import fixed_sequence
from workbench.stats.proportions import clopper_pearson, more_often
from workbench.types import Array, Record
from workbench.types.results import Tabular

SHARES = tuple(number / 10 for number in range(1, 11))
"""Of the fit split's alarms that the thresholds act on."""
LOWEST = 0.0
"""The lowest threshold: where harm is predicted, it never acts."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A threshold, and what acting from it on came to.

    Attributes
    ----------
    power : chance by the fit split that it is certified.
    gain : of the arm over the placebo at the calibrate split's calls that are acted on, one an episode.
    p_value : of the exact one-sided test that the arm wins no more; None where the sequence did not come so far.
    certified : whether it is shown to win more.
    """

    threshold: float
    power: float
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
    candidates : in the order in which they were tested.
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
    """Thresholds in the order in which they are tested, with those that are certified."""
    level, found = level_of(confidence), []
    for threshold, power in in_order(fit, len(calibrate.predicted), confidence):
        acted = calibrate.predicted >= threshold
        found.append(Candidate(threshold, power, Gain.of(calibrate.arm[acted], calibrate.placebo[acted])))
    tested = [more_often(each.gain.only_arm, each.gain.only_control) for each in found]
    passed = fixed_sequence(tested, level)
    return tuple(
        dataclasses.replace(each, p_value=tested[place], certified=place < passed) if place <= passed else each
        for place, each in enumerate(found)
    )


def level_of(confidence: float) -> float:
    """Chance at which a confidence may err; ConfigError for one that is none."""
    if not 0.5 < confidence < 1:
        raise ConfigError(f"confidence={confidence} must be above 0.5 and below 1")
    return 1 - confidence


def best(candidates: tuple[Candidate, ...]) -> float | None:
    """Of the certified thresholds the one that won most; of several the strictest; None of none."""
    won = {each.threshold: each.gain.only_arm - each.gain.only_control for each in candidates if each.certified}
    return max(won, key=lambda threshold: (won[threshold], threshold)) if won else None


def in_order(fit: Outcome, calls: int, confidence: float) -> list[tuple[float, float]]:
    """Thresholds in the order in which they are tested on so many calls, each with its power; see :func:`power`.

    What came of the calls plays no part.
    """
    some = [float(np.quantile(fit.predicted, 1 - share)) for share in SHARES] if len(fit.predicted) else []
    arm, placebo = np.asarray(fit.arm, bool), np.asarray(fit.placebo, bool)
    powers = {}
    for threshold in sorted({LOWEST, *(each for each in some if each > LOWEST)}, reverse=True):
        acted = fit.predicted >= threshold
        won, lost = int((acted & arm & ~placebo).sum()), int((acted & placebo & ~arm).sum())
        powers[threshold] = power(won, lost, len(acted), calls, confidence)
    return sorted(powers.items(), key=lambda each: -each[1])


@functools.lru_cache(maxsize=4096)
def power(won: int, lost: int, of: int, calls: int, confidence: float) -> float:
    """Chance that the test comes out on so many calls, if ``won`` and ``lost`` of others were those of one alone.

    One call more is taken to be lost: few calls seldom show how often that happens.
    """
    from scipy.stats import binom  # type: ignore[import-untyped,unused-ignore]

    pairs = np.arange(calls + 1)
    most = binom.isf(level_of(confidence), pairs, 0.5)  # wins with which it does not come out yet
    passes = binom.sf(most, pairs, won / (won + lost + 1))
    return float((binom.pmf(pairs, calls, (won + lost + 1) / (of + 1)) * passes).sum())
