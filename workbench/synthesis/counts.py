"""What a synthesized data set came to: episodes and failures of its tasks, cells and channels."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from workbench.config import resolve
from workbench.errors import StoreError
from workbench.store import Store
from workbench.types import EPISODES_PER_SPLIT, Record, Split
from workbench.types.faults import faults_in
from workbench.types.reading import Source, checked


@dataclasses.dataclass(frozen=True)
class TaskCounts:
    """Counts of the store of one task; ``refused`` counts the faults that it cannot have."""

    task: str
    nominal: int
    nominal_successes: int
    perturbed: int
    failures: int
    refused: int
    control_steps: int


@dataclasses.dataclass(frozen=True)
class CellCounts:
    """Counts of one cell.

    A cell is filled until enough of it has failed, so the share of all its episodes that fail is no estimate of a
    rate; that of the ``first`` ones, which are rolled in any case, is.

    Attributes
    ----------
    magnitude, value : name of the magnitude, and its size.
    effects : episodes that differ from their twin.
    modes : failure mode -> failed episodes in which it was seen.
    """

    task: str
    cell: str
    channel: str
    perturbation: str
    magnitude: str
    value: float
    episodes: int
    failures: int
    first: int
    first_failures: int
    effects: int
    modes: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class ChannelCounts:
    """Counts of the cells of one channel."""

    channel: str
    faults: int
    cells: int
    episodes: int
    failures: int
    first: int
    first_failures: int


def task_counts(task: str, store: Store, refused: int) -> TaskCounts:
    """Counts of one store."""
    columns = store.episodes
    nominal = columns["perturbation"] == ""
    failed = ~columns["success"]
    return TaskCounts(
        task=task,
        nominal=int(nominal.sum()),
        nominal_successes=int((nominal & ~failed).sum()),
        perturbed=int((~nominal).sum()),
        failures=int((~nominal & failed).sum()),
        refused=refused,
        control_steps=int(columns["length"].sum()),
    )


def _fault_of(text: str, where: str) -> Record:
    """The one fault of a cell's episode, with its target and its magnitude."""
    source, records = Source(where, StoreError), faults_in(text, where)
    if len(records) != 1 or "target" not in records[0]:
        raise source.wrong(f"holds {len(records)} faults, and must hold one with its target")
    [record] = records
    name = resolve(record["target"]).magnitude.name
    checked(float | list[float], record.get(name), source, name)
    return record


def cell_counts(task: str, store: Store, least: Mapping[Split, int]) -> list[CellCounts]:
    """Counts of every cell of a store, by name.

    Parameters
    ----------
    least : split -> episodes of a cell that are rolled in any case.
    """
    columns = store.episodes
    found = []
    for cell in sorted({str(name) for name in columns["cell"] if name}):
        mine = np.flatnonzero(columns["cell"] == cell)
        record = _fault_of(columns["perturbations"][mine[0]], f"{store.path}, cell {cell}")
        failed = ~columns["success"][mine]
        limits = np.array([least[split] for split in columns["split"][mine]])
        first = columns["index"][mine] % EPISODES_PER_SPLIT < limits
        magnitude = resolve(record["target"]).magnitude.name
        found.append(
            CellCounts(
                task=task,
                cell=cell,
                channel=record["channel"],
                perturbation=record["name"],
                magnitude=magnitude,
                value=length(record[magnitude]),
                episodes=len(mine),
                failures=int(failed.sum()),
                first=int(first.sum()),
                first_failures=int((first & failed).sum()),
                effects=int((columns["t_eff"][mine] >= 0).sum()),
                modes=dict(collections.Counter(columns["failure_mode"][mine[failed]].tolist())),
            )
        )
    return found


def length(value: float | Sequence[float]) -> float:
    """Size of a drawn magnitude, which may be a vector."""
    if isinstance(value, Sequence):
        return float(sum(part * part for part in value) ** 0.5)
    return float(value)


def channel_counts(cells: Iterable[CellCounts]) -> list[ChannelCounts]:
    """Counts of every channel, by name."""
    by_channel: dict[str, list[CellCounts]] = collections.defaultdict(list)
    for row in cells:
        by_channel[row.channel].append(row)
    return [
        ChannelCounts(
            channel=channel,
            faults=len({row.perturbation for row in rows}),
            cells=len(rows),
            episodes=sum(row.episodes for row in rows),
            failures=sum(row.failures for row in rows),
            first=sum(row.first for row in rows),
            first_failures=sum(row.first_failures for row in rows),
        )
        for channel, rows in sorted(by_channel.items())
    ]
