"""Any step, drawn: chance."""

from __future__ import annotations

import numpy as np

from workbench.types.attribution import Attribution, Case


class RandomStep:
    """Names steps in a drawn order."""

    needs: frozenset[str] = frozenset()

    def attribute(self, case: Case) -> Attribution:
        """All steps of the episode, in any order."""
        order = np.random.default_rng(case.seed).permutation(case.log.length)
        return Attribution(tuple(int(step) for step in order))
