"""The largest jump of a score."""

from __future__ import annotations

import numpy as np

from workbench.attribution.attributors.reading.series import watched
from workbench.types.attribution import MONITORS, Attribution, Case


class LargestJump:
    """Names policy calls by how much a monitor's score rises from them to the next, the largest rise first.

    What the policy does from one call on is seen at the next, so the call before the jump is named.

    Parameters
    ----------
    monitor : name of a fitted monitor, whose windowed score is read.
    """

    needs = frozenset({MONITORS})

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def attribute(self, case: Case) -> Attribution:
        """The steps of the calls."""
        score = watched(case.log, self.monitor, "largest_jump").score
        order = np.argsort(-np.diff(score), kind="stable")
        return Attribution(tuple(int(case.log.calls.step[call]) for call in order))
