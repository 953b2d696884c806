"""What do shields do to contact forces, limits, success and nominal episodes?  And do they bear a branch?

On one task with the zoo's policy, nominal episodes and such with hand_push, obstacle, action_gain and sampler_noise, as
conf/perturbation draws them, are rolled without a shield and behind each: the same episodes, the same noise.  Monitors
of the gates are fitted and calibrated on episodes of their own splits, at the level of ``--level``.  Shown for each
shield and fault, with n and exact intervals:

success         and the paired gain over no shield, with its interval and the exact paired test
peak force      median and largest of the episodes' peaks: contact forces of the robot and of what it handles on the
                rest of the scene, at the ends of control steps (what passes between them is not seen)
lower           of the episodes whose peak is another one than without a shield, those in which it is lower
violations      control steps in 1,000 with the hand outside of the box of conf/shield, with an action beyond its speed
                limits before the actuators, and with a veto
spoke           episodes in which the shield changed or vetoed anything; failures of which it never spoke are silent

Claims: no action passes a speed limit behind that shield; gates veto no more nominal episodes than their level allows;
and from random stored steps episodes go on with error 0.0 behind their shields.

Run: make verify WHAT=shields
     make verify WHAT=shields ARGS="--task peg_insertion --only force,reflex --faults nominal,obstacle --episodes 15"
"""

from __future__ import annotations

import csv
import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from scipy.stats import beta

import workbench as wb
from tests.verify.claims import parser, table, verdict
from workbench.config.named import node_of
from workbench.envs.scene import MujocoScene
from workbench.execution.progress import console
from workbench.rollouts.gate import Shields
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.rolling import drawn
from workbench.rollouts.stored import snapshot_at, start_at
from workbench.stats.proportions import clopper_pearson, paired_gain, paired_test
from workbench.types import Array, Episode, HasRobot, Policy, Task, ability

NOMINAL = "nominal"
FAULTS = ("", "hand_push", "obstacle", "action_gain", "sampler_noise")
SAMPLES, SCENES = 32, 8
GATES = {"novelty_gate": "mahalanobis", "sensitivity_gate": "directional_sensitivity"}
SPEED = {key: float(node_of("shield", "speed")[key]) for key in ("translation_m_s", "rotation_rad_s", "change")}
SLOW = {key: limit / 2 for key, limit in SPEED.items()}
HALF = "speed, half"
"""The arm behind half of what conf/shield/speed.yaml allows."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One shield under one fault: a number for each episode."""

    success: Array
    peak_n: Array
    steps: Array
    outside: Array
    fast: Array
    fast_of_own: Array
    vetoed: Array
    spoke: Array


def main() -> int:
    options = arguments()
    task = wb.task(options.task)
    policy = wb.policy(f"zoo/{options.task}_flow", task)
    arms = shields_on(task, policy, options)
    cells: dict[tuple[str, str], Cell] = {}
    error = 0.0
    for fault in options.faults.split(",") if options.faults else FAULTS:
        fault = fault.removeprefix(NOMINAL)
        specifications = [wb.perturbation(fault)] if fault else []
        launches = [drawn(task, specifications, "test", n, options.seed) for n in range(options.episodes)]
        for arm, shields in arms.items():
            lockstep = Lockstep(task, policy, SCENES, samples=SAMPLES, images=False, shields=shields)
            episodes = [episode for _, episode in sorted(lockstep.record_numbered(launches), key=lambda one: one[0])]
            cells[fault, arm] = measured(task, episodes, SLOW if arm == HALF else SPEED)
            if shields:
                error = max(error, replayed(task, policy, shields, launches, episodes, options))
        show(fault, {arm: cells[fault, arm] for arm in arms}, options.task)
    if options.csv:
        write(options.csv, cells, options)
    return conclude(cells, error, options)


def arguments() -> Any:
    made = parser(__doc__)
    made.add_argument("--task", default="lift", help="of conf/task, with a policy zoo/<task>_flow")
    made.add_argument("--episodes", type=int, default=60, help="of every fault and shield")
    made.add_argument("--fit", type=int, default=60, help="episodes on which the gates' monitors are fitted")
    made.add_argument("--calibrate", type=int, default=100, help="episodes on which they are calibrated")
    made.add_argument("--level", type=float, default=0.05, help="of the gates")
    made.add_argument("--points", type=int, default=8, help="random steps of every cell from which is gone on")
    made.add_argument("--only", default="", help="shields, separated by commas; all that the task can have")
    made.add_argument("--faults", default="", help=f"faults, separated by commas, {NOMINAL} for none; all of them")
    made.add_argument("--csv", type=Path, help="file for the numbers of every episode")
    return made.parse_args()


def shields_on(task: Task, policy: Policy, options: Any) -> dict[str, Shields]:
    """The arms: none, each shield that the task can have, and authorisation behind all limits."""
    only = options.only.split(",") if options.only else None
    felt = "wrench" in task.observation_sizes
    limits = ["workspace", "speed", *(["force"] if felt else []), "reflex"]
    single = {name: wb.shield(name, task) for name in limits}
    arms: dict[str, Shields] = {"none": {}, **{name: {name: shield} for name, shield in single.items()}}
    arms[HALF] = {"speed": wb.shield("speed", task, **SLOW)}
    gates = [name for name in GATES if only is None or name in only]
    monitors = usual(task, policy, options) if gates else {}
    for name in gates:
        arms[name] = {name: wb.shield(name, task, monitors=monitors)}
    arms["authorisation"] = {**single, "authorisation": wb.shield("authorisation", task)}
    if only and (unknown := set(only) - arms.keys()):
        raise SystemExit(f"{options.task} has no shield {', '.join(unknown)}; there are: {', '.join(arms)}")
    return {name: shields for name, shields in arms.items() if only is None or name in ("none", *only)}


def usual(task: Task, policy: Policy, options: Any) -> Mapping[str, Any]:
    """Monitors of the gates, fitted and calibrated on nominal episodes."""
    with tempfile.TemporaryDirectory() as folder:
        counts = {"fit": options.fit, "calibrate": options.calibrate}
        seed, into = options.seed, Path(folder) / "usual.zarr"
        store = wb.rollout(task, policy, episodes=counts, into=into, samples=SAMPLES, images=False, seed=seed)
        return wb.fit(store, list(GATES.values()), level=options.level)


def measured(task: Task, episodes: Sequence[Episode], own: Mapping[str, float]) -> Cell:
    """What is counted of some episodes; ``own`` are the speed limits of the arm itself."""
    scene = task.scene()
    assert isinstance(scene, MujocoScene)
    box = node_of("shield", "workspace")
    rows = [
        (
            bool(episode.record["success"]),
            peak_n(scene, episode),
            len(episode.steps["action"]),
            int(outside(episode, box["low_m"], box["high_m"]).sum()),
            int(beyond(task, episode, SPEED).sum()),
            int(beyond(task, episode, own).sum()),
            *said(episode),
        )
        for episode in episodes
    ]
    return Cell(*(np.array(column) for column in zip(*rows, strict=True)))


def outside(episode: Episode, low_m: Sequence[float], high_m: Sequence[float]) -> Array:
    """(T,) whether the hand is outside of the box."""
    hand = episode.steps["obs/eef_pos"]
    out: Array = ((hand < low_m) | (hand > high_m)).any(axis=1)
    return out


def beyond(task: Task, episode: Episode, limits: Mapping[str, float]) -> Array:
    """(T,) whether an action before the actuators is faster, or changes by more, than the limits."""
    robot = ability(task, HasRobot, "tests.verify.shields").robot
    assert robot.arm is not None
    run = np.clip(episode.steps.get("shielded", episode.steps["action"]), -1, 1)[:, :6]
    unit = np.repeat([robot.action_m, robot.arm.action_rad], 3) * task.control_hz
    most = np.repeat([limits["translation_m_s"], limits["rotation_rad_s"]], 3)
    before = np.vstack([np.zeros(6), run[:-1]])
    far: Array = ((np.abs(run) * unit > most + 1e-9) | (np.abs(run - before) > limits["change"] + 1e-9)).any(axis=1)
    return far


def said(episode: Episode) -> tuple[int, bool]:
    """Control steps with a veto, and whether any shield said anything."""
    codes = [rows[:, 0] for key, rows in episode.steps.items() if key.startswith("shields/")]
    if not codes:
        return 0, False
    return int((np.array(codes) < 0).any(axis=0).sum()), bool(np.any(codes))


def peak_n(scene: MujocoScene, episode: Episode) -> float:
    """Largest sum of contact forces of the robot and of what it handles on the rest of the scene."""
    model, task = scene.model, scene.task
    moved = model.body_rootid[model.geom_bodyid]
    roots = [model.body_rootid[model.body(name).id] for name in (task.robot.hand_body, task.object_body)]
    ours, force, peak = np.isin(moved, roots) & (model.body_weldid[model.geom_bodyid] != 0), np.zeros(6), 0.0
    for step in range(1, len(episode.steps["action"])):
        scene.restore(snapshot_at(episode, step))
        mujoco.mj_forward(scene.model, scene.data)
        total = 0.0
        for number, (one, two) in enumerate(scene.data.contact.geom):
            if ours[one] != ours[two]:
                mujoco.mj_contactForce(scene.model, scene.data, number, force)
                total += float(np.linalg.norm(force[:3]))
        peak = max(peak, total)
    return peak


def replayed(
    task: Task, policy: Policy, shields: Shields, launches: Sequence[Launch], episodes: Sequence[Episode], options: Any
) -> float:
    """Largest difference between episodes and what goes on from random steps of them, in state and actions."""
    rng, worst = np.random.default_rng(options.seed), 0.0
    lockstep = Lockstep(task, policy, SCENES, samples=SAMPLES, images=False, shields=shields)
    chosen = [int(one) for one in rng.integers(0, len(episodes), options.points)]
    steps = [int(rng.integers(0, len(episodes[one].steps["action"]))) for one in chosen]
    going = [
        dataclasses.replace(launches[one], start=start_at(episodes[one], step, policy))
        for one, step in zip(chosen, steps, strict=True)
    ]
    for number, branch in lockstep.record_numbered(going):
        episode, step = episodes[chosen[number]], steps[number]
        for key in ("state", "shielded", "stiffness"):
            mine, theirs = branch.steps[key], episode.steps[key][step:]
            far = np.inf if mine.shape != theirs.shape else float(np.abs(mine - theirs).max(initial=0.0))
            worst = max(worst, far)
    return worst


def show(fault: str, cells: dict[str, Cell], task: str) -> None:
    """Print what came out under one fault: how episodes ended, and what was touched and passed on the way."""
    bare = cells["none"]
    title = f"{task}, {fault or 'no fault'}, n = {len(bare.success)}"
    ends = table(title, "shield", "success", "gain over none", "p", "spoke", "silent failures")
    ways = table("", "shield", "peak N", "largest", "lower", "outside", "beyond", "vetoed")
    for arm, cell in cells.items():
        gain, low, high = paired_gain(cell.success, bare.success)
        lower, other = int((cell.peak_n < bare.peak_n).sum()), int((cell.peak_n != bare.peak_n).sum())
        failed = ~cell.success.astype(bool)
        ends.add_row(
            arm,
            rate(int(cell.success.sum()), len(cell.success)),
            "" if arm == "none" else f"{100 * gain:+.0f} ({100 * low:+.0f} to {100 * high:+.0f})",
            "" if arm == "none" else f"{paired_test(cell.success, bare.success)['p_value']:.2g}",
            rate(int(cell.spoke.sum()), len(cell.spoke)),
            f"{int((failed & ~cell.spoke.astype(bool)).sum())}/{int(failed.sum())}",
        )
        thousand = [1000 * counted.sum() / cell.steps.sum() for counted in (cell.outside, cell.fast, cell.vetoed)]
        ways.add_row(
            arm,
            f"{np.median(cell.peak_n):.0f}",
            f"{cell.peak_n.max():.0f}",
            "" if arm == "none" else f"{lower}/{other}",
            *(f"{each:.1f}" for each in thousand),
        )
    console.print(ends, ways)


def rate(count: int, total: int) -> str:
    low, high = clopper_pearson(count, total)
    return f"{count}/{total} ({100 * low:.0f}-{100 * high:.0f})"


def write(path: Path, cells: dict[tuple[str, str], Cell], options: Any) -> None:
    """One row an episode."""
    names = [field.name for field in dataclasses.fields(Cell)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "fault", "shield", "number", *names])
        for (fault, arm), cell in cells.items():
            for number in range(len(cell.success)):
                writer.writerow([options.task, fault, arm, number, *(getattr(cell, name)[number] for name in names)])


def conclude(cells: dict[tuple[str, str], Cell], error: float, options: Any) -> int:
    """The claims."""
    limited = sum(int(cell.fast_of_own.sum()) for (_, arm), cell in cells.items() if arm in ("speed", HALF))
    broken = []
    for gate in [gate for gate in GATES if ("", gate) in cells]:
        count, total = int(cells["", gate].spoke.sum()), options.episodes
        # So many of the calibration episodes may lie beyond; the realised rate is a beta over their draw.
        beyond_rank = int(np.floor((options.calibrate + 1) * options.level))
        most = float(beta.ppf(0.999, beyond_rank, options.calibrate + 1 - beyond_rank)) if beyond_rank else 0.0
        if clopper_pearson(count, total, 0.998)[0] > most:
            broken.append(gate)
    points = options.points * sum(arm != "none" for _, arm in cells)
    return verdict(
        error == 0.0 and limited == 0 and not broken,
        f"{points} random steps go on behind shields with error {error}; {limited} actions beyond a limit behind its "
        f"shield; gates beyond their level on nominal episodes: {', '.join(broken) or 'none'}",
    )


if __name__ == "__main__":
    sys.exit(main())
