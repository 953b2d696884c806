"""The label *lost*: the point of no return without the task's deadline, since the expert often wins a little later.

Failed episodes are tried from their point of no return on, each try to one absolute horizon.  An earlier try that
succeeds within the deadline succeeds within the horizon, too, so none is made twice.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from workbench.attribution.branching import drive, find_point_of_no_return
from workbench.config import shown
from workbench.execution.executor import batches
from workbench.execution.ledger import Ledger, plain, refuse_other
from workbench.execution.progress import progress
from workbench.monitoring.episodes import DIVERGED
from workbench.rollouts.gate import calls_remembered
from workbench.rollouts.guard import steps_beyond
from workbench.rollouts.setup import Setup
from workbench.store import Store
from workbench.types import Record
from workbench.types.reading import Between, checked

LOST = "lost"
"""Item of the ledger beside a store, and name of the search."""
DEADLINES = 2.0
"""Deadlines that a try lasts at most, counted from the beginning of the episode."""
EPISODES_PER_BATCH = 10


@dataclasses.dataclass(frozen=True)
class Batch:
    """Labelled failures for one worker."""

    setup: Setup
    store: Path
    expert: Record
    stride: int
    numbers: list[int]


@dataclasses.dataclass(frozen=True)
class _Spent:
    """What the ledger says: control steps that were simulated for each episode by its uid."""

    steps: dict[str, Annotated[int, Between(0)]] = dataclasses.field(default_factory=dict)


def lost_with(expert: Record, stride: int) -> Record:
    """What decides the label, as the ledger keeps it."""
    made: Record = plain({"expert": expert, "stride": stride, "deadlines": DEADLINES})
    return made


def refuse_other_lost(store: Store, asked: Record, ledger: Ledger) -> None:
    """Refuse to measure with other settings what is measured already."""
    if _differs(store, asked, ledger):
        entry = ledger.entry(LOST)
        assert entry is not None
        what, remedy = f"t_lost of {shown(store.path)}", "overwrite=true measures it anew"
        refuse_other(what, entry.made_with, asked, remedy)


def measure_lost(path: Path, setup: Setup, expert: Record, stride: int, ledger: Ledger) -> int:
    """Measure t_lost of every labelled failure that has none; or all anew where they are of other settings.

    Returns
    -------
    Control steps that were simulated for it, also by earlier calls.
    """
    store, asked = Store.open(path), lost_with(expert, stride)
    anew, entry = _differs(store, asked, ledger), ledger.entry(LOST)
    kept = entry.record if entry is not None and not anew else None
    spent: _Spent = checked(_Spent, kept, ledger.source, LOST) if kept else _Spent()
    labelled = labelled_failures(store)
    wanted = [number for number in labelled if anew or store.episodes["t_lost"][number] < 0]
    measured: dict[str, Record] = {}
    with progress("lost", len(labelled)) as advance:
        advance(len(labelled) - len(wanted))
        items = [Batch(setup, path, expert, stride, part) for part in batches(wanted, EPISODES_PER_BATCH)]
        for found in setup.map_unordered(lost_batch, items):
            new = {uid: {"t_lost": step} for uid, (step, _) in found.items()}
            measured |= new
            spent = _Spent({**spent.steps, **{uid: steps for uid, (_, steps) in found.items()}})
            if not anew:
                ledger.put(LOST, asked, dataclasses.asdict(spent))
                store.annotate_many(new)
            advance(len(found))
    if anew:
        store.annotate_many(measured)
        ledger.put(LOST, asked, dataclasses.asdict(spent))
    return sum(spent.steps.values())


def labelled_failures(store: Store) -> list[int]:
    """Numbers of the failed episodes that have a point of no return."""
    rows = store.episodes
    return [
        number
        for number, success in enumerate(rows["success"])
        if not success and rows["outcome"][number] != DIVERGED and rows["t_pnr"][number] >= 0
    ]


def lost_batch(batch: Batch) -> dict[str, tuple[int, int]]:
    """Of one batch in this process: uid -> t_lost, and control steps that were simulated for it."""
    setup, store = batch.setup, Store.open(batch.store)
    calls = calls_remembered(setup.shields) if setup.shields else ()
    episodes = [store.episode(number, steps=("obs/*", "state", "action"), calls=calls) for number in batch.numbers]
    horizon = steps_beyond(setup.task.deadline, DEADLINES)
    searches = [
        find_point_of_no_return(episode, batch.stride, deadline=horizon, known=int(episode.record["t_pnr"]))
        for episode in episodes
    ]
    found = drive(searches, setup.lockstep("expert", setup.expert(batch.expert)))
    return {
        str(episode.record["uid"]): (point.step, steps) for episode, (point, steps) in zip(episodes, found, strict=True)
    }


def _differs(store: Store, asked: Record, ledger: Ledger) -> bool:
    """Whether there are labels that were measured with other settings."""
    entry = ledger.entry(LOST)
    known = any(step >= 0 for step in store.episodes["t_lost"])
    return known and entry is not None and entry.made_with != asked
