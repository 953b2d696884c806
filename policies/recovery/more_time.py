"""More time and nothing else: what waiting would have done."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.types import Alarm, Intervention, Record


class MoreTime:
    """The same policy goes on with its own noise, beyond the task's deadline."""

    name: str = "more_time"
    needs: Sequence[str] = ()

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """More time."""
        return Intervention(more_time=True)
