"""Group = the task's stage, as read off the policy's embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.errors import ScoreError
from workbench.types import Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record


class StageGroups:
    """Most likely stage under normal distributions with a common covariance: linear discriminant analysis.

    Fisher ("The use of multiple measurements in taxonomic problems", Annals of Eugenics 1936), with the covariance
    shrunk towards a multiple of the identity by ``shrinkage``, as embeddings have more dimensions than episodes carry.
    Stages come from the simulator on the fit split alone; afterwards the embedding is all that is read.  The number of
    a group is that of the stage in the task's order.

    Parameters
    ----------
    shrinkage : share of the identity in the covariance of the standardised embeddings, above 0.
    """

    needs = frozenset({"embedding"})
    supervised = True

    def __init__(self, shrinkage: float = 0.1) -> None:
        self.shrinkage = shrinkage
        self._state: dict[str, Array] = {}

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int, truths: Sequence[EpisodeTruth]) -> None:
        """Learn which embeddings belong to which stage."""
        embeddings = fit_embeddings(episodes, "stage groups")
        stages = np.concatenate([truth.stage for truth in truths]).astype(int)
        known = np.unique(stages)
        if len(known) < 2:
            raise ScoreError(f"groups by stage need at least two stages in the fit split, not {len(known)}")
        mean, std = standardisation(embeddings)
        z = (embeddings - mean) / std
        centres = np.stack([z[stages == stage].mean(axis=0) for stage in known])
        within = z - centres[np.searchsorted(known, stages)]
        covariance = within.T @ within / len(within)
        identity = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
        mixed = (1 - self.shrinkage) * covariance + self.shrinkage * identity
        weights = np.linalg.solve(mixed, centres.T)
        shares = np.array([(stages == stage).mean() for stage in known])
        self._state = {
            "stages": known.astype(np.float64),
            "weights": weights / std[:, None],
            "offset": np.log(shares) - 0.5 * (centres.T * weights).sum(axis=0) - (mean / std) @ weights,
        }

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Stages (N,) of one call; NaN where the embedding is not finite."""
        embedding = embedding_of(call, "stage groups")
        evidence = np.stack([row @ self._state["weights"] for row in embedding]) + self._state["offset"]
        return np.where(np.isfinite(evidence).all(axis=1), self._state["stages"][evidence.argmax(axis=1)], np.nan)

    def state(self) -> dict[str, Array]:
        """What was learnt."""
        return dict(self._state)

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self._state = dict(state)
