"""Are the labels those of a full scan, at a fraction of its cost, and does the decisive step find the fault?

Failed episodes of learned policies on four tasks, half of the faults single events, the rest persistent.  The policies
are those of ``workbench collect`` and ``workbench train``, made first where they are missing, and called every
``EXECUTE`` control steps.  Every episode is labelled as ``workbench label`` does.  Then the policy's value is measured
at every policy call, with the same branches and looks, and the last call that is not below one half decides the scan's
onset.  On the first episode of every cell the expert is also tried from every step, and every replacement of every step
is executed.

A failure counts as that of a single event if the fault struck and the nominal twin succeeds.

Claims: the onset is the scan's on at least 95 % of the episodes; each search simulates at most a quarter of the control
steps of its scan; every label has its interval; and of the failures whose fault is a single event at least 80 % have a
decisive step within 10 control steps of t_inj .. t_eff.

A cell (a task, a fault, a few failures) is kept in runs/verify-labels/ as soon as it is done, and not done again.

Run: make verify WHAT=labels
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.verify.claims import command, parser, table, verdict
from workbench.attribution.branching import THETA, drive, first_step, measure_value
from workbench.attribution.decisive import call_at, take_detour
from workbench.attribution.labels import SEARCHES, Settings, label_episodes, nominal_twins
from workbench.config import Run, build, compose, digest
from workbench.execution.processes import Processes
from workbench.execution.progress import console, progress
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import bare_start, perturbations_of, stream_of
from workbench.stats.proportions import clopper_pearson
from workbench.types import Episode, Record, Stream, episode_index

TOLERANCE_STEPS = 10
SCENES = 16
FAILURES_PER_CELL = 3
MAX_TRIED = 120

POLICIES: Mapping[str, Sequence[str]] = {
    "lift": (),
    "stack": ("job.episodes=250", "job.trainer.iterations=6000"),
    "door": (),
    "pick_place_can": ("job.episodes=250", "job.trainer.iterations=6000"),
}
"""Task -> words for ``workbench collect`` and ``workbench train``."""
EXECUTE: Mapping[str, int] = {"lift": 2, "stack": 2, "door": 2, "pick_place_can": 4}
"""Control steps between policy calls: fewer than by default, so that there are many calls at which a value can change.
"""

FAULTS: Mapping[str, Record] = {
    "shift": {"_target_": "object_shift.ObjectShift", "offset_m": [0.06, 0.12], "stage": 1},
    "push": {"_target_": "push.Push", "force_n": [2.0, 4.0], "duration_steps": [3, 6], "stage": 1},
    "noise burst": {"_target_": "action_noise.ActionNoise", "std_fraction": 1.5, "duration_steps": 16, "stage": 1},
    "bias burst": {"_target_": "action_bias.ActionBias", "bias_fraction": [0.8, 1.0], "duration_steps": 16, "stage": 1},
    "slip": {"_target_": "slip.Slip", "open_steps": [30, 50], "stage": 2},
    "bias": {"_target_": "action_bias.ActionBias", "bias_fraction": [0.3, 0.6]},
    "pose bias": {"_target_": "object_pose_bias.ObjectPoseBias", "offset_m": [0.018, 0.028]},
    "friction": {"_target_": "friction.Friction", "friction_scale": [0.009, 0.05]},
    "latency": {"_target_": "latency.Latency", "latency_steps": [3, 6]},
}
"""``stage`` counts the task's own stages from 0."""
SINGLE = ("shift", "push", "noise burst", "bias burst", "slip")
"""Faults that strike once and are over."""
FAULTS_OF: Mapping[str, Sequence[str]] = {
    "lift": ("shift", "latency", "push", "bias", "noise burst"),
    "stack": ("shift", "pose bias", "push", "latency", "noise burst", "slip"),
    "door": ("noise burst", "friction", "bias burst", "latency", "slip"),
    "pick_place_can": ("shift", "pose bias", "push", "friction", "noise burst", "latency", "bias burst"),
}
"""Those under which a task's policy fails now and then (found on other seeds)."""
SLOW = ("pick_place_can",)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A few failures of one task under one fault."""

    task: str
    fault: str
    single: bool
    number: int
    seed: int
    settings: Settings

    def file(self, kind: str) -> str:
        """Name of the file that keeps its labels or its scans; scans do not depend on how decisions are searched."""
        made_by = {"policy": list(POLICIES[self.task]), "execute": EXECUTE[self.task], "faults": FAULTS[self.fault]}
        decided = self.settings.branches if kind == "scan" else dataclasses.asdict(self.settings)
        return f"{digest(dataclasses.asdict(self) | {'settings': decided} | made_by)}.{kind}.json"


def main() -> int:
    options = arguments()
    settings = Settings(tuple(options.branches), 20, (4, 8, 16, 32), 16)
    folder = options.root / "runs" / "verify-labels"
    folder.mkdir(parents=True, exist_ok=True)
    cells = plan(options, settings)
    train_missing(options.root, options.tasks)
    for kind, function in (("labels", measure), ("scan", scan)):
        wanted = [cell for cell in cells if not (folder / cell.file(kind)).exists()]
        with progress(kind, len(cells)) as advance:
            advance(len(cells) - len(wanted))
            items = [(str(options.root), cell) for cell in wanted]
            for name, rows in Processes(options.workers).map_unordered(function, items):
                (folder / name).write_text(json.dumps(rows), encoding="utf-8")
                advance(1)
    rows = []
    for cell in cells:
        both = (json.loads((folder / cell.file(kind)).read_text(encoding="utf-8")) for kind in ("labels", "scan"))
        for label, scanned in zip(*both, strict=True):
            rows.append(label | scanned | {"scan_steps": label["scan_steps"] | scanned["scan_steps"]})
    return report(rows, options)


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--episodes", type=int, default=100, help="failed episodes, at least; by the cell")
    options.add_argument("--tasks", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    options.add_argument("--branches", nargs="+", type=int, default=[4, 8, 16], help="looks at a value")
    options.add_argument("--workers", type=int, default=2)
    return options.parse_args()


def plan(options: argparse.Namespace, settings: Settings) -> list[Cell]:
    """Cells in turn over tasks and their faults, until they hold enough failures; the longest task every third time."""
    count = -(-options.episodes // FAILURES_PER_CELL)
    turns = {task: itertools.cycle(enumerate(FAULTS_OF[task] * count)) for task in options.tasks}
    cells: list[Cell] = []
    for number in range(count):
        for task in options.tasks:
            if task in SLOW and number % 3:
                continue
            place, fault = next(turns[task])
            cells.append(Cell(task, fault, fault in SINGLE, place // len(FAULTS_OF[task]), options.seed, settings))
    return cells[:count]


def run_of(root: str, task: str) -> Run:
    """The run that holds a task's policy."""
    return Run(compose([f"name=labels-{task}", f"task={task}"]), Path(root))


def train_missing(root: Path, names: Sequence[str]) -> None:
    """Make the policies that are not there yet, with the command line."""
    for task in names:
        if run_of(str(root), task).checkpoint.exists():
            continue
        for job in ("collect", "train"):
            words = [word for word in POLICIES[task] if ("trainer" in word) == (job == "train")]
            subprocess.run(command(job, f"name=labels-{task}", f"task={task}", *words), cwd=root, check=True)


@functools.cache
def drivers(root: str, task: str) -> tuple[Lockstep, Lockstep]:
    """The policy and the expert of a task, with their scenes."""
    run = run_of(root, task)
    policy, expert = run.policy(), build({"_target_": "workbench.policies.expert.Expert"}, task=run.task)
    policy.execute = EXECUTE[task]
    return Lockstep(run.task, policy, SCENES), Lockstep(run.task, expert, SCENES)


def measure(item: tuple[str, Cell]) -> tuple[str, list[Record]]:
    """Label the failures of a cell; of the first, every replacement of every step is executed, too."""
    root, cell = item
    policy, expert = drivers(root, cell.task)
    failed = failures(cell, policy)
    labels = label_episodes(failed, policy.task, policy, expert, cell.settings)
    rows = []
    for place, (episode, label) in enumerate(zip(failed, labels, strict=True)):
        row = {"task": cell.task, "fault": cell.fault, "single": cell.single, "t_inj": episode.record["t_inj"]}
        row |= label.columns | {"steps": label.steps, "replay": label.replay_error, "scan_steps": {}}
        (twin,) = nominal_twins([episode], policy)
        row["caused"] = bool(row["t_inj"] >= 0 and twin is not None and twin.record["success"])
        if place == 0:
            row["scan_steps"] = {"decisive step": scan_decision(episode, policy, expert, cell.settings)}
        rows.append(row)
    return cell.file("labels"), rows


def scan(item: tuple[str, Cell]) -> tuple[str, list[Record]]:
    """The value at every policy call of the failures of a cell; of the first, the expert from every step, too."""
    root, cell = item
    policy, expert = drivers(root, cell.task)
    rows = []
    for place, episode in enumerate(failures(cell, policy)):
        onset, steps = scan_onset(episode, policy, cell.settings)
        row: Record = {"scan_on": onset, "scan_steps": {"onset": steps}}
        if place == 0:
            point, steps = scan_point(episode, expert)
            row |= {"scan_pnr": point, "scan_steps": row["scan_steps"] | {"point of no return": steps}}
        rows.append(row)
    return cell.file("scan"), rows


def failures(cell: Cell, policy: Lockstep) -> list[Episode]:
    """The first failed episodes of a cell, in the order of their indices."""
    parts = FAULTS[cell.fault]
    if "stage" in parts:
        parts = parts | {"stage": policy.task.stages[parts["stage"]]}
    fault = build(parts | {"_target_": f"workbench.envs.perturbations.{parts['_target_']}"})
    found: list[Episode] = []
    for first in range(0, MAX_TRIED, SCENES // 2):
        streams = [Stream(cell.seed, episode_index("test", 1000 * cell.number + first + n)) for n in range(SCENES // 2)]
        launches = [Launch(stream, (fault.draw(stream, policy.task),)) for stream in streams]
        ended = [episode for _, episode in sorted(policy.record_numbered(launches), key=lambda pair: pair[0])]
        found += [episode for episode in ended if episode.record["outcome"] == "failure"]
        if len(found) >= FAILURES_PER_CELL:
            break
    return found[:FAILURES_PER_CELL]


def scan_onset(episode: Episode, policy: Lockstep, settings: Settings) -> tuple[int, int]:
    """The onset by the value at every policy call, and the control steps that took."""
    calls, scene = [int(step) for step in episode.calls["step"]], policy.task.scene()
    found = drive([measure_value(episode, step, policy.policy, scene, settings.branches) for step in calls], policy)
    alive = [call for call, (value, _) in enumerate(found) if value.rate >= THETA]
    return first_step(episode, calls, 1 + max(alive, default=-1)), sum(steps for _, steps in found)


def scan_point(episode: Episode, expert: Lockstep) -> tuple[int, int]:
    """The point of no return by the expert from every step, and the control steps that took."""
    steps = range(len(episode.steps["action"]))
    launches = [Launch(stream_of(episode), perturbations_of(episode), bare_start(episode, step)) for step in steps]
    outcomes = expert.outcomes(launches)
    last = max((step for step, outcome in zip(steps, outcomes, strict=True) if outcome.success), default=-1)
    return last + 1, sum(outcome.length - step for step, outcome in zip(steps, outcomes, strict=True))


def scan_decision(episode: Episode, policy: Lockstep, expert: Lockstep, settings: Settings) -> int:
    """Control steps of every replacement from the injection on, once with the episode's noise."""
    (twin,) = nominal_twins([episode], policy)
    reference = twin if twin is not None and twin.record["success"] else None
    scene, made = policy.task.scene(), []
    for step in range(max(0, int(episode.record["t_inj"])), len(episode.steps["action"])):
        for end in sorted({call_at(episode, step + window) for window in settings.windows}):
            made.append(take_detour(episode, reference, step, end, policy.policy, expert.policy, scene))
    ahead = [detour for detour in made if detour.start is not None]
    stream, records = stream_of(episode), perturbations_of(episode)
    outcomes = policy.outcomes([Launch(stream, records, detour.start) for detour in ahead])
    behind = sum(outcome.length - detour.end for detour, outcome in zip(ahead, outcomes, strict=True))
    return behind + sum(detour.steps for detour in made)


def near(row: Record) -> bool:
    """Whether a decisive step lies near the fault."""
    last = max(row["t_inj"], row["t_eff"])
    return bool(row["t_dec"] >= 0 and row["t_inj"] - TOLERANCE_STEPS <= row["t_dec"] <= last + TOLERANCE_STEPS)


def complete(row: Record) -> bool:
    """Whether every label lies in its interval."""
    inside = (
        row["t_on_low"] <= row["t_on"] <= row["t_on_high"] and row["t_pnr_low"] <= row["t_pnr"] <= row["t_pnr_high"]
    )
    decided = row["t_dec"] < 0 or 0 < row["responsibility_low"] <= row["responsibility"] <= row["responsibility_high"]
    return bool(row["t_on_low"] >= 0 and inside and decided)


def share(rows: Sequence[Record], holds: Sequence[bool]) -> str:
    """k/n with its exact 95 % interval."""
    low, high = clopper_pearson(sum(holds), len(rows))
    return f"{sum(holds)}/{len(rows)} ({100 * low:.0f}-{100 * high:.0f} %)"


def report(rows: list[Record], options: argparse.Namespace) -> int:
    """Print the tables; non-zero unless every claim holds."""
    shown = table(
        "labels of failed episodes", "fault", "episodes", "onset = scan's", "decided", "by twin", "near the fault",
        "t_on", "t_dec - t_inj", "responsibility",
    )  # fmt: skip
    for name in sorted({(row["task"], row["fault"]) for row in rows}):
        mine = [row for row in rows if (row["task"], row["fault"]) == name]
        decided = [row for row in mine if row["t_dec"] >= 0]
        cells = [len(mine), sum(row["t_on"] == row["scan_on"] for row in mine), len(decided)]
        cells += [sum(row["t_dec_by"] == "twin" for row in decided), sum(map(near, mine))]
        medians = [[row["t_on"] for row in mine], [row["t_dec"] - row["t_inj"] for row in decided]]
        medians.append([row["responsibility"] for row in decided])
        shown.add_row(" ".join(name), *map(str, cells), *(f"{np.median(m):.3g}" if m else "-" for m in medians))
    console.print(shown)
    costs = table("control steps simulated per episode", "search", "episodes", "search", "full scan", "ratio")
    ratios = {}
    for name in SEARCHES:
        scanned = [row for row in rows if name in row["scan_steps"]]
        mine, scan = (np.mean([row[key][name] for row in scanned]) for key in ("steps", "scan_steps"))
        ratios[name] = float(mine / scan)
        costs.add_row(name, str(len(scanned)), f"{mine:.0f}", f"{scan:.0f}", f"{ratios[name]:.3f}")
    console.print(costs)
    points = [row for row in rows if "scan_pnr" in row]
    struck = [row for row in rows if row["single"] and row["t_inj"] >= 0]  # a fault may wait for ever for its stage
    single = [row for row in struck if row["caused"]]
    same = [row["t_on"] == row["scan_on"] for row in rows]
    at_once = [row for row in single if abs(row["t_on"] - row["t_inj"]) <= TOLERANCE_STEPS]
    still_open = [row for row in single if row["t_pnr"] > row["t_inj"]]
    console.print(
        f"n = {len(rows)} failed episodes of {len({row['task'] for row in rows})} tasks, seed {options.seed}, looks at "
        f"{options.branches} branches; replay error {max(row['replay'] for row in rows)}\n"
        f"onset is the scan's: {share(rows, same)}; inside its interval: "
        f"{share(rows, [row['t_on_low'] <= row['scan_on'] <= row['t_on_high'] for row in rows])}\n"
        f"point of no return is the scan's: {share(points, [row['t_pnr'] == row['scan_pnr'] for row in points])}\n"
        f"t_eff is not before t_inj: {share(rows, [row['t_eff'] >= row['t_inj'] for row in rows])}\n"
        f"single events with a decisive step near the fault: {share(single, list(map(near, single)))}; "
        f"of those that the expert could still win then: {share(still_open, list(map(near, still_open)))}; "
        f"of those with the onset near it, too: {share(at_once, list(map(near, at_once)))}; "
        f"with those whose twin fails as well: {share(struck, list(map(near, struck)))}"
    )
    claims = {
        "the onset is the scan's on at least 95 %": np.mean(same) >= 0.95,
        "each search costs at most a quarter of its scan": max(ratios.values()) <= 0.25,
        "every label has its interval": all(map(complete, rows)),
        "a decisive step near the fault for at least 80 % of single events": np.mean(list(map(near, single))) >= 0.8,
        f"at least {options.episodes} episodes": len(rows) >= options.episodes,
    }
    return max(verdict(bool(holds), claim) for claim, holds in claims.items())


if __name__ == "__main__":
    sys.exit(main())
