"""Whether acting on alarms helps at all: the operating rule, and what a pilot study of few episodes can say of it.

Every episode is had twice from the same state with the same noise, without and with the intervention.  With failure
rate p, rescue r (share of the failures that then succeed) and disruption d (share of the successes that then fail),
success changes by ``p r - (1 - p) d``, so that the intervention helps if and only if ``p > d / (r + d)`` (Accurate
failure prediction is not prevention, arXiv 2602.03338, 2026).  By counts that is ``(rescued - broken) / episodes``:
the rule says no more than which of the two is larger, and neither does a pilot study that applies it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np

from workbench.config.metrics import finite
from workbench.errors import ConfigError
from workbench.stats.proportions import clopper_pearson, paired_test
from workbench.types import Array, Record

Verdict = Literal["help", "harm", "cannot be told"]
LEVEL, POWER, PILOT_EPISODES = 0.05, 0.8, 50
MOST_EPISODES = 20_000
"""Of a study that is still looked for: beyond it, a study is as good as impossible."""
LEFT_OUT = 1e-13
"""Chance of the numbers of discordant pairs that are not enumerated, on either side."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """How often episodes fail, and how many of both kinds an intervention turns round.

    Attributes
    ----------
    failure_rate : p, of the episodes without it.
    rescue : r, of the failures.
    disruption : d, of the successes.
    """

    failure_rate: float
    rescue: float
    disruption: float

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            refuse_unless_share(name, value)

    @property
    def rescued(self) -> float:
        """Share of all episodes that it rescues."""
        return self.failure_rate * self.rescue

    @property
    def broken(self) -> float:
        """Share of all episodes that it breaks."""
        return (1 - self.failure_rate) * self.disruption

    @property
    def gain(self) -> float:
        """By how much success changes."""
        return self.rescued - self.broken

    @property
    def break_even(self) -> float | None:
        """The failure rate d / (r + d) above which it helps; None if it turns nothing round."""
        turned = self.rescue + self.disruption
        return self.disruption / turned if turned else None


@dataclasses.dataclass(frozen=True)
class OperatingRule:
    """The rule on counted pairs, with what they can say of its sign.

    Attributes
    ----------
    failures, successes : episodes without the intervention.
    rescued, broken : how many of each it turned round.
    share : of the turned episodes that were rescued; the intervention helps where it is above one half.  None if none
        was turned.
    share_ci95 : its exact interval (Clopper and Pearson), given how many were turned.
    p_value : of the exact McNemar test, two-sided; it is below 0.05 where the interval leaves one half out.
    break_even_ci95 : interval of the failure rate d / (r + d), conservative: r and d each at 97.5 %.
    """

    failures: int
    successes: int
    rescued: int
    broken: int
    share: float | None
    share_ci95: tuple[float, float]
    p_value: float
    break_even_ci95: tuple[float, float]

    @functools.cached_property
    def episodes_needed(self) -> int | None:
        """How many pairs have power 0.8 if the rates are those that were counted; few pairs often overstate them.

        None if there is no difference, or more than 20,000 would be needed.
        """
        return episodes_for_power(self.rates)

    @property
    def rates(self) -> Rates:
        """The rates that were counted; 0 of no episode."""
        failed, kept = max(self.failures, 1), max(self.successes, 1)
        return Rates(self.failures / (self.failures + self.successes), self.rescued / failed, self.broken / kept)

    @property
    def says(self) -> Verdict:
        """What the pairs say of the intervention where episodes fail as often as here; wrong in at most 5 % of studies.

        Where it does neither help nor harm, that is; where it does one, the other is said in at most 2.5 %.
        """
        low, high = self.share_ci95
        return "help" if low > 0.5 else "harm" if high < 0.5 else "cannot be told"

    def says_at(self, failure_rate: float) -> Verdict:
        """The same where episodes fail more often or less, and are rescued and broken as often as here."""
        refuse_unless_share("failure_rate", failure_rate)
        low, high = self.break_even_ci95
        return "help" if failure_rate > high else "harm" if failure_rate < low else "cannot be told"

    def record(self) -> Record:
        """Plain data, with the rates, the gain and the verdict."""
        rates = self.rates
        more = {**dataclasses.asdict(rates), "gain": rates.gain, "break_even": rates.break_even, "says": self.says}
        more["episodes_needed"] = self.episodes_needed
        plain: Record = finite({**dataclasses.asdict(self), **more})
        return plain


def operating_rule(without: Array, with_intervention: Array) -> OperatingRule:
    """Whether an intervention helps, harms, or cannot be told to do either, from paired episodes.

    Parameters
    ----------
    without, with_intervention : (N,) whether each episode succeeded without it and with it, from the same state with
        the same noise; one pair an episode, for branches of one episode are not independent.  With noise of its own, an
        intervention that does nothing has r = 1 - p and d = p; so put a placebo's outcomes in the place of ``without``
        as well.
    """
    before, after = np.asarray(without, bool), np.asarray(with_intervention, bool)
    if before.shape != after.shape or before.ndim != 1 or not before.size:
        raise ConfigError(f"the operating rule needs pairs of episodes, not {before.shape} against {after.shape}")
    tested = paired_test(after, before)
    rescued, broken = tested["only_first"], tested["only_second"]
    failures, successes, turned = int((~before).sum()), int(before.sum()), rescued + broken
    (least_r, most_r), (least_d, most_d) = (
        clopper_pearson(*counts, 0.975) for counts in ((rescued, failures), (broken, successes))
    )
    return OperatingRule(
        failures=failures,
        successes=successes,
        rescued=rescued,
        broken=broken,
        share=rescued / turned if turned else None,
        share_ci95=clopper_pearson(rescued, turned),
        p_value=tested["p_value"],
        break_even_ci95=(least_d / (most_r + least_d), most_d / (least_r + most_d)),
    )


@dataclasses.dataclass(frozen=True)
class Pilot:
    """Chances, exact, of what a pilot study of so many pairs says if the rates are true.

    Attributes
    ----------
    helps, harms, ties : that more are rescued than broken, fewer, or as many: what the operating rule goes by.
    proves_help, proves_harm : that the exact McNemar test says so at the level.
    """

    rates: Rates
    episodes: int
    level: float
    helps: float
    harms: float
    ties: float
    proves_help: float
    proves_harm: float

    @property
    def right(self) -> float:
        """Chance of the right sign; of a tie where nothing is the right sign."""
        return self._by_truth(self.helps, self.harms, self.ties)

    @property
    def wrong(self) -> float:
        """Chance of the wrong sign, or of any where there is none."""
        return self._by_truth(self.harms, self.helps, self.helps + self.harms)

    @property
    def power(self) -> float:
        """Chance that the test finds the right sign; 0 where there is none."""
        return self._by_truth(self.proves_help, self.proves_harm, 0.0)

    @functools.cached_property
    def episodes_for_power(self) -> int | None:
        """How many pairs have power 0.8; None if there is no effect, or more than 20,000 would be needed."""
        return episodes_for_power(self.rates, level=self.level)

    def _by_truth(self, helps: float, harms: float, neither: float) -> float:
        if np.isclose(self.rates.rescued, self.rates.broken, rtol=1e-12, atol=0.0):
            return neither
        return helps if self.rates.gain > 0 else harms

    def record(self) -> Record:
        """Plain data, with the chances of the right and the wrong sign and the power."""
        more = {name: getattr(self, name) for name in ("right", "wrong", "power", "episodes_for_power")}
        return {**dataclasses.asdict(self), **more}


def pilot(
    failure_rate: float, rescue: float, disruption: float, *, episodes: int = PILOT_EPISODES, level: float = LEVEL
) -> Pilot:
    """What a pilot study of so many pairs can say, exactly, if the rates are true.

    Parameters
    ----------
    failure_rate, rescue, disruption : see :class:`Rates`.
    level : of the exact McNemar test.
    """
    return chances(Rates(failure_rate, rescue, disruption), episodes, level)


def chances(rates: Rates, episodes: int, level: float = LEVEL) -> Pilot:
    """:func:`pilot` by enumeration of its discordant pairs.

    How many there are is binomial with ``rescued + broken``, and how many of them were rescued with ``rescued /
    (rescued + broken)``.
    """
    if episodes < 1 or not 0 < level < 1:
        raise ConfigError(f"a pilot study of {episodes} episodes at level {level}: at least 1 episode, 0 < level < 1")
    from scipy.stats import binom  # type: ignore[import-untyped,unused-ignore]

    turned = rates.rescued + rates.broken
    share = rates.rescued / turned if turned else 0.5
    low, high = (int(binom.ppf(q, episodes, turned)) for q in (LEFT_OUT, 1 - LEFT_OUT))
    pairs = np.arange(low, high + 1)
    weight = binom.pmf(pairs, episodes, turned)
    half, wins = pairs // 2, fewest_wins(pairs, level)
    given = {
        "helps": binom.sf(half, pairs, share),
        "harms": binom.cdf(pairs - half - 1, pairs, share),
        "ties": np.where(pairs % 2, 0.0, binom.pmf(half, pairs, share)),
        "proves_help": binom.sf(wins - 1, pairs, share),
        "proves_harm": binom.cdf(pairs - wins, pairs, share),
    }
    return Pilot(rates, episodes, level, **{name: float(weight @ each) for name, each in given.items()})


def fewest_wins(pairs: Array, level: float = LEVEL) -> Array:
    """Fewest of discordant pairs (M,) to one side with which the exact test is significant; more than all: never."""
    from scipy.stats import binom

    # A hair above the level, so that a chance that is exactly it counts as significant.
    fewest: Array = binom.isf(level / 2 * (1 + 1e-9), pairs, 0.5) + 1
    return fewest


def episodes_for_power(rates: Rates, power: float = POWER, level: float = LEVEL) -> int | None:
    """The fewest episodes from which on a study has this power; None if there is no effect, or beyond 20,000.

    The power of a test on whole numbers goes up and down as episodes are added, so this is not the first number that
    reaches it but the one after the last that does not.
    """
    if not 0 < power < 1:
        raise ConfigError(f"power={power} must lie between 0 and 1")
    most = 8
    while chances(rates, most, level).power < power:
        most *= 2
        if most > 2 * MOST_EPISODES:
            return None
    episodes = _safe(rates, power, level, 4 * most)
    while episodes > 1 and chances(rates, episodes - 1, level).power >= power:
        episodes -= 1
    return episodes if episodes <= MOST_EPISODES else None


def _safe(rates: Rates, power: float, level: float, most: int) -> int:
    """Some number of episodes from which on, up to ``most``, the power is never less.

    By a bound from below that does grow with the episodes: the power given the discordant pairs, or that of any larger
    number of them if that is less.
    """
    from scipy.stats import binom

    turned, smaller = rates.rescued + rates.broken, min(rates.rescued, rates.broken)
    pairs = np.arange(most + 1)
    given = binom.sf(fewest_wins(pairs, level) - 1, pairs, 1 - smaller / turned)
    bound = np.minimum.accumulate(given[::-1])[::-1]

    def enough(episodes: int) -> bool:
        low, high = (int(binom.ppf(q, episodes, turned)) for q in (LEFT_OUT, 1 - LEFT_OUT))
        return bool(binom.pmf(pairs[low : high + 1], episodes, turned) @ bound[low : high + 1] >= power)

    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def refuse_unless_share(name: str, value: float) -> None:
    """ConfigError unless a number lies between 0 and 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}={value} must lie between 0 and 1")
