"""More time and another throw of the dice: the control that an intervention has to beat."""

from __future__ import annotations

from workbench.types import Policy


class Placebo:
    """The same policy, its queue thrown away, with fresh noise and the time allowance of an intervention.

    On Lift this alone rescued 29 of 60 failing episodes, so a strategy that is only compared with ``continue`` is
    credited with what waiting would have done.
    """

    name: str = "placebo"
    replans: bool = True
    fresh_noise: bool = True
    extends: bool = True

    def driver(self, policy: Policy) -> Policy:
        """The policy itself."""
        return policy
