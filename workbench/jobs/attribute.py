"""Attributors: each names the decisive step of every failure, and is judged against the one that was executed."""

from __future__ import annotations

from workbench.attribution.attributing import attribute
from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.files import folder_of, load_monitors
from workbench.reporting.report import terminal_tables
from workbench.store import Store
from workbench.types import Positive, Record


def run(run: Run, reruns: Positive, expert: Record) -> None:
    """Judge the attributors on the failed test episodes of ``datasets/<store>.zarr``; what they said before is kept."""
    run.refuse_other_store()
    judged = attribute(
        Store.open(run.store),
        run.config["attributor"],
        run.task,
        run.policy(),
        monitors=load_monitors(run) if folder_of(run).exists() else None,
        reruns=reruns,
        expert=expert,
        seed=run.seed,
        runner=run.runner,
        until=run.config["rollout"]["until"],
    )
    run.update_metrics(attribution=judged.record(), store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=("attribution", "attribution_faults")))
