"""Stop and ask: the robot stands still, and a person takes over."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.types import Alarm, Intervention, Record


class Ask:
    """The episode ends at the alarm; it counts neither as a success nor as one that somebody else won."""

    name: str = "ask"
    needs: Sequence[str] = ()

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        """Stop; not before anything was done."""
        return Intervention(stops=True) if alarm.step else None
