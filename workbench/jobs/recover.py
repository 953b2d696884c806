"""Recoveries: learnt from verified branches of one split, judged against a placebo on another."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.monitoring.monitor import ALL
from workbench.recovery.corrections import Corrections
from workbench.recovery.corrector import train_corrector
from workbench.recovery.learning import train_head
from workbench.recovery.paired import recover, refuse_without_reference
from workbench.reporting.report import terminal_tables
from workbench.rollouts.arms import corrector_beside, needs_corrector, needs_head
from workbench.rollouts.shielding import shields_of
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
    rank: Sequence[str],
    arm: str,
) -> None:
    """Train the head if a strategy needs it, then branch from every alarm with every strategy."""
    run.refuse_other_store()
    refuse_without_reference(run.config["strategy"])
    store, head, strategies = Store.open(run.store), run.folder / "head", run.config["strategy"]
    known = load_monitors(run)
    ranked = [known[name] for name in (known if list(rank) == [ALL] else rank)]
    again: Record = {"seed": run.seed, "overwrite": run.overwrite}
    rolled: Record = {"expert": expert, "runner": run.runner, "shields": shields_of(run)}
    if needs_head(strategies):
        learning: Record = {"moments": moments, "allowance_steps": allowance_steps, "trainer": trainer, **again}
        until, demos = run.config["rollout"]["until"], Store.open(run.demos)
        learnt = train_head(store, demos, run.task, run.policy(), into=head, until=until, **learning, **rolled)
        if learnt is not None:
            run.update_metrics(head=learnt.record())
    if needs_corrector(strategies):
        into = corrector_beside(head)
        train_corrector(store, Corrections.load(store), run.task, into=into, trainer=corrector, **again)
    judging: Record = {"horizon": horizon, "head": head, "detectors": ranked, "arm": arm, "seed": run.seed, **rolled}
    recovery = recover(store, known[monitor], strategies, run.task, run.policy(), **judging)
    run.update_metrics(**recovery.sections(), store=run.shown(run.store))
    shown = ("strategies", "crossed", "bottleneck", "families", *(["detectors"] if ranked else []))
    console.print(*terminal_tables(run.metrics(), only=shown))
    if recovery.diverged:
        console.print(f"left out: {recovery.diverged} episodes whose physics diverged")
