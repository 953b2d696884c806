"""Episodes a minute of ``synthesize``, beside the bare rollouts of the same launches, in turns.

Run on a machine with two quiet cores::

    OMP_NUM_THREADS=1 python -m tests.benchmarks.synthesize [repetitions]

One turn rolls the same launches of three tasks (nominal twins and three faults, the scripted policy, two workers) three
times: as ``synthesize`` does, with twins, effects, modes and a store; recorded and stored, as ``rollout`` does; and
bare, without keeping anything.  Scenes and compiled code are kept from turn to turn; the first turn is thrown away.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.config import Run, compose
from workbench.execution.executor import batches
from workbench.rollouts.launch import Launch
from workbench.rollouts.rolling import Batch, drawn, roll_batch
from workbench.rollouts.setup import setup_of
from workbench.synthesis.fill import fill_batch
from workbench.types import Stream, episode_index

TASKS = ("lift", "stack", "pick_place_can")
FAULTS = ("slip", "action_noise", "object_pose_bias")
NUMBERS = range(25)


def as_synthesize(batch: Batch) -> int:
    return len(fill_batch(batch))


def as_rollout(batch: Batch) -> int:
    return len(roll_batch(batch))


def bare(batch: Batch) -> int:
    return len(batch.setup.lockstep("bare", batch.setup.policy).outcomes(batch.launches))


def launches(run: Run) -> tuple[list[Launch], list[Launch]]:
    """Nominal ones, and those of three cells."""
    streams = [Stream(run.seed, episode_index("test", number)) for number in NUMBERS]
    faults = run.perturbations
    perturbed = [
        drawn(run.task, [faults[name]], "test", number, run.seed, name) for name in FAULTS for number in NUMBERS
    ]
    return [Launch(stream) for stream in streams], perturbed


def turn(runs: Sequence[Run], roll: Callable[[Batch], int]) -> float:
    """Episodes a minute."""
    episodes, began = 0, time.perf_counter()
    for run in runs:
        setup = setup_of(run)
        header = setup.header(run.seed, "CC0-1.0")
        for part in launches(run):
            size = min(2 * run.runner.scenes, (len(part) + 1) // 2)
            items = [Batch(setup, run.store, header, each) for each in batches(part, size)]
            episodes += sum(run.runner.map_unordered(roll, items))
    return 60 * episodes / (time.perf_counter() - began)


def main(repetitions: int) -> None:
    """Measure and print."""
    root = Path(tempfile.mkdtemp())
    words = ["job=synthesize", "policy=expert", f"perturbation=[{','.join(FAULTS)}]"]
    runs = [Run(compose([*words, f"task={task}", f"store={task}"]), root) for task in TASKS]
    kinds = {"synthesize": as_synthesize, "rollout": as_rollout, "bare": bare}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for repetition in range(repetitions + 1):
        for name, roll in kinds.items():
            shutil.rmtree(root / "datasets", ignore_errors=True)
            rate = turn(runs, roll)
            if repetition:
                rates[name].append(rate)
    shutil.rmtree(root)
    for name, found in rates.items():
        print(f"{name:<12} {statistics.median(found):8.0f} episodes/min  ({min(found):.0f} .. {max(found):.0f})")
    for other in ("rollout", "bare"):
        shares = [ours / theirs for ours, theirs in zip(rates["synthesize"], rates[other], strict=True)]
        print(f"share of {other:<8} {statistics.median(shares):6.2f}  ({min(shares):.2f} .. {max(shares):.2f})")
    print(f"n = {repetitions} turns of {len(TASKS)} x {len(NUMBERS)} x {1 + len(FAULTS)} episodes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
