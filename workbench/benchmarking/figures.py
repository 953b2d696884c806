"""How good monitors are: at common times, with intervals over episodes and training seeds, and in pairs.

A failed episode runs to the deadline and a successful one stops early, so the highest margin of a *whole* episode knows
the outcome from the length alone.  Scores are therefore compared at fractions of the deadline, next to elapsed time,
which goes through the same functions.

Every number is a :class:`Figure`: a mean over training seeds, its 95 % interval, and how many rollouts stand behind it.

Intervals come from a two-way bootstrap.  Rollouts are drawn within task and outcome, the same ones for all seeds and
folds, as all are judged on the same ones; seeds are drawn over that.  From a stratum of n one draws n - 1, which makes
the variance right where n is small (Rao and Wu, JASA 1988, 83:231): three seeds are a small stratum.  What is an
episode's and a seed's own together is counted more than once, so intervals are rather too wide (Owen, The pigeonhole
bootstrap, Annals of Applied Statistics 2007, 1:386), but not where seeds differ by more than episodes do: of so few,
nothing knows how much.  Rates get the exact interval of Clopper and Pearson instead, of fewer episodes where the
bootstrap of several seeds says that there is less to know than from as many independent ones (Korn and Graubard,
Survey Methodology 1998, 24:193).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from workbench.benchmarking.columns import Columns, columns_of, identity
from workbench.benchmarking.judged import Judged, JudgedEpisode
from workbench.benchmarking.metrics import (
    DECISIONS,
    ORACLE_RATES,
    RANKING,
    Matched,
    Metric,
    OracleRate,
    Separation,
    metric_of,
)
from workbench.stats.bootstrap import percentiles, seed_weights
from workbench.stats.proportions import clopper_pearson, paired_test
from workbench.types import Array, Record


class Figure(TypedDict):
    """A number as it is shown and stored: a value, its 95 % interval, and the rollouts behind it.

    None where it is not defined: a class is missing, nothing was detected, there is no threshold.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


class Difference(TypedDict):
    """A metric of one monitor less that of another, and how probable so large a one is where there is none."""

    difference: Figure
    p_value: float | None


def ranking(judged: Judged, resamples: int = 1000, seed: int = 0) -> dict[str, Figure]:
    """Figures that no constant threshold changes, so they are computed once a score and window.

    ``margin`` may be any curve that rises with the danger, such as the windowed score itself; only the ``pooled_``
    ones need curves in a unit that tasks share.

    Returns
    -------
    ``matched_auroc@f`` by each of :data:`FRACTIONS` of the deadline, failure against success, each pair at a time at
    which both were running (:mod:`workbench.stats.concordance`): the mean over tasks that have both; what only grows
    with time has one half.  ``auroc@f`` and ``auprc@f`` of the highest margins by then, however long the episodes were:
    an episode that ended earlier keeps its last, so these leak length wherever successes end earlier.
    ``pooled_auroc@f``, ``pooled_auprc@f`` of all episodes together.  ``early_auroc`` by the end of the task's shortest
    episode (Gu et al., SAFE, NeurIPS 2025), where length is not known yet.  ``whole_auroc`` of whole episodes, as is
    often published, where it is.  ``precision_detection_area`` (Seligmann et al., VLA-FAIL, 2026; lower is better).
    ``twin_accuracy@0.5``: P(a failed perturbed episode scores higher than its own nominal twin that succeeded) by half
    the deadline, or the earlier end of the two.
    """
    return _figures(RANKING, judged, resamples, seed)


def decisions(judged: Judged, resamples: int = 1000, seed: int = 0) -> dict[str, Figure]:
    """Figures of alarms, over all episodes of all tasks together.

    Returns
    -------
    ``tpr``, ``tnr``, ``balanced_accuracy``.  ``detection_time``: mean first alarm of detected failures over the
    deadline.  ``twa`` (Römer et al., FIPER, NeurIPS 2025): mean of (1 - detection time, 0 if undetected, over failures)
    and ``tnr``; theirs divides by the longest episode of the data set.  ``fpr_nominal``, ``fpr_perturbed_success``:
    successes that alarm.  Medians over detected failures in control steps: ``delay_to_onset_steps`` (alarm - onset,
    negative is early) and ``lead_time_steps`` (point of no return - alarm, negative is too late).
    ``actionable_recall``: failures with a measured point of no return that alarm before it; those lost from step 0 on
    are among them.  ``id_success``, ``ood_success``, ``id_failure``, ``ood_failure``: mean of the highest margin by
    half the deadline (of nominal or perturbed episodes).
    """
    return _figures(DECISIONS, judged, resamples, seed)


def figures(judged: Judged, resamples: int = 1000, seed: int = 0) -> dict[str, Figure]:
    """Everything: :func:`ranking` and :func:`decisions`."""
    return _figures({**RANKING, **DECISIONS}, judged, resamples, seed)


def figure(judged: Judged, metric: str, resamples: int = 1000, seed: int = 0) -> Figure:
    """One figure by its name; without resamples the value, and the interval of no more than plain rates."""
    return _figures({metric: metric_of(metric)}, judged, resamples, seed)[metric]


def at_false_alarm_rate(judged: Judged, rate: float, resamples: int = 1000, seed: int = 0) -> dict[str, Figure]:
    """``oracle_tpr@rate``, ``oracle_actionable_recall@rate``, and ``oracle_fpr@rate``, the false alarms realised.

    The threshold is an *oracle's*: the lowest, in each task and for each seed, at which at most so many of the judged
    successes alarm.  It is drawn anew in every resample.
    """
    named = {f"oracle_{kind}@{rate:g}": OracleRate(rate, kind) for kind in ORACLE_RATES}
    return _figures(named, judged, resamples, seed)


def difference(first: Judged, second: Judged, metric: str, resamples: int = 1000, seed: int = 0) -> Difference:
    """A metric of ``first`` less that of ``second``, paired: on the same resampled episodes and training seeds.

    A monitor that is the same for all training seeds may come with one alone.

    Returns
    -------
    The p-value is two-sided, twice the smaller share of resamples on either side of zero
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 15); None where the difference is not defined.

    Raises
    ------
    ValueError
        if the two were judged on other episodes, or with other training seeds.
    """
    by_seed, others = columns_of(first, resamples, seed), columns_of(second, resamples, seed)
    if identity(by_seed[0]) != identity(others[0]):
        raise ValueError("two monitors are compared on the same episodes in the same order, and these differ")
    if set(first) != set(second) and min(len(first), len(second)) > 1:
        raise ValueError(f"two monitors are compared on the same training seeds, not {set(first)} and {set(second)}")
    statistic = metric_of(metric)
    gains = _samples(statistic, by_seed, seed) - _samples(statistic, others, seed)
    counted = _behind(statistic, [*by_seed, *others])
    if not np.isfinite(gains[0]):
        return {"difference": _plain(None, None, None, counted), "p_value": None}
    known = gains[1:][~np.isnan(gains[1:])]
    smaller = min((known <= 0).sum(), (known >= 0).sum())
    p_value = min(1.0, 2 * float(smaller + 1) / (len(known) + 1))
    return {"difference": _plain(float(gains[0]), *percentiles(gains), counted), "p_value": p_value}


def alarm_test(first: Sequence[JudgedEpisode], second: Sequence[JudgedEpisode]) -> dict[str, Record]:
    """McNemar's exact test of the alarms of two monitors with one training seed each: ``failures``, ``successes``.

    ``only_first`` are the episodes where the first alone alarms: detections among failures, false alarms among
    successes.
    """
    one, two = columns_of({0: first, 1: second}, resamples=0, seed=0)
    return {
        name: paired_test(one.alarm[rows] >= 0, two.alarm[rows] >= 0)
        for name, rows in (("failures", one.failed), ("successes", ~one.failed))
    }


def _figures(statistics: Mapping[str, Metric], judged: Judged, resamples: int, seed: int) -> dict[str, Figure]:
    by_seed = columns_of(judged, resamples, seed)
    return {name: _figure(statistic, by_seed, seed) for name, statistic in statistics.items()}


def _figure(statistic: Metric, by_seed: Sequence[Columns], seed: int) -> Figure:
    counted = _behind(statistic, by_seed)
    if not counted:
        return _plain(None, None, None, 0)
    samples = _samples(statistic, by_seed, seed)
    value = float(samples[0])
    if not np.isfinite(value):
        return _plain(None, None, None, counted)
    plain = len(by_seed) == 1 and counted == statistic.counted(by_seed[0]).sum()
    low, high = statistic.bounds(samples, counted, plain)
    if _is_auroc(statistic) and value in (0.0, 1.0) and low is not None:
        low, high = _of_perfect(value, statistic.counted(by_seed[0]), by_seed[0])
    return _plain(value, low, high, counted)


def _is_auroc(statistic: Metric) -> bool:
    return isinstance(statistic, Matched) or (isinstance(statistic, Separation) and not statistic.precision)


def _of_perfect(value: float, counted: Array, columns: Columns) -> tuple[float, float]:
    """Interval of an AUROC that is 0 or 1, where no resample differs.

    Failures and successes make up as many disjoint, so independent, pairs as the rarer of both, all won or all lost.
    """
    pairs = min(columns.rollouts(columns.failed & counted), columns.rollouts(~columns.failed & counted))
    return clopper_pearson(pairs if value else 0, pairs)


def _samples(statistic: Metric, by_seed: Sequence[Columns], seed: int) -> Array:
    """Mean over seeds (1 + R,) of those where it is defined."""
    each = np.stack([statistic.samples(columns) for columns in by_seed])
    of_seeds = seed_weights(len(by_seed), each.shape[1] - 1, seed)
    known = ~np.isnan(each)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(known, each * of_seeds, 0.0).sum(axis=0) / (known * of_seeds).sum(axis=0)
    return mean


def _behind(statistic: Metric, by_seed: Sequence[Columns]) -> int:
    return by_seed[0].rollouts(np.any([statistic.counted(columns) for columns in by_seed], axis=0))


def _plain(value: float | None, low: float | None, high: float | None, count: int) -> Figure:
    return {"value": value, "low": low, "high": high, "n": count}
