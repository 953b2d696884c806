"""All numbers of a run as one page."""

from __future__ import annotations

from workbench.config import Run
from workbench.errors import StoreError
from workbench.execution.progress import console
from workbench.monitoring.example import Example
from workbench.reporting.report import fault_words, report
from workbench.rollouts.setup import versions
from workbench.store import Store


def run(run: Run) -> None:
    """Write ``runs/<name>/report.html`` from ``metrics.json``."""
    if not run.metrics():
        raise StoreError(f"{run.shown(run.folder)} holds no metrics.json; run a job first, or: workbench quickstart")
    run.refuse_other_store()
    path = run.folder / "report.html"
    words = fault_words(Store.open(run.store)) if run.store.exists() else {}
    run.update_metrics(report=run.shown(path), config=run.config, versions=versions(), seed=run.seed, fault_words=words)
    metrics = run.metrics()
    example = Example.of(metrics["example"]) if "example" in metrics else None
    report(path, metrics, title=f"{run.name}: {run.task.instruction}", example=example)
    console.print(f"report: {run.shown(path)}")
