"""Do nothing: what would have happened anyway, against which rescue and breakage are counted."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.types import Alarm, Intervention, Record


class Continue:
    """The same policy goes on with its queued actions and its own noise, until the task's deadline."""

    name: str = "continue"
    needs: Sequence[str] = ()

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        """Nothing."""
        return None
