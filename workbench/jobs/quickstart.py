"""The whole chain on one task; a second call does only what is missing or changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.config import Run
from workbench.execution import chain
from workbench.execution.chain import Stage, Words
from workbench.execution.progress import console
from workbench.monitoring import assembly
from workbench.recovery.paired import refuse_without_reference
from workbench.reporting.report import terminal_tables
from workbench.rollouts.arms import needs_head
from workbench.rollouts.rolling import refuse_unsuitable


def run(run: Run, stages: Mapping[str, Words]) -> None:
    """Do every stage that is missing or changed, in order."""
    done = chain.Chain(run, len(stages))
    asked = [word for word in run.words if not word.lstrip("+").startswith(("job=", "job."))]
    plan = chain.plan(stages, asked, run.root)
    refuse(plan, run)
    for stage in plan:
        done.settle(stage, unneeded)
    seconds = done.seconds()
    run.update_metrics(jobs=seconds, wall_s=round(sum(seconds.values()), 1))
    close(run)


def refuse(plan: Sequence[Stage], run: Run) -> None:
    """Refuse before the first stage what one of them would refuse after the work of others."""
    chain.refuse_unknown(plan, run.config)
    for each in (each for stage in plan for each in stage.runs):
        assembly.refuse_unknown(assembly.asked_for(each.config["job"]), each.config)
        refuse_unsuitable(each.perturbations.values(), each.task, each.policy() if each.zoo else None, run.seed)
    refuse_without_reference(run.config["strategy"])


def unneeded(stage: Stage) -> str:
    """Why a stage is left out of a run whose policy is of the zoo; "" where it is not."""
    run = stage.runs[0]
    if run.zoo and "checkpoint" in stage.makes:
        run.update_metrics(policy={"training": None, "zoo": run.zoo})  # now, for the report of a later stage reads it
        return f"weights from the zoo ({run.zoo})"
    if run.zoo and "demos" in stage.makes and not needs_head(run.config["strategy"]):
        return "no demonstrations are needed"
    return ""


def close(run: Run) -> None:
    """Print the tables and what to open next."""
    metrics = run.metrics()
    console.print(*terminal_tables(metrics))
    shares = ", ".join(f"{name} {taken:.0f} s" for name, taken in metrics["jobs"].items())
    console.print(f"time:      {metrics['wall_s']:.0f} s ({shares})")
    console.print(f"numbers:   {run.shown(run.folder / 'metrics.json')}")
    console.print(f"recording: {metrics['recording']}")
    console.print(f"report:    {metrics['report']}")
    console.print(f"Open the report in a browser, and the recording with: .venv/bin/rerun {metrics['recording']}")
