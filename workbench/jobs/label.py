"""Effect, onset, point of no return and decisive step of every failed episode, measured by branching."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.attribution.labels import Settings, Values, ValuesAsked, label
from workbench.config import Run
from workbench.execution.progress import console
from workbench.reporting.report import terminal_tables
from workbench.rollouts.shielding import shields_of
from workbench.store import Store
from workbench.types import Count, Positive, Record


def run(
    run: Run,
    expert: Record,
    branches: Sequence[Positive],
    stride: Positive,
    windows: Sequence[Positive],
    pairs: Count,
    values: ValuesAsked,
    lost: bool,
    luck: Count,
) -> None:
    """Label the failed episodes of ``datasets/<store>.zarr``; those labelled already with these settings are kept."""
    run.refuse_other_store()
    settings, measured = Settings(branches, stride, windows, pairs), Values(**values)
    labelling = label(
        Store.open(run.store),
        run.task,
        run.policy(),
        settings=settings,
        values=measured,
        expert=expert,
        runner=run.runner,
        until=run.config["rollout"]["until"],
        earlier=run.metrics().get("labels", {}).get("settings"),
        overwrite=run.overwrite,
        shields=shields_of(run),
        lost=lost,
        luck=luck,
    )
    run.update_metrics(labels=labelling.record(), store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=("labels", "luck")))
