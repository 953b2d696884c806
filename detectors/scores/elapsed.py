"""Baseline: elapsed time, which any detector must beat at equal times before it may be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class Elapsed:
    """The control step of the call.  Failed episodes run to the deadline, so this alone looks like a good detector."""

    needs: frozenset[str] = frozenset()

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt."""

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) in control steps."""
        return np.asarray(call.step, np.float64)

    def state(self) -> dict[str, Array]:
        """Nothing."""
        return {}

    def load(self, state: Mapping[str, Array]) -> None:
        """Nothing to load."""
