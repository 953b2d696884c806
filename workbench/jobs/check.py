"""Everything that a store or a run holds, read and verified."""

from __future__ import annotations

from workbench.checking.check import check
from workbench.config import Run
from workbench.errors import StoreError
from workbench.execution.progress import console
from workbench.reporting.table import Column, Row, Table, numbers
from workbench.store import Store


def run(run: Run, what: str, save: str | None) -> None:
    """Print what was looked at; exit non-zero when something is damaged."""
    into = run.store.with_name(f"{save}.zarr") if save else None
    found = check(run=run.folder) if what == "run" else check(run.store, save=into)
    columns = [Column("what"), Column("path", code=True), Column("state"), *numbers("whole", "of")]
    rows = [
        Row.of(item.what, item.path, item.state, *("" if n is None else n for n in (item.episodes, item.of)))
        for item in found.items
        if item.what != "damage"
    ]
    console.print(Table("what was read", columns, rows))
    for item in found.items:
        if item.words:
            console.print(f"{item.path}: {item.words}", markup=False)
    if found.saved:
        console.print(f"saved: {len(Store.open(found.saved))} episodes in {run.shown(found.saved)}", markup=False)
    if damages := found.damages:
        raise StoreError(f"{damages[0].path} is damaged; the lines above say what, and what is whole")
