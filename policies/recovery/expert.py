"""The scripted expert takes over: what a recovery with privileged state could reach at best."""

from __future__ import annotations

from workbench.policies import expert
from workbench.types import Policy, Task


class Expert:
    """The task's scripted expert drives from the alarm on.

    Parameters
    ----------
    task : whose plan it follows.
    """

    name: str = "expert"
    replans: bool = True
    fresh_noise: bool = True
    extends: bool = True

    def __init__(self, task: Task) -> None:
        self._expert = expert.Expert(task)

    def driver(self, policy: Policy) -> Policy:
        """The expert, whatever drove before."""
        return self._expert
