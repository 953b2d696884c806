"""The label *lost*: the point of no return without the task's deadline, since the expert often wins a little later.

Failed episodes are tried from their point of no return on, each try to one absolute horizon.  An earlier try that
succeeds within the deadline succeeds within the horizon, too, so none is made twice.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from workbench.attribution.branching import drive, find_point_of_no_return
from workbench.attribution.optional import AskedLabel, Found
from workbench.execution.ledger import Ledger, plain
from workbench.monitoring.episodes import DIVERGED
from workbench.rollouts.gate import calls_remembered
from workbench.rollouts.guard import steps_beyond
from workbench.rollouts.setup import Setup
from workbench.store import Store
from workbench.types import Record

LABEL = AskedLabel("lost", ["t_lost"])
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


def lost_with(expert: Record, stride: int) -> Record:
    """What decides the label, as the ledger keeps it."""
    made: Record = plain({"expert": expert, "stride": stride, "deadlines": DEADLINES})
    return made


def measure_lost(store: Store, setup: Setup, expert: Record, stride: int, ledger: Ledger) -> int:
    """Measure t_lost of every labelled failure that has none; or all anew where they are of other settings.

    Returns
    -------
    Control steps that were simulated for it, also by earlier calls.
    """

    def batch(numbers: list[int]) -> Batch:
        return Batch(setup, store.path, expert, stride, numbers)

    asked, numbers = lost_with(expert, stride), labelled_failures(store)
    return LABEL.measure(store, setup, asked, ledger, numbers, batch, lost_batch, EPISODES_PER_BATCH)


def labelled_failures(store: Store) -> list[int]:
    """Numbers of the failed episodes that have a point of no return."""
    rows = store.episodes
    return [
        number
        for number, success in enumerate(rows["success"])
        if not success and rows["outcome"][number] != DIVERGED and rows["t_pnr"][number] >= 0
    ]


def lost_batch(batch: Batch) -> dict[str, Found]:
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
        str(episode.record["uid"]): ({"t_lost": point.step}, steps)
        for episode, (point, steps) in zip(episodes, found, strict=True)
    }
