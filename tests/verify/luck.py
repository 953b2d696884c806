"""How many failures would not happen again, which of them one rerun mistakes, and how well could any score rank them?

The zoo's policies of several tasks are rolled under faults and without, as many episodes of each.  Every failure and as
many successes are rolled again from step 0 under other noise of the policy, up to ``--reruns`` times.

Shown, pooled over tasks: failures that are law (their luck surely below 0.1), luck and open, by fault, task, stage and
failure mode; what one rerun ("it passed, so it is flaky") calls wrong; the AUROC of the perfect score that knows start,
fault and policy but not the noise; and control steps that an episode's luck took.

Claims: at least 500 failures of at least 4 tasks and 10 faults are measured; every law is one that the reruns of other
noise confirm: of as many fresh reruns of each (noise that decided nothing) less than a tenth succeed.

What is there already below ``--into`` is kept, so that the same call goes on.

Run: make verify WHAT=luck ARGS="--into FOLDER"
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import workbench as wb
from tests.verify.claims import table, verdict
from workbench.attribution.laws import LuckJudgement, LuckRow, judge_luck, kind_of_luck
from workbench.attribution.luck import LABEL, measure_luck
from workbench.execution.ledger import Ledger
from workbench.execution.progress import console
from workbench.rollouts.launch import Launch
from workbench.rollouts.setup import branching_setup
from workbench.stats.proportions import clopper_pearson
from workbench.types import Policy, Record, Stream, Task
from workbench.types.faults import faults_in

TASKS = ("lift", "stack", "door", "pick_place_can")
FAULTS: Mapping[str, Record] = {
    "action_bias": {},
    "action_noise": {},
    "action_gain": {},
    "latency": {},
    "observation_freeze": {},
    "object_pose_bias": {"offset_m": [0.015, 0.03]},
    "proprioception_noise": {},
    "friction": {},
    "mass": {},
    "gripper_delay": {},
    "hand_push": {},
    "robot_start": {},
}
"""Twelve of four channels, with the magnitudes of conf/perturbation unless they are said."""
FRESH, FRESH_RERUNS = 60, 16
"""Laws that are rerun with fresh noise, and how often each."""


def main() -> int:
    options = arguments()
    stores, steps = [], {}
    for name in options.tasks.split(","):
        task = wb.task(name)
        policy = wb.policy(f"zoo/{name}_flow", task)
        store = rolled(task, policy, options)
        runner = wb.Processes(options.workers)
        setup = branching_setup(store, task, policy, runner)
        ledger = Ledger(store.path.with_suffix(".luck.json"))
        steps[name] = measure_luck(store, setup, options.reruns, ledger)
        stores.append(wb.open_store(store.path))
        console.print(f"{name}: luck of {int((stores[-1].episodes['luck_runs'] > 0).sum())} episodes")
    confirmed = [confirm(store, options) for store in stores]
    return report(stores, steps, confirmed, options)


def arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--into", type=Path, required=True, help="folder of all that is made; what is there is kept")
    made.add_argument("--tasks", default=",".join(TASKS))
    made.add_argument("--episodes", type=int, default=24, help="of every task and fault")
    made.add_argument("--reruns", type=int, default=64)
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", type=Path, help="a file for the numbers")
    return made.parse_args()


def rolled(task: Task, policy: Policy, options: argparse.Namespace) -> wb.Store:
    """Episodes without a fault, and of every fault that suits the task."""
    path, runner = options.into / f"{task.name}.zarr", wb.Processes(options.workers)
    faults = {name: wb.perturbation(name, **said) for name, said in FAULTS.items() if suits(name, said, task, policy)}
    told = {"into": path, "seed": options.seed, "samples": 0, "images": False, "runner": runner}
    wb.rollout(task, policy, episodes={"calibrate": options.episodes}, **told)
    return wb.rollout(task, policy, faults, episodes={"test": options.episodes}, one_each=True, **told)


def suits(name: str, said: Record, task: Task, policy: Policy) -> bool:
    """Whether a task and a policy can have a fault."""
    try:
        fault = wb.perturbation(name, **said)
        fault.draw(Stream(0, 0), task)
        fault.suits(policy)
    except wb.WorkbenchError as error:
        console.print(f"left out: {name} of {task.name}: {error}", markup=False)
        return False
    return True


def confirm(store: wb.Store, options: argparse.Namespace) -> tuple[int, int]:
    """Successes and reruns of laws among failures, under noise that decided nothing; kept beside the store."""
    kept = store.path.with_suffix(".fresh.json")
    if kept.exists():
        won, ran = json.loads(kept.read_text(encoding="utf-8"))
        return won, ran
    rows = store.episodes
    laws = [n for n in range(len(store)) if not rows["success"][n] and kind_of_luck(row_of(store, n)) == "law"]
    chosen = laws[:: max(1, len(laws) // FRESH)][:FRESH]
    task = wb.task(store.header.task)
    launches = []
    for number in chosen:
        stream = Stream(int(rows["seed"][number]), int(rows["index"][number]))
        faults = faults_in(rows["perturbations"][number], str(rows["uid"][number]))
        noises = [stream.child("fresh", str(rerun)) for rerun in range(FRESH_RERUNS)]
        launches += [Launch(stream, faults, noise=noise) for noise in noises]
    policy = wb.policy(f"zoo/{store.header.task}_flow", task)
    won = sum(outcome.success for outcome in wb.Lockstep(task, policy, 16).outcomes(launches))
    kept.write_text(json.dumps([won, len(launches)]), encoding="utf-8")
    return won, len(launches)


def row_of(store: wb.Store, number: int) -> Record:
    return {name: store.episodes[name][number] for name in ("success", *LABEL.columns)}


def report(
    stores: Sequence[wb.Store],
    steps: Mapping[str, int],
    confirmed: Sequence[tuple[int, int]],
    options: argparse.Namespace,
) -> int:
    """Print the tables; non-zero unless every claim holds."""
    found = judge_luck(*stores)
    for by in ("fault", "task", "stage", "failure mode", "all"):
        columns = ("failures", "law", "luck", "open", "luck, %", "reruns won, %", "mistaken, %")
        shown = table(f"failures by {by}", by, *columns)
        for row in found.of(by):
            shown.add_row(row.name or ("no fault" if by == "fault" else "all"), *cells(row))
        console.print(shown)
    measured = sum(found.measured)
    for store in stores:
        alone = judge_luck(store)
        console.print(f"{store.header.task}: ceiling {words(alone)}; {steps[store.header.task]} control steps")
    console.print(
        f"{found.measured[0]} of {found.failures} failures, {found.measured[1]} of {found.successes} successes; "
        f"{found.runs_each:.1f} reruns and {sum(steps.values()) / measured:.0f} control steps an episode\n"
        f"of measured successes {found.lucky_successes[0]} are luck and {found.lucky_successes[1]} law\n"
        f"AUROC of the perfect score that does not know the noise: {words(found)}"
    )
    won, ran = (sum(each) for each in zip(*confirmed, strict=True))
    low, high = clopper_pearson(won, ran)
    console.print(f"laws rerun under fresh noise: {won} of {ran} succeed ({100 * low:.2f} to {100 * high:.2f} %)")
    if options.json:
        told = {"rows": found.rows_of_table(), "steps": steps, "fresh": [won, ran], "ceiling": found.ceiling}
        options.json.write_text(json.dumps(told), encoding="utf-8")
    faults = {row.name for row in found.of("fault")} - {""}
    claims = {
        "at least 500 failures of 4 tasks and 10 faults": found.measured[0] >= 500
        and len(found.of("task")) >= 4
        and len(faults) >= 10,
        "laws stay laws under fresh noise": ran > 0 and high < 0.1,
    }
    return max(verdict(holds, claim) for claim, holds in claims.items())


def cells(row: LuckRow) -> list[str]:
    mistaken = "" if row.mistaken is None else percents(row.mistaken)
    counts = [str(each) for each in (row.failures, row.law, row.luck, row.open)]
    return [*counts, percents(row.luck_share), f"{100 * row.reruns_won:.0f}", mistaken]


def percents(of: Sequence[float]) -> str:
    share, low, high = (100 * each for each in of)
    return f"{share:.0f} ({low:.0f}-{high:.0f})"


def words(found: LuckJudgement) -> str:
    return "not defined" if found.ceiling is None else "{:.3f} ({:.3f} to {:.3f})".format(*found.ceiling)


if __name__ == "__main__":
    sys.exit(main())
