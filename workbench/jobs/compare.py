"""Runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.execution.progress import console
from workbench.reporting.comparing import compare


def run(run: Run, runs: Sequence[str], metrics: Sequence[str]) -> None:
    """Print the table, and write it as a page, CSV, LaTeX and Markdown to ``runs/<name>/``."""
    found = compare(runs, metrics=metrics, root=run.root)
    page = found.write(run.folder)
    console.print(found.grid())
    for note in found.notes():
        console.print(note, markup=False)
    console.print(f"comparison: {run.shown(page)}", markup=False)
