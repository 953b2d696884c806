"""Which attributor names the step that decided a failure?  Each is judged against steps that were executed.

Policies of the zoo, and a weak one, are rolled on several tasks, nominally and under one fault at a time.  Most faults
strike once, at a drawn step: one that acts from step 0 on is found by whoever names the first step.  The failures are
labelled as ``workbench label`` does, with fewer branches; monitors are fitted; then every attributor sees the log of
every failed test episode that has a decisive step, and names a step.

Claims: at least ten attributors are judged on at least 300 failures of at least four tasks; and no attributor was shown
a label (the tests of attribution hold that).  Which attributor is best is no claim but what is printed.

Every stage of every task is kept in the folder of ``--into``, and not done again; more episodes are added to those that
are there, by a higher ``--test``.

Run: make verify WHAT=attributors
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import workbench as wb
from tests.verify.claims import command, parser, table, verdict
from workbench.attribution.attributing import GROUPS, Attributions, AttributorFigures
from workbench.config import Run, compose
from workbench.execution.processes import Processes
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.stats.proportions import clopper_pearson

SERVED = ("language_model",)
"""Attributors that need a server."""

NOMINAL = 40
"""Nominal episodes for fitting and as many for calibrating: enough for monitors."""
LABELS = ("job.branches=[4,8]", "job.pairs=8", "job.stride=60")
"""Fewer branches than by default, and no fine point of no return, of which nothing is asked here."""

FAULTS: Mapping[str, Mapping[str, str]] = {
    "object_shift": {"offset_m": "[0.06,0.12]"},
    "push": {"force_n": "[2.0,4.0]"},
    "action_noise": {"std_fraction": "1.2", "duration_steps": "16"},
    "action_bias": {"bias_fraction": "[0.8,1.0]", "duration_steps": "16"},
    "observation_freeze": {"duration_steps": "[25,50]"},
    "slip": {"duration_steps": "[50,80]"},
    "grasp_omitted": {"duration_steps": "[50,75]"},
    "object_pose_bias": {"offset_m": "[0.022,0.034]"},
    "latency": {"latency_steps": "[4,7]"},
}
"""Fault -> its settings; those with a drawn first step take it from the task."""
STARTED = ("object_shift", "push", "action_noise", "action_bias", "observation_freeze", "object_pose_bias", "latency")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the failures of one store come from.

    Attributes
    ----------
    policy : of the zoo; "" for one that is trained on few demonstrations.
    start : control steps between which a fault strikes.
    """

    task: str
    policy: str
    start: tuple[int, int]
    faults: Sequence[str]


HELD = ("slip", "grasp_omitted")
MOTION = ("action_noise", "action_bias", "observation_freeze", "object_pose_bias", "latency")
SOURCES: Mapping[str, Source] = {
    "lift": Source("lift", "zoo/lift_flow", (2, 20), ("object_shift", "push", *MOTION, *HELD)),
    "door": Source("door", "zoo/door_flow", (5, 40), (*MOTION, *HELD)),
    "stack": Source("stack", "zoo/stack_flow", (5, 45), ("object_shift", "push", *MOTION, *HELD)),
    "pick_place_can": Source("pick_place_can", "zoo/pick_place_can_flow", (5, 60), ("object_shift", "push", *MOTION)),
    "blocks": Source("blocks", "zoo/blocks_language", (5, 30), ("object_shift", *MOTION)),
    "lift-weak": Source("lift", "", (2, 20), ("object_shift", "push", "action_noise", "object_pose_bias")),
}


PUBLISHED = (
    ("Who&When, all at once to best method", "17 -> 47 %", "Zhang et al., ICML 2025, and its followers; LLM agents"),
    ("A2P", "47.46 / 29.31 %", "arXiv 2509.10401; algorithmic / hand-crafted logs of Who&When"),
    ("FALAT", "46.0 / 29.1 %", "the same logs"),
    ("CDC-MAS", "36.2 %", "the same logs"),
    ("FAMAS", "29.35 % (54/184)", "arXiv 2509.13782; the same logs, 20 repeated runs"),
)
"""Step accuracy that papers state, against what people judged to be the decisive step: nothing of it was executed."""
LEAST_FAILURES, LEAST_ATTRIBUTORS, LEAST_TASKS = 300, 10, 4


def main() -> int:
    options = arguments()
    root = options.into.resolve()
    root.mkdir(parents=True, exist_ok=True)
    for name in options.sources if not options.judge_only else ():
        prepare(root, name, options)
    judged = [judge(root, name, options) for name in options.sources]
    return report([found for found in judged if found is not None], options)


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--into", type=Path, default=Path("runs/verify-attributors"), help="folder of what is rolled")
    options.add_argument("--sources", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    options.add_argument("--test", type=int, default=16, help="test episodes of every task and fault")
    options.add_argument("--fit", type=int, default=6, help="episodes to learn from of every task and fault")
    options.add_argument("--reruns", type=int, default=20, help="of every failure, for spectra")
    options.add_argument(
        "--attributors", nargs="+", default=[name for name in wb.names("attributor") if name not in SERVED]
    )
    options.add_argument("--judge-only", action="store_true", help="roll and label nothing more; judge what is there")
    options.add_argument("--workers", type=int, default=2)
    return options.parse_args()


def words(name: str, options: argparse.Namespace) -> list[str]:
    """What every command about one store says."""
    source = SOURCES[name]
    policy = [f"policy={source.policy}"] if source.policy else []
    shared = [f"name={name}", f"task={source.task}", f"seed={options.seed}", "rollout.samples=0"]
    return [*shared, *policy, f"runner.workers={options.workers}", "score=[rnd,knn,chunk_overlap]"]


def faults(source: Source) -> list[str]:
    """The faults of a task, one an episode."""
    said = [f"perturbation=[{','.join(source.faults)}]", "job.one_each=true"]
    for fault in source.faults:
        said += [f"++perturbation.{fault}.{key}={value}" for key, value in FAULTS[fault].items()]
        if fault in STARTED:
            said.append(f"++perturbation.{fault}.start_step=[{source.start[0]},{source.start[1]}]")
    return said


def prepare(root: Path, name: str, options: argparse.Namespace) -> None:
    """Roll, label and fit what is not there yet."""
    source, shared = SOURCES[name], words(name, options)
    if not source.policy and not (root / "runs" / name / "policy").exists():
        work(root, "collect", *shared, "job.episodes=40")
        work(root, "train", *shared, "job.trainer.iterations=1500")
    nominal = [f"job.episodes.{split}={NOMINAL}" for split in ("fit", "calibrate")]
    work(root, "rollout", *shared, *nominal, f"job.episodes.test={options.test}")
    work(
        root,
        "rollout",
        *shared,
        *faults(source),
        f"job.episodes.fit={options.fit}",
        f"job.episodes.test={options.test}",
    )
    work(root, "fit", *shared)
    work(root, "label", *shared, *LABELS)


def work(root: Path, *said: str) -> None:
    """Run one command in a folder of its own root."""
    subprocess.run(command(*said), cwd=root, check=True, env={**os.environ, "WORKBENCH_ROOT": str(root)})


def judge(root: Path, name: str, options: argparse.Namespace) -> Attributions | None:
    """What the attributors say of the failures of one store; None where no decisive step is known yet."""
    run = Run(compose(words(name, options)), root)
    if not run.store.exists() or not run.folder.joinpath("monitors").exists():
        return None
    store = wb.open_store(run.store)
    if not any((store.episodes["t_dec"] >= 0) & (store.episodes["split"] == "test")):
        return None
    return wb.attribute(
        store, options.attributors, run.task, run.policy(), monitors=load_monitors(run), reruns=options.reruns,
        seed=options.seed, runner=Processes(options.workers),
    )  # fmt: skip


def report(judged: Sequence[Attributions], options: argparse.Namespace) -> int:
    """Print the tables; non-zero unless enough was judged."""
    found = Attributions(tuple(row for each in judged for row in each.rows), sum(each.failures for each in judged))
    show("all failures", found.figures())
    for by in GROUPS:
        matrix(found, by)
    stated = table("step accuracy that papers state", "method", "step accuracy", "of what")
    for row in PUBLISHED:
        stated.add_row(*row)
    console.print(stated)
    tasks, names = {row.task for row in found.rows}, {row.attributor for row in found.rows}
    failures = len(found.rows) // max(len(names), 1)
    enough = failures >= LEAST_FAILURES and len(tasks) >= LEAST_TASKS and len(names) >= LEAST_ATTRIBUTORS
    claim = (
        f"{len(names)} attributors are judged on {failures} failures of {len(tasks)} tasks with an executed decisive "
        f"step (of {found.failures} failed test episodes); at least {LEAST_ATTRIBUTORS}, {LEAST_FAILURES} and "
        f"{LEAST_TASKS} are asked for"
    )
    return verdict(enough, claim)


def show(title: str, figures: Sequence[AttributorFigures]) -> None:
    """One row an attributor."""
    shown = table(
        title,
        "attributor",
        "decisive +-0",
        "+-5",
        "+-10",
        "onset +-0",
        "+-5",
        "+-10",
        "named",
        "mean error",
        "simulated",
    )
    for each in figures:
        counts = [*each.decisive.values(), *each.onset.values()]
        cells = [share(count, each.episodes) for count in counts]
        error = "-" if each.mean_error_steps is None else f"{each.mean_error_steps:.1f}"
        shown.add_row(each.attributor, *cells, str(each.named), error, f"{each.simulated_steps:.0f}")
    console.print(shown)


def matrix(found: Attributions, by: str) -> None:
    """Decisive steps that were found within five steps, one row an attributor and one column a fault or task."""
    figures = found.figures(by)
    groups = {each.group: each.episodes for each in figures}
    shown = table(f"decisive step +-5, by {by}", "attributor", *(f"{group} ({n})" for group, n in groups.items()))
    for name in [each.attributor for each in found.figures()]:
        mine = {each.group: each for each in figures if each.attributor == name}
        shown.add_row(name, *(f"{100 * mine[group].decisive[5] / mine[group].episodes:.0f} %" for group in groups))
    console.print(shown)


def share(count: int, total: int) -> str:
    """A share in percent with its exact 95 % interval."""
    low, high = clopper_pearson(count, total)
    return f"{100 * count / total:.0f} ({100 * low:.0f}-{100 * high:.0f})"


if __name__ == "__main__":
    raise SystemExit(main())
