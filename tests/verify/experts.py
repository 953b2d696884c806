"""Does the scripted expert solve every task?  Fresh episodes of every task of conf/task, within the task's deadline.

The seed decides the episodes; no expert was written or tuned on the default one.  It is what demonstrations come from
and what a point of no return is measured with, so the claim is at least 95 of 100 on every task.

Run: make verify WHAT=experts
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml

from tests.verify.claims import table, verdict
from workbench.config import build
from workbench.execution.processes import Processes
from workbench.execution.progress import console
from workbench.policies.expert import Expert
from workbench.rollouts.launch import Launch, Outcome
from workbench.rollouts.loop import Lockstep
from workbench.stats.proportions import clopper_pearson
from workbench.types import Stream

CONF = Path(__file__).parents[2] / "conf" / "task"
SHARE = 0.95


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100, help="a task")
    parser.add_argument("--seed", type=int, default=314159)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    names = [path.stem for path in sorted(CONF.glob("*.yaml"))]
    parts = np.array_split(np.arange(options.episodes), 4)
    items = [(name, options.seed, part.tolist()) for name in names for part in parts if len(part)]
    found: dict[str, list[Outcome]] = defaultdict(list)
    for name, outcomes in Processes(options.workers).map_unordered(roll, items):
        found[name] += outcomes
    shown = table("the scripted expert", "task", "successes", "95 %", "steps 50 %", "95 %", "largest", "deadline")
    short = []
    for name in names:
        solved = [outcome.length for outcome in found[name] if outcome.success]
        low, high = clopper_pearson(len(solved), len(found[name]))
        steps = [f"{value:.0f}" for value in np.percentile(solved, (50, 95, 100))] if solved else ["-"] * 3
        deadline = str(task(name).deadline)
        shown.add_row(name, f"{len(solved)}/{len(found[name])}", f"{low:.0%}-{high:.0%}", *steps, deadline)
        if len(solved) < SHARE * len(found[name]):
            short.append(name)
    console.print(shown)
    claim = f"at least {SHARE:.0%} of {options.episodes} episodes on every task, seed {options.seed}"
    return verdict(not short, claim + (f"; short: {', '.join(short)}" if short else ""))


def task(name: str):
    """The task of a file in conf/task."""
    return build(yaml.safe_load((CONF / f"{name}.yaml").read_text()))


def roll(item: tuple[str, int, list[int]]) -> tuple[str, list[Outcome]]:
    """The expert's episodes of one part."""
    name, seed, episodes = item
    lockstep = Lockstep(task(name), Expert(task(name)), 1)
    return name, lockstep.outcomes([Launch(Stream(seed, episode)) for episode in episodes])


if __name__ == "__main__":
    sys.exit(main())
