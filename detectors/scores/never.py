"""Baseline: no alarm in any episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class Never:
    """The constant 0, with which nothing alarms whatever the calibrator: an alarm is a score *above* the threshold.

    What a robot without a monitor does: it misses every failure and ruins no success.
    """

    needs: frozenset[str] = frozenset()

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt."""

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,), all 0."""
        return np.zeros(len(call.step))

    def state(self) -> dict[str, Array]:
        """Nothing."""
        return {}

    def load(self, state: Mapping[str, Array]) -> None:
        """Nothing to load."""
