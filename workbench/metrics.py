"""How good a monitor is, compared at common times; how often it is wrong, with intervals; whether it comes in time.

A failed episode runs to the deadline and a successful one stops early, so the highest margin of a *whole* episode knows
the outcome from the length alone.  Scores are therefore compared at fractions of the deadline, next to elapsed time,
which goes through the same function.  Rates are of episodes, and every false-alarm rate stands with its counts.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.types import Array, Record

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Fractions of the deadline at which scores are compared."""


@dataclasses.dataclass(frozen=True)
class JudgedEpisode:
    """One episode as a monitor saw it, with what the simulator knows about it.

    Attributes
    ----------
    margin : (C,) margin of every policy call; an alarm where positive; NaN from a monitor without a threshold.
    step : (C,) control step of every call, the first being 0.
    length : control steps done.
    perturbed : whether a fault was injected.
    t_on, t_pnr : failure onset and point of no return in control steps; -1 where not measured.
    deadline : the task's, in control steps.
    """

    margin: Array
    step: Array
    length: int
    success: bool
    perturbed: bool
    t_on: int
    t_pnr: int
    deadline: int

    @property
    def alarm_step(self) -> int:
        """Control step of the first alarm, or -1."""
        alarms = np.flatnonzero(self.margin > 0)
        return int(self.step[alarms[0]]) if len(alarms) else -1


def elapsed(episode: JudgedEpisode) -> JudgedEpisode:
    """The same episode with elapsed time in place of margins, known at every control step and not at calls alone.

    Its highest "margin" until fraction f of the deadline is ``min(length, floor(f * deadline))``.
    """
    steps = np.arange(episode.length + 1)
    return dataclasses.replace(episode, margin=steps.astype(np.float64), step=steps)


def margin_at(episode: JudgedEpisode, fraction: float) -> float:
    """Highest margin of the calls until a fraction of the deadline; an episode that ended earlier keeps its last."""
    return float(episode.margin[episode.step <= fraction * episode.deadline].max())


def auroc(positive: Array, negative: Array) -> float | None:
    """P(a positive scores higher than a negative), ties counting one half; None without both classes or with NaN."""
    from scipy.stats import rankdata  # type: ignore[import-untyped,unused-ignore]

    both = np.concatenate([np.asarray(positive, np.float64), np.asarray(negative, np.float64)])
    count, others = len(positive), len(negative)
    if not (count and others) or np.isnan(both).any():
        return None
    ranks = rankdata(both)[:count].sum()
    return float((ranks - count * (count + 1) / 2) / (count * others))


def auroc_at(episodes: Sequence[JudgedEpisode], fraction: float) -> float | None:
    """AUROC of failure against success at a fraction of the deadline."""
    highest = np.array([margin_at(episode, fraction) for episode in episodes])
    failed = np.array([not episode.success for episode in episodes], bool)
    return auroc(highest[failed], highest[~failed])


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial proportion (Clopper and Pearson, Biometrika 1934); (0, 1) for no trials."""
    return _interval(count, total, confidence, "exact")


def wilson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a binomial proportion (Wilson, JASA 1927); (0, 1) for no trials."""
    return _interval(count, total, confidence, "wilson")


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
    from scipy.stats import beta, norm, t

    rates = np.asarray(successes, float) / episodes
    seeds, share = len(rates), float(rates.mean())
    if seeds < 2:
        return 0.0, 1.0
    by_chance = share * (1 - share) / episodes
    design = max(1.0, float(rates.var(ddof=1)) / by_chance) if by_chance else 1.0
    tail = (1 - confidence) / 2
    few = (norm.ppf(tail) / t.ppf(tail, seeds - 1)) ** 2
    effective = seeds * episodes / design * few
    won = share * effective
    low = float(beta.ppf(tail, won, effective - won + 1)) if won else 0.0
    high = float(beta.ppf(1 - tail, won + 1, effective - won)) if share < 1 else 1.0
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
    (low, high), (other_low, other_high) = wilson(int(one.sum()), total), wilson(int(two.sum()), total)
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - total / 2, 0.0)
    scale = np.sqrt(float(one.sum()) * float((~one).sum()) * float(two.sum()) * float((~two).sum()))
    correlation = product / scale if scale else 0.0

    def reach(mine: float, theirs: float) -> float:
        return float(np.sqrt(max(mine**2 - 2 * correlation * mine * theirs + theirs**2, 0.0)))

    gain = share - other
    return gain, gain - reach(share - low, other_high - other), gain + reach(high - share, other - other_low)


def alarm_rate(episodes: Sequence[JudgedEpisode]) -> Record:
    """``alarms`` of ``episodes``, their ``rate`` (None of no episode) and its exact 95 % interval ``ci95``."""
    alarms = sum(episode.alarm_step >= 0 for episode in episodes)
    return _rate(alarms, len(episodes))


def _rate(alarms: int, total: int) -> Record:
    rate = alarms / total if total else None
    return {"alarms": alarms, "episodes": total, "rate": rate, "ci95": list(clopper_pearson(alarms, total))}


def detection_time(episodes: Sequence[JudgedEpisode]) -> float | None:
    """Mean first alarm of the *detected* failures, as a share of the deadline; None if none is detected."""
    times = [e.alarm_step / e.deadline for e in episodes if not e.success and e.alarm_step >= 0]
    return float(np.mean(times)) if times else None


def timeliness_weighted_accuracy(episodes: Sequence[JudgedEpisode]) -> float | None:
    """TWA of Römer et al. (FIPER, NeurIPS 2025); None without both failures and successes.

    ``1/2 [ sum over detected failures of (1 - alarm step / deadline) / failures + silent successes / successes ]``.
    Theirs divides by the longest episode of the data set; the deadline does not depend on what was collected.
    """
    failures = [e for e in episodes if not e.success]
    successes = [e for e in episodes if e.success]
    if not failures or not successes:
        return None
    timely = sum(1 - e.alarm_step / e.deadline for e in failures if e.alarm_step >= 0) / len(failures)
    silent = sum(e.alarm_step < 0 for e in successes) / len(successes)
    return (timely + silent) / 2


def actionable_recall(episodes: Sequence[JudgedEpisode]) -> Record:
    """Share of failures that are detected *before* the point of no return.

    ``episodes``, the denominator, are the failed ones whose point of no return is measured; those that were lost from
    step 0 on are among them and cannot be won.
    """
    measured = [e for e in episodes if not e.success and e.t_pnr >= 0]
    return _rate(sum(0 <= e.alarm_step < e.t_pnr for e in measured), len(measured))


def delays_to_onset(episodes: Sequence[JudgedEpisode]) -> Array:
    """First alarm minus failure onset in control steps, of detected failures with an onset; negative is early."""
    return np.array([e.alarm_step - e.t_on for e in episodes if not e.success and e.t_on >= 0 and e.alarm_step >= 0])


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


def monitor_row(
    episodes: Sequence[JudgedEpisode],
    *,
    score: str,
    window: str,
    calibrator: str,
    level: float,
    threshold_episodes: int,
    guarantee: str,
    ranked: Sequence[JudgedEpisode] | None = None,
) -> Record:
    """Everything about one monitor on the test split, as plain data for ``metrics.json``.

    ``window`` is such as "mean 2".  ``ranked`` are the episodes whose AUROC is taken where those are others:
    ``[elapsed(e) for e in episodes]`` in the row of the elapsed-time baseline.
    """
    successes = [e for e in episodes if e.success]
    tpr = alarm_rate([e for e in episodes if not e.success])
    delays = delays_to_onset(episodes)
    return {
        "score": score,
        "window": window,
        "calibrator": calibrator,
        "level": level,
        "auroc": {str(f): auroc_at(episodes if ranked is None else ranked, f) for f in FRACTIONS},
        "tpr": tpr["rate"],
        "tpr_ci95": tpr["ci95"],
        "failures": tpr["episodes"],
        "fpr_nominal": alarm_rate([e for e in successes if not e.perturbed]),
        "fpr_perturbed_success": alarm_rate([e for e in successes if e.perturbed]),
        "twa": timeliness_weighted_accuracy(episodes),
        "detection_time": detection_time(episodes),
        "actionable_recall": actionable_recall(episodes),
        "delay_to_onset_steps": {"median": float(np.median(delays)) if len(delays) else None, "episodes": len(delays)},
        "threshold_episodes": threshold_episodes,
        "guarantee": guarantee,
    }
