"""What a guard costs live, and what a cell of a counterfactual table costs beside a naive full table, in turns.

Run on a quiet core::

    OMP_NUM_THREADS=1 python -m tests.benchmarks.guards [repetitions]

Live: episodes of ``lift`` on one scene, as on one robot, without a guard and with one that hears everything and never
acts, so that both run the same steps.  Its cost is the time with it less the time without, which holds all that is put
together for it; the time in which it watches stands beside, and scatters less.  Samples that a score needs are drawn in
both, and not counted: they are the policy's cost (tests/benchmarks/policies.py).  The share is of the control period,
1 / control rate.

Table: every policy call of some perturbed episodes, as ``tabulate`` does it, and as a table would be filled without
thought: every arm, cell and branch rolled for itself, though arms may ask for the same and the first branches may end
alike.  Both must say the same of what both rolled.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from workbench.attribution.branching import intervene
from workbench.config.named import nodes
from workbench.monitoring.episodes import sound
from workbench.monitoring.monitor import Monitor
from workbench.recovery.tables import BRANCH_ARRAYS, NOT_ROLLED, CounterfactualTable, one_call, succeeded_at
from workbench.rollouts.arms import EXPERT, built
from workbench.rollouts.guard import Guard, Watched
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store
from workbench.types import Alarm, Policy, Stream, Task, Threshold, episode_index

SCORES = ("rnd", "stac")
ARMS = ("redraw", "more_time", "placebo", "expert")
FAULTS = ("slip", "action_noise", "object_pose_bias")
EPISODES, CELLED, BRANCHES, SAMPLES, SCENES = 6, 1, 4, 32, 16


class Timed(Guard):
    """A guard that counts the seconds of this process in which it watches."""

    seconds = 0.0

    def watch(self, *given: Any) -> list[Watched]:
        began = time.process_time()
        found = super().watch(*given)
        self.seconds += time.process_time() - began
        return found


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is measured on."""

    task: Task
    policy: Policy
    store: Store

    def guard(self, score: str) -> Timed:
        """One that never acts."""
        fitted = wb.fit(self.store, [score], level=0.3)[f"{score}+split_conformal"]
        assert isinstance(fitted, Monitor)
        never = Threshold(np.array([1e9]), np.ones(1), 0.3, 9, "nothing")
        monitor = dataclasses.replace(fitted, threshold=never, reason="")
        return Timed(monitor, wb.strategy("placebo"), horizon=2 * self.task.deadline)


def made(folder: Path) -> Bench:
    """Nominal episodes to fit on, and perturbed ones to branch from."""
    task = wb.task("lift")
    policy = wb.policy("zoo/lift_flow", task)
    store = folder / "guards.zarr"
    wb.rollout(task, policy, episodes={"fit": 12, "calibrate": 12}, into=store, samples=SAMPLES)
    options = {"episodes": CELLED, "into": store, "one_each": True, "samples": SAMPLES}
    return Bench(task, policy, wb.rollout(task, policy, FAULTS, **options))


def live(bench: Bench, guard: Timed | None) -> Callable[[], tuple[float, float]]:
    """Seconds of this process a control step, and those of the guard; scenes and code are kept from turn to turn."""
    lockstep = Lockstep(bench.task, bench.policy, 1, samples=SAMPLES, images=False, guard=guard)
    launches = [Launch(Stream(1, episode_index("test", number))) for number in range(EPISODES)]

    def turn() -> tuple[float, float]:
        before, began = guard.seconds if guard else 0.0, time.process_time()
        steps = sum(outcome.length for outcome in lockstep.outcomes(launches))
        watched = guard.seconds - before if guard else 0.0
        return (time.process_time() - began) / steps, watched / steps

    return turn


def tabulated(bench: Bench) -> CounterfactualTable:
    """The table, with what is shared and stopped early."""
    runner = wb.Processes(workers=1, scenes=SCENES)
    return wb.tabulate(bench.store, ARMS, bench.task, bench.policy, branches=BRANCHES, runner=runner)


def naive(bench: Bench) -> dict[str, list[int]]:
    """Every branch of every cell of every arm, each rolled for itself: name -> control steps of success."""
    store, policy, deadline = bench.store, bench.policy, bench.task.deadline
    lockstep = Lockstep(bench.task, policy, SCENES, images=False)
    arms = built(nodes("strategy", ARMS), bench.task, policy, EXPERT, None)
    launches: dict[str, list[Launch]] = {name: [] for name in arms}
    for number in sound(store, "test"):
        episode, calls = store.episode(number, steps=BRANCH_ARRAYS, calls=("step", "chunk")), store.calls(number, ())
        for row, step in enumerate(calls.step.tolist()):
            for name, strategy in arms.items():
                asked = strategy.act(strategy.begin(), Alarm(one_call(calls, row), policy, deadline))
                assert asked is not None
                asked = dataclasses.replace(asked, more_time=True)
                launches[name] += [
                    intervene(episode, step, asked, policy, horizon=2 * deadline, branch=branch)
                    for branch in range(BRANCHES)
                ]
    return {name: [succeeded_at(each) for each in lockstep.outcomes(of)] for name, of in launches.items()}


def refuse_difference(table: CounterfactualTable, rolled: dict[str, list[int]]) -> None:
    """Every branch that the table has rolled ended as it does when it is rolled for itself."""
    for name, steps in table.arms.items():
        known = steps.ravel() != NOT_ROLLED
        assert np.array_equal(steps.ravel()[known], np.array(rolled[name])[known]), name


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds of this process, and what came of it."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def told(name: str, values: list[float], unit: str) -> str:
    return f"{name:<34} {statistics.median(values):9.3f} {unit}  ({min(values):.3f} .. {max(values):.3f})"


def measure_live(bench: Bench, repetitions: int) -> None:
    """Print the guard's time a control step, and its share of the control period."""
    bare = live(bench, None)
    guarded = {score: live(bench, bench.guard(score)) for score in SCORES}
    watched: dict[str, list[float]] = {score: [] for score in SCORES}
    longer: dict[str, list[float]] = {score: [] for score in SCORES}
    for repetition in range(repetitions + 1):
        without, _ = bare()
        for score, turn in guarded.items():
            whole, watching = turn()
            if repetition:  # the first turn makes scenes and compiles
                watched[score].append(watching)
                longer[score].append(whole - without)
    for score, found in watched.items():
        for what, each in ((f"guard by {score}, a control step", longer[score]), ("  of it watching", found)):
            print(told(what, [1000 * value for value in each], "ms"))
            print(told("    of a control period", [100 * value * bench.task.control_hz for value in each], "%"))
    print(f"n = {repetitions} turns of {EPISODES} episodes on one scene at {bench.task.control_hz:g} Hz")


def measure_table(bench: Bench, repetitions: int) -> None:
    """Print the seconds of a cell, and of one of a naive full table."""
    ours, naively = [], []
    for _ in range(repetitions):
        took, table = seconds(lambda: tabulated(bench))
        full, rolled = seconds(lambda: naive(bench))
        assert isinstance(table, CounterfactualTable)
        assert isinstance(rolled, dict)
        refuse_difference(table, rolled)
        cells = len(table.step) * len(ARMS)
        ours.append(took / cells)
        naively.append(full / cells)
    print(told("a cell of tabulate", ours, "s"))
    print(told("a cell of a naive full table", naively, "s"))
    print(told("naive / tabulate", [b / a for a, b in zip(ours, naively, strict=True)], "x"))
    print(f"n = {repetitions} turns of {cells} cells of {len(ARMS)} arms, {BRANCHES} branches each")


def main(repetitions: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        bench = made(Path(folder))
        measure_live(bench, repetitions)
        measure_table(bench, repetitions)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
