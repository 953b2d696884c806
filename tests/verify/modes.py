"""Are failure modes a function of the states?  Store episodes, restore every state elsewhere, read the modes again.

Episodes of every task of conf/task, without a fault and with each fault of conf/perturbation that the task can have,
in turn, driven by the scripted expert that sees what the robot sees, go into a store.  Then every stored snapshot is
restored in a fresh scene, the predicates are read there, and from these the modes; all have to equal the stored ones
exactly.

As a control each episode is read once more with one joint of one stored state moved by 1e-9 rad (or m), which has to
change a predicate.

Run: make verify WHAT=modes
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from tests.restored import differences
from tests.verify.claims import table, verdict
from workbench.config import build
from workbench.errors import ConfigError
from workbench.execution.progress import console
from workbench.policies.expert import Expert
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.modes import MODES, beginnings
from workbench.stats.proportions import confusion
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Record, Stream, Task

CONF = Path(__file__).parents[2] / "conf"
FIRST_JOINT = 1
"""Column of the state that holds the first joint; column 0 is the time."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=271828)
    options = parser.parse_args()
    tasks: dict[str, Task] = {path.stem: build(read(path)) for path in sorted((CONF / "task").glob("*.yaml"))}
    launches = chosen(tasks, options.episodes, options.seed)
    rows: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, task in tasks.items():
            rows += check(task, launches[name], Path(folder) / f"{name}.zarr", options.seed)
            console.print(f"{name}: {len(launches[name])} episodes")
    return report(rows, options.seed)


def read(path: Path) -> Record:
    node: Record = yaml.safe_load(path.read_text(encoding="utf-8"))
    return node


def chosen(tasks: dict[str, Task], count: int, seed: int) -> dict[str, list[Launch]]:
    """Launches by task, in turn over the tasks, and over no fault and every fault that each can have."""
    turns: dict[str, Iterator[Launch]] = {name: _launches(task, seed) for name, task in tasks.items()}
    found: dict[str, list[Launch]] = {name: [] for name in tasks}
    for name in itertools.islice(itertools.cycle(tasks), count):
        found[name].append(next(turns[name]))
    return found


def _launches(task: Task, seed: int) -> Iterator[Launch]:
    specifications = [build(read(path)[path.stem]) for path in sorted((CONF / "perturbation").glob("*.yaml"))]
    order = np.random.default_rng([seed, len(task.name)]).permutation(len(specifications))
    index = itertools.count()
    while True:
        yield Launch(Stream(seed, next(index)))
        for number in order:
            stream = Stream(seed, next(index))
            try:
                specifications[number].suits(scripted(task))
                yield Launch(stream, (specifications[number].draw(stream, task),))
            except ConfigError:  # a fault that means nothing on this task, or to this policy
                continue


def scripted(task: Task) -> Expert:
    """The policy: it goes by what the robot sees and is told."""
    return Expert(task, privileged=False, listens=True)


def check(task: Task, launches: list[Launch], path: Path, seed: int) -> list[Record]:
    """Roll, store, and read again."""
    lockstep = Lockstep(task, scripted(task), 4)
    writer = StoreWriter.open(path, StoreHeader(task.name, task.control_hz, task.deadline, {}, {}, seed))
    for episode in lockstep.record(launches):
        writer.append(episode)
    writer.close()
    store, rows = Store.open(path), []
    for number in range(len(store)):
        episode = store.episode(number)
        moved = copy.deepcopy(episode)
        moved.steps["state"][len(moved.steps["state"]) // 2, FIRST_JOINT] += 1e-9
        differing, steps = differences(task.scene(), episode)
        rows.append(
            {
                **{name: episode.record[name] for name in ("task", "uid", "perturbation", "failure_mode", "length")},
                "begun": [mode for mode, _ in beginnings(episode.steps["modes"])],
                "predicates": differing,
                "steps": steps,
                "noticed": bool(differences(task.scene(), moved)[0]),
            }
        )
    return rows


def report(rows: list[Record], seed: int) -> int:
    """Print the tables; non-zero unless all is equal and every control was noticed."""
    shown = table("read again from restored states", "task", "episodes", "control steps", "differing", "modes seen")
    for name in sorted({row["task"] for row in rows}):
        mine = [row for row in rows if row["task"] == name]
        differing = sum(bool(row["predicates"] or row["steps"]) for row in mine)
        seen = sum(len(row["begun"]) for row in mine)
        shown.add_row(name, *map(str, (len(mine), sum(row["length"] for row in mine), differing, seen)))
    console.print(shown)
    columns = {name: [row[name] for row in rows] for name in ("perturbation", "failure_mode")}
    counted = table("injected and seen", "injected", "seen", "episodes")
    for row in confusion(columns):
        counted.add_row(row["perturbation"] or "no fault", row["failure_mode"] or "success", str(row["episodes"]))
    console.print(counted)
    begun = {mode for row in rows for mode in row["begun"]}
    console.print(f"modes that came up: {', '.join(mode for mode in MODES if mode in begun)}")
    wrong = [f"{row['uid']} ({', '.join(row['predicates'])})" for row in rows if row["predicates"] or row["steps"]]
    noticed = sum(row["noticed"] for row in rows)
    steps = sum(row["length"] for row in rows)
    console.print(f"n = {len(rows)} episodes, {steps} control steps, seed {seed}; differing: {len(wrong)}")
    console.print(f"control: a joint moved by 1e-9 was noticed in {noticed} of {len(rows)}")
    if wrong:
        console.print("\n".join(wrong))
    return verdict(not wrong and noticed == len(rows), "predicates and modes follow from the stored states")


if __name__ == "__main__":
    sys.exit(main())
