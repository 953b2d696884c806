"""A learned recovery head: the policy fine-tuned on verified expert recoveries takes over."""

from __future__ import annotations

import functools
from pathlib import Path

from workbench.policies.flow import FlowPolicy
from workbench.types import Policy, Task


class Head:
    """A second checkpoint drives from the alarm on.

    Parameters
    ----------
    checkpoint : folder of the fine-tuned policy; read when it first drives, so that it can be named before it exists.
    task : a checkpoint of another task or observation layout is refused.
    """

    name: str = "head"
    replans: bool = True
    fresh_noise: bool = True
    extends: bool = True

    def __init__(self, checkpoint: str, task: Task) -> None:
        self._folder, self._task = Path(checkpoint), task

    def driver(self, policy: Policy) -> Policy:
        """The fine-tuned policy, whatever drove before."""
        return self._head

    @functools.cached_property
    def _head(self) -> FlowPolicy:
        return FlowPolicy.load(self._folder, self._task.name, self._task.observation_sizes)
