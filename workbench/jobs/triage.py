"""Failures in groups that nobody named, and episodes in the order in which to look at them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from workbench.attribution.confusions import confused_instructions
from workbench.attribution.triage import triage
from workbench.config import Run
from workbench.config.files import write_text
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.reporting.triage import confusions_table, triage_tables
from workbench.store import Store
from workbench.types import Count, Positive, Split


def run(run: Run, split: Split | None, monitors: Sequence[str], most: Positive, states: Count) -> None:
    """Print the tables, and write all of them to ``runs/<name>/triage.json``."""
    run.refuse_other_store()
    known = load_monitors(run) if monitors else None
    chosen = [known[name] for name in monitors] if known is not None else []
    store = Store.open(run.store)
    found = triage(store, split=split, monitors=chosen, most=most)
    pairs = confused_instructions(store, run.task, run.policy(), states=states, seed=run.seed) if states else []
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / "triage.json"
    kept = {**found.record(), "instructions": [pair.record() for pair in pairs]}
    write_text(path, json.dumps(kept, indent=2, allow_nan=False))
    console.print(*triage_tables(found), *([confusions_table(pairs)] if pairs else []))
    if found.grouping is None:
        console.print(f"{found.failures} failures are too few to be grouped")
    else:
        medoid = found.grouping.groups[0].medoid
        console.print(f"look at a medoid: workbench film name={run.name} job.episode={medoid}", markup=False)
    console.print(f"all of it: {run.shown(path)}", markup=False)
