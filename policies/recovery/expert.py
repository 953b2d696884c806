"""The scripted expert takes over: what a recovery with privileged state could reach at best."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.types import Alarm, Intervention, Policy, Positive, Record


class Expert:
    """The task's scripted expert drives from the alarm on.

    Parameters
    ----------
    expert : the expert of the task.
    steps : control steps after which the policy drives again; None for the rest of the episode.
    """

    name: str = "expert"
    needs: Sequence[str] = ()

    def __init__(self, expert: Policy, steps: Positive | None = None) -> None:
        self._driver, self._steps = expert, steps

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """The expert drives."""
        return Intervention(self._driver, self._steps, fresh_noise=True, more_time=True)
