"""The scripted expert takes over: what a recovery with privileged state could reach at best."""

from __future__ import annotations

from workbench.types import Policy


class Expert:
    """The task's scripted expert drives from the alarm on.

    Parameters
    ----------
    expert : the expert of the task.
    """

    name: str = "expert"
    replans: bool = True
    fresh_noise: bool = True
    extends: bool = True

    def __init__(self, expert: Policy) -> None:
        self._expert = expert

    def driver(self, policy: Policy) -> Policy:
        """The expert, whatever drove before."""
        return self._expert
