"""How unlike the fit split is what the robot is about to do, given what it sees: distillation on action chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.chunks import chunk_of, fit_chunks
from workbench.detectors.learning.inputs import embedding_of, standardisation
from workbench.detectors.scores.rnd import RandomNetworkDistillation
from workbench.types import Array, EpisodeCalls, PolicyCall


class ActionRandomNetworkDistillation(RandomNetworkDistillation):
    """Distance between a frozen random network of (chunk, embedding) and one trained to imitate it on the fit split.

    ``s = sum over h of || f_h(a, e) - g_h(a, e) ||_2`` with a the chunk that is about to be run, e the embedding and h
    the H steps of the horizon: the RND of Xu et al. (FAIL-Detect, RSS 2025), after Burda et al. (ICLR 2019).

    What differs from the published code: fit and score see the *same* normalised chunks (theirs trains on normalised
    actions and scores raw ones); embeddings are standardised too; networks are perceptrons of a few hundred units, with
    several outputs for each step, since a few hundred rollout calls do not fill its convolutions.
    """

    name = "rnd_actions"

    def state(self) -> dict[str, Array]:
        """Statistics, weights and how many steps a chunk has."""
        return {**super().state(), "steps": np.array([self.steps])}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.steps = int(state["steps"][0])
        super().load(state)

    def _fit_values(self, episodes: Sequence[EpisodeCalls]) -> Array:
        """Embeddings and chunks side by side; each has its own statistics, so that neither's unit plays a part."""
        embeddings = super()._fit_values(episodes)
        chunks = fit_chunks(episodes, self.name)
        mean, std = standardisation(chunks)
        self.mean, self.std = np.concatenate([self.mean, mean]), np.concatenate([self.std, std])
        self.steps = episodes[0].chunk.shape[1]
        return np.concatenate([embeddings, chunks], axis=1)

    def _values(self, call: PolicyCall) -> Array:
        return np.concatenate([embedding_of(call, self.name), chunk_of(call)], axis=1)
