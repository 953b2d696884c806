"""Baseline: alarm at the first call of every episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class Always:
    """The constant 1, to be used with :class:`workbench.detectors.calibrators.fixed.Fixed` at 0.

    It finds every failure at step 0, ruins every success, and still gets a timeliness-weighted accuracy of 0.5.  With a
    conformal calibrator it would never alarm: its threshold would be 1, and an alarm is a score *above* the threshold.
    """

    needs: frozenset[str] = frozenset()

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt."""

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,), all 1."""
        return np.ones(len(call.step))

    def state(self) -> dict[str, Array]:
        """Nothing."""
        return {}

    def load(self, state: Mapping[str, Array]) -> None:
        """Nothing to load."""
