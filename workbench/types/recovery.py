"""What is done on an alarm."""

from __future__ import annotations

from typing import Protocol

from workbench.types.policy import Policy


class Strategy(Protocol):
    """What is done on an alarm."""

    name: str
    replans: bool
    """Whether the queued actions are thrown away and the policy asked at once."""
    fresh_noise: bool
    """Whether it draws new noise (shared by all strategies of a comparison) instead of the factual one."""
    extends: bool
    """Whether it is given the time allowance of an intervention beyond the episode's deadline."""

    def driver(self, policy: Policy) -> Policy:
        """The policy that drives from the alarm on."""
        ...
