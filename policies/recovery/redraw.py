"""Another throw of the dice and no more time: what luck alone would have done."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.types import Alarm, Intervention, Record


class Redraw:
    """The same policy plans anew with fresh noise, until the task's deadline.

    A failed episode that is rolled again from its alarm often succeeds, whatever was done there.  An intervention is
    credited with what it adds to that.
    """

    name: str = "redraw"
    needs: Sequence[str] = ()

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """Fresh noise."""
        return Intervention(fresh_noise=True)
