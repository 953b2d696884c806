"""The first divergence from the nominal twin."""

from __future__ import annotations

import numpy as np

from workbench.attribution.attributors.reading.series import first, observed, spread
from workbench.errors import ConfigError
from workbench.types.attribution import TWIN, Attribution, Case


class TwinDivergence:
    """Names the first step at which what is seen or asked differs from the nominal twin's; none without a twin.

    A step's action shows in what is seen one step later, so the step before the difference is named.

    Parameters
    ----------
    tolerance : difference that counts, in spreads of the twin's own values over its episode.
    """

    needs = frozenset({TWIN})

    def __init__(self, tolerance: float = 0.1) -> None:
        if not tolerance >= 0:
            raise ConfigError(f"tolerance={tolerance} of an attributor must be at least 0")
        self.tolerance = tolerance

    def attribute(self, case: Case) -> Attribution:
        """The step."""
        if case.twin is None:
            return Attribution()
        mine, theirs = observed(case.log), observed(case.twin)
        shared = min(len(mine), len(theirs))
        differs = np.abs(mine[:shared] - theirs[:shared]) > self.tolerance * spread(theirs)
        step = first(differs.any(axis=1))
        if step is None:
            return Attribution() if len(mine) == len(theirs) else Attribution((shared - 1,))
        return Attribution((max(step - 1, 0),))
