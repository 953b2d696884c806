"""Which episodes of a store monitors learn from and are judged on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from workbench.types import EpisodeCalls, EpisodeTruth, Split

if TYPE_CHECKING:
    from workbench.store import Store

Known = tuple[EpisodeCalls, EpisodeTruth]
"""An episode, and what the simulator knows of it."""
DIVERGED = "diverged"
"""Outcome of an episode whose physics diverged: it failed, but not by what a policy did, so no monitor may learn from
it or be judged on it."""


def sound(store: Store, *splits: Split) -> list[int]:
    """Numbers of the episodes whose physics did not diverge, of some splits or of all."""
    return [number for number in _of(store, splits) if store.episodes["outcome"][number] != DIVERGED]


def diverged(store: Store, *splits: Split) -> int:
    """How many episodes :func:`sound` leaves out."""
    return len(_of(store, splits)) - len(sound(store, *splits))


def _of(store: Store, splits: Collection[Split]) -> list[int]:
    return [number for number in range(len(store)) if not splits or store.episodes["split"][number] in splits]


def known_episodes(store: Store, split: Split, needs: Collection[str], failures: bool) -> list[Known]:
    """Episodes of a split with their truths: the nominal successes, and with ``failures`` all the others too.

    Only what is named by ``needs`` is read of their calls, and those whose physics diverged are left out.
    """
    rows = store.episodes
    return [
        (store.calls(number, needs), store.truth(number))
        for number in sound(store, split)
        if failures or (rows["perturbation"][number] == "" and rows["success"][number])
    ]


def is_nominal_success(truth: EpisodeTruth) -> bool:
    """Whether an episode succeeded, and without a perturbation."""
    return truth.success and not truth.perturbation


def held(calls: EpisodeCalls) -> frozenset[str]:
    """What the calls of an episode hold, in the words of :class:`workbench.types.Scorer`."""
    optional = {"samples": calls.samples, "embedding": calls.embedding}
    optional |= {f"signals/{name}": values for name, values in calls.signals.items()}
    optional |= {f"observation/{key}": values for key, values in calls.observation.items()}
    return frozenset(need for need, values in optional.items() if values is not None)
