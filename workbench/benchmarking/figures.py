"""How good monitors are: at common times, with intervals over episodes and training seeds, and in pairs.

A failed episode runs to the deadline and a successful one stops early, so the highest margin of a *whole* episode knows
the outcome from the length alone.  Scores are therefore compared at fractions of the deadline, next to elapsed time,
which goes through the same functions.

Every figure is a plain record ``{"value", "low", "high", "n"}``: a mean over training seeds, its 95 % interval, and how
many rollouts stand behind it; None where it is not defined (a class is missing, nothing was detected, no threshold).

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

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from workbench.errors import UnknownNameError
from workbench.stats.concordance import concordance, peaks_by_step, weighted_mean
from workbench.stats.proportions import clopper_pearson, of_effective, paired_test, proportion
from workbench.types import Array, Record

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Fractions of the deadline at which scores are compared."""
HALF = 0.5
NOTHING = float("nan")


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
    uid : names the episode across stores.
    task : means over tasks are taken by this name.
    family : channels of its perturbations, joined by "+"; "" for a nominal episode.
    twin : uid of its nominal twin, or "".
    rolled : names the rollout where that is judged several times, as in several folds; else "".
    """

    margin: Array
    step: Array
    length: int
    success: bool
    perturbed: bool
    t_on: int
    t_pnr: int
    deadline: int
    uid: str = ""
    task: str = ""
    family: str = ""
    twin: str = ""
    rolled: str = ""

    @property
    def alarm_step(self) -> int:
        """Control step of the first alarm, or -1."""
        alarms = np.flatnonzero(self.margin > 0)
        return int(self.step[alarms[0]]) if len(alarms) else -1


Judged = Mapping[int, Sequence[JudgedEpisode]]
"""Training seed -> episodes; the same episodes in the same order for each seed."""


def elapsed(episode: JudgedEpisode) -> JudgedEpisode:
    """The same episode with elapsed time in place of margins, known at every control step and not at calls alone.

    Its highest "margin" until fraction f of the deadline is ``min(length, floor(f * deadline))``.
    """
    steps = np.arange(episode.length + 1)
    return dataclasses.replace(episode, margin=steps.astype(np.float64), step=steps)


# -- the episodes of one seed, as arrays -----------------------------------------------------------------------------


class _Sheet:
    """Episodes (N,) of one training seed, as columns, and the weights (N, 1 + R) of each in every resample."""

    def __init__(self, episodes: Sequence[JudgedEpisode], resamples: int, seed: int) -> None:
        self.episodes = episodes
        self.failed = self._column("success") == 0
        self.perturbed = self._column("perturbed") == 1
        self.deadline, self.length = self._column("deadline"), self._column("length")
        self.t_on, self.t_pnr = self._column("t_on"), self._column("t_pnr")
        names = sorted({episode.task for episode in episodes})
        self.task = np.array([names.index(episode.task) for episode in episodes], int)
        self.tasks = [np.flatnonzero(self.task == number) for number in range(len(names))]
        self.two_sided = [rows for rows in self.tasks if 0 < self.failed[rows].sum() < len(rows)]
        """Rows of each task with both failures and successes: there alone can the two be told apart."""
        self.rollout, strata = self._rollouts()
        self.weights = _weights(strata.tobytes(), self.rollout.tobytes(), resamples, seed)
        self._known: dict[tuple[bytes, bytes], tuple[Array, Array]] = {}
        self._running: dict[bytes, Array] = {}

    def _column(self, name: str) -> Array:
        return np.array([getattr(episode, name) for episode in self.episodes], np.int64)

    def _rollouts(self) -> tuple[Array, Array]:
        """Which rollout (N,) each episode is, and the stratum of each rollout: its outcome and where it is judged."""
        names = [(episode.rolled or str(row), episode.success) for row, episode in enumerate(self.episodes)]
        tasks: dict[tuple[str, bool], set[int]] = {name: set() for name in names}
        for name, task in zip(names, self.task, strict=True):
            tasks[name].add(int(task))
        number = {name: place for place, name in enumerate(tasks)}
        kinds = [(success, *sorted(tasks[name, success])) for name, success in tasks]
        order = {kind: place for place, kind in enumerate(sorted(set(kinds)))}
        return np.array([number[name] for name in names], int), np.array([order[kind] for kind in kinds], int)

    def rollouts(self, rows: Array) -> int:
        """How many rollouts some of the episodes (N,) are."""
        return len(np.unique(self.rollout[rows]))

    @functools.cached_property
    def peaks(self) -> list[Array]:
        """Highest margin so far along each episode; NaN from the first NaN on."""
        return [np.maximum.accumulate(episode.margin) for episode in self.episodes]

    @functools.cached_property
    def alarm(self) -> Array:
        """First alarm of each episode in control steps, or -1."""
        return np.array([episode.alarm_step for episode in self.episodes], np.int64)

    def until(self, limits: Array, rows: Array | None = None) -> Array:
        """Highest margin of each episode's calls until a control step, -inf before the first one.

        An episode that ended earlier keeps its last.
        """
        chosen = range(len(self.episodes)) if rows is None else rows
        found = np.full(len(limits), -np.inf)
        for place, (row, limit) in enumerate(zip(chosen, limits, strict=True)):
            calls = int(np.searchsorted(self.episodes[row].step, limit, side="right"))
            if calls:
                found[place] = self.peaks[row][calls - 1]
        return found

    @functools.cached_property
    def at(self) -> dict[float, Array]:
        """Fraction of the deadline -> highest margin by then."""
        return {fraction: self.until(fraction * self.deadline) for fraction in FRACTIONS}

    @functools.cached_property
    def whole(self) -> Array:
        """Highest margin of the whole episode, however long it was."""
        return np.array([peak[-1] for peak in self.peaks], np.float64)

    @functools.cached_property
    def early(self) -> Array:
        """Highest margin before the shortest episode of the task ended: no episode's length is known then."""
        limits = np.zeros(len(self.episodes))
        for rows in self.tasks:
            limits[rows] = self.length[rows].min() - 1
        return self.until(limits)

    @functools.cached_property
    def in_time(self) -> Array:
        """Highest margin before the point of no return."""
        return self.until(self.t_pnr - 1)

    def running(self, rows: Array) -> Array:
        """Highest margin so far (n, T) of some episodes of a task at every control step."""
        key = rows.tobytes()
        if key not in self._running:
            chosen, horizon = [self.episodes[row] for row in rows], int(self.length[rows].max())
            self._running[key] = np.stack([peaks_by_step(each.step, each.margin, horizon) for each in chosen])
        return self._running[key]

    def areas(self, values: Array, rows: Array) -> tuple[Array, Array]:
        """:func:`_areas` of some rows, computed once for the same values."""
        key = (values[rows].tobytes(), rows.tobytes())
        if key not in self._known:
            self._known[key] = _areas(values, rows[self.failed[rows]], rows[~self.failed[rows]], self.weights)
        return self._known[key]


def _sheets(judged: Judged, resamples: int, seed: int) -> list[_Sheet]:
    if not judged:
        raise ValueError("there is no training seed to judge")
    sheets = [_Sheet(judged[number], resamples, seed) for number in sorted(judged)]
    if any(_identity(sheet) != _identity(sheets[0]) for sheet in sheets):
        raise ValueError("every training seed is judged on the same episodes in the same order, and these differ")
    return sheets


def _identity(sheet: _Sheet) -> list[tuple[str, str, bool, int]]:
    return [(episode.uid, episode.task, episode.success, episode.length) for episode in sheet.episodes]


# -- resampling ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def _weights(strata: bytes, rollouts: bytes, resamples: int, seed: int) -> Array:
    """Weight (N, 1 + R) of every episode in the data as they are, and in every resample of rollouts."""
    stratum = np.frombuffer(strata, int)
    random = np.random.default_rng([seed, 0])
    weights = np.ones((len(stratum), 1 + resamples))
    for number in np.unique(stratum):
        rows = np.flatnonzero(stratum == number)
        weights[rows, 1:] = _draws(len(rows), resamples, random)
    of_episodes: Array = weights[np.frombuffer(rollouts, int)]
    of_episodes.setflags(write=False)
    return of_episodes


def _draws(size: int, resamples: int, random: np.random.Generator) -> Array:
    """Weights (size, R) of ``size - 1`` draws with replacement, scaled to sum up to ``size``; 1 of a single one."""
    if size == 1:
        return np.ones((1, resamples))
    drawn = random.integers(size, size=(resamples, size - 1)) + size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
    return counts.T * (size / (size - 1))


def _seed_weights(seeds: int, resamples: int, seed: int) -> Array:
    """Weight (S, 1 + R) of every training seed, in the data as they are and in every resample."""
    return np.hstack([np.ones((seeds, 1)), _draws(seeds, resamples, np.random.default_rng([seed, 1]))])


# -- statistics: what is computed of weighted episodes ---------------------------------------------------------------


class _Statistic(Protocol):
    def counted(self, sheet: _Sheet) -> Array:
        """Which episodes (N,) stand behind it."""
        ...

    def samples(self, sheet: _Sheet) -> Array:
        """Its value (1 + R,) for the sheet's weights; NaN where it is not defined."""
        ...

    def bounds(self, samples: Array, rollouts: int, plain: bool) -> tuple[float | None, float | None]:
        """95 % interval from samples (1 + R,), the first of the data as they are; ``plain`` if each is judged once."""
        ...


def _percentiles(samples: Array) -> tuple[float | None, float | None]:
    known = samples[1:][~np.isnan(samples[1:])]
    if not len(known):
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


class _Bootstrapped:
    def bounds(self, samples: Array, rollouts: int, plain: bool) -> tuple[float | None, float | None]:
        return _percentiles(samples)


@dataclasses.dataclass(frozen=True)
class _Mean(_Bootstrapped):
    """Mean of a number of each episode, NaN where an episode does not count."""

    values: Callable[[_Sheet], Array]

    def counted(self, sheet: _Sheet) -> Array:
        return ~np.isnan(self.values(sheet))

    def samples(self, sheet: _Sheet) -> Array:
        values = self.values(sheet)
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            mean: Array = values[known] @ sheet.weights[known] / sheet.weights[known].sum(axis=0)
        return mean


class _Rate(_Mean):
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


class _Median(_Mean):
    """Median of a number of each episode."""

    def samples(self, sheet: _Sheet) -> Array:
        values = self.values(sheet)
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(values[known])]
        if not len(order):
            return np.full(sheet.weights.shape[1], NOTHING)
        reached = _summed(sheet.weights, order)[1:]
        half, tiny = reached[-1] / 2, 1e-9 * len(order)
        lower = (reached < half - tiny).sum(axis=0)
        upper = np.minimum((reached <= half + tiny).sum(axis=0), len(order) - 1)
        median = (values[order][lower] + values[order][upper]) / 2
        defined: Array = np.where(reached[-1] > 0, median, NOTHING)
        return defined


@dataclasses.dataclass(frozen=True)
class _Balance(_Bootstrapped):
    """Mean of a mean over failures and a mean over successes."""

    first: _Mean
    second: _Mean

    def counted(self, sheet: _Sheet) -> Array:
        counted: Array = self.first.counted(sheet) | self.second.counted(sheet)
        return counted

    def samples(self, sheet: _Sheet) -> Array:
        balance: Array = (self.first.samples(sheet) + self.second.samples(sheet)) / 2
        return balance


def _areas(values: Array, failures: Array, successes: Array, weights: Array) -> tuple[Array, Array]:
    """AUROC and average precision (1 + R,) of failures against successes (rows), ties together.

    AUROC is P(a failure scores higher than a success), a tie counting one half; average precision the mean precision
    of the thresholds at each failure's value (Davis and Goadrich, ICML 2006: no interpolation).
    """
    failures, successes = failures[np.argsort(values[failures])], successes[np.argsort(values[successes])]
    mine, others = values[failures], values[successes]
    lower, upper = np.searchsorted(others, mine), np.searchsorted(others, mine, side="right")
    first = np.searchsorted(mine, mine)
    lost, caught, won = weights[failures], _summed(weights, failures), _summed(weights, successes)
    at_least, below = caught[-1] - caught[first], won[lower]
    precision = at_least / (at_least + (won[-1] - below) + 1e-300)
    if (lower != upper).any():
        below = (below + won[upper]) / 2
    higher, precise = (np.einsum("fr,fr->r", lost, each) / caught[-1] for each in (below, precision))
    return higher / won[-1], precise


def _summed(weights: Array, rows: Array) -> Array:
    """Cumulative sums (len(rows) + 1, R) of the weights of rows in this order, the first being 0."""
    summed = np.zeros((len(rows) + 1, weights.shape[1]))
    for place, row in enumerate(rows):  # row by row is vectorised; numpy's cumsum along the first axis is not
        np.add(summed[place], weights[row], out=summed[place + 1])
    return summed


@dataclasses.dataclass(frozen=True)
class _Matched(_Bootstrapped):
    """Mean over tasks of the AUROC of pairs that are compared while both were running."""

    fraction: float

    def counted(self, sheet: _Sheet) -> Array:
        return _member(sheet.two_sided, len(sheet.failed))

    def samples(self, sheet: _Sheet) -> Array:
        means = []
        for rows in sheet.two_sided:
            lost, won = rows[sheet.failed[rows]], rows[~sheet.failed[rows]]
            until = int(self.fraction * sheet.deadline[rows[0]])
            peaks = sheet.running(rows)
            if np.isnan(peaks).any():
                return np.full(sheet.weights.shape[1], NOTHING)
            failed = sheet.failed[rows]
            higher = concordance(peaks[failed], peaks[~failed], sheet.length[lost], sheet.length[won], until)
            means.append(weighted_mean(higher, sheet.weights[lost], sheet.weights[won]))
        found: Array = np.mean(means, axis=0) if means else np.full(sheet.weights.shape[1], NOTHING)
        return found


@dataclasses.dataclass(frozen=True)
class _Separation(_Bootstrapped):
    """How well highest margins tell failures from successes: the mean over tasks, or of all episodes together."""

    precision: bool
    highest: Callable[[_Sheet], Array]
    pooled: bool = False

    def _groups(self, sheet: _Sheet) -> list[Array]:
        if self.pooled:
            return [np.arange(len(sheet.failed))] if 0 < sheet.failed.sum() < len(sheet.failed) else []
        return sheet.two_sided

    def counted(self, sheet: _Sheet) -> Array:
        return _member(self._groups(sheet), len(sheet.failed))

    def samples(self, sheet: _Sheet) -> Array:
        groups, values = self._groups(sheet), self.highest(sheet)
        if not groups or np.isnan(values[np.concatenate(groups)]).any():
            return np.full(sheet.weights.shape[1], NOTHING)
        mean: Array = np.mean([sheet.areas(values, rows)[self.precision] for rows in groups], axis=0)
        return mean


def _member(groups: Sequence[Array], size: int) -> Array:
    member = np.zeros(size, bool)
    for rows in groups:
        member[rows] = True
    return member


class _DetectionArea(_Bootstrapped):
    """Area under the detection time that each precision costs: AUCPDT of VLA-FAIL (Seligmann et al., 2026).

    A threshold swept over the margins gives a precision (of all alarms, how many are failures) and a mean detection
    time of *all* failures, as a share of the deadline, undetected being 1.  Per precision p in 0..1 the earliest
    detection time of the thresholds that reach p counts, and 1 where none does; the area under it is 0 at best, and
    1 - prevalence for a score that knows nothing and can only alarm always.  Mean over tasks.
    """

    def counted(self, sheet: _Sheet) -> Array:
        return _member(sheet.two_sided, len(sheet.failed))

    def samples(self, sheet: _Sheet) -> Array:
        groups = sheet.two_sided
        if not groups or np.isnan(sheet.whole[np.concatenate(groups)]).any():
            return np.full(sheet.weights.shape[1], NOTHING)
        mean: Array = np.mean([self._area(sheet, rows) for rows in groups], axis=0)
        return mean

    def _area(self, sheet: _Sheet, rows: Array) -> Array:
        # precision only changes where an episode falls silent, and the lowest threshold before that detects earliest
        ends = np.unique(sheet.whole[rows])
        thresholds = np.concatenate([[-np.inf], ends[:-1]])
        caught, alarms = (_silenced(sheet, part, ends) for part in (rows[sheet.failed[rows]], rows))
        precision = caught / np.maximum(alarms, 1e-300)
        failures = rows[sheet.failed[rows]]
        late = np.stack([_detection_times(sheet, row, thresholds) for row in failures])
        weights = sheet.weights[failures]
        time = late.T @ weights / weights.sum(axis=0)
        reached = np.maximum.accumulate(precision, axis=0)
        gained = np.diff(reached, axis=0, prepend=0.0)
        area: Array = np.einsum("ur,ur->r", gained, time) + 1 - reached[-1]
        return area


def _silenced(sheet: _Sheet, rows: Array, ends: Array) -> Array:
    """Weight (U, 1 + R) of the episodes whose highest margin is at least each of some values."""
    order = rows[np.argsort(sheet.whole[rows])]
    summed = _summed(sheet.weights, order)
    at_least: Array = summed[-1] - summed[np.searchsorted(sheet.whole[order], ends)]
    return at_least


def _detection_times(sheet: _Sheet, row: int, thresholds: Array) -> Array:
    """First call of an episode above each threshold, as a share of the deadline; 1 where there is none."""
    call = np.searchsorted(sheet.peaks[row], thresholds, side="right")
    steps = np.append(sheet.episodes[row].step, sheet.deadline[row])
    times: Array = steps[call] / sheet.deadline[row]
    return times


@dataclasses.dataclass(frozen=True)
class _Oracle:
    """A rate at the lowest threshold, in each task, at which at most a share of the successes judged alarm.

    No one knows that threshold beforehand: it compares scores as if all were calibrated to the same false alarms.
    """

    rate: float
    kind: str

    def counted(self, sheet: _Sheet) -> Array:
        counted: Array = _member(sheet.two_sided, len(sheet.failed)) & self._asked(sheet)
        return counted

    def _asked(self, sheet: _Sheet) -> Array:
        asked: Array = {"tpr": sheet.failed, "fpr": ~sheet.failed, "actionable_recall": _measured(sheet)}[self.kind]
        return asked

    def samples(self, sheet: _Sheet) -> Array:
        highest = sheet.in_time if self.kind == "actionable_recall" else sheet.whole
        weights = sheet.weights
        hits, total = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for rows in sheet.two_sided:
            if np.isnan(sheet.whole[rows]).any():
                return np.full(weights.shape[1], NOTHING)
            threshold = self._threshold(sheet, rows)
            asked = rows[self._asked(sheet)[rows]]
            hits += np.where(highest[asked, None] > threshold, weights[asked], 0.0).sum(axis=0)
            total += weights[asked].sum(axis=0)
        with np.errstate(invalid="ignore"):
            share: Array = hits / total
        return share

    def _threshold(self, sheet: _Sheet, rows: Array) -> Array:
        succeeded = rows[~sheet.failed[rows]]
        order = succeeded[np.argsort(-sheet.whole[succeeded])]
        reached = _summed(sheet.weights, order)[1:]
        allowed = (reached <= self.rate * reached[-1] + 1e-9 * len(order)).sum(axis=0)
        threshold: Array = np.append(sheet.whole[order], -np.inf)[allowed]
        return threshold

    def bounds(self, samples: Array, rollouts: int, plain: bool) -> tuple[float | None, float | None]:
        certain = samples[0] in (0.0, 1.0)  # where no resample may differ
        return of_effective(float(samples[0]), rollouts) if certain else _percentiles(samples)


# -- what each statistic is of ---------------------------------------------------------------------------------------


def _where(counts: Array, values: Array) -> Array:
    return np.where(counts, values, NOTHING)


def _twin_wins(sheet: _Sheet) -> Array:
    """Whether a failed perturbed episode scores above its own nominal twin that succeeded; one half for a tie.

    Both by the same control step: half the deadline, or the earlier end of the two.
    """
    place = {episode.uid: row for row, episode in enumerate(sheet.episodes) if episode.uid}
    pairs = [(row, place[e.twin]) for row, e in enumerate(sheet.episodes) if e.twin in place and e.perturbed]
    pairs = [(row, twin) for row, twin in pairs if sheet.failed[row] and not sheet.failed[twin]]
    wins = np.full(len(sheet.episodes), NOTHING)
    if pairs:
        mine, twins = np.array(pairs).T
        limits = np.minimum(HALF * sheet.deadline[mine], np.minimum(sheet.length[mine], sheet.length[twins]))
        own, other = sheet.until(limits, mine), sheet.until(limits, twins)
        wins[mine] = _where(~np.isnan(own + other), (own > other) + 0.5 * (own == other))
    return wins


def _timely(sheet: _Sheet) -> Array:
    return _where(sheet.failed, np.where(sheet.alarm >= 0, 1 - sheet.alarm / sheet.deadline, 0.0))


def _measured(sheet: _Sheet) -> Array:
    measured: Array = sheet.failed & (sheet.t_pnr >= 0)
    return measured


DETECTED = _Rate(lambda s: _where(s.failed, s.alarm >= 0))
SILENT = _Rate(lambda s: _where(~s.failed, s.alarm < 0))

RANKING: dict[str, _Statistic] = {
    **{f"matched_auroc@{fraction:g}": _Matched(fraction) for fraction in FRACTIONS},
    **{
        f"{prefix}{name}@{fraction:g}": _Separation(precision, lambda s, f=fraction: s.at[f], pooled)  # type: ignore[misc]
        for prefix, pooled in (("", False), ("pooled_", True))
        for name, precision in (("auroc", False), ("auprc", True))
        for fraction in FRACTIONS
    },
    "whole_auroc": _Separation(False, lambda s: s.whole),
    "early_auroc": _Separation(False, lambda s: s.early),
    "precision_detection_area": _DetectionArea(),
    f"twin_accuracy@{HALF:g}": _Rate(_twin_wins),
}
"""What does not depend on a constant threshold; pooled ones compare the numbers of different tasks."""

DECISIONS: dict[str, _Statistic] = {
    "tpr": DETECTED,
    "tnr": SILENT,
    "balanced_accuracy": _Balance(DETECTED, SILENT),
    "twa": _Balance(_Mean(_timely), SILENT),
    "detection_time": _Mean(lambda s: _where(s.failed & (s.alarm >= 0), s.alarm / s.deadline)),
    "fpr_nominal": _Rate(lambda s: _where(~s.failed & ~s.perturbed, s.alarm >= 0)),
    "fpr_perturbed_success": _Rate(lambda s: _where(~s.failed & s.perturbed, s.alarm >= 0)),
    "delay_to_onset_steps": _Median(lambda s: _where(s.failed & (s.t_on >= 0) & (s.alarm >= 0), s.alarm - s.t_on)),
    "lead_time_steps": _Median(lambda s: _where(_measured(s) & (s.alarm >= 0), s.t_pnr - s.alarm)),
    "actionable_recall": _Rate(lambda s: _where(_measured(s), (s.alarm >= 0) & (s.alarm < s.t_pnr))),
    "id_success": _Mean(lambda s: _where(~s.failed & ~s.perturbed, s.at[HALF])),
    "ood_success": _Mean(lambda s: _where(~s.failed & s.perturbed, s.at[HALF])),
    "id_failure": _Mean(lambda s: _where(s.failed & ~s.perturbed, s.at[HALF])),
    "ood_failure": _Mean(lambda s: _where(s.failed & s.perturbed, s.at[HALF])),
}
"""What depends on the threshold, or is in its unit."""

ORACLE = ("tpr", "actionable_recall", "fpr")


def _statistic(name: str) -> _Statistic:
    known = {**RANKING, **DECISIONS}
    kind, _, rate = name.removeprefix("oracle_").partition("@")
    if name.startswith("oracle_") and kind in ORACLE and rate:
        return _Oracle(float(rate), kind)
    if name not in known:
        raise UnknownNameError("metric", name, [*known, *(f"oracle_{kind}@0.1" for kind in ORACLE)])
    return known[name]


def check_metric(name: str) -> None:
    """Raise an UnknownNameError if there is no such figure."""
    _statistic(name)


# -- figures ---------------------------------------------------------------------------------------------------------


def ranking(judged: Judged, resamples: int = 1000, seed: int = 0) -> dict[str, Record]:
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


def decisions(judged: Judged, resamples: int = 1000, seed: int = 0) -> dict[str, Record]:
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


def figures(judged: Judged, resamples: int = 1000, seed: int = 0) -> dict[str, Record]:
    """Everything: :func:`ranking` and :func:`decisions`."""
    return _figures({**RANKING, **DECISIONS}, judged, resamples, seed)


def figure(judged: Judged, metric: str, resamples: int = 1000, seed: int = 0) -> Record:
    """One figure by its name; without resamples the value, and the interval of no more than plain rates."""
    return _figures({metric: _statistic(metric)}, judged, resamples, seed)[metric]


def at_false_alarm_rate(judged: Judged, rate: float, resamples: int = 1000, seed: int = 0) -> dict[str, Record]:
    """``oracle_tpr@rate``, ``oracle_actionable_recall@rate``, and ``oracle_fpr@rate``, the false alarms realised.

    The threshold is an *oracle's*: the lowest, in each task and for each seed, at which at most so many of the judged
    successes alarm.  It is drawn anew in every resample.
    """
    named = {f"oracle_{kind}@{rate:g}": _Oracle(rate, kind) for kind in ORACLE}
    return _figures(named, judged, resamples, seed)


def difference(first: Judged, second: Judged, metric: str, resamples: int = 1000, seed: int = 0) -> Record:
    """A metric of ``first`` less that of ``second``, paired: on the same resampled episodes and training seeds.

    A monitor that is the same for all training seeds may come with one alone.

    Returns
    -------
    ``{"difference": figure, "p_value"}``: two-sided, twice the smaller share of resamples on either side of zero
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 15); None where the difference is not defined.

    Raises
    ------
    ValueError
        if the two were judged on other episodes, or with other training seeds.
    """
    sheets, others = _sheets(first, resamples, seed), _sheets(second, resamples, seed)
    if _identity(sheets[0]) != _identity(others[0]):
        raise ValueError("two monitors are compared on the same episodes in the same order, and these differ")
    if set(first) != set(second) and min(len(first), len(second)) > 1:
        raise ValueError(f"two monitors are compared on the same training seeds, not {set(first)} and {set(second)}")
    statistic = _statistic(metric)
    gains = _samples(statistic, sheets, seed) - _samples(statistic, others, seed)
    counted = _behind(statistic, [*sheets, *others])
    if not np.isfinite(gains[0]):
        return {"difference": _plain(None, None, None, counted), "p_value": None}
    known = gains[1:][~np.isnan(gains[1:])]
    smaller = min((known <= 0).sum(), (known >= 0).sum())
    p_value = min(1.0, 2 * float(smaller + 1) / (len(known) + 1))
    return {"difference": _plain(float(gains[0]), *_percentiles(gains), counted), "p_value": p_value}


def alarm_test(first: Sequence[JudgedEpisode], second: Sequence[JudgedEpisode]) -> dict[str, Record]:
    """McNemar's exact test of the alarms of two monitors with one training seed each: ``failures``, ``successes``.

    ``only_first`` are the episodes where the first alone alarms: detections among failures, false alarms among
    successes.
    """
    one, two = _sheets({0: first, 1: second}, resamples=0, seed=0)
    return {
        name: paired_test(one.alarm[rows] >= 0, two.alarm[rows] >= 0)
        for name, rows in (("failures", one.failed), ("successes", ~one.failed))
    }


def _figures(statistics: Mapping[str, _Statistic], judged: Judged, resamples: int, seed: int) -> dict[str, Record]:
    sheets = _sheets(judged, resamples, seed)
    return {name: _figure(statistic, sheets, seed) for name, statistic in statistics.items()}


def _figure(statistic: _Statistic, sheets: Sequence[_Sheet], seed: int) -> Record:
    counted = _behind(statistic, sheets)
    if not counted:
        return _plain(None, None, None, 0)
    samples = _samples(statistic, sheets, seed)
    value = float(samples[0])
    if not np.isfinite(value):
        return _plain(None, None, None, counted)
    plain = len(sheets) == 1 and counted == statistic.counted(sheets[0]).sum()
    low, high = statistic.bounds(samples, counted, plain)
    if _is_auroc(statistic) and value in (0.0, 1.0) and low is not None:
        low, high = _of_perfect(value, statistic.counted(sheets[0]), sheets[0])
    return _plain(value, low, high, counted)


def _is_auroc(statistic: _Statistic) -> bool:
    return isinstance(statistic, _Matched) or (isinstance(statistic, _Separation) and not statistic.precision)


def _of_perfect(value: float, counted: Array, sheet: _Sheet) -> tuple[float, float]:
    """Interval of an AUROC that is 0 or 1, where no resample differs.

    Failures and successes make up as many disjoint, so independent, pairs as the rarer of both, all won or all lost.
    """
    pairs = min(sheet.rollouts(sheet.failed & counted), sheet.rollouts(~sheet.failed & counted))
    return clopper_pearson(pairs if value else 0, pairs)


def _samples(statistic: _Statistic, sheets: Sequence[_Sheet], seed: int) -> Array:
    """Mean over seeds (1 + R,) of those where it is defined."""
    each = np.stack([statistic.samples(sheet) for sheet in sheets])
    of_seeds = _seed_weights(len(sheets), each.shape[1] - 1, seed)
    known = ~np.isnan(each)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(known, each * of_seeds, 0.0).sum(axis=0) / (known * of_seeds).sum(axis=0)
    return mean


def _behind(statistic: _Statistic, sheets: Sequence[_Sheet]) -> int:
    return sheets[0].rollouts(np.any([statistic.counted(sheet) for sheet in sheets], axis=0))


def _plain(value: float | None, low: float | None, high: float | None, count: int) -> Record:
    return {"value": value, "low": low, "high": high, "n": count}


# -- one monitor of one run ------------------------------------------------------------------------------------------


def alarm_rate(episodes: Sequence[JudgedEpisode]) -> Record:
    """``alarms`` of ``episodes``, their ``rate`` (None of no episode) and its exact 95 % interval ``ci95``."""
    return proportion(sum(episode.alarm_step >= 0 for episode in episodes), len(episodes))


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
    found = decisions({0: episodes}, resamples=0)
    curves = {0: episodes if ranked is None else ranked}
    recall, delay = found["actionable_recall"], found["delay_to_onset_steps"]
    return {
        "score": score,
        "window": window,
        "calibrator": calibrator,
        "level": level,
        "auroc": {str(f): figure(curves, f"auroc@{f:g}", resamples=0)["value"] for f in FRACTIONS},
        "matched_auroc": {str(f): figure(curves, f"matched_auroc@{f:g}", resamples=0)["value"] for f in FRACTIONS},
        "tpr": tpr["rate"],
        "tpr_ci95": tpr["ci95"],
        "failures": tpr["episodes"],
        "fpr_nominal": alarm_rate([e for e in successes if not e.perturbed]),
        "fpr_perturbed_success": alarm_rate([e for e in successes if e.perturbed]),
        "twa": found["twa"]["value"],
        "detection_time": found["detection_time"]["value"],
        "actionable_recall": proportion(round((recall["value"] or 0) * recall["n"]), recall["n"]),
        "delay_to_onset_steps": {"median": delay["value"], "episodes": delay["n"]},
        "threshold_episodes": threshold_episodes,
        "guarantee": guarantee,
    }
