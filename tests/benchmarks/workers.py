"""Two worker processes against one: the same batches of episodes, in turns.

Run on a machine with two quiet cores::

    OMP_NUM_THREADS=1 python -m tests.benchmarks.workers [repetitions]

Every episode is a nominal one of Lift with the scripted expert, rolled as the jobs do it (``map_unordered`` over a
``Lockstep``).  Each repetition does all of it once on one worker and once on two; the first is thrown away, since
workers start and compile in it.
"""

from __future__ import annotations

import statistics
import sys
import time

from workbench.config import build
from workbench.execution.processes import Processes
from workbench.policies.expert import Expert
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.types import Stream

BATCHES, EPISODES = 12, 25
LOCKSTEPS: dict[str, Lockstep] = {}


def roll(batch: int) -> int:
    """Control steps of one batch; scenes are kept from batch to batch, as the jobs keep theirs."""
    if "lift" not in LOCKSTEPS:
        task = build({"_target_": "workbench.envs.tasks.lift.Lift"})
        LOCKSTEPS["lift"] = Lockstep(task, Expert(task), EPISODES)
    launches = [Launch(Stream(0, batch * EPISODES + number)) for number in range(EPISODES)]
    return sum(outcome.length for outcome in LOCKSTEPS["lift"].outcomes(launches))


def timed(workers: int) -> tuple[float, int]:
    """Seconds and control steps of all batches."""
    start = time.perf_counter()
    steps = sum(Processes(workers).map_unordered(roll, range(BATCHES)))
    return time.perf_counter() - start, steps


def main(repetitions: int) -> None:
    """Measure and print."""
    timed(1), timed(2)
    rows = [(timed(1), timed(2)) for _ in range(repetitions)]
    ratios = [one / two for (one, _), (two, _) in rows]
    steps = {steps for row in rows for _, steps in row}
    print(f"one worker    {statistics.median(one for (one, _), _ in rows):6.2f} s")
    print(f"two workers   {statistics.median(two for _, (two, _) in rows):6.2f} s")
    print(f"ratio         {statistics.median(ratios):6.2f} x  ({min(ratios):.2f} .. {max(ratios):.2f})")
    print(f"n = {repetitions} x {BATCHES} batches of {EPISODES} episodes; control steps, the same each time: {steps}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
