"""Mahalanobis distance of the policy's embedding from those of the fit split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class Mahalanobis:
    """``s = sqrt((z - m)^T S^-1 (z - m))`` with z the standardised embedding and S its shrunk covariance.

    A Gaussian fitted to the features of a trained network (Lee et al., NeurIPS 2018), used on a policy's encoder as a
    baseline by Agia et al. ("Unpacking Failure Modes of Generative Policies", CoRL 2024).  S is shrunk towards a
    multiple of the identity by the amount of Ledoit and Wolf (J. Multivariate Analysis, 2004), so it can be inverted
    with fewer calls than dimensions.
    """

    needs = frozenset({"embedding"})

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Mean and shrunk covariance; the seed plays no part."""
        from sklearn.covariance import LedoitWolf

        values = fit_embeddings(episodes, "mahalanobis")
        self.mean, self.std = standardisation(values)
        estimate = LedoitWolf(assume_centered=True).fit((values - self.mean) / self.std)
        # ||W z|| with W^T W the inverse: cheaper than a quadratic form, and never negative under the root.
        variances, axes = np.linalg.eigh(estimate.covariance_)
        self.whitening: Array = axes.T / np.sqrt(variances)[:, None]

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        values = (embedding_of(call, "mahalanobis") - self.mean) / self.std
        distance: Array = np.linalg.norm(values @ self.whitening.T, axis=1)
        return distance

    def state(self) -> dict[str, Array]:
        """Statistics and whitening matrix."""
        return {"mean": self.mean, "std": self.std, "whitening": self.whitening}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.mean, self.std, self.whitening = state["mean"], state["std"], state["whitening"]
