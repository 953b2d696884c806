"""What small networks over single policy calls read: the same of a stored episode, live, and in branches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from workbench.errors import ConfigError
from workbench.types.data import Array
from workbench.types.episode import EpisodeCalls
from workbench.types.policy import OBSERVATION, Policy, PolicyCall
from workbench.types.scene import Task

EMBEDDING, ELAPSED = "embedding", "elapsed"
"""The policy's features; and how much of the task's time is over, 1 at its deadline."""
HAND = ("eef_pos", "eef_quat", "gripper_qpos")
"""What a robot sees of its hand."""


def inputs_for(task: Task, policy: Policy) -> tuple[str, ...]:
    """The policy's embedding, and what the policy itself sees in numbers.

    So of a policy that looks through cameras images are read: its embedding is made of them.  Of one that looks through
    cameras and does not say what else it reads, only the pose of the hand and the fingers are taken.
    """
    layout = getattr(policy, "layout", None)
    if isinstance(layout, Mapping) and layout:
        seen: Iterable[str] = layout
    else:
        seen = HAND if policy.cameras else task.observation_sizes
    return (EMBEDDING, *(f"{OBSERVATION}{key}" for key in sorted(seen)))


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


def inputs_there(calls: EpisodeCalls, names: Iterable[str]) -> dict[str, Array]:
    """What is read of all calls of an episode, without the embedding where its policy says none."""
    return inputs_of(calls, [name for name in names if name != EMBEDDING or calls.embedding is not None])


def elapsed(call: PolicyCall | EpisodeCalls, deadline: int) -> dict[str, Array]:
    """The part of the task's time that is over at n calls: (n, 1), by its name."""
    return {ELAPSED: np.asarray(call.step, np.float64)[:, None] / deadline}
