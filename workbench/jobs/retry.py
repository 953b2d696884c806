"""Trial and error: whether ending attempts at an alarm gets the task done sooner."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.recovery.attempts import trial_and_error
from workbench.reporting.report import terminal_tables
from workbench.store import Store
from workbench.types import Seconds


def run(run: Run, monitors: Sequence[str], restart_s: Seconds) -> None:
    """Predict the makespan from the calibrate split, and carry out attempts of the test split."""
    run.refuse_other_store()
    known = load_monitors(run)
    chosen = [known[name] for name in monitors]
    found = trial_and_error(Store.open(run.store), chosen, restart_s=restart_s, seed=run.seed)
    run.update_metrics(attempts=found.record(), store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=("attempts",)))
    if found.diverged:
        console.print(f"left out: {found.diverged} episodes whose physics diverged")
