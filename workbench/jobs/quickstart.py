"""The whole chain on one task; a second call does only what is missing or changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.config import Run, compose
from workbench.execution.chain import Chain, Stage
from workbench.execution.progress import console
from workbench.recovery.paired import needs_head
from workbench.reporting.report import terminal_tables


def run(run: Run, stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Do every stage that is missing or changed, in order."""
    chain = Chain(run)
    asked = [word for word in run.words if not word.lstrip("+").startswith(("job=", "job."))]
    for name, node in stages.items():
        runs = [Run(compose([*asked, *words]), run.root, [*asked, *words]) for words in node["runs"]]
        chain.settle(Stage(name, node["reads"], node["after"], node["makes"], runs), unneeded)
    seconds = chain.seconds()
    run.update_metrics(jobs=seconds, wall_s=round(sum(seconds.values()), 1))
    close(run)


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
