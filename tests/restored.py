"""An episode's predicates and failure modes once more, from its stored states alone."""

from __future__ import annotations

import contextlib

import numpy as np

from workbench.errors import DivergedError
from workbench.rollouts.modes import modes_of
from workbench.rollouts.stored import snapshot_at
from workbench.types import Array, Episode, Scene


def predicates_again(scene: Scene, episode: Episode) -> dict[str, Array]:
    """``predicates/<name>`` (T,) from restoring every stored snapshot; row t is what the snapshot of row t + 1 shows.

    What the last action led to has no snapshot, so that action is done once more.
    """
    length, truths = len(episode.steps["action"]), []
    for step in range(1, length):
        scene.restore(snapshot_at(episode, step))
        truths.append(scene.truth())
    if length == 1:
        scene.restore(snapshot_at(episode, 0))
    with contextlib.suppress(DivergedError):  # then what was true before stands, as it was recorded
        scene.step(episode.steps["action"][-1])
    truths.append(scene.truth())
    return {
        f"predicates/{name}": np.array([truth.predicates[name] for truth in truths]) for name in truths[0].predicates
    }


def differences(scene: Scene, episode: Episode) -> tuple[list[str], int]:
    """Predicates that differ in any row, and the number of rows whose modes do."""
    again = predicates_again(scene, episode)
    stored = {name: rows for name, rows in episode.steps.items() if name.startswith("predicates/")}
    assert set(again) == set(stored)
    differing = [name for name, rows in stored.items() if not np.array_equal(rows, again[name])]
    modes = modes_of({"action": episode.steps["action"], **again}, scene.task, episode.record["outcome"] == "diverged")
    return differing, int((modes != episode.steps["modes"]).sum())
