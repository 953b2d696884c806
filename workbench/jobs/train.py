"""A policy trained on the demonstrations of its task."""

from __future__ import annotations

import dataclasses

from workbench.config import Run
from workbench.execution.progress import console
from workbench.reporting.report import terminal_tables
from workbench.rollouts.training import Evaluation, train
from workbench.store import Store
from workbench.types import Record, Seed


def run(run: Run, seed: Seed, evaluation: Evaluation, trainer: Record) -> None:
    """Train on ``datasets/<demos>.zarr`` into the checkpoint folder; an unfinished training goes on."""
    run.refuse_untrainable()
    curve = train(
        run.policy(trained=False),
        Store.open(run.demos),
        run.task,
        into=run.checkpoint,
        trainer=trainer,
        seed=seed,
        run_seed=run.seed,
        evaluation=evaluation,
        scenes=run.runner.scenes,
        overwrite=run.overwrite,
    )
    run.update_metrics(policy={"training": dataclasses.asdict(curve)})
    console.print(*terminal_tables(run.metrics(), only=("training",)))
    console.print(f"trained on {curve.demonstrations + curve.held_out} demonstrations: {run.shown(run.checkpoint)}")
