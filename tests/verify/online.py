"""Are monitors the same online and offline?  Fed call by call as the robot moves, and from the store afterwards.

Fresh episodes, nominal ones and one perturbation each, are rolled in lockstep with fewer scenes than episodes, so that
calls of different steps meet in one batch.  All monitors of the run listen; what was rolled goes through a store
and is scored again.  The claim is a difference of at most 1e-6 in every score and margin, and no alarm that differs.

Run: make verify WHAT=online
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.verify.claims import NAME, finished_run, parser, table, verdict
from workbench.config import Run, build
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.monitoring.monitor import AnyMonitor, Reading, needs_of
from workbench.monitoring.online import OnlineMonitor
from workbench.monitoring.reading import offline
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.rolling import drawn
from workbench.rollouts.setup import setup_of
from workbench.store import Store, StoreWriter
from workbench.types import Array, Episode, PolicyCall, Stream

TOLERANCE = 1e-6


class Listener:
    """Follows a rollout with monitors; a slot is an episode's index, which must not occur twice."""

    def __init__(self, monitors: Sequence[AnyMonitor]) -> None:
        self._online = OnlineMonitor(monitors)
        self.readings: dict[int, list[dict[str, Reading]]] = {}
        """Episode index -> readings (1,) of every monitor, call for call."""

    def on_call(self, episodes: Sequence[Stream], call: PolicyCall) -> None:
        """Read one call of several episodes."""
        slots = [stream.episode for stream in episodes]
        for slot in set(slots) - self.readings.keys():
            self._online.begin(slot)
            self.readings[slot] = []
        read = self._online.update(slots, call)
        for place, slot in enumerate(slots):
            row = slice(place, place + 1)
            each = {name: Reading(*(part[row] for part in reading)) for name, reading in read.items()}
            self.readings[slot].append(each)

    def on_end(self, episode: Episode) -> None:
        """Nothing more comes of this episode."""


def main() -> int:
    options = arguments()
    run = finished_run(options.root, f"+experiment={NAME}", "job=rollout", f"seed={options.seed}")
    monitors = list(load_monitors(run).values())
    launches = draw(run, options.episodes)
    listener = Listener(monitors)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "online.zarr"
        lockstep = Lockstep(
            run.task,
            run.policy(),
            options.scenes,
            samples=run.config["rollout"]["samples"],
            signals=run.config["rollout"]["signals"],
            until=run.config["rollout"]["until"],
            subscribers=[listener],
        )
        with StoreWriter.open(path, setup_of(run).header(0)) as writer:
            for episode in lockstep.record(launches):
                writer.append(episode)
        store = Store.open(path)
        found = offline(monitors, [store.calls(number, needs_of(monitors)) for number in range(len(store))])
        return report(store, listener, found, options)


def arguments() -> argparse.Namespace:
    options = parser(__doc__, seed=1)
    options.add_argument("--episodes", type=int, default=24, help="half of them perturbed")
    options.add_argument("--scenes", type=int, default=7)
    return options.parse_args()


def draw(run: Run, count: int) -> list[Launch]:
    """Nominal and perturbed launches in turn, each with an index of its own."""
    specifications = [build(node) for node in run.config["perturbation"].values()]
    return [
        drawn(run.task, [specifications[number // 2 % len(specifications)]][: number % 2], "test", number, run.seed)
        for number in range(count)
    ]


def difference(ours: Array, theirs: Array) -> float:
    """Largest |difference|; infinite where they differ in length, or only one of them is a number."""
    if ours.shape != theirs.shape:
        return np.inf
    equal = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    apart = np.abs(np.where(equal, 0.0, ours) - np.where(equal, 0.0, theirs))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))


def report(store: Store, listener: Listener, found: dict[str, list[Reading]], options: argparse.Namespace) -> int:
    """Print the table; non-zero if a monitor differs."""
    shown = table("online against offline, call for call", "monitor", "score", "margin", "alarms", "alarms that differ")
    worst, differing, calls = 0.0, 0, 0
    for name, readings in found.items():
        apart = {"score": 0.0, "margin": 0.0}
        raised = unequal = calls = 0
        for number, later in enumerate(readings):
            heard = listener.readings[int(store.episodes["index"][number])]
            live = Reading(*(np.concatenate(parts) for parts in zip(*(each[name] for each in heard), strict=True)))
            for part in apart:
                apart[part] = max(apart[part], difference(getattr(live, part), getattr(later, part)))
            raised += int(later.alarm.sum())
            unequal += int((live.alarm != later.alarm).sum())
            calls += len(later.score)
        shown.add_row(name, *(f"{value:.2g}" for value in apart.values()), str(raised), str(unequal))
        worst, differing = max(worst, *apart.values()), differing + unequal
    console.print(shown)
    perturbed = int(np.sum(store.episodes["perturbation"] != ""))
    console.print(
        f"n = {len(store)} episodes ({perturbed} perturbed, {int(store.episodes['success'].sum())} succeed), "
        f"{calls} policy calls, {options.scenes} scenes in lockstep, seed {options.seed}; max difference {worst:.2g}"
    )
    complete = len(store) == options.episodes == len(listener.readings)
    claim = f"scores and margins are the same online and offline, to {TOLERANCE:g}"
    return verdict(complete and worst <= TOLERANCE and not differing, claim)


if __name__ == "__main__":
    sys.exit(main())
