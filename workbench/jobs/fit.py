"""Scores fitted on one split, monitors calibrated on another."""

from __future__ import annotations

from workbench.config import Run
from workbench.errors import CalibrationError
from workbench.execution.progress import console
from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.files import folder_of
from workbench.monitoring.fitting import fit
from workbench.store import Store


def run(run: Run) -> None:
    """Fit every score of the configuration, calibrate every monitor, and keep them in ``runs/<name>/monitors``."""
    run.refuse_other_store()
    folder, settings = folder_of(run), MonitorSettings(**run.config["monitor"])
    if folder.exists() and not run.overwrite:
        raise CalibrationError(
            f"{run.shown(folder)} holds monitors; overwrite=true fits them anew, "
            f"name=... store={run.config['store']} keeps both"
        )
    scores, calibrators = run.config["score"], run.config["calibrator"]
    monitors = fit(Store.open(run.store), scores, calibrators, settings=settings, seed=run.seed)
    monitors.save(folder)
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
