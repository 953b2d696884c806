"""A fixed share of the episode: the first, the middle or the last step, whatever is in the log."""

from __future__ import annotations

from workbench.errors import ConfigError
from workbench.types.attribution import Attribution, Case


class AtShare:
    """Names the step at a share of the episode.  What an attributor has to beat.

    Parameters
    ----------
    share : 0 for the first step, 1 for the last.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, share: float) -> None:
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"share={share} of an attributor must be in 0..1, 0 for the first step")
        self.share = share

    def attribute(self, case: Case) -> Attribution:
        """The step."""
        return Attribution((round(self.share * (case.log.length - 1)),))
