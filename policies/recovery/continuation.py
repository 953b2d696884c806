"""Do nothing: what would have happened anyway, against which rescue and breakage are counted."""

from __future__ import annotations

from workbench.types import Policy


class Continue:
    """The same policy goes on with its queued actions and its own noise, until the task's deadline."""

    name: str = "continue"
    replans: bool = False
    fresh_noise: bool = False
    extends: bool = False

    def driver(self, policy: Policy) -> Policy:
        """The policy itself."""
        return policy
