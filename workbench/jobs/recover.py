"""Recoveries: learnt from verified branches of one split, judged against a placebo on another."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.monitoring.monitor import ALL
from workbench.recovery.learned import learn_parts
from workbench.recovery.paired import recover, refuse_without_reference
from workbench.reporting.report import terminal_tables
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
    judged: Positive,
    benefit: Record,
    rank: Sequence[str],
    arm: str,
) -> None:
    """Train what a strategy acts by, then branch from every alarm with every strategy."""
    run.refuse_other_store()
    refuse_without_reference(run.config["strategy"])
    store, head, strategies = Store.open(run.store), run.folder / "head", run.config["strategy"]
    monitors, task, policy = load_monitors(run), run.task, run.policy()
    ranked = [monitors[name] for name in (monitors if list(rank) == [ALL] else rank)]
    rolled: Record = {"expert": expert, "runner": run.runner, "shields": shields_of(run)}
    learned: Record = {"corrector": corrector, "judged": judged, "benefit": benefit, "rolled": rolled}
    learned["taught"] = {"moments": moments, "allowance_steps": allowance_steps, "trainer": trainer}
    learned["taught"]["until"] = run.config["rollout"]["until"]
    learned |= {"again": {"seed": run.seed, "overwrite": run.overwrite}, "head": head, "horizon": horizon}
    run.update_metrics(**learn_parts(store, run.demos, monitors[monitor], strategies, task, policy, **learned))
    judging: Record = {"detectors": ranked, "arm": arm, "seed": run.seed, "head": head, "horizon": horizon, **rolled}
    recovery = recover(store, monitors[monitor], strategies, task, policy, **judging)
    run.update_metrics(**recovery.sections(), store=run.shown(run.store))
    asked = (*(["corrector", "corrector_curve"] if "correct" in strategies else []), *(["detectors"] if ranked else []))
    shown = ("strategies", "abstention", "crossed", "bottleneck", "families", "dose_response", *asked)
    console.print(*terminal_tables(run.metrics(), only=shown))
    if recovery.diverged:
        console.print(f"left out: {recovery.diverged} episodes whose physics diverged")
