"""Recoveries: learnt from verified branches of one split, judged against a placebo on another."""

from __future__ import annotations

from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.recovery.corrections import Corrections
from workbench.recovery.corrector import train_corrector
from workbench.recovery.judging import judge_corrector
from workbench.recovery.learning import train_head
from workbench.recovery.paired import recover, refuse_without_reference
from workbench.reporting.report import terminal_tables
from workbench.rollouts.arms import corrector_beside, needs_corrector, needs_head
from workbench.store import Store
from workbench.types import Positive, Record


def run(
    run: Run,
    monitor: str,
    horizon: float,
    allowance_steps: Positive,
    expert: Record,
    moments: Positive,
    trainer: Record,
    corrector: Record,
    judged: Positive,
) -> None:
    """Train head and corrector if a strategy needs them, then branch from every alarm with every strategy."""
    run.refuse_other_store()
    refuse_without_reference(run.config["strategy"])
    store, head, strategies = Store.open(run.store), run.folder / "head", run.config["strategy"]
    chosen, source, into = load_monitors(run)[monitor], (run.task, run.policy()), corrector_beside(head)
    again: Record = {"seed": run.seed, "overwrite": run.overwrite}
    shared: Record = {"expert": expert, "runner": run.runner}
    if needs_head(strategies):
        learnt = train_head(
            store,
            Store.open(run.demos),
            *source,
            into=head,
            moments=moments,
            allowance_steps=allowance_steps,
            trainer=trainer,
            until=run.config["rollout"]["until"],
            **shared | again,
        )
        if learnt is not None:
            run.update_metrics(head=learnt.record())
    if needs_corrector(strategies):
        train_corrector(store, Corrections.load(store), *source, into=into, trainer=corrector, **again)
        found = judge_corrector(store, into, *source, episodes=judged, horizon=horizon, **shared)
        run.update_metrics(corrector=found.record())
        console.print(*terminal_tables(run.metrics(), only=("corrector", "abstention")))
    recovery = recover(store, chosen, strategies, *source, head=head, horizon=horizon, **shared)
    run.update_metrics(**recovery.sections(), store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=("strategies", "crossed", "bottleneck", "families")))
    if recovery.diverged:
        console.print(f"left out: {recovery.diverged} episodes whose physics diverged")
