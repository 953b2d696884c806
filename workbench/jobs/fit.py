"""Scores fitted on one split, monitors calibrated on another."""

from __future__ import annotations

from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.files import folder_of, kept
from workbench.monitoring.fitting import fit, fitted_with
from workbench.store import Store


def run(run: Run) -> None:
    """Fit every score of the configuration, calibrate every monitor, and keep them in ``runs/<name>/monitors``."""
    run.refuse_other_store()
    folder, settings, store = folder_of(run), MonitorSettings(**run.config["monitor"]), Store.open(run.store)
    scores, calibrators = run.config["score"], run.config["calibrator"]
    asked = fitted_with(store, scores, calibrators, settings, run.seed)
    if kept(folder, asked, run.overwrite):
        console.print(f"up to date: {run.shown(folder)}")
        return
    run.update_metrics(store=run.shown(run.store))
    monitors = fit(store, scores, calibrators, settings=settings, seed=run.seed)
    monitors.save(folder, asked)
    for reason in monitors.left_out.values():
        console.print(f"left out: {reason}")
    if monitors.diverged:
        console.print(f"left out: {monitors.diverged} episodes whose physics diverged")
    for monitor in monitors.values():
        if monitor.reason:
            console.print(f"{monitor.name} has no threshold: {monitor.reason}")
    console.print(
        f"{len(monitors)} monitors: fitted on {monitors.fitted}, calibrated on {monitors.calibrated} successful "
        f"nominal episodes at level {settings.level}: {run.shown(folder)}"
    )
