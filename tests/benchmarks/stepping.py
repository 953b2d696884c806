"""Control steps per second on robosuite's tasks: its own step and ours, interleaved, with the same random actions.

Run on a quiet machine, on one core::

    OMP_NUM_THREADS=1 taskset -c 0 python -m tests.benchmarks.stepping [repetitions]

Each repetition starts both from their own reset and steps them in turns of ten; the ratio is the median over those
turns, so that a load that comes and goes falls on both.  The third thing in every turn is bare ``mj_step`` of our
model: 25 physics steps from each of the states that our scene has just gone through, with its controls.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import mujoco
import numpy as np

from tests.beside import tasks_of_robosuite
from workbench.envs.robots.robosuite import make_environment
from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.shared.tabletop import Tabletop
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


def our_turn(scene: MujocoScene, actions: Array, moments: list[tuple[Array, Array]]) -> float:
    """Seconds a control step; the state before and the controls during each are kept."""
    spent = 0.0
    for action in actions:
        state = scene.snapshot().state
        spent += seconds(lambda action=action: scene.step(action))
        moments.append((state, scene.data.ctrl.copy()))
    return spent / len(actions)


def bare_turn(model: mujoco.MjModel, data: mujoco.MjData, moments: list[tuple[Array, Array]]) -> float:
    """Seconds that the physics alone takes for a control step."""
    spent = 0.0
    for state, ctrl in moments:
        mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        data.ctrl[:] = ctrl
        spent += seconds(lambda: mujoco.mj_step(model, data, nstep=25))
    return spent / len(moments)


def measure(task: Tabletop, repetitions: int) -> tuple[Array, Array, Array]:
    """Seconds a control step of every turn: robosuite's, ours, bare physics."""
    environment, scene = make_environment(task.environment, "Panda", int(task.control_hz)), task.scene()
    rng = np.random.default_rng(0)
    theirs, ours, physics = [], [], []
    for repetition in range(repetitions):
        environment.reset()
        scene.begin(Stream(0, repetition))
        data = mujoco.MjData(scene.model)
        for _ in range(STEPS // TURN):
            actions = rng.uniform(-1, 1, (TURN, 7))
            moments: list[tuple[Array, Array]] = []
            theirs.append(seconds(lambda actions=actions: [environment.step(a) for a in actions]) / TURN)
            ours.append(our_turn(scene, actions, moments))
            physics.append(bare_turn(scene.model, data, moments))
    environment.close()
    return np.array(theirs), np.array(ours), np.array(physics)


def costs_of_a_scene(task: Tabletop) -> list[tuple[str, float, str]]:
    """What it costs to stop, to copy, to begin, and to have one more."""
    scene = task.scene()
    snapshot = scene.snapshot()
    other = task.scene()

    def microseconds(work: Callable[[], object]) -> float:
        return statistics.median(seconds(work) for _ in range(500)) * 1e6

    def elsewhere() -> None:
        other.begin(Stream(0, 1))
        other.restore(snapshot)

    return [
        ("snapshot", microseconds(scene.snapshot), "us"),
        ("restore, same episode", microseconds(lambda: scene.restore(snapshot)), "us"),
        ("begin", microseconds(lambda: scene.begin(Stream(0, 1))), "us"),
        ("begin and restore another episode", microseconds(elsewhere), "us"),
        ("one more scene", megabytes_of_a_scene(task), "MB"),
    ]


def megabytes_of_a_scene(task: Tabletop) -> float:
    """Memory that each of 20 further scenes takes, in a process that has nothing else to give back."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_megabytes_of_a_scene, task).result()


def _megabytes_of_a_scene(task: Tabletop) -> float:
    scenes = [task.scene()]
    before = resident_mb()
    scenes += [task.scene() for _ in range(20)]
    rng = np.random.default_rng(0)
    for scene in scenes:
        for action in rng.uniform(-1, 1, (50, task.action_size)):
            scene.step(action)
    return (resident_mb() - before) / 20


def main(repetitions: int) -> None:
    """Measure and print the tables."""
    tasks, ratios = tasks_of_robosuite(), []
    print(f"{'task':24s} {'robosuite':>10s} {'ours':>10s} {'ratio':>7s} {'10th..90th':>13s} {'mj_step/ours':>13s}")
    for task in tasks:
        theirs, ours, physics = measure(task, repetitions)
        turns = np.sort(theirs / ours)
        ratios.append(float(np.median(turns)))
        low, high = turns[len(turns) // 10], turns[-1 - len(turns) // 10]
        print(
            f"{task.name:24s} {1 / np.median(theirs):8.0f}/s {1 / np.median(ours):8.0f}/s {ratios[-1]:6.1f}x "
            f"{low:5.1f}x..{high:4.1f}x {100 * np.median(physics / ours):12.0f}%",
            flush=True,
        )
    print(f"{'geometric mean':46s} {statistics.geometric_mean(ratios):6.1f}x")
    print(f"\n{repetitions} x {STEPS} control steps a task, ratios of turns of {TURN}, medians; one core\n")
    for task in tasks:
        for name, value, unit in costs_of_a_scene(task):
            print(f"{task.name:24s} {name:36s} {value:10.1f} {unit}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
