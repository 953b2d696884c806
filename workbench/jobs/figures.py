"""Figures for a paper about a run, each with its table as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.files import folder_of, load_monitors
from workbench.reporting.plots import figures, refuse_without_matplotlib
from workbench.store import Store


def run(run: Run, kind: str, only: Sequence[str], monitors: Sequence[str]) -> None:
    """Write ``runs/<name>/figures/``, of the test split of the run's store."""
    run.refuse_other_store()
    refuse_without_matplotlib()
    known = load_monitors(run) if folder_of(run).exists() else None
    judges = {name: known[name] for name in monitors} if known is not None else {}
    made = figures(Store.open(run.store), judges, into=run.folder / "figures", kind=kind, only=only)
    for name, table in made.tables.items():
        console.print(table)
        console.print(f"{name}: {run.shown(made.pictures[name])}, {run.shown(made.pictures[name].with_suffix('.tex'))}")
    for name, reason in made.left_out.items():
        console.print(f"{name}: none, for {reason}")
