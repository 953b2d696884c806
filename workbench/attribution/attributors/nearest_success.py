"""The first departure from the nearest success."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.attribution.attributors.reading.nominal import successes
from workbench.attribution.attributors.reading.series import first, observed, spread, stacked
from workbench.errors import ConfigError
from workbench.types import Array
from workbench.types.attribution import Attribution, Case, EpisodeLog, Lesson, Surroundings


class NearestSuccess:
    """Names the step from which the episode is further from the successes than they are from one another.

    The nearest of the fit split's nominal successes is the one that began most alike.  The distance of a step is that
    to the nearest step of this success within ``slack_steps``, in spreads of what is seen; the threshold is a quantile
    of the largest such distance of the successes themselves, each held against the one among the others that began
    most like it.

    Parameters
    ----------
    slack_steps : how much earlier or later the success may have been there.
    quantile : of the successes' own largest distances.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, slack_steps: int = 10, quantile: float = 0.9) -> None:
        if slack_steps < 0 or not 0 < quantile <= 1:
            raise ConfigError(
                f"slack_steps={slack_steps} of an attributor must be at least 0, quantile={quantile} in (0, 1]"
            )
        self.slack_steps, self.quantile = slack_steps, quantile
        self._known: list[Array] = []
        self._scale, self._threshold = np.ones(1), np.inf

    def fit(self, lessons: Sequence[Lesson], task: Surroundings, seed: int) -> None:
        """Keep the successes, and find out how far they are from one another."""
        logs = successes(lessons, "nearest_success")
        self._scale = spread(stacked(logs))
        self._known = [observed(log) / self._scale for log in logs]
        own = [
            self._distance(rows, [*self._known[:place], *self._known[place + 1 :]]).max()
            for place, rows in enumerate(self._known)
        ]
        self._threshold = float(np.quantile(own, self.quantile))

    def attribute(self, case: Case) -> Attribution:
        """The step; where the episode never departs, the one at which it is furthest."""
        distance = self._distance(self._rows(case.log), self._known)
        step = first(distance > self._threshold)
        return Attribution((int(np.argmax(distance)) if step is None else step,))

    def _rows(self, log: EpisodeLog) -> Array:
        rows: Array = observed(log) / self._scale
        return rows

    def _distance(self, rows: Array, known: Sequence[Array]) -> Array:
        """(T,) to the one of some successes that began most alike."""
        nearest = min(known, key=lambda other: float(np.linalg.norm(other[0] - rows[0])))
        steps = np.arange(len(rows))
        beside = steps[:, None] + np.arange(-self.slack_steps, self.slack_steps + 1)
        there = nearest[np.clip(beside, 0, len(nearest) - 1)]
        distance: Array = np.linalg.norm(there - rows[:, None], axis=2).min(axis=1)
        return distance
