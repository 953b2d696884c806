"""Stored episodes, simulated again from their seed and drawn perturbations alone."""

from __future__ import annotations

from workbench.attribution.replaying import replay_episode
from workbench.config import Run
from workbench.errors import StoreError, UnknownNameError
from workbench.execution.progress import console, progress
from workbench.store import Store


def run(run: Run, episode: str | int) -> None:
    """Say "bit for bit", or name the first step that differs and exit non-zero."""
    store = Store.open(run.store, aborted=True)
    numbers = range(len(store)) if episode == "all" else [find(store, episode)]
    scene = run.task.scene()
    differing = []
    with progress("replay", len(numbers)) as advance:
        for number in numbers:
            stored = store.episode(number, steps=("obs/*", "state", "action"), calls=())
            replayed = replay_episode(scene, stored, whole=True)
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


def find(store: Store, episode: str | int) -> int:
    """Number of an episode by number or uid."""
    text = str(episode)
    if text.isdigit() and int(text) < len(store):
        return int(text)
    if text in store.uids:
        return store.uids.index(text)
    raise UnknownNameError(f"episode (or number in 0..{len(store) - 1})", text, store.uids[:5])
