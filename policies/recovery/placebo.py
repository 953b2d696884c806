"""More time and another throw of the dice: the control that an intervention has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.types import Alarm, Intervention, Record


class Placebo:
    """The same policy plans anew with fresh noise, and has as much time as any intervention.

    A strategy that is only compared with what happened is credited with what luck and waiting would have done.
    """

    name: str = "placebo"
    needs: Sequence[str] = ()

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """Fresh noise and more time."""
        return Intervention(fresh_noise=True, more_time=True)
