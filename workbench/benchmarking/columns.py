"""The judged episodes of one training seed as columns, and their weights in every resample."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from workbench.benchmarking.judged import Judged, JudgedEpisode
from workbench.stats.bootstrap import stratified_weights
from workbench.stats.concordance import peaks_by_step
from workbench.stats.separation import areas
from workbench.types import Array

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Fractions of the deadline at which scores are compared."""
HALF = 0.5
"""Fraction of the deadline at which windows are chosen and monitors ranked."""


class Columns:
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
        self.weights = stratified_weights(strata, self.rollout, resamples, seed)
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
        """:func:`areas` of some rows, computed once for the same values."""
        key = (values[rows].tobytes(), rows.tobytes())
        if key not in self._known:
            self._known[key] = areas(values, rows[self.failed[rows]], rows[~self.failed[rows]], self.weights)
        return self._known[key]


def columns_of(judged: Judged, resamples: int, seed: int) -> list[Columns]:
    """Columns of every training seed, in the order of the seeds; ValueError unless all judged the same episodes."""
    if not judged:
        raise ValueError("there is no training seed to judge")
    by_seed = [Columns(judged[number], resamples, seed) for number in sorted(judged)]
    if any(identity(columns) != identity(by_seed[0]) for columns in by_seed):
        raise ValueError("every training seed is judged on the same episodes in the same order, and these differ")
    return by_seed


def identity(columns: Columns) -> list[tuple[str, str, bool, int]]:
    """What has to be equal where two are compared: the episodes and their order."""
    return [(episode.uid, episode.task, episode.success, episode.length) for episode in columns.episodes]
