"""Detectors ranked by what their alarms are worth, beside how well they tell failures from successes."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.config.files import shown
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.monitoring.monitor import AnyMonitor, Reading, needs_of
from workbench.monitoring.reading import offline
from workbench.recovery.benefit import (
    ALWAYS,
    OVER,
    RESAMPLES,
    Benefit,
    Interval,
    Judge,
    Outcomes,
    Terms,
    first_alarms,
    interval,
)
from workbench.stats.concordance import concordance, peaks_by_step, weighted_mean
from workbench.stats.separation import areas
from workbench.types import Array, Record
from workbench.types.results import Tabular

if TYPE_CHECKING:
    from workbench.store import Store

FEWEST = 3
"""Detectors of which a rank correlation is stated."""
DIGITS = 9
"""To which two detectors have to be alike to share a rank: sums of the same numbers differ in their last bits."""


@dataclasses.dataclass(frozen=True)
class DetectorRow:
    """A detector by how well it tells failures apart, and by what its alarms are worth.

    Attributes
    ----------
    auroc : of the highest scores by half the deadline.
    matched_auroc : of failure against success, each pair at a time at which both were running.
    ahead_of_always : net benefit over the placebo, less that of an alarm at the first call of every episode.
    """

    auroc: Interval
    matched_auroc: Interval
    benefit: Benefit
    ahead_of_always: Interval

    def record(self) -> Record:
        """Plain data."""
        intervals = {"auroc": self.auroc, "matched_auroc": self.matched_auroc, "ahead_of_always": self.ahead_of_always}
        plain = {name: each._asdict() for name, each in intervals.items()}
        return {"detector": self.benefit.name, **plain, **self.benefit.record()}


@dataclasses.dataclass(frozen=True)
class DetectorRanking(Tabular):
    """Detectors by executed net benefit over the placebo, the best first; ``always`` is among them.

    Attributes
    ----------
    spearman : "<AUROC> and <reference>" -> rank correlation of the detectors' AUROC and net benefit, without
        ``always``; its interval is over episodes, the detectors being given.
    episodes, failed : how many episodes they are ranked on, and how many of them failed.
    """

    terms: Terms
    rows: tuple[DetectorRow, ...]
    spearman: Mapping[str, Interval]
    episodes: int
    failed: int

    def rows_of_table(self) -> list[Record]:
        """One row a detector."""
        return [row.record() for row in self.rows]

    def record(self) -> Record:
        """Plain data."""
        correlation = {name: each._asdict() for name, each in self.spearman.items()}
        return {
            "terms": dataclasses.asdict(self.terms),
            "rows": self.rows_of_table(),
            "spearman": correlation,
            "episodes": self.episodes,
            "failed": self.failed,
        }


def margins(store: Store, monitors: Sequence[AnyMonitor], episodes: Sequence[Outcomes]) -> dict[str, list[Array]]:
    """Margin (C,) of every policy call of these episodes, by monitor: curves to rank, or to choose a threshold by.

    Raises
    ------
    StoreError
        if an episode was called at other control steps in the store.
    """
    return {name: [each.margin for each in said] for name, said in _readings(store, monitors, episodes).items()}


def _readings(store: Store, monitors: Sequence[AnyMonitor], episodes: Sequence[Outcomes]) -> dict[str, list[Reading]]:
    calls = [store.calls(store.number_of(episode.uid), needs_of(monitors)) for episode in episodes]
    for episode, stored in zip(episodes, calls, strict=True):
        if not np.array_equal(episode.step, stored.step):
            raise StoreError(f"episode {episode.uid} has other policy calls in {shown(store.path)} than its outcomes")
    return offline(monitors, calls)


def rank_monitors(
    store: Store, monitors: Sequence[AnyMonitor], episodes: Sequence[Outcomes], terms: Terms, *, seed: int = 0
) -> DetectorRanking:
    """:func:`rank_detectors` of fitted monitors, by what they say of a store's episodes.

    One that can never alarm stands where no alarm does: its benefit is 0, and its AUROC is that of its score.
    """
    silent = {monitor.name for monitor in monitors if monitor.reason}
    curves = {
        name: [np.nan_to_num(each.score, nan=-np.inf) if name in silent else each.margin for each in said]
        for name, said in _readings(store, monitors, episodes).items()
    }
    return rank_detectors(episodes, curves, terms, thresholds=dict.fromkeys(silent, np.inf), seed=seed)


def rank_detectors(
    episodes: Sequence[Outcomes],
    curves: Mapping[str, Sequence[Array]],
    terms: Terms,
    *,
    thresholds: Mapping[str, float] | None = None,
    seed: int = 0,
) -> DetectorRanking:
    """Detectors ranked by what their alarms are worth, beside how well they tell failures from successes.

    Parameters
    ----------
    curves : by detector, (C,) of each episode: a monitor's margin at every policy call, as :func:`margins` has them.
    thresholds : by detector, above which there is an alarm; 0 where none is given, as for margins.
    """
    judge = Judge(episodes, terms, seed)
    if judge.failed.all() or not judge.failed.any():
        raise ConfigError("detectors are ranked on failures and successes, and one of the two is missing")
    if ALWAYS in curves or not curves:
        raise ConfigError(f"detectors to rank are needed; {ALWAYS} is added, and is no name for one of them")
    for name in thresholds or {}:
        if name not in curves:
            raise UnknownNameError("detector", name, curves)
    known = {name: judge.curves(name, each) for name, each in curves.items()}
    separations = {name: _separations(judge, each) for name, each in known.items()}
    limits = {**{name: (thresholds or {}).get(name, 0.0) for name in known}, ALWAYS: -np.inf}
    spoken = {name: first_alarms(each, np.array([limits[name]])) for name, each in known.items()}
    spoken[ALWAYS] = first_alarms(judge.clock, np.array([-np.inf]))
    alarms = np.concatenate(list(spoken.values()))
    chance = np.full(1 + RESAMPLES, 0.5)  # what says the same of every episode
    separations[ALWAYS] = {"auroc": chance, "matched_auroc": chance}
    worth = judge.samples(alarms, "placebo")
    rows = [
        DetectorRow(
            **{kind: interval(each) for kind, each in separations[row.name].items()},
            benefit=row,
            ahead_of_always=interval(mine - worth[-1]),
        )
        for row, mine in zip(
            judge.benefits(list(spoken), np.array([limits[name] for name in spoken]), alarms), worth, strict=True
        )
    ]
    rows.sort(key=lambda row: -(row.benefit.over_placebo.value or 0.0))
    spearman = _correlations(judge, alarms[:-1], [separations[name] for name in known])
    return DetectorRanking(terms, tuple(rows), spearman, len(episodes), int(judge.failed.sum()))


def _separations(judge: Judge, curves: Sequence[Array]) -> dict[str, Array]:
    """AUROCs (1 + R,) of a score, by half the deadline."""
    until, lengths = judge.terms.deadline // 2, np.array([episode.length for episode in judge.episodes])
    horizon, scored = int(lengths.max()), zip(judge.episodes, curves, strict=True)
    peaks = np.stack([peaks_by_step(np.asarray(episode.step), curve, horizon) for episode, curve in scored])
    lost, won = np.flatnonzero(judge.failed), np.flatnonzero(~judge.failed)
    by_half = peaks[np.arange(len(peaks)), np.minimum(lengths - 1, until)]
    higher = concordance(peaks[lost], peaks[won], lengths[lost], lengths[won], until)
    with np.errstate(invalid="ignore"):  # a resample without a failure, or without a success
        plain, _ = areas(by_half, lost, won, judge.weights)
        matched = weighted_mean(higher, judge.weights[lost], judge.weights[won])
    return {"auroc": plain, "matched_auroc": matched}


def _correlations(judge: Judge, alarms: Array, separations: Sequence[Mapping[str, Array]]) -> dict[str, Interval]:
    """Spearman's rank correlation between every AUROC and every net benefit, over the detectors."""
    found = {}
    for kind in ("auroc", "matched_auroc"):
        areas_by_detector = np.stack([each[kind] for each in separations])
        for over in OVER:
            worth = judge.samples(alarms, over)
            pairs = zip(areas_by_detector.T, worth.T, strict=True)
            found[f"{kind} and {over}"] = interval(np.array([_spearman(*pair) for pair in pairs]))
    return found


def _spearman(first: Array, second: Array) -> float:
    """Rank correlation; NaN of fewer than three detectors, and where all are alike."""
    from scipy.stats import ConstantInputWarning, spearmanr  # type: ignore[import-untyped,unused-ignore]

    if len(first) < FEWEST:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(spearmanr(first.round(DIGITS), second.round(DIGITS)).statistic)
