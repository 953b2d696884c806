"""What small networks over single policy calls read: the same of a stored episode, live, and in branches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from workbench.errors import ConfigError
from workbench.types.data import Array
from workbench.types.episode import EpisodeCalls
from workbench.types.policy import OBSERVATION, PolicyCall
from workbench.types.scene import Task

EMBEDDING, ELAPSED = "embedding", "elapsed"
"""The policy's features; and how much of the task's time is over, 1 at its deadline."""


def inputs_for(task: Task) -> tuple[str, ...]:
    """The policy's embedding, and all that the robot sees in numbers."""
    seen = sorted(task.observation_sizes)
    return (EMBEDDING, *(f"{OBSERVATION}{key}" for key in seen))


def inputs_of(call: PolicyCall | EpisodeCalls, names: Iterable[str]) -> dict[str, Array]:
    """What is read of n calls: name -> (n, size).

    Raises
    ------
    ConfigError
        if the embedding is read, and the policy says none.
    """
    found = {}
    for name in names:
        if name.startswith(OBSERVATION):
            found[name] = np.asarray(call.observation[name.removeprefix(OBSERVATION)])[:, -1]
        elif call.embedding is None:
            raise ConfigError("a strategy that has learned reads the policy's embedding, and this policy says none")
        else:
            found[name] = np.asarray(call.embedding)
    return found


def inputs_there(calls: EpisodeCalls, task: Task) -> dict[str, Array]:
    """:func:`inputs_for` of all calls of an episode, without the embedding where its policy says none."""
    return inputs_of(calls, [name for name in inputs_for(task) if name != EMBEDDING or calls.embedding is not None])


def elapsed(call: PolicyCall | EpisodeCalls, deadline: int) -> dict[str, Array]:
    """The part of the task's time that is over at n calls: (n, 1), by its name."""
    return {ELAPSED: np.asarray(call.step, np.float64)[:, None] / deadline}
