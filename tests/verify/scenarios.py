"""Is a recovery skill worth more with numbers that were tuned for the failure scenario at hand?  Peg in hole, as BTMG.

The zoo's policy puts the peg into the hole under scenarios of rising difficulty:

no fault        the task as it is: what a skill breaks
bias 1, 2, 4    from when the peg has been lifted it is seen so many mm beside where it is, so that the hole lies beside
                where the policy believes it, as seen from the peg
tilted grasp    the hand turns by 0.25 rad about the line between its fingers while it lifts the peg, which stays
                upright and from then on is held tilted
half clearance  a gap of 0.25 mm on each side instead of 0.5

A stiff controller, the last of BTMG's, is left out: no fault and no option of the task makes the controller stiffer.

The guard alarms where an episode takes longer than nominal ones do (``elapsed``), once the policy has been over the
hole.  The skill is not told where the hole is, which it would know better than the policy: it searches where the hand
is.  Its numbers are tuned on alarms of the fit split; in the test split every arm is branched from the first alarm, to
twice the deadline, with the same noise:

skill           numbers by hand
tuned           those tuned for this scenario
other           those tuned for the next scenario of the list, of the last one those for the first
joint           those tuned for tilted grasps and biases drawn between 1 and 4 mm together, with the usual clearance
placebo         the policy with fresh noise and as much time
expert          sees all

Shown for each scenario and arm: successes to the horizon behind the alarms, over the placebo in points with the paired
95 % interval (Newcombe) and the exact paired test, corrected over all rows (Holm), successes of all test episodes, and
the median control step of success behind the alarms, where an episode that never succeeds counts as the longest; then
success against bias, and the tuned numbers beside the others over all scenarios with a fault.

What is there already below ``--into`` is kept, so that the same call goes on.

Run: make verify WHAT=scenarios ARGS="--into FOLDER"
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.verify.claims import table, verdict
from tests.verify.recoveries import node_of, points
from workbench.execution.progress import console
from workbench.monitoring.episodes import sound
from workbench.recovery.gains import PLACEBO, Gain
from workbench.recovery.paired import first_alarms
from workbench.recovery.tables import NEVER
from workbench.recovery.tuning import SKILL
from workbench.stats.multiple import holm
from workbench.store import table_names
from workbench.types import Array, Policy, Record, Split, Task

TASK, POLICY, MONITOR, HORIZON = "peg_insertion", "zoo/peg_insertion_flow", "elapsed+split_conformal", 2.0
HALF_M = 0.00025
"""Half of the task's clearance."""
NO_FAULT, TILTED, HALF, JOINT = "no fault", "tilted grasp", "half clearance", "joint"
BIAS, ROTATION = "object_pose_bias", "rotation"
BIASES_MM = {f"bias {length} mm": length for length in (1, 2, 4)}
LEARNED = (*BIASES_MM, TILTED, HALF)
"""Scenarios that a skill is tuned for."""
SHOWN = (NO_FAULT, *LEARNED)
NOMINAL = {"fit": 30, "calibrate": 40}
"""Episodes without a fault, beside those of the test split, to calibrate the monitor on."""
ARMS = (PLACEBO, "skill", "tuned", "other", JOINT, "expert")
ALPHA = 0.05


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Episodes of one kind.

    Attributes
    ----------
    task, policy, store : with which, and where they lie.
    fault : name of the one that they have; "" for none.
    """

    task: Task
    policy: Policy
    store: wb.Store
    fault: str = ""

    def uids(self, split: Split) -> list[str]:
        """Its episodes of a split whose physics did not diverge."""
        return [self.store.uids[number] for number in sound(self.store, split) if self._has(number)]

    def alarms(self, monitor: Any, split: Split) -> dict[str, int]:
        """Uid -> control step of the first alarm, of its episodes that have one."""
        found = first_alarms(self.store, monitor, split).items()
        return {self.store.uids[number]: step for number, (step,) in found if self._has(number)}

    def _has(self, number: int) -> bool:
        return bool(self.store.episodes["perturbation"][number] == self.fault)


def main() -> int:
    options = arguments()
    runner = wb.Processes(options.workers)
    scenarios = rolled(options, runner)
    monitor = wb.fit(scenarios[NO_FAULT].store, ["elapsed"])[MONITOR]
    numbers = tuned(scenarios, monitor, options, runner)
    found = {name: judged(name, scenarios[name], monitor, numbers, runner) for name in SHOWN}
    rows = rows_of(found)
    told(rows, found)
    better = [beside(found, against) for against in ("skill", "other", JOINT)]
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    return verdict(better[0], "numbers tuned for the scenario win more than those by hand")


def arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--into", type=Path, required=True, help="folder of all that is made; what is there is kept")
    made.add_argument("--fit", type=int, default=20, help="episodes of each scenario to tune on")
    made.add_argument("--test", type=int, default=40, help="episodes of each scenario to judge on")
    made.add_argument("--points", type=int, default=17, help="settings that each search tries")
    made.add_argument("--alarms", type=int, default=10, help="alarms of each scenario from which they are tried")
    made.add_argument("--workers", type=int, default=1)
    made.add_argument("--json", type=Path, help="file for the numbers")
    return made.parse_args()


def rolled(options: argparse.Namespace, runner: wb.Processes) -> dict[str, Scenario]:
    """Episodes of all scenarios; a store holds one magnitude of a fault, and one task."""
    task, half = wb.task(TASK), wb.task(TASK, clearance_m=HALF_M)
    policy, policy_of_half = wb.policy(POLICY, task), wb.policy(POLICY, half)
    shared: dict[str, Any] = {"seed": 0, "samples": 0, "images": False, "runner": runner}
    each, usual = {"fit": options.fit, "test": options.test}, options.into / "usual.zarr"

    def biased(length_m: float | list[float], episodes: Mapping[str, int], into: Path) -> Scenario:
        fault = wb.perturbation(BIAS, offset_m=length_m, stage="align")
        store = wb.rollout(task, policy, [fault], episodes=episodes, into=into, **shared)
        return Scenario(task, policy, store, BIAS)

    tilt = wb.perturbation(ROTATION, angle_rad=0.25, axis="x", duration_steps=50)
    wb.rollout(task, policy, episodes={**NOMINAL, "test": options.test}, into=usual, **shared)
    wb.rollout(task, policy, [tilt], episodes=each, into=usual, **shared)
    found = {JOINT: biased([0.001, 0.004], {"fit": 2 * options.fit}, usual)}
    for name, length in BIASES_MM.items():
        found[name] = biased(length / 1000, each, options.into / f"{place_of(name)}.zarr")
    store = wb.rollout(half, policy_of_half, episodes=each, into=options.into / f"{place_of(HALF)}.zarr", **shared)
    found[HALF] = Scenario(half, policy_of_half, store)
    both = found[JOINT].store
    return found | {NO_FAULT: Scenario(task, policy, both), TILTED: Scenario(task, policy, both, ROTATION)}


def place_of(name: str) -> str:
    """A scenario's name as part of a file's."""
    return name.replace(" ", "-")


def tuned(
    scenarios: Mapping[str, Scenario], monitor: Any, options: argparse.Namespace, runner: wb.Processes
) -> dict[str, Record]:
    """Scenario, and ``joint`` -> configuration of the skill with the numbers that won most in the fit split.

    A scenario without any alarm there is left out.
    """
    alarms = {name: some(scenarios[name].alarms(monitor, "fit"), options.alarms) for name in LEARNED}
    alarms[JOINT] = some(scenarios[JOINT].alarms(monitor, "fit"), 2 * options.alarms) | alarms[TILTED]
    return {name: search(name, each, scenarios[name], options, runner) for name, each in alarms.items() if each}


def some(alarms: Mapping[str, int], most: int) -> dict[str, int]:
    """The first of them."""
    return dict(itertools.islice(alarms.items(), most))


def search(
    name: str, alarms: Mapping[str, int], of: Scenario, options: argparse.Namespace, runner: wb.Processes
) -> Record:
    """The skill with numbers that were tuned from these alarms."""
    made = wb.tune_skill(
        of.store,
        alarms,
        of.task,
        of.policy,
        into=options.into / f"skill-{place_of(name)}.json",
        settings=wb.TuningSettings(points=options.points, alarms=len(alarms)),
        horizon=HORIZON,
        runner=runner,
    )
    best, first = made.points[made.best], made.points[0]
    numbers = ", ".join(f"{key} {value:.3g}" for key, value in best.numbers.items())
    console.print(
        f"{name}: of {made.branches} branches {best.won} won, by hand {first.won}, placebo {made.placebo}: {numbers}"
    )
    return {**SKILL, **made.settings}


@dataclasses.dataclass(frozen=True)
class Ends:
    """Test episodes (N,) of one scenario.

    Attributes
    ----------
    alarmed : whether the monitor alarms.
    within, waited : whether it succeeds without a guard, within the deadline and to the horizon.
    steps : arm -> control step of success (A,) behind the alarm, of alarmed ones; 0 for never.
    """

    alarmed: Array
    within: Array
    waited: Array
    steps: Mapping[str, Array]

    def won(self, arm: str) -> Array:
        """Whether alarmed episodes (A,) succeed to the horizon."""
        return self.steps[arm] > NEVER

    def overall(self, arm: str) -> int:
        """Successes of all episodes to the horizon, where a guard acts at the alarms."""
        return int(self.waited[~self.alarmed].sum() + self.won(arm).sum())

    def median(self, arm: str) -> float | None:
        """Control step by which half of the alarmed episodes have succeeded; None if fewer ever do."""
        steps = np.where(self.won(arm), self.steps[arm], np.inf)
        half = float(np.median(steps)) if steps.size else np.inf
        return half if np.isfinite(half) else None


def arms_of(name: str, numbers: Mapping[str, Record]) -> dict[str, Record]:
    """Arms of a scenario; none that is tuned where nothing was to be tuned."""
    made = {arm: node_of(arm, {}) for arm in (PLACEBO, "skill", "expert")} | {JOINT: numbers[JOINT]}
    there = [each for each in LEARNED if each in numbers]
    if name in there:
        made["tuned"] = numbers[name]
        if len(there) > 1:
            made["other"] = numbers[there[(there.index(name) + 1) % len(there)]]
    return {arm: made[arm] for arm in ARMS if arm in made}


def judged(name: str, of: Scenario, monitor: Any, numbers: Mapping[str, Record], runner: wb.Processes) -> Ends:
    """Every arm from the first alarm of every test episode of a scenario; the table lies in the store."""
    store, kept = of.store, f"arms-{place_of(name)}"
    alarms, arms, uids = of.alarms(monitor, "test"), arms_of(name, numbers), of.uids("test")
    console.print(f"{name}: {len(alarms)} alarms of {len(uids)} test episodes")
    ended = np.array([bool(store.episodes["success"][store.number_of(uid)]) for uid in uids])
    # What succeeds before any alarm needs no branch; a table has one cell at least.
    at = {uid: {alarms.get(uid, 0)} for uid, won in zip(uids, ended, strict=True) if uid in alarms or not won}
    at = at or {uids[0]: {0}}
    if kept in table_names(store.path):
        made = wb.CounterfactualTable.load(store, kept, arms)
    else:
        made = wb.tabulate(store, arms, of.task, of.policy, at=at, horizon=HORIZON, runner=runner)
        made.save(store, kept)
    waits = {uid: step > NEVER for uid, step in zip(made.uids, made.waited, strict=True)}
    cells = made.cells({uid: alarms[uid] for uid in uids if uid in alarms})
    return Ends(
        alarmed=np.array([uid in alarms for uid in uids]),
        within=ended,
        waited=np.array([waits.get(uid, won) for uid, won in zip(uids, ended, strict=True)], bool),
        steps={arm: made.arms[arm][cells, 0] for arm in arms},
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """An arm in a scenario.

    Attributes
    ----------
    wins : successes to the horizon behind the alarms.
    over_placebo, p_value : None of the placebo; the latter is corrected.
    overall : successes of all test episodes to the horizon.
    median : control step by which half of the alarmed episodes have succeeded.
    """

    scenario: str
    arm: str
    wins: int
    over_placebo: Gain | None
    p_value: float | None
    overall: int
    median: float | None


def rows_of(found: Mapping[str, Ends]) -> list[Row]:
    """A row of every scenario and arm."""
    rows = []
    for name, ends in found.items():
        for arm in ends.steps:
            over = None if arm == PLACEBO else Gain.of(ends.won(arm), ends.won(PLACEBO))
            own = None if over is None or not over.pairs else over.p_value
            rows.append(Row(name, arm, int(ends.won(arm).sum()), over, own, ends.overall(arm), ends.median(arm)))
    corrected = holm([row.p_value for row in rows], [""] * len(rows))
    return [dataclasses.replace(row, p_value=p) for row, p in zip(rows, corrected, strict=True)]


def told(rows: list[Row], found: Mapping[str, Ends]) -> None:
    """Print both tables."""
    made = table("scenarios", "scenario", "arm", "alarmed", "wins", "over placebo", "p (Holm)", "of all", "median step")
    for row in rows:
        alarmed = found[row.scenario].alarmed
        gain = "" if row.over_placebo is None else points(row.over_placebo)
        p = "" if row.p_value is None else f"{row.p_value:.2g}"
        never = "never" if alarmed.any() else ""
        median = never if row.median is None else f"{row.median:.0f}"
        overall = f"{row.overall} of {len(alarmed)}"
        made.add_row(row.scenario, row.arm, str(alarmed.sum()), str(row.wins), gain, p, overall, median)
    console.print(made)
    curve = table("success of all test episodes, without a guard and with it to the horizon", "scenario", "in time",
                  "waiting", *ARMS)  # fmt: skip
    for name, ends in found.items():
        each = [f"{ends.overall(arm) / len(ends.alarmed):.0%}" if arm in ends.steps else "" for arm in ARMS]
        curve.add_row(name, f"{ends.within.mean():.0%}", f"{ends.waited.mean():.0%}", *each)
    console.print(curve)


def beside(found: Mapping[str, Ends], against: str) -> bool:
    """Print what tuned numbers win over others behind all alarms; whether they are shown to win more."""
    both = [ends for ends in found.values() if {"tuned", against} <= ends.steps.keys()]
    if not both:
        return False
    gain = Gain.of(*(np.concatenate([ends.won(arm) for ends in both]) for arm in ("tuned", against)))
    console.print(f"tuned over {against}: {points(gain)} points of {gain.pairs} alarms, p {gain.p_value:.2g}")
    return gain.only_arm > gain.only_control and gain.p_value < ALPHA


if __name__ == "__main__":
    sys.exit(main())
