"""How much of each fault the policy bears, and which combination of faults most likely makes it fail."""

from __future__ import annotations

from workbench.config import Run
from workbench.execution.progress import console
from workbench.reporting.report import terminal_tables
from workbench.synthesis.searching import likely_failure, tolerance
from workbench.types import Episodes, Positive, Share, Split


def run(
    run: Run,
    jointly: bool,
    budget: Episodes,
    axes: bool,
    split: Split,
    batch: Positive,
    most: Episodes,
    resolution: Share,
    confidence: Share,
) -> None:
    """Measure the tolerance of every perturbation, or with ``jointly`` look for their likely failing combination."""
    parts = run.task, run.policy(), run.config["perturbation"]
    looked = {"axes": axes, "split": split, "confidence": confidence, "seed": run.seed, "runner": run.runner}
    looked["until"] = run.config["rollout"]["until"]
    if jointly:
        found = likely_failure(*parts, budget=budget, **looked)
        run.update_metrics(joint=[row.record() for row in found])
        console.print(*terminal_tables(run.metrics(), only=("joint",)))
        return
    ledger = run.folder / "tolerance.json"
    rows = tolerance(*parts, batch=batch, most=most, resolution=resolution, ledger=ledger, **looked)
    run.update_metrics(tolerance=[row.record() for row in rows])
    console.print(*terminal_tables(run.metrics(), only=("tolerance",)))
    console.print(f"all trials: {run.shown(ledger)}")
