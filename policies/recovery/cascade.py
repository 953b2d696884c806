"""Escalation: a stronger policy drives for a while, and hands back.

Weak by default, strong on an alarm, as in the escalation of AEGIS (arXiv 2606.06660, 2026).
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.types import Alarm, Intervention, Policy, Positive, Record


class Cascade:
    """Another trained policy drives from the alarm on.

    Parameters
    ----------
    strong : the policy that is called in; in a configuration its name, such as ``zoo/lift_flow``.
    steps : control steps after which the first one drives again; None for the rest of the episode.
    """

    name: str = "cascade"
    needs: Sequence[str] = ()

    def __init__(self, strong: Policy, steps: Positive | None = None) -> None:
        self._driver, self._steps = strong, steps

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """The stronger policy drives."""
        return Intervention(self._driver, self._steps, fresh_noise=True, more_time=True)
