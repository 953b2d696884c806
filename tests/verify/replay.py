"""Does a stored snapshot decide the future?  Restore, run the stored actions to the end, compare every step.

Snapshots are drawn over episodes and steps, as many of nominal episodes as of every perturbation of the store.  Half
of them are restored in this process, one after the other in the same scene; half in fresh processes, a few each.  No
process had a part in the recording.  The claim is an error of exactly 0.0 in state and memory.

As a control every snapshot is restored once more with one arm joint moved by 1e-9 rad, which has to be seen later on.

Run: make verify WHAT=replay
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.verify.claims import finished_run, parser, table, verdict
from workbench.attribution.replaying import replay_episode
from workbench.config import Run
from workbench.execution.progress import console
from workbench.store import Store
from workbench.types import Record

FIRST_JOINT = 1
"""Column of the state that holds the first arm joint; column 0 is the time."""


def main() -> int:
    options = arguments()
    run = finished_run(options.root)
    if options.only is not None:
        print(json.dumps(restore(run, json.loads(options.only))))
        return 0
    store = Store.open(run.store)
    chosen = choose(store, options.snapshots, options.seed)
    half = len(chosen) // 2
    here = restore(run, chosen[:half])
    fresh = restore_elsewhere(run.root, chosen[half:], options.processes)
    return report(store, {"this process": here, f"{options.processes} fresh processes": fresh}, options.seed)


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--snapshots", type=int, default=50)
    options.add_argument("--processes", type=int, default=5, help="fresh processes for the second half")
    options.add_argument("--only", help=argparse.SUPPRESS)  # what a fresh process is to restore
    return options.parse_args()


def choose(store: Store, count: int, seed: int) -> list[tuple[int, int]]:
    """(episode, step) pairs, in turn from each group of episodes with the same perturbation."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for number in rng.permutation(len(store)):
        groups.setdefault(str(store.episodes["perturbation"][number]), []).append(int(number))
    turns = itertools.cycle(map(itertools.cycle, groups.values()))
    numbers = [next(next(turns)) for _ in range(count)]
    # At least one action follows, and its result is stored as the next row.
    return [(number, int(rng.integers(store.episodes["length"][number] - 1))) for number in numbers]


def restore(run: Run, chosen: Sequence[tuple[int, int]]) -> list[Record]:
    """Restore and compare in this process, all in one scene."""
    store, scene, rows = Store.open(run.store), run.task.scene(), []
    for number, step in chosen:
        episode = store.episode(number, steps=("state", "action"), calls=())
        moved = copy.deepcopy(episode)
        moved.steps["state"][step, FIRST_JOINT] += 1e-9
        rows.append(
            {
                "uid": episode.record["uid"],
                "perturbation": episode.record["perturbation"],
                "struck": 0 <= episode.record["t_inj"] <= step,
                "steps": episode.record["length"] - step,
                "error": replay_episode(scene, episode, step).max_abs_error,
                "control": replay_episode(scene, moved, step).max_abs_error,
            }
        )
    return rows


def restore_elsewhere(root: Path, chosen: Sequence[tuple[int, int]], processes: int) -> list[Record]:
    """The same in fresh processes, one after the other."""
    rows = []
    for first in range(processes):
        only = json.dumps(chosen[first::processes])
        words = [sys.executable, "-m", "tests.verify.replay", "--root", str(root), "--only", only]
        rows.extend(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout))
    return rows


def report(store: Store, found: dict[str, list[Record]], seed: int) -> int:
    """Print the table; non-zero unless every error is 0.0 and every control was noticed."""
    shown = table("restored snapshots, stored actions run to the end", "episodes", *found, "struck", "steps", "error")
    everything = [row for rows in found.values() for row in rows]
    for name in sorted({row["perturbation"] for row in everything}):
        mine = [row for row in everything if row["perturbation"] == name]
        counts = [sum(row["perturbation"] == name for row in rows) for rows in found.values()]
        sums = (sum(row[key] for row in mine) for key in ("struck", "steps"))
        shown.add_row(name or "nominal", *map(str, (*counts, *sums, max(row["error"] for row in mine))))
    console.print(shown)
    worst = max(row["error"] for row in everything)
    wrong = [row["uid"] for row in everything if row["error"] != 0.0]
    noticed = sum(row["control"] > 0.0 for row in everything)
    console.print("struck: snapshots at or after the first step at which the fault was active")
    console.print(f"n = {len(everything)} snapshots of {len(store)} episodes, seed {seed}; max error {worst}")
    console.print(f"control: a joint moved by 1e-9 rad was noticed in {noticed} of {len(everything)}")
    if wrong:
        console.print(f"differing: {', '.join(wrong)}")
    return verdict(not wrong and noticed == len(everything), "restored snapshots replay bit for bit")


if __name__ == "__main__":
    sys.exit(main())
