"""All numbers of a run as one page."""

from __future__ import annotations

from workbench.config import Run
from workbench.crew import versions
from workbench.errors import StoreError
from workbench.progress import console
from workbench.report import write_report


def run(run: Run) -> None:
    """Write ``runs/<name>/report.html`` from ``metrics.json``."""
    if not run.metrics():
        raise StoreError(f"{run.shown(run.folder)} holds no metrics.json; run a job first, or: workbench quickstart")
    path = run.folder / "report.html"
    run.update_metrics(
        report=run.shown(path), config=run.config, versions=versions(), seed=run.seed, command=command(run)
    )
    metrics = run.metrics()
    write_report(path, metrics, curves=metrics.get("example", {}), title=f"{run.name}: {run.task.instruction}")
    console.print(f"report: {run.shown(path)}")


def command(run: Run) -> str:
    """What makes these numbers again."""
    if run.name == "quickstart":
        return f"workbench quickstart seed={run.seed}"
    return f"workbench quickstart name={run.name} seed={run.seed}"
