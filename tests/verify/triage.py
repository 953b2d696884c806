"""Do cheap signals find what is worth looking at? 100 of 1,000 episodes by signals, failed first, and at random.

Of each task, 1,000 episodes of the zoo's policy are rolled: 200 nominal ones and 100 under each of eight faults, as
conf/perturbation draws them.  An episode is *informative* if its outcome was open: at one or both of two policy calls,
one drawn from each half of it, the policy succeeds in 2 to 4 of 6 branches, so that 0.2 < V < 0.8.  That was decided
before any store was looked at, it is measured for all 1,000, successes too, and no chooser reads it.

Choosers take 100 each:

signals         the highest rank of :func:`workbench.triage`'s signals: of the log alone, without labels and outcome
failed first    failed episodes in random order, then the others
at random       any

Shown with exact intervals, over all and by fault, and the factor over random (Signals states 82, 74 and 54 %, 1.52 x).

Run: make verify WHAT=triage ARGS="--into /tmp/triage-study"      goes on where it stopped; half an hour of a core
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import workbench as wb
from workbench.attribution.labels import Values, measure_values
from workbench.execution.processes import Processes
from workbench.rollouts.setup import branching_setup
from workbench.store import Store

TASKS = ("lift", "stack")
FAULTS = (
    "slip", "action_noise", "action_bias", "latency", "object_shift", "observation_freeze", "object_pose_noise",
    "sampler_noise",
)  # fmt: skip
NOMINAL, EACH, SAMPLES = 200, 100, 8
VALUES = Values(splits=("test",), calls=2, branches=6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder of the stores; what is there is kept")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--scale", type=float, default=1.0, help="part of the 1,000 episodes")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    for task in options.tasks.split(","):
        measured(options.into / f"{task}.zarr", task, options.scale, options.workers)
    return 0


def measured(path: Path, name: str, scale: float, workers: int) -> Store:
    """The episodes of a task with the values that say which are informative."""
    task = wb.task(name)
    policy, runner = wb.policy(f"zoo/{name}_flow", task), Processes(workers=workers)
    wb.rollout(task, policy, episodes=round(NOMINAL * scale), into=path, samples=SAMPLES, runner=runner)
    store = wb.rollout(
        task, policy, FAULTS, one_each=True, episodes=round(EACH * scale), into=path, samples=SAMPLES, runner=runner
    )
    measure_values(path, branching_setup(store, task, policy, runner), VALUES)
    return Store.open(path)


if __name__ == "__main__":
    sys.exit(main())
