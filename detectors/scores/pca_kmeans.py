"""Distance of the policy's embedding from what was common in the fit split: principal components, then k-means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.errors import ConfigError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class PcaKmeans:
    """Euclidean distance to the nearest of some centres, in the space of the first principal components.

    A baseline of Xu et al. (FAIL-Detect, RSS 2025) and of Römer et al. (FIPER, NeurIPS 2025), after Liu et al. ("Multi-
    Task Interactive Robot Fleet Learning with Visual World Models", CoRL 2024).  The fit split and the call are centred
    by the same mean (FAIL-Detect's code forgets it for the call).

    Parameters
    ----------
    components : principal components kept, at most as many as there are.
    clusters : centres; never more than one for every ten calls, or most would be single calls, whose distances would
        be those to the nearest neighbour.
    """

    needs = frozenset({"embedding"})

    def __init__(self, components: int = 10, clusters: int = 64) -> None:
        if components < 1 or clusters < 1:
            raise ConfigError(f"components={components} and clusters={clusters} of score pca_kmeans must be at least 1")
        self.components = components
        self.clusters = clusters

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Components and centres; the seed draws the first centres."""
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA

        values = fit_embeddings(episodes, "pca_kmeans")
        self.mean, self.std = standardisation(values)
        values = (values - self.mean) / self.std
        self.axes: Array = PCA(min(self.components, *values.shape), svd_solver="full").fit(values).components_
        clusters = min(self.clusters, max(len(values) // 10, 1))
        kmeans = KMeans(clusters, n_init=4, random_state=seed % 2**32).fit(values @ self.axes.T)
        self.centres: Array = kmeans.cluster_centers_

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) in standard deviations of an embedding's number."""
        values = ((embedding_of(call, "pca_kmeans") - self.mean) / self.std) @ self.axes.T
        distance: Array = np.linalg.norm(values[:, None] - self.centres, axis=2).min(axis=1)
        return distance

    def state(self) -> dict[str, Array]:
        """Statistics, principal axes and centres."""
        return {"mean": self.mean, "std": self.std, "axes": self.axes, "centres": self.centres}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.mean, self.std = state["mean"], state["std"]
        self.axes, self.centres = state["axes"], state["centres"]
