"""Distance of the policy's embedding from its nearest neighbours in the fit split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

Metric = Literal["euclidean", "cosine"]


class NearestNeighbours:
    """Mean distance to the k nearest embeddings of the fit split.

    Sun et al. ("Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022); as a baseline on a policy's
    features in Gu et al. (SAFE, NeurIPS 2025), with both metrics.  Embeddings are standardised first: the cosine is
    that of the angle seen from the mean of the fit split.

    Parameters
    ----------
    neighbours : k, at most as many as there are calls.
    metric : ``euclidean``, in standard deviations of an embedding's number, or ``cosine``, between 0 and 2.
    """

    needs = frozenset({"embedding"})

    def __init__(self, neighbours: int = 5, metric: Metric = "euclidean") -> None:
        if metric not in get_args(Metric):
            raise UnknownNameError("metric", metric, get_args(Metric))
        self.metric = metric
        if neighbours < 1:
            raise ConfigError(f"neighbours={neighbours} of score {self.name} must be at least 1")
        self.neighbours = neighbours

    @property
    def name(self) -> str:
        """As in the configuration."""
        return "knn_cosine" if self.metric == "cosine" else "knn"

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Keep the embeddings; the seed plays no part."""
        values = fit_embeddings(episodes, self.name)
        self.mean, self.std = standardisation(values)
        self.known: Array = (values - self.mean) / self.std

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        distance = self._distance((embedding_of(call, self.name) - self.mean) / self.std)
        nearest = min(self.neighbours, len(self.known))
        mean: Array = np.partition(distance, nearest - 1, axis=1)[:, :nearest].mean(axis=1)
        return mean

    def _distance(self, values: Array) -> Array:
        """Distances (N, M) to all that is known."""
        from scipy.spatial.distance import cdist  # type: ignore[import-untyped,unused-ignore]

        distance: Array = (
            1.0 - _directions(values) @ _directions(self.known).T
            if self.metric == "cosine"
            else cdist(values, self.known)
        )
        return distance

    def state(self) -> dict[str, Array]:
        """Statistics, the embeddings of the fit split, and how they are compared."""
        compared = {"neighbours": np.array([self.neighbours]), "cosine": np.array([self.metric == "cosine"])}
        return {"mean": self.mean, "std": self.std, "known": self.known, **compared}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.mean, self.std, self.known = state["mean"], state["std"], state["known"]
        self.neighbours = int(state["neighbours"][0])
        self.metric = "cosine" if state["cosine"][0] else "euclidean"


def _directions(values: Array) -> Array:
    """Unit vectors; the mean itself has no direction and is at distance 1 from everything."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    units: Array = values / np.maximum(length, np.finfo(float).tiny)
    return units
