"""Stored episodes, simulated again from their seed and drawn perturbations alone."""

from __future__ import annotations

from workbench.attribution.replaying import replay
from workbench.config import Run
from workbench.errors import StoreError
from workbench.execution.progress import console
from workbench.store import Store


def run(run: Run, episode: str | int) -> None:
    """Say "bit for bit", or name the first step that differs and exit non-zero."""
    store = Store.open(run.store, aborted=True)
    found = replay(store, run.task, None if episode == "all" else [store.number_of(episode)])
    if not found.bit_for_bit:
        uid, first = next(iter(found.differing.items()))
        raise StoreError(
            f"{len(found.differing)} of {found.episodes} episodes differ; {uid} first at control step "
            f"{first.first_difference}, by up to {first.max_abs_error:.3g}. Was it made with other versions? "
            f"The store says {store.header.versions}"
        )
    console.print(f"bit for bit: {found.episodes} of {found.episodes} episodes replay with error 0.0")
