"""The rollouts as a data set in somebody else's format, failure columns included."""

from __future__ import annotations

from workbench.config import Run
from workbench.execution.progress import console, progress
from workbench.formats.exporting import export
from workbench.formats.format import format_named
from workbench.store import Store


def run(run: Run, format: str) -> None:
    """Write ``datasets/exports/<store>-<format>/``; an existing one is refused unless ``overwrite=true``."""
    wanted = format_named(format)
    run.refuse_other_store()
    store = Store.open(run.store)
    folder = run.root / "datasets" / "exports" / f"{run.config['store']}-{format}"
    with progress("episodes", len(store)) as advance:
        export(store, wanted, folder, overwrite=run.overwrite, advance=advance)
    run.update_metrics(export=run.shown(folder), store=run.shown(run.store))
    console.print(f"export: {run.shown(folder)}")
    console.print(f"without: {', '.join(wanted.loses)}")
