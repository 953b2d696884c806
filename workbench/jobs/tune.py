"""Numbers of a skill, chosen on the fit split."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.recovery.tuning import TuningSettings, tune_skill
from workbench.reporting.report import terminal_tables
from workbench.rollouts.arms import beside
from workbench.rollouts.shielding import shields_of
from workbench.store import Store
from workbench.types import Positive, Record


def run(
    run: Run,
    monitor: str,
    skill: Record,
    numbers: Sequence[str],
    points: Positive,
    alarms: Positive,
    branches: Positive,
    horizon: float,
) -> None:
    """Search for the numbers that win most branches, and keep them where the strategy tuned_skill takes them."""
    run.refuse_other_store()
    found = tune_skill(
        Store.open(run.store),
        load_monitors(run)[monitor],
        run.task,
        run.policy(),
        into=beside(run.folder / "head", "tuned"),
        skill=skill,
        numbers=numbers,
        settings=TuningSettings(points, alarms, branches),
        horizon=horizon,
        seed=run.seed,
        runner=run.runner,
        shields=shields_of(run),
        overwrite=run.overwrite,
    )
    run.update_metrics(tuning=found.section(), store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=("tuning",)))
