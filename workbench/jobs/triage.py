"""Failures in groups that nobody named, and episodes in the order in which to look at them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from workbench.attribution.triage import triage
from workbench.config import Run
from workbench.config.files import write_text
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.reporting.triage import triage_tables
from workbench.store import Store
from workbench.types import Positive, Split


def run(run: Run, split: Split | None, monitors: Sequence[str], most: Positive) -> None:
    """Print the tables, and write all of them to ``runs/<name>/triage.json``."""
    run.refuse_other_store()
    known = load_monitors(run) if monitors else None
    chosen = [known[name] for name in monitors] if known is not None else []
    found = triage(Store.open(run.store), split=split, monitors=chosen, most=most)
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / "triage.json"
    write_text(path, json.dumps(found.record(), indent=2, allow_nan=False))
    console.print(*triage_tables(found))
    if found.grouping is None:
        console.print(f"{found.failures} failures are too few to be grouped")
    else:
        medoid = found.grouping.groups[0].medoid
        console.print(f"look at a medoid: workbench view name={run.name} job.episode={medoid}", markup=False)
    console.print(f"all of it: {run.shown(path)}", markup=False)
