"""Corrections: motions that bring failing episodes back, verified by replay."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.execution.progress import console
from workbench.recovery.correcting import CorrectionSettings, keep_corrections
from workbench.reporting.report import terminal_tables
from workbench.rollouts.shielding import shields_of
from workbench.store import Store
from workbench.types import Count, Positive, Record, Split


def run(
    run: Run,
    splits: Sequence[Split],
    episodes: Positive,
    before: Positive,
    beyond: Count,
    targets: Positive,
    randoms: Count,
    branches: Positive,
    horizon: float,
    expert: Record,
) -> None:
    """Try candidates from every labelled failed episode, and keep all of them in the store with what came of them."""
    run.refuse_other_store()
    store = Store.open(run.store)
    found = keep_corrections(
        store,
        run.task,
        run.policy(),
        splits=splits,
        settings=CorrectionSettings(episodes, before, beyond, targets, randoms, branches),
        horizon=horizon,
        expert=expert,
        runner=run.runner,
        overwrite=run.overwrite,
        shields=shields_of(run),
    )
    run.update_metrics(corrections=found.record(), store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=("corrections",)))
