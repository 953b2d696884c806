"""Metrics: what is computed of weighted episodes, each by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from workbench.benchmarking.columns import FRACTIONS, HALF, Columns
from workbench.errors import UnknownNameError
from workbench.stats.bootstrap import percentiles, running_sums
from workbench.stats.concordance import concordance, weighted_mean
from workbench.stats.proportions import of_effective
from workbench.types import Array

NOTHING = float("nan")


class Metric(Protocol):
    """It knows which episodes stand behind it, its value in the data and in every resample, and its interval."""

    def counted(self, columns: Columns) -> Array:
        """Which episodes (N,) stand behind it."""
        ...

    def samples(self, columns: Columns) -> Array:
        """Its value (1 + R,) for the columns' weights; NaN where it is not defined."""
        ...

    def bounds(self, samples: Array, rollouts: int, plain: bool) -> tuple[float | None, float | None]:
        """95 % interval from samples (1 + R,), the first of the data as they are; ``plain`` if each is judged once."""
        ...


class Bootstrapped:
    """Its interval is that of the resamples."""

    def bounds(self, samples: Array, rollouts: int, plain: bool) -> tuple[float | None, float | None]:
        return percentiles(samples)


@dataclasses.dataclass(frozen=True)
class Mean(Bootstrapped):
    """Mean of a number of each episode, NaN where an episode does not count."""

    values: Callable[[Columns], Array]

    def counted(self, columns: Columns) -> Array:
        return ~np.isnan(self.values(columns))

    def samples(self, columns: Columns) -> Array:
        values = self.values(columns)
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            mean: Array = values[known] @ columns.weights[known] / columns.weights[known].sum(axis=0)
        return mean


class Rate(Mean):
    """Mean of zeros and ones."""

    def bounds(self, samples: Array, rollouts: int, plain: bool) -> tuple[float | None, float | None]:
        return _of_rate(samples, rollouts, plain)


def _of_rate(samples: Array, rollouts: int, plain: bool) -> tuple[float | None, float | None]:
    share = float(np.clip(samples[0], 0, 1))
    if plain:
        return of_effective(share, rollouts)
    known = samples[1:][~np.isnan(samples[1:])]
    if not len(known):
        return None, None
    by_chance = share * (1 - share) / rollouts
    design = max(1.0, float(known.var()) / by_chance) if by_chance else 1.0
    return of_effective(share, rollouts / design)


class Median(Mean):
    """Median of a number of each episode."""

    def samples(self, columns: Columns) -> Array:
        values = self.values(columns)
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(values[known])]
        if not len(order):
            return np.full(columns.weights.shape[1], NOTHING)
        reached = running_sums(columns.weights, order)[1:]
        half, tiny = reached[-1] / 2, 1e-9 * len(order)
        lower = (reached < half - tiny).sum(axis=0)
        upper = np.minimum((reached <= half + tiny).sum(axis=0), len(order) - 1)
        median = (values[order][lower] + values[order][upper]) / 2
        defined: Array = np.where(reached[-1] > 0, median, NOTHING)
        return defined


@dataclasses.dataclass(frozen=True)
class Balance(Bootstrapped):
    """Mean of a mean over failures and a mean over successes."""

    first: Mean
    second: Mean

    def counted(self, columns: Columns) -> Array:
        counted: Array = self.first.counted(columns) | self.second.counted(columns)
        return counted

    def samples(self, columns: Columns) -> Array:
        balance: Array = (self.first.samples(columns) + self.second.samples(columns)) / 2
        return balance


@dataclasses.dataclass(frozen=True)
class Matched(Bootstrapped):
    """Mean over tasks of the AUROC of pairs that are compared while both were running."""

    fraction: float

    def counted(self, columns: Columns) -> Array:
        return _member(columns.two_sided, len(columns.failed))

    def samples(self, columns: Columns) -> Array:
        means = []
        for rows in columns.two_sided:
            lost, won = rows[columns.failed[rows]], rows[~columns.failed[rows]]
            until = int(self.fraction * columns.deadline[rows[0]])
            peaks = columns.running(rows)
            if np.isnan(peaks).any():
                return np.full(columns.weights.shape[1], NOTHING)
            failed = columns.failed[rows]
            higher = concordance(peaks[failed], peaks[~failed], columns.length[lost], columns.length[won], until)
            means.append(weighted_mean(higher, columns.weights[lost], columns.weights[won]))
        found: Array = np.mean(means, axis=0) if means else np.full(columns.weights.shape[1], NOTHING)
        return found


@dataclasses.dataclass(frozen=True)
class Separation(Bootstrapped):
    """How well highest margins tell failures from successes: the mean over tasks, or of all episodes together."""

    precision: bool
    highest: Callable[[Columns], Array]
    pooled: bool = False

    def _groups(self, columns: Columns) -> list[Array]:
        if self.pooled:
            return [np.arange(len(columns.failed))] if 0 < columns.failed.sum() < len(columns.failed) else []
        return columns.two_sided

    def counted(self, columns: Columns) -> Array:
        return _member(self._groups(columns), len(columns.failed))

    def samples(self, columns: Columns) -> Array:
        groups, values = self._groups(columns), self.highest(columns)
        if not groups or np.isnan(values[np.concatenate(groups)]).any():
            return np.full(columns.weights.shape[1], NOTHING)
        mean: Array = np.mean([columns.areas(values, rows)[self.precision] for rows in groups], axis=0)
        return mean


def _member(groups: Sequence[Array], size: int) -> Array:
    member = np.zeros(size, bool)
    for rows in groups:
        member[rows] = True
    return member


class DetectionArea(Bootstrapped):
    """Area under the detection time that each precision costs: AUCPDT of VLA-FAIL (Seligmann et al., 2026).

    A threshold swept over the margins gives a precision (of all alarms, how many are failures) and a mean detection
    time of *all* failures, as a share of the deadline, undetected being 1.  Per precision p in 0..1 the earliest
    detection time of the thresholds that reach p counts, and 1 where none does; the area under it is 0 at best, and
    1 - prevalence for a score that knows nothing and can only alarm always.  Mean over tasks.
    """

    def counted(self, columns: Columns) -> Array:
        return _member(columns.two_sided, len(columns.failed))

    def samples(self, columns: Columns) -> Array:
        groups = columns.two_sided
        if not groups or np.isnan(columns.whole[np.concatenate(groups)]).any():
            return np.full(columns.weights.shape[1], NOTHING)
        mean: Array = np.mean([self._area(columns, rows) for rows in groups], axis=0)
        return mean

    def _area(self, columns: Columns, rows: Array) -> Array:
        # precision only changes where an episode falls silent, and the lowest threshold before that detects earliest
        ends = np.unique(columns.whole[rows])
        thresholds = np.concatenate([[-np.inf], ends[:-1]])
        caught, alarms = (_silenced(columns, part, ends) for part in (rows[columns.failed[rows]], rows))
        precision = caught / np.maximum(alarms, 1e-300)
        failures = rows[columns.failed[rows]]
        late = np.stack([_detection_times(columns, row, thresholds) for row in failures])
        weights = columns.weights[failures]
        time = late.T @ weights / weights.sum(axis=0)
        reached = np.maximum.accumulate(precision, axis=0)
        gained = np.diff(reached, axis=0, prepend=0.0)
        area: Array = np.einsum("ur,ur->r", gained, time) + 1 - reached[-1]
        return area


def _silenced(columns: Columns, rows: Array, ends: Array) -> Array:
    """Weight (U, 1 + R) of the episodes whose highest margin is at least each of some values."""
    order = rows[np.argsort(columns.whole[rows])]
    summed = running_sums(columns.weights, order)
    at_least: Array = summed[-1] - summed[np.searchsorted(columns.whole[order], ends)]
    return at_least


def _detection_times(columns: Columns, row: int, thresholds: Array) -> Array:
    """First call of an episode above each threshold, as a share of the deadline; 1 where there is none."""
    call = np.searchsorted(columns.peaks[row], thresholds, side="right")
    steps = np.append(columns.episodes[row].step, columns.deadline[row])
    times: Array = steps[call] / columns.deadline[row]
    return times


@dataclasses.dataclass(frozen=True)
class OracleRate:
    """A rate at the lowest threshold, in each task, at which at most a share of the successes judged alarm.

    No one knows that threshold beforehand: it compares scores as if all were calibrated to the same false alarms.
    """

    rate: float
    kind: str

    def counted(self, columns: Columns) -> Array:
        counted: Array = _member(columns.two_sided, len(columns.failed)) & self._asked(columns)
        return counted

    def _asked(self, columns: Columns) -> Array:
        asked: Array = {"tpr": columns.failed, "fpr": ~columns.failed, "actionable_recall": _measured(columns)}[
            self.kind
        ]
        return asked

    def samples(self, columns: Columns) -> Array:
        highest = columns.in_time if self.kind == "actionable_recall" else columns.whole
        weights = columns.weights
        hits, total = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for rows in columns.two_sided:
            if np.isnan(columns.whole[rows]).any():
                return np.full(weights.shape[1], NOTHING)
            threshold = self._threshold(columns, rows)
            asked = rows[self._asked(columns)[rows]]
            hits += np.where(highest[asked, None] > threshold, weights[asked], 0.0).sum(axis=0)
            total += weights[asked].sum(axis=0)
        with np.errstate(invalid="ignore"):
            share: Array = hits / total
        return share

    def _threshold(self, columns: Columns, rows: Array) -> Array:
        succeeded = rows[~columns.failed[rows]]
        order = succeeded[np.argsort(-columns.whole[succeeded])]
        reached = running_sums(columns.weights, order)[1:]
        allowed = (reached <= self.rate * reached[-1] + 1e-9 * len(order)).sum(axis=0)
        threshold: Array = np.append(columns.whole[order], -np.inf)[allowed]
        return threshold

    def bounds(self, samples: Array, rollouts: int, plain: bool) -> tuple[float | None, float | None]:
        certain = samples[0] in (0.0, 1.0)  # where no resample may differ
        return of_effective(float(samples[0]), rollouts) if certain else percentiles(samples)


def _where(counts: Array, values: Array) -> Array:
    return np.where(counts, values, NOTHING)


def _twin_wins(columns: Columns) -> Array:
    """Whether a failed perturbed episode scores above its own nominal twin that succeeded; one half for a tie.

    Both by the same control step: half the deadline, or the earlier end of the two.
    """
    place = {episode.uid: row for row, episode in enumerate(columns.episodes) if episode.uid}
    pairs = [(row, place[e.twin]) for row, e in enumerate(columns.episodes) if e.twin in place and e.perturbed]
    pairs = [(row, twin) for row, twin in pairs if columns.failed[row] and not columns.failed[twin]]
    wins = np.full(len(columns.episodes), NOTHING)
    if pairs:
        mine, twins = np.array(pairs).T
        limits = np.minimum(HALF * columns.deadline[mine], np.minimum(columns.length[mine], columns.length[twins]))
        own, other = columns.until(limits, mine), columns.until(limits, twins)
        wins[mine] = _where(~np.isnan(own + other), (own > other) + 0.5 * (own == other))
    return wins


def _timely(columns: Columns) -> Array:
    return _where(columns.failed, np.where(columns.alarm >= 0, 1 - columns.alarm / columns.deadline, 0.0))


def _measured(columns: Columns) -> Array:
    measured: Array = columns.failed & (columns.t_pnr >= 0)
    return measured


DETECTED = Rate(lambda s: _where(s.failed, s.alarm >= 0))
SILENT = Rate(lambda s: _where(~s.failed, s.alarm < 0))

RANKING: dict[str, Metric] = {
    **{f"matched_auroc@{fraction:g}": Matched(fraction) for fraction in FRACTIONS},
    **{
        f"{prefix}{name}@{fraction:g}": Separation(precision, lambda s, f=fraction: s.at[f], pooled)  # type: ignore[misc]
        for prefix, pooled in (("", False), ("pooled_", True))
        for name, precision in (("auroc", False), ("auprc", True))
        for fraction in FRACTIONS
    },
    "whole_auroc": Separation(False, lambda s: s.whole),
    "early_auroc": Separation(False, lambda s: s.early),
    "precision_detection_area": DetectionArea(),
    f"twin_accuracy@{HALF:g}": Rate(_twin_wins),
}
"""What does not depend on a constant threshold; pooled ones compare the numbers of different tasks."""

DECISIONS: dict[str, Metric] = {
    "tpr": DETECTED,
    "tnr": SILENT,
    "balanced_accuracy": Balance(DETECTED, SILENT),
    "twa": Balance(Mean(_timely), SILENT),
    "detection_time": Mean(lambda s: _where(s.failed & (s.alarm >= 0), s.alarm / s.deadline)),
    "fpr_nominal": Rate(lambda s: _where(~s.failed & ~s.perturbed, s.alarm >= 0)),
    "fpr_perturbed_success": Rate(lambda s: _where(~s.failed & s.perturbed, s.alarm >= 0)),
    "delay_to_onset_steps": Median(lambda s: _where(s.failed & (s.t_on >= 0) & (s.alarm >= 0), s.alarm - s.t_on)),
    "lead_time_steps": Median(lambda s: _where(_measured(s) & (s.alarm >= 0), s.t_pnr - s.alarm)),
    "actionable_recall": Rate(lambda s: _where(_measured(s), (s.alarm >= 0) & (s.alarm < s.t_pnr))),
    "id_success": Mean(lambda s: _where(~s.failed & ~s.perturbed, s.at[HALF])),
    "ood_success": Mean(lambda s: _where(~s.failed & s.perturbed, s.at[HALF])),
    "id_failure": Mean(lambda s: _where(s.failed & ~s.perturbed, s.at[HALF])),
    "ood_failure": Mean(lambda s: _where(s.failed & s.perturbed, s.at[HALF])),
}
"""What depends on the threshold, or is in its unit."""

ORACLE_RATES = ("tpr", "actionable_recall", "fpr")
"""Rates at an oracle's threshold, as ``oracle_<rate>@<share of the successes that may alarm>``."""
AIM = f"matched_auroc@{HALF:g}"
"""What scores are ranked by and compared by: of the AUROCs the one in which the clock alone has exactly one half."""


def metric_of(name: str) -> Metric:
    """A metric by its name; UnknownNameError with the names that there are for another."""
    known = {**RANKING, **DECISIONS}
    kind, _, rate = name.removeprefix("oracle_").partition("@")
    if name.startswith("oracle_") and kind in ORACLE_RATES and rate:
        return OracleRate(float(rate), kind)
    if name not in known:
        raise UnknownNameError("metric", name, [*known, *(f"oracle_{kind}@0.1" for kind in ORACLE_RATES)])
    return known[name]
