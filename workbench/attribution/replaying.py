"""Stored episodes, simulated again from their seed and drawn perturbations alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.errors import DivergedError
from workbench.execution.progress import progress
from workbench.rollouts.setup import refuse_other_task
from workbench.rollouts.stored import perturbations_of, snapshot_at, stream_of
from workbench.store import Store
from workbench.types import Episode, HasStiffness, Scene, Task, ability


@dataclasses.dataclass(frozen=True)
class Replayed:
    """How a replay compares with what is stored: 0.0 and -1 mean bit for bit."""

    max_abs_error: float
    first_difference: int


def replay_episode(scene: Scene, episode: Episode, first: int = 0, whole: bool = False) -> Replayed:
    """Run the stored actions again, from the seed (``whole``) or from the snapshot at ``first``.

    Where shields stood before the actuators, what they let through is run.  The physics has to diverge where it did;
    anywhere else that is an infinite error.
    """
    if whole:
        scene.begin(stream_of(episode), perturbations_of(episode))
    else:
        scene.restore(snapshot_at(episode, first))
    error, difference, run = 0.0, -1, episode.steps.get("shielded", episode.steps["action"])
    for step in range(first, len(episode.steps["action"])):
        snapshot = scene.snapshot()
        pairs = (snapshot.state, episode.steps["state"][step]), (snapshot.memory, episode.memory[step])
        # NaN fails every comparison and would pass for no difference.
        now = max(float(np.nan_to_num(np.abs(have - want), nan=np.inf).max(initial=0.0)) for have, want in pairs)
        if now > 0 and difference < 0:
            difference = step
        error = max(error, now)
        if not np.isfinite(error):
            break
        diverges = episode.record["outcome"] == "diverged" and step == len(episode.steps["action"]) - 1
        try:
            if "stiffness" in episode.steps:
                ability(scene, HasStiffness, "a replay behind shields").stiffness = episode.steps["stiffness"][step]
            scene.step(run[step])
            diverged = False
        except DivergedError:
            diverged = True
        if diverged != diverges:
            return Replayed(np.inf, step)
    return Replayed(error, difference)


@dataclasses.dataclass(frozen=True)
class Replay:
    """Which of some stored episodes differ from their replay.

    Attributes
    ----------
    episodes : how many were replayed.
    differing : uid -> by how much it differs, and from which control step on; empty where all are the same bit for bit.
    """

    episodes: int
    differing: dict[str, Replayed]

    @property
    def bit_for_bit(self) -> bool:
        """Whether every one replays with error 0.0."""
        return not self.differing


def replay(store: Store, task: Task, numbers: Sequence[int] | None = None) -> Replay:
    """Simulate stored episodes again, from their seed on; None for all of them.

    Raises
    ------
    SnapshotError
        if the store was made with another model of the task.
    """
    refuse_other_task(store, task)
    chosen = range(len(store)) if numbers is None else numbers
    scene = task.scene()
    differing = {}
    with progress("episodes", len(chosen)) as advance:
        for number in chosen:
            gated = [name for name in ("shielded", "stiffness") if name in store.step_names(number)]
            stored = store.episode(number, steps=("obs/*", "state", "action", *gated), calls=())
            replayed = replay_episode(scene, stored, whole=True)
            if replayed.max_abs_error > 0:
                differing[str(stored.record["uid"])] = replayed
            advance(1)
    return Replay(len(chosen), differing)
