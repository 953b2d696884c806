"""Is a guard part of every moment, and is what is looked up and branched what a live rollout does?

On several tasks the zoo's policy is rolled under a fault, and monitors are fitted on nominal episodes of their own.
The claims, each over as many comparisons as ``--count`` says, shared equally by tasks and strategies:

- *restored*: from a random step of a guarded episode (monitor, strategy and whoever drives amid their work) everything
  is rolled on, and states, actions and memories are those of the episode bit for bit;
- *live is branched*: a guarded episode is, from its first alarm on, the branch from the stored one without a guard;
- *looked up is live*: success and length of a guarded episode are those of the counterfactual table.

Run: make verify WHAT=guards ARGS="--count 200 --tasks lift,door"
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.verify.claims import table, verdict
from workbench.attribution.branching import intervene
from workbench.config.named import nodes
from workbench.execution.progress import console
from workbench.monitoring.assembly import MonitorSettings
from workbench.recovery.paired import first_alarms
from workbench.recovery.tables import NEVER, asked_at, tabulate
from workbench.rollouts.arms import EXPERT, built
from workbench.rollouts.guard import Guard, steps_beyond
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import perturbations_of, stream_of
from workbench.store import Store
from workbench.types import Episode, Policy, Record, Strategy, Task

FAULTS = {"push_t": "action_gain"}
FAULT = "action_noise"
STRATEGIES: dict[str, Record] = {
    "placebo": {}, "expert": {}, "expert_for_20": {"steps": 20}, "redraw": {}, "more_time": {}, "home": {},
    "backtrack": {}, "best_of": {"score": "chunk_overlap", "samples": 4},
    "reward_steered": {"offset_m": [0.0, 0.0, 0.1]}, "adaptive_chunking": {"self_guidance": 1.0},
    "retrieve": {"within": 1.0}, "skill": {}, "reward_steered_for_stage": {"reward": "stage", "target": None},
}  # fmt: skip
"""Name of the arm -> settings of the strategy of its first word."""
TARGETS = {"lift": "cube_pos", "stack": "cube_a_pos", "door": "handle_pos", "peg_insertion": "hole_pos"}
"""Of the arm that is led towards a place."""
SCORES = ("mahalanobis", "stac", "chunk_overlap")
SAMPLES, SCENES, HORIZON = 8, 8, 2.0


@dataclasses.dataclass
class Counts:
    """What came of one task and strategy."""

    restored: int = 0
    error: float = 0.0
    branched: int = 0
    apart: int = 0
    looked_up: int = 0
    differing: int = 0


def main() -> int:
    options = arguments()
    chosen = options.tasks.split(",")
    each = -(-options.count // (len(chosen) * len(STRATEGIES)))
    found: dict[tuple[str, str], Counts] = {}
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            for arm, counts in task_counts(name, each, Path(folder), options).items():
                found[name, arm] = counts
                console.print(f"{name} {arm}: {counts}", markup=False)
    return report(found)


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=200, help="comparisons of each claim")
    options.add_argument("--tasks", default="lift,stack,door,peg_insertion")
    options.add_argument("--seed", type=int, default=0)
    return options.parse_args()


def task_counts(name: str, each: int, folder: Path, options: argparse.Namespace) -> dict[str, Counts]:
    """All claims on one task."""
    task = wb.task(name)
    policy = wb.policy(f"zoo/{name}_flow", task)
    quiet: dict[str, Any] = {"samples": SAMPLES, "images": False, "seed": options.seed}
    store = wb.rollout(task, policy, episodes={"fit": 6, "calibrate": 8}, into=folder / "a.zarr", **quiet)
    # Many are more than are needed: some have no alarm.
    faulty = {"test": each + each // 2 + 4}
    store = wb.rollout(task, policy, [FAULTS.get(name, FAULT)], episodes=faulty, into=folder / "a.zarr", **quiet)
    settings = MonitorSettings(level=0.4)
    monitors = wb.fit(store, SCORES, ["split_conformal"], settings=settings, seed=options.seed)
    monitor = max(monitors.values(), key=lambda one: len(first_alarms(store, one)))
    alarms = {number: step for number, (step,) in list(first_alarms(store, monitor).items())[:each]}
    nodes_of = {arm: node_of(arm, given, name, store) for arm, given in STRATEGIES.items()}
    arms = built(nodes_of, task, policy, EXPERT, None, [monitor, *monitors.values()])
    looked_up = tabulate(
        store, nodes_of, task, policy, at={store.uids[number]: {step} for number, step in alarms.items()},
        horizon=HORIZON, monitors=[monitor, *monitors.values()],
    )  # fmt: skip
    random = np.random.default_rng(options.seed)
    counts = {}
    for arm, strategy in arms.items():
        horizon = steps_beyond(task.deadline, HORIZON)
        guard = Guard(monitor, strategy, horizon=horizon)
        lockstep = Lockstep(task, policy, SCENES, samples=SAMPLES, images=False, guard=guard)
        whole = [store.episode(number) for number in alarms]
        launches = [Launch(stream_of(one), perturbations_of(one)) for one in whole]
        rolled = dict(lockstep.record_numbered(launches))
        live = [rolled[place] for place in range(len(launches))]
        counts[arm] = made = Counts()
        restore(lockstep, launches, live, random, made)
        compare_branches(store, live, alarms, strategy, policy, task, horizon, made)
        for episode, (number, step) in zip(live, alarms.items(), strict=True):
            (row,) = looked_up.cells({store.uids[number]: step})
            steps = int(looked_up.arms[arm][row, 0])
            within = looked_up.horizon if looked_up.more_time[arm][row] else looked_up.deadline
            want = (steps, True) if NEVER < steps <= within else (within, False)
            made.looked_up += 1
            made.differing += want != (episode.record["length"], episode.record["success"])
    return counts


def node_of(arm: str, settings: Mapping[str, Any], task: str, store: Store) -> Record:
    """Configuration of a strategy on a task; what worked is looked up in the store's own fit split."""
    (node,) = nodes("strategy", [arm.partition("_for_")[0]]).values()
    there = {"target": TARGETS.get(task), "successes": str(store.path)}
    return {**node, **{key: value for key, value in there.items() if key in node}, **settings}


def restore(
    lockstep: Lockstep,
    launches: Sequence[Launch],
    live: Sequence[Episode],
    random: np.random.Generator,
    counts: Counts,
) -> None:
    """From a random step of every episode, roll on and compare."""
    steps = [{int(random.integers(0, episode.record["length"]))} for episode in live]
    moments = lockstep.starts(launches, steps)
    starts = [next(iter(found.values())) for found in moments]
    again = [dataclasses.replace(one, start=start) for one, start in zip(launches, starts, strict=True)]
    for number, rest in lockstep.record_numbered(again):
        counts.restored += 1
        counts.error = max(counts.error, difference(live[number], rest, min(steps[number])))


def difference(whole: Episode, rest: Episode, first: int) -> float:
    """Largest difference of the rows of a branch from those of the episode; infinite where one is longer."""
    pairs = [(rest.memory, whole.memory[first:])]
    pairs += [(rest.steps[key], whole.steps[key][first:]) for key in ("state", "action", "applied")]
    if any(one.shape != other.shape for one, other in pairs):
        return np.inf
    return max(float(np.nan_to_num(np.abs(one - other), nan=np.inf).max(initial=0.0)) for one, other in pairs)


def compare_branches(
    store: Store,
    live: Sequence[Episode],
    alarms: Mapping[int, int],
    strategy: Strategy,
    policy: Policy,
    task: Task,
    horizon: int,
    counts: Counts,
) -> None:
    """Roll the branch from every alarm and hold it against the guarded episode."""
    launches = []
    for number, step in alarms.items():
        calls = store.calls(number, strategy.needs)
        row = int(np.searchsorted(calls.step, step))
        (asked,) = asked_at(strategy, calls, [row], policy, task.deadline)
        assert asked is not None
        launches.append(intervene(store.episode(number), step, asked, policy, horizon=horizon))
    rolled = Lockstep(task, policy, SCENES, images=False).record_numbered(launches)
    for place, rest in rolled:
        counts.branched += 1
        counts.apart += difference(live[place], rest, list(alarms.values())[place]) != 0.0


def report(found: Mapping[tuple[str, str], Counts]) -> int:
    """Print the table; non-zero unless every claim holds."""
    columns = ("task", "strategy", "restored", "max |error|", "branched", "apart", "looked up", "differing")
    shown = table("guards", *columns)
    for (task, arm), counts in found.items():
        shown.add_row(task, arm, *(f"{value:g}" for value in dataclasses.astuple(counts)))
    console.print(shown)
    fields = [field.name for field in dataclasses.fields(Counts)]
    totals = {name: sum(getattr(each, name) for each in found.values()) for name in fields}
    worst, apart, differing = max(each.error for each in found.values()), totals["apart"], totals["differing"]
    claim = (
        f"{totals['restored']} guarded moments go on with an error of {worst:g}, {totals['branched']} live episodes "
        f"are their branches but for {apart}, and {totals['looked_up']} are as looked up but for {differing}"
    )
    return verdict(worst == 0.0 and not apart and not differing, claim)


if __name__ == "__main__":
    sys.exit(main())
