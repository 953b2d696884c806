"""What a policy did where it succeeded, out of a store of its own episodes."""

from __future__ import annotations

import numpy as np

from workbench.errors import ConfigError
from workbench.rollouts.setup import Setup, refuse_other_source
from workbench.store import Store
from workbench.types import Policy, Successes, Task, split_of


def own_successes(store: Store, task: Task, policy: Policy) -> Successes:
    """All calls of the successes of a store's fit split, with and without faults.

    Raises
    ------
    OtherSettingsError
        if the store was rolled with another policy or task.
    ConfigError
        if there is no such success, or its calls have no embedding.
    """
    refuse_other_source(store, Setup(task, policy))
    won = np.flatnonzero(store.episodes["success"])
    numbers = [int(number) for number in won if split_of(int(store.episodes["index"][number])) == "fit"]
    calls = [store.calls(number, {"embedding"}) for number in numbers]
    found = [each.embedding for each in calls if each.embedding is not None]
    if not found or len(found) < len(calls):
        what = "whose calls have no embedding" if calls else "without a success in its fit split"
        raise ConfigError(f"{store.path.name} is a data set {what}: own successes cannot be looked up in it")
    lengths = [len(each.step) for each in calls]
    return Successes(np.concatenate(found), np.concatenate([each.chunk for each in calls]), np.repeat(numbers, lengths))
