"""How far apart the sampled chunks are: their variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import dimensions, samples_of
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class SampleVariance:
    """Trace of the covariance of the B sampled actions at a step of the chunk, averaged over the H steps.

    In squared action units, unbiased (B - 1).  The output variance of Agia et al. (CoRL 2024) and the total,
    translation, rotation and gripper variances of SAFE (Gu et al., NeurIPS 2025); the latter's code takes its groups
    from the flattened chunk, so that its "gripper" is nearly the whole chunk, and here they are action dimensions.

    Parameters
    ----------
    dims : action dimensions whose variances are added.
    """

    needs = frozenset({"samples"})

    def __init__(self, dims: Sequence[int] = (0, 1, 2, 3, 4, 5, 6)) -> None:
        self.dims = dimensions("sample_variance", dims)

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt; episodes that it could not score are refused already here."""
        for episode in episodes:
            samples_of(episode, "sample_variance", self.dims)

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        variance = samples_of(call, "sample_variance", self.dims).var(axis=1, ddof=1)
        trace: Array = variance.sum(axis=-1).mean(axis=-1)
        return trace

    def state(self) -> dict[str, Array]:
        """Which dimensions count."""
        return {"dims": np.array(self.dims)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.dims = tuple(int(dim) for dim in state["dims"])
