"""Proportions with their intervals, and paired tests: how sure a count is, and whether two counts differ."""

from __future__ import annotations

import collections
import functools
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from workbench.types import Array, Record


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial proportion (Clopper and Pearson, Biometrika 1934); (0, 1) for no trials.

    The interval of every proportion that is shown: it holds the true one in at least that share of cases, whatever it
    is.  Wilson's holds 0.84 near 0 and 1 (``tests/theory/test_intervals.py``).
    """
    return _interval(count, total, confidence, "exact")


@functools.cache
def _interval(count: int, total: int, confidence: float, method: str) -> tuple[float, float]:
    from scipy.stats import binomtest  # type: ignore[import-untyped,unused-ignore]

    if total == 0:
        return 0.0, 1.0
    bounds = binomtest(count, total).proportion_ci(confidence, method=method)
    return float(bounds.low), float(bounds.high)


def over_seeds(successes: Sequence[int], episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a success rate over training seeds, from the successes of each in so many episodes.

    The exact interval of an effective number of episodes: fewer where seeds differ by more than chance does, and fewer
    because that difference is itself estimated from few seeds.  (0, 1) for a single seed: it says nothing of another.

    Source: Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data, Survey Methodology 1998, 24:193; seeds are their clusters.
    """
    from scipy.stats import norm, t  # type: ignore[import-untyped,unused-ignore]

    rates = np.asarray(successes, float) / episodes
    seeds, share = len(rates), float(rates.mean())
    if seeds < 2:
        return 0.0, 1.0
    by_chance = share * (1 - share) / episodes
    design = max(1.0, float(rates.var(ddof=1)) / by_chance) if by_chance else 1.0
    tail = (1 - confidence) / 2
    few = (norm.ppf(tail) / t.ppf(tail, seeds - 1)) ** 2
    effective = seeds * episodes / design * few
    return of_effective(share, effective, confidence)


def of_effective(share: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of Clopper and Pearson for a share of an effective number of trials, which need not be whole."""
    from scipy.stats import beta  # type: ignore[import-untyped,unused-ignore]

    tail, won = (1 - confidence) / 2, share * trials
    low = float(beta.ppf(tail, won, trials - won + 1)) if won else 0.0
    high = float(beta.ppf(1 - tail, won + 1, trials - won)) if share < 1 else 1.0
    return low, high


def paired_gain(first: Array, second: Array) -> tuple[float, float, float]:
    """Success rate of ``first`` less that of ``second`` on the same N branches, with its 95 % interval.

    The interval is Newcombe's for paired proportions (Statistics in Medicine 1998, 17:2635, method 10): the two Wilson
    intervals joined with the correlation of the pairs, which is corrected for continuity.
    """
    one, two = np.asarray(first, bool), np.asarray(second, bool)
    if one.shape != two.shape or not one.size:
        raise ValueError(f"pairs are needed, not {one.shape} against {two.shape}")
    total = one.size
    both, neither = int((one & two).sum()), int((~one & ~two).sum())
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    share, other = float(one.mean()), float(two.mean())
    (low, high), (other_low, other_high) = (_interval(int(each.sum()), total, 0.95, "wilson") for each in (one, two))
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - total / 2, 0.0)
    scale = np.sqrt(float(one.sum()) * float((~one).sum()) * float(two.sum()) * float((~two).sum()))
    correlation = product / scale if scale else 0.0

    def reach(mine: float, theirs: float) -> float:
        return float(np.sqrt(max(mine**2 - 2 * correlation * mine * theirs + theirs**2, 0.0)))

    gain = share - other
    return gain, gain - reach(share - low, other_high - other), gain + reach(high - share, other - other_low)


class Proportion(TypedDict):
    """Alarms of episodes, their rate (None of no episode) and its exact 95 % interval."""

    alarms: int
    episodes: int
    rate: float | None
    ci95: list[float]


def proportion(count: int, total: int) -> Proportion:
    """So many alarms of so many episodes."""
    rate = count / total if total else None
    return {"alarms": count, "episodes": total, "rate": rate, "ci95": list(clopper_pearson(count, total))}


def paired_test(first: Array, second: Array) -> Record:
    """Exact McNemar test of two strategies on the same branches (McNemar, Psychometrika 1947; exact: the sign test).

    ``first`` and ``second`` (N,) say whether each strategy succeeded on each branch.  Gives ``only_first`` and
    ``only_second`` (the discordant pairs), ``pairs``, and the two-sided ``p_value``: 1 without any discordant pair.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped,unused-ignore]

    one, two = np.asarray(first, bool), np.asarray(second, bool)
    if one.shape != two.shape:
        raise ValueError(f"pairs are needed, not {one.shape} against {two.shape}")
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return {"only_first": only_first, "only_second": only_second, "pairs": one.size, "p_value": p_value}


def more_often(only_first: int, only_second: int) -> float:
    """P-value of the one-sided exact McNemar test that the first does not succeed more often than the second.

    Parameters
    ----------
    only_first, only_second : pairs in which only one of them succeeds.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped,unused-ignore]

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, alternative="greater").pvalue) if discordant else 1.0


def confusion(episodes: Mapping[str, Sequence[str] | Array]) -> list[Record]:
    """What was injected against what was seen, counted: one row for each perturbation and failure mode that occur.

    ``episodes`` holds the store's columns ``perturbation`` and ``failure_mode`` (N,).  Rows ``{"perturbation",
    "failure_mode", "episodes"}`` are in the order of the names, perturbation first; "" is no perturbation, no failure.
    """
    pairs = zip(episodes["perturbation"], episodes["failure_mode"], strict=True)
    counts = collections.Counter((str(injected), str(seen)) for injected, seen in pairs)
    return [
        {"perturbation": injected, "failure_mode": seen, "episodes": counts[injected, seen]}
        for injected, seen in sorted(counts)
    ]
