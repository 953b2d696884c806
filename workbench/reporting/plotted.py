"""What figures for papers show, as typed rows with a table of each: a figure is drawn from the rows of its table."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.attribution.laws import kind_of_luck
from workbench.benchmarking.columns import FRACTIONS, Columns
from workbench.benchmarking.judged import JudgedEpisode, elapsed
from workbench.benchmarking.own import CLOCK
from workbench.reporting.table import Cell, Column, Row, Table, numbers
from workbench.reporting.words import NONE, Rate, number, percent, significant
from workbench.stats.separation import areas
from workbench.store import Store
from workbench.types import Array
from workbench.types.faults import faults_in, magnitudes_in

BINS, LEAST_IN_BIN = 5, 4
"""At most, and the least number of episodes in one."""
SCHEDULE = ("duration_steps",)
"""Numbers of a fault that say when it acts, not how large it is."""


@dataclasses.dataclass(frozen=True)
class MagnitudeRow:
    """Success under one fault, of magnitudes from ``low`` to ``high``."""

    perturbation: str
    parameter: str
    low: float
    high: float
    mean: float
    rate: Rate


@dataclasses.dataclass(frozen=True)
class RocRow:
    """How failures and successes are told apart by the highest margins until a share of the deadline.

    Attributes
    ----------
    false_alarms, detections : (P,) shares of the successes and of the failures at falling thresholds.
    area : below the curve.
    """

    monitor: str
    fraction: float
    false_alarms: Array
    detections: Array
    area: float
    failures: int
    successes: int


@dataclasses.dataclass(frozen=True)
class AlarmRow:
    """A failure as one monitor saw it, in control steps; -1 for what did not happen or was not measured."""

    monitor: str
    onset: int
    point_of_no_return: int
    alarm: int


@dataclasses.dataclass(frozen=True)
class LuckRow:
    """Success rate under other policy noise from step 0, of the episodes under one fault that it was measured of.

    Attributes
    ----------
    luck : (N,) rates, an episode each.
    systematic : how many of them are law.
    """

    perturbation: str
    luck: Array
    systematic: Rate


def magnitude_rows(store: Store, split: str = "test") -> list[MagnitudeRow]:
    """Success of the episodes with one fault, by its magnitude, in bins of equally many episodes."""
    columns, found = store.episodes, dict[tuple[str, str], list[tuple[float, bool]]]()
    for row in np.flatnonzero(columns["split"] == split):
        faults = faults_in(columns["perturbations"][row], f"{store.path}, perturbations of {columns['uid'][row]}")
        sizes = magnitudes_in(faults[0]) if len(faults) == 1 else {}
        for parameter in [name for name in sizes if name not in SCHEDULE][:1]:
            size = float(np.linalg.norm(sizes[parameter]))
            named = (str(columns["perturbation"][row]), parameter)
            found.setdefault(named, []).append((size, bool(columns["success"][row])))
    return [row for named in sorted(found) for row in _binned(*named, found[named])]


def _binned(perturbation: str, parameter: str, episodes: Sequence[tuple[float, bool]]) -> list[MagnitudeRow]:
    """Bins of about equally many; equal magnitudes lie in the same one."""
    ordered, wanted = sorted(episodes), max(LEAST_IN_BIN, -(-len(episodes) // BINS))
    bins: list[list[tuple[float, bool]]] = [[]]
    for _, same in itertools.groupby(ordered, key=lambda episode: episode[0]):
        if len(bins[-1]) >= wanted:
            bins.append([])
        bins[-1] += same
    if len(bins) > 1 and len(bins[-1]) < LEAST_IN_BIN:
        bins[-2:] = [bins[-2] + bins[-1]]
    rows = []
    for members in bins:
        sizes = [size for size, _ in members]
        rate = Rate(sum(won for _, won in members), len(members))
        rows.append(MagnitudeRow(perturbation, parameter, sizes[0], sizes[-1], float(np.mean(sizes)), rate))
    return rows


def roc_rows(judged: Mapping[str, Sequence[JudgedEpisode]]) -> list[RocRow]:
    """A curve for each score and common time; of several monitors with one score the first, which is no choice."""
    first: dict[str, Sequence[JudgedEpisode]] = {}
    for name, episodes in judged.items():
        first.setdefault(name.partition("+")[0], episodes)
    rows = []
    for score, episodes in first.items():
        columns = Columns([elapsed(each) for each in episodes] if score == CLOCK else episodes, 0, 0)
        if columns.failed.all() or not columns.failed.any():
            continue
        for fraction in FRACTIONS:
            values = columns.at[fraction]
            if not np.isnan(values).any():
                rows.append(_roc(score, fraction, values, columns))
    return rows


def _roc(score: str, fraction: float, values: Array, columns: Columns) -> RocRow:
    failed, succeeded = np.flatnonzero(columns.failed), np.flatnonzero(~columns.failed)
    area = float(areas(values, failed, succeeded, columns.weights)[0][0])
    thresholds = np.concatenate([[np.inf], np.unique(values)[::-1]])
    above = [(values[rows][None] >= thresholds[:, None]).mean(axis=1) for rows in (succeeded, failed)]
    return RocRow(score, fraction, above[0], above[1], area, len(failed), len(succeeded))


def alarm_rows(judged: Mapping[str, Sequence[JudgedEpisode]]) -> list[AlarmRow]:
    """A row for each monitor and failure with an onset."""
    return [
        AlarmRow(name, each.t_on, each.t_pnr, each.alarm_step)
        for name, episodes in judged.items()
        for each in episodes
        if not each.success and each.t_on >= 0
    ]


def luck_rows(store: Store) -> list[LuckRow]:
    """By fault, of the episodes whose luck was measured; none where nobody measured it."""
    columns = store.episodes
    kinds = np.array(
        [kind_of_luck({name: values[row] for name, values in columns.items()}) for row in range(len(store))]
    )
    measured, systematic = kinds != "", kinds == "law"
    rows = []
    for name in sorted(set(columns["perturbation"][measured])):
        mine = measured & (columns["perturbation"] == name)
        rate = Rate(int(systematic[mine].sum()), int(mine.sum()))
        rows.append(LuckRow(str(name), np.asarray(columns["luck"][mine], float), rate))
    return rows


def magnitude_table(rows: Sequence[MagnitudeRow]) -> Table:
    """One row a fault and bin."""
    made = []
    for row in rows:
        sizes = Cell(f"{significant(row.low)} to {significant(row.high)}", row.mean, (row.low, row.high))
        made.append(Row.of(row.perturbation, row.parameter, sizes, *_rate(row.rate)))
    columns = [Column("fault"), Column("parameter"), *numbers("magnitude", "success", "episodes", "95 % interval")]
    note = (
        "Test episodes with one fault, by how large it was drawn, in bins of about equally many. Of several numbers "
        "the length of their vector. Intervals are exact (Clopper and Pearson)."
    )
    return Table("success against magnitude", columns, made, note)


def roc_table(rows: Sequence[RocRow]) -> Table:
    """One row a score: the area at each common time."""
    known = {(row.monitor, row.fraction): row for row in rows}
    made = []
    for name in dict.fromkeys(row.monitor for row in rows):
        cells = [known.get((name, fraction)) for fraction in FRACTIONS]
        some = next(row for row in rows if row.monitor == name)
        shown = (Cell(number(each.area), each.area) if each else Cell(NONE) for each in cells)
        made.append(Row.of(name, *shown, some.failures, some.successes))
    columns = [Column("score"), *numbers(*(f"AUROC {f:g}" for f in FRACTIONS), "failures", "successes")]
    note = (
        "Highest margins until a share of the deadline. An episode that ended earlier keeps its last, so that the "
        "clock alone tells failures apart in the end. Of several monitors with one score the first."
    )
    return Table("ROC at common times", columns, made, note)


def alarm_table(rows: Sequence[AlarmRow]) -> Table:
    """One row a monitor: alarms before and behind the onset, and in time."""
    made = []
    for name in dict.fromkeys(row.monitor for row in rows):
        mine = [row for row in rows if row.monitor == name]
        alarmed = [row for row in mine if row.alarm >= 0]
        before = sum(row.alarm < row.onset for row in alarmed)
        cells = (Rate(len(alarmed), len(mine)), Rate(before, len(mine)), Rate(len(alarmed) - before, len(mine)))
        made.append(Row.of(name, *(Cell(rate.count, rate.share, rate.bounds) for rate in cells)))
    columns = [Column("monitor"), *numbers("alarmed", "before the onset", "at or behind the onset")]
    return Table("alarms against onset", columns, made, "Failed test episodes with a measured onset.")


def lead_table(rows: Sequence[AlarmRow], control_hz: float) -> Table:
    """One row a monitor: how long before the point of no return it alarms."""
    made = []
    for name in dict.fromkeys(row.monitor for row in rows):
        leads = lead_times(rows, name)
        timely = Rate(int((leads > 0).sum()), len(leads))
        alarmed = leads[np.isfinite(leads)]
        median = float(np.median(alarmed)) / control_hz if len(alarmed) else None
        made.append(Row.of(name, *_rate(timely), Cell(number(median), median)))
    columns = [Column("monitor"), *numbers("in time", "failures", "95 % interval", "median lead, s")]
    note = (
        "Failed test episodes with a measured onset and point of no return. The lead is the time from the first alarm "
        "to the point of no return, negative where it comes too late; the median is of failures with an alarm."
    )
    return Table("lead time", columns, made, note)


def lead_times(rows: Sequence[AlarmRow], monitor: str) -> Array:
    """(N,) control steps from a monitor's alarm to the point of no return, -inf without an alarm."""
    mine = [row for row in rows if row.monitor == monitor and row.point_of_no_return >= 0]
    return np.array([row.point_of_no_return - row.alarm if row.alarm >= 0 else -np.inf for row in mine], float)


def luck_table(rows: Sequence[LuckRow]) -> Table:
    """One row a fault."""
    made = []
    for row in rows:
        mean = float(row.luck.mean())
        made.append(Row.of(row.perturbation or "no fault", Cell(percent(mean), mean), *_rate(row.systematic)))
    columns = [Column("fault"), *numbers("mean luck", "systematic", "episodes", "95 % interval")]
    note = (
        "Luck is the success rate under other policy noise from step 0. An episode is systematic where its 95 % "
        "interval lies below 0.1 or above 0.9."
    )
    return Table("luck by fault", columns, made, note)


def _rate(rate: Rate) -> list[Cell]:
    return [Cell(rate.percent, rate.share, rate.bounds), Cell(rate.count), Cell(rate.interval)]
