"""The first failure mode that is seen."""

from __future__ import annotations

from workbench.attribution.attributors.reading.series import first
from workbench.types.attribution import Attribution, Case


class FirstMode:
    """Names the step at which any failure mode is seen for the first time; none where none is."""

    needs: frozenset[str] = frozenset()

    def attribute(self, case: Case) -> Attribution:
        """The step."""
        step = first(case.log.modes > 0)
        return Attribution() if step is None else Attribution((step,))
