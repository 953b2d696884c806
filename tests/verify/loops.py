"""How many faults does a loop neutralise? The same ones against open and closed loops, retries and another driver.

On one task with the zoo's flow policy, the same episodes are rolled by six loops, nominal and under each of seven
faults, as conf/perturbation draws them:

open, 16          the whole chunk is run before the policy looks again
closed, 8, 4, 1   so many actions of it
retry             closed, 8, and at the first alarm the hand lets go, moves up and tries again (strategy retreat)
expert            closed, 8, and at the first alarm the scripted expert takes over: a bound on strategies

All end at the task's deadline: no loop is given more time.  The monitor (mahalanobis, split conformal, level 0.1) is
fitted and calibrated on nominal episodes of splits of their own.  A fault is *neutralised* in an episode if that
succeeds though its nominal twin, the same episode by the same loop without the fault, succeeds too.  *Fatal to the open
loop* is where it fails there.  MAS-FIRE states that closed loops neutralise over 40 % of what is fatal to linear ones.

Run: make verify WHAT=loops ARGS="--into loops"      goes on where it stopped; about ten minutes of a core
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import workbench as wb
from tests.verify.claims import table, verdict
from tests.verify.triage import FAULTS
from workbench.execution.processes import Processes
from workbench.execution.progress import console
from workbench.rollouts.guard import Guard
from workbench.stats.proportions import clopper_pearson
from workbench.types import Array

OPEN, CLOSED = "open, 16", "closed, 4"
LOOPS = {OPEN: (16, ""), "closed, 8": (8, ""), CLOSED: (4, ""), "closed, 1": (1, "")}
GUARDED = {"retry": (8, "retreat"), "expert": (8, "expert")}
SPLITS = {"fit": 60, "calibrate": 60}
CLAIM = 0.4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder of the stores; what is there is kept")
    parser.add_argument("--task", default="lift")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    won = {name: rolled(options, name, *how) for name, how in (LOOPS | GUARDED).items()}
    fatal = won[OPEN][:1] & ~won[OPEN][1:]
    shares = {name: neutralised(each, fatal) for name, each in won.items()}
    grid = table(
        f"{options.task}: faults neutralised, {options.episodes} episodes of each", "loop", "nominal", "neutralised",
        "95 %", "of those fatal to the open loop", "95 %",
    )  # fmt: skip
    for name, (every, of_fatal) in shares.items():
        grid.add_row(name, f"{won[name][0].sum()}/{options.episodes}", *words(every), *words(of_fatal))
    console.print(grid)
    by_fault = table("by fault", "fault", *won)
    for place, fault in enumerate(FAULTS, 1):
        by_fault.add_row(fault, *(f"{(one[0] & one[place]).sum()}/{one[0].sum()}" for one in won.values()))
    console.print(by_fault)
    low = clopper_pearson(*shares[CLOSED][1])[0]
    return verdict(low > CLAIM, f"{CLOSED} neutralises more than {CLAIM:.0%} of what is fatal to {OPEN}")


def rolled(options: argparse.Namespace, name: str, execute: int, strategy: str) -> Array:
    """Success (1 + F, N) of a loop: nominal, and under each fault."""
    task, runner = wb.task(options.task), Processes(workers=options.workers)
    policy = wb.policy(f"zoo/{options.task}_flow", task, execute=execute)
    guard = None
    if strategy:
        into = options.into / f"{options.task}-fit.zarr"
        known = wb.rollout(task, policy, episodes=SPLITS, into=into, samples=0, runner=runner)
        monitor = wb.fit(known, ["mahalanobis"], ["split_conformal"], level=0.1)["mahalanobis+split_conformal"]
        needed = {"expert": wb.policy("expert", task, privileged=True)} if strategy == "expert" else {"task": task}
        guard = Guard(monitor, wb.strategy(strategy, **needed), horizon=task.deadline)
    path = options.into / f"{options.task}-{name.replace(', ', '-')}.zarr"
    found = []
    for fault in ("", *FAULTS):
        store = wb.rollout(
            task, policy, [fault] if fault else [], episodes=options.episodes, into=path, samples=0, runner=runner,
            guard=guard,
        )  # fmt: skip
        rows = store.episodes
        mine = np.flatnonzero(rows["perturbation"] == fault)
        found.append(rows["success"][mine[np.argsort(rows["index"][mine])]].astype(bool))
    return np.array(found)


def neutralised(won: Array, fatal: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of all faults, and of those fatal to the open loop: in how many episodes a loop neutralises them, of how many."""
    counted, cured = np.broadcast_to(won[:1], won[1:].shape), won[:1] & won[1:]
    return (int(cured.sum()), int(counted.sum())), (int((cured & fatal).sum()), int((counted & fatal).sum()))


def words(share: tuple[int, int]) -> tuple[str, str]:
    """A share and its exact interval."""
    low, high = clopper_pearson(*share)
    return f"{share[0]}/{share[1]}", f"{100 * low:.0f} .. {100 * high:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
