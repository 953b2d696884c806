"""Stored episodes, simulated again from their seed and drawn perturbations alone."""

from __future__ import annotations

from workbench.attribution.branching import replay
from workbench.config import Run
from workbench.errors import StoreError
from workbench.execution.progress import console, progress
from workbench.store import Store


def run(run: Run, episode: str | int) -> None:
    """Say "bit for bit", or name the first step that differs and exit non-zero."""
    store = Store.open(run.store, aborted=True)
    numbers = range(len(store)) if episode == "all" else [store.number_of(episode)]
    scene = run.task.scene()
    differing = []
    with progress("replay", len(numbers)) as advance:
        for number in numbers:
            stored = store.episode(number, steps=("obs/*", "state", "action"), calls=())
            replayed = replay(scene, stored, whole=True)
            if replayed.max_abs_error > 0:
                differing.append((stored.record["uid"], replayed))
            advance(1)
    if differing:
        uid, first = differing[0]
        raise StoreError(
            f"{len(differing)} of {len(numbers)} episodes differ; {uid} first at control step "
            f"{first.first_difference}, by up to {first.max_abs_error:.3g}. Was it made with other versions? "
            f"The store says {store.header.versions}"
        )
    console.print(f"bit for bit: {len(numbers)} of {len(numbers)} episodes replay with error 0.0")
