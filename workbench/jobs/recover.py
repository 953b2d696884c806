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
from workbench.recovery.when import learn_benefit
from workbench.reporting.report import terminal_tables
from workbench.rollouts.arms import beside, needs_benefit, needs_corrector, needs_head
from workbench.store import Store
from workbench.types import Positive, Record, Share

SHOWN = ("strategies", "abstention", "crossed", "bottleneck", "families")


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
    benefit: Record,
    calls: Positive,
    confidence: Share,
) -> None:
    """Train what a strategy acts by, then branch from every alarm with every strategy."""
    run.refuse_other_store()
    refuse_without_reference(run.config["strategy"])
    store, head, strategies = Store.open(run.store), run.folder / "head", run.config["strategy"]
    chosen, task, policy = load_monitors(run)[monitor], run.task, run.policy()
    again: Record = {"seed": run.seed, "overwrite": run.overwrite}
    rolled: Record = {"expert": expert, "runner": run.runner}
    if needs_head(strategies):
        taught: Record = {"moments": moments, "allowance_steps": allowance_steps, "trainer": trainer}
        until, demos = run.config["rollout"]["until"], Store.open(run.demos)
        learnt = train_head(store, demos, task, run.policy(), into=head, until=until, **taught, **rolled, **again)
        if learnt is not None:
            run.update_metrics(head=learnt.record())
    if needs_corrector(strategies):
        known, into = Corrections.load(store), beside(head, "corrector")
        train_corrector(store, known, task, policy, into=into, trainer=corrector, **again)
        found = judge_corrector(store, into, task, policy, episodes=judged, horizon=horizon, **rolled)
        run.update_metrics(corrector=found.record())
        console.print(*terminal_tables(run.metrics(), only=("corrector", "corrector_curve")))
    rolled |= {"horizon": horizon, "head": head}
    if needs_benefit(strategies):
        settings: Record = {"trainer": benefit, "calls": calls, "confidence": confidence}
        acting = learn_benefit(store, chosen, strategies, task, policy, **settings, **rolled, **again)
        run.update_metrics(benefit=acting.record())
    recovery = recover(store, chosen, strategies, task, policy, **rolled)
    run.update_metrics(**recovery.sections(), store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=SHOWN))
    if recovery.diverged:
        console.print(f"left out: {recovery.diverged} episodes whose physics diverged")
