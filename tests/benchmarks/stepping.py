"""Control steps per second on Lift: robosuite's own step and ours, interleaved, with the same random actions.

Run on a quiet machine, on one core::

    OMP_NUM_THREADS=1 taskset -c 0 python tests/benchmarks/stepping.py [repetitions]

Each repetition starts both from their own reset and steps them in turns of ten; the ratio is the median over those
turns, so that a load that comes and goes falls on both.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import mujoco
import numpy as np

from workbench.envs.robosuite_model import make_environment
from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.lift import Lift
from workbench.types import Array, Stream

STEPS, TURN = 100, 10


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def resident_mb() -> float:
    """Memory that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def bare_steps(scene: MujocoScene) -> None:
    """The physics alone: as many ``mj_step`` as one turn has, gravity compensated."""
    scene.data.ctrl[:7] = scene.data.qfrc_bias[:7]
    mujoco.mj_step(scene.model, scene.data, nstep=25 * TURN)


def main(repetitions: int) -> None:
    """Measure and print the table."""
    environment, scene, bare = make_environment("Lift", "Panda", 20), Lift().scene(), Lift().scene()
    rng = np.random.default_rng(0)

    def turn(step: Callable[[Array], object], actions: Array) -> float:
        return seconds(lambda: [step(action) for action in actions]) / TURN

    theirs, ours, physics = [], [], []
    for repetition in range(repetitions):
        environment.reset()
        scene.begin(Stream(0, repetition))
        for _ in range(STEPS // TURN):
            actions = rng.uniform(-1, 1, (TURN, 7))
            theirs.append(turn(environment.step, actions))
            ours.append(turn(scene.step, actions))
            bare.begin(Stream(0, repetition))
            bare.data.qpos[:], bare.data.qvel[:] = scene.data.qpos, scene.data.qvel
            physics.append(seconds(lambda: bare_steps(bare)) / TURN)
    ratios = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    snapshot = scene.snapshot()
    before = resident_mb()
    scenes = [scene.task.scene() for _ in range(20)]
    for each in scenes:
        each.step(np.zeros(7))
    extra = (resident_mb() - before) / len(scenes)

    def microseconds(work: Callable[[], object]) -> float:
        return statistics.median(seconds(work) for _ in range(500)) * 1e6

    rows = (
        ("robosuite env.step", 1 / statistics.median(theirs), "control steps/s"),
        ("scene.step", 1 / statistics.median(ours), "control steps/s"),
        ("ratio, median of turns", statistics.median(ratios), "x"),
        ("ratio, 10th .. 90th percentile", ratios[len(ratios) // 10], f"x .. {ratios[-1 - len(ratios) // 10]:.1f}"),
        ("bare mj_step, share of scene.step", 100 * statistics.median(physics) / statistics.median(ours), "%"),
        ("snapshot", microseconds(scene.snapshot), "us"),
        ("restore, same episode", microseconds(lambda: scene.restore(snapshot)), "us"),
        ("begin", microseconds(lambda: scene.begin(Stream(0, 1))), "us"),
        (
            "restore, another episode",
            microseconds(lambda: scenes[0].begin(Stream(0, 1)) and scenes[0].restore(snapshot)),
            "us, begin included",
        ),
        ("one more scene", extra, "MB"),
    )
    for name, value, unit in rows:
        print(f"{name:36s} {value:10.1f} {unit}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
