"""All numbers of a run as one page."""

from __future__ import annotations

import json
import sys

from workbench.config import Run, resolve
from workbench.errors import StoreError
from workbench.execution.progress import console
from workbench.reporting.report import write_report
from workbench.rollouts.setup import versions
from workbench.store import Store


def run(run: Run) -> None:
    """Write ``runs/<name>/report.html`` from ``metrics.json``."""
    if not run.metrics():
        raise StoreError(f"{run.shown(run.folder)} holds no metrics.json; run a job first, or: workbench quickstart")
    path = run.folder / "report.html"
    run.update_metrics(
        report=run.shown(path),
        config=run.config,
        versions=versions(),
        seed=run.seed,
        command=command(run),
        fault_words=fault_words(run),
    )
    metrics = run.metrics()
    write_report(path, metrics, curves=metrics.get("example", {}), title=f"{run.name}: {run.task.instruction}")
    console.print(f"report: {run.shown(path)}")


def command(run: Run) -> str:
    """What makes these numbers again."""
    if run.name == "quickstart":
        return f"workbench quickstart seed={run.seed}"
    return f"workbench quickstart name={run.name} seed={run.seed}"


def fault_words(run: Run) -> dict[str, str]:
    """Fault -> what happens, in the first line of the file that makes it; of the faults in the run's store."""
    if not run.store.exists():
        return {}
    drawn = set(Store.open(run.store).episodes["perturbations"])
    targets = {fault["name"]: fault["target"] for records in drawn for fault in json.loads(records)}
    files = {name: resolve(target).__module__ for name, target in sorted(targets.items())}
    return {name: (sys.modules[file].__doc__ or "").partition("\n")[0] for name, file in files.items()}
