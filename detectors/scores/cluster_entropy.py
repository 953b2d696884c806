"""Between how many different plans the policy wavers: entropy of clusters of the sampled chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, ward  # type: ignore[import-untyped,unused-ignore]

from workbench.detectors.learning.inputs import dimensions, samples_of
from workbench.errors import ConfigError, ScoreError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class ClusterEntropy:
    """Entropy of the sizes of the clusters that B sampled chunks fall into, in bits: between 0 and log2 B.

    Sampling consistency of SAFE (Gu et al., NeurIPS 2025): agglomerative clustering (Ward) of the flattened chunks, cut
    at a distance.  There the distance is searched on a grid in action units; here every action dimension is divided by
    its standard deviation in the fit split, and the distance is ``spreads`` times the median over the fit split's calls
    of the samples' own spread, the root of the trace of their covariance.

    Parameters
    ----------
    spreads : Ward distance at which the tree is cut, in typical spreads of one call's samples.
    dims : action dimensions that are compared.
    """

    needs = frozenset({"samples"})

    def __init__(self, spreads: float = 1.5, dims: Sequence[int] = (0, 1, 2, 3, 4, 5, 6)) -> None:
        if not spreads > 0:
            raise ConfigError(f"spreads={spreads} of score cluster_entropy must be above 0")
        self.spreads = spreads
        self.dims = dimensions("cluster_entropy", dims)

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Units of the actions and the distance; the seed plays no part."""
        if not episodes:
            raise ScoreError("score cluster_entropy was given no episode to fit on: roll out episodes of the fit split")
        every = np.concatenate([samples_of(episode, "cluster_entropy", self.dims) for episode in episodes])
        deviation = every.std(axis=(0, 1, 2))
        if not (np.isfinite(deviation).all() and deviation.max() > 0):
            raise ScoreError(f"score cluster_entropy cannot be fitted: the actions deviate by {deviation.tolist()}")
        # A dimension that never moved must not turn rounding errors into clusters.
        self.unit: Array = np.where(deviation > 1e-6 * deviation.max(), deviation, deviation.max())
        spread = float(np.median(np.sqrt((every / self.unit).var(axis=1, ddof=1).sum(axis=(1, 2)))))
        if not spread > 1e-9:
            raise ScoreError("score cluster_entropy cannot be fitted: all samples of a call are the same")
        self.distance = self.spreads * spread

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) in bits."""
        samples = samples_of(call, "cluster_entropy", self.dims) / self.unit
        return np.array([_entropy(chunks.reshape(len(chunks), -1), self.distance) for chunks in samples])

    def state(self) -> dict[str, Array]:
        """What decides the clusters."""
        return {"dims": np.array(self.dims), "unit": self.unit, "distance": np.array([self.distance])}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.dims = tuple(int(dim) for dim in state["dims"])
        self.unit, self.distance = state["unit"], float(state["distance"][0])


def _entropy(rows: Array, distance: float) -> float:
    """Entropy in bits of the sizes of the clusters of rows (B, F), cut at a Ward distance."""
    if not np.isfinite(rows).all():
        return float("nan")
    share = np.bincount(fcluster(ward(rows), distance, criterion="distance"))[1:] / len(rows)
    return float(-(share * np.log2(share)).sum()) + 0.0
