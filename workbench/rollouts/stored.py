"""What a stored episode says of how it was rolled, and the moments of it from which rollouts can go on."""

from __future__ import annotations

import dataclasses

import numpy as np

from workbench.rollouts.launch import Past, Start
from workbench.types import Array, Episode, Policy, Record, Snapshot, Stream
from workbench.types.faults import faults_in


def stream_of(episode: Episode) -> Stream:
    """Random stream of a stored episode."""
    return Stream(int(episode.record["seed"]), int(episode.record["index"]))


def perturbations_of(episode: Episode) -> tuple[Record, ...]:
    """Drawn perturbations of a stored episode."""
    return faults_in(episode.record["perturbations"], f"perturbations of {episode.record['uid']}")


def snapshot_at(episode: Episode, step: int) -> Snapshot:
    """The stored snapshot before action ``step``."""
    return Snapshot(
        episode.record["task"],
        episode.record["model"],
        step,
        episode.steps["state"][step],
        episode.memory[step],
        stream_of(episode),
        perturbations_of(episode),
    )


def start_at(episode: Episode, step: int, policy: Policy, seen: int = 1) -> Start:
    """Everything that a branch needs at a stored step of an episode without a guard: snapshot and memory of the policy.

    Parameters
    ----------
    seen : how many observations in a row are looked at beside the policy; RECENT where a guard watches.
    """
    keys = [key.removeprefix("obs/") for key in episode.steps if key.startswith("obs/")]
    first = max(0, step - max(policy.history, seen) + 1)
    history = tuple({key: episode.steps[f"obs/{key}"][past] for key in keys} for past in range(first, step))
    called = episode.calls["step"]
    calls = int(np.searchsorted(called, step, side="left"))
    queue: Array = np.zeros((0, 0))
    if calls:
        # What is left of the last chunk is still to come: as it was asked, for chunks are stored with fewer digits and
        # faults may displace them.  As many actions as were run of it, which a fault may have changed, too.
        actions, first = episode.steps["action"], int(called[calls - 1])
        run = int(called[calls]) - first if calls < len(called) else max(policy.execute, len(actions) - first)
        asked = np.asarray(actions[step : first + run], dtype=np.float64)
        unasked = episode.calls["chunk"][calls - 1][step + len(asked) - first : run]
        queue = np.concatenate([asked, np.asarray(unasked, dtype=np.float64)])
    return Start(snapshot_at(episode, step), history, queue, calls, past=Past(episode, step))


def bare_start(episode: Episode, step: int) -> Start:
    """A start for a driver that remembers nothing of the episode so far."""
    return dataclasses.replace(bare(snapshot_at(episode, step)), past=Past(episode, step))


def bare(snapshot: Snapshot) -> Start:
    """A start at a snapshot for a driver that remembers nothing."""
    return Start(snapshot, (), np.zeros((0, 0)), 0)
