"""Supervised: a small network on the policy's embedding that is high where episodes failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.detectors.learning.networks import load_weights, weights_of
from workbench.detectors.learning.sequences import (
    balance,
    dense,
    descend,
    outcomes,
    padded,
    squares,
)
from workbench.errors import ConfigError
from workbench.types import Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record

RATE = 3e-3


class SafeMlp:
    """``s(t) = sum over calls up to t of sigmoid(g(e))``, pushed up along failures and down along successes.

    SAFE-MLP of Gu et al. ("SAFE: Multitask Failure Detection for Vision-Language-Action Models", NeurIPS 2025): g is
    Linear-ReLU-Linear, the loss of an episode the mean of ``s`` over its calls (minus it for a failure), classes
    weigh alike, and ``regularisation`` times the squared weights is added.  The sum never falls, so it is elapsed time
    in part; compared at equal times that is no gain.

    What differs: embeddings are standardised with the fit split's statistics, and 300 epochs of all episodes at once
    with a learning rate that falls from 3e-3 stand for their 1000.

    Parameters
    ----------
    width : units of the hidden layer.
    epochs : passes over the fit split.
    regularisation : weight of the squared weights.
    cumulative : whether the score is the sum over the episode, as published, or the call's own term.
    """

    needs = frozenset({"embedding"})
    supervised = True

    def __init__(
        self, width: int = 256, epochs: int = 300, regularisation: float = 0.001, cumulative: bool = True
    ) -> None:
        if width < 1 or epochs < 1 or regularisation < 0:
            raise ConfigError(
                f"width={width} and epochs={epochs} of score safe_mlp must be at least 1, "
                f"regularisation={regularisation} at least 0"
            )
        self.width, self.epochs = width, epochs
        self.regularisation = regularisation
        self.cumulative = cumulative

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int, truths: Sequence[EpisodeTruth]) -> None:
        """Train on episodes of both outcomes; seconds for 300 episodes on one core."""
        failed = outcomes(episodes, truths, "safe_mlp")
        self.mean, self.std = standardisation(fit_embeddings(episodes, "safe_mlp"))
        self.network = self._network(len(self.mean), torch.Generator().manual_seed(seed))
        values, real = padded([self._standardised(episode) for episode in episodes])
        # Of an episode, the mean over its calls of plus or minus the score.
        signed = (balance(failed) * torch.as_tensor(np.where(failed > 0, -1.0, 1.0), dtype=torch.float32))[:, None]
        share = signed * real / real.sum(dim=1, keepdim=True) / len(failed)

        def loss() -> torch.Tensor:
            score = torch.sigmoid(self.network(values))[..., 0]
            score = score.cumsum(dim=1) if self.cumulative else score
            return (share * score).sum() + self.regularisation * squares(self.network)

        descend(self.network.parameters(), loss, self.epochs, RATE)
        self.network = self.network.double()

    def begin(self) -> Record:
        """Nothing summed yet."""
        return {"sum": 0.0}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,): between 0 and the number of calls so far, or 0 and 1 where not cumulative."""
        with torch.no_grad():
            scores: Array = torch.sigmoid(self.network(torch.as_tensor(self._standardised(call))))[:, 0].numpy()
        if not self.cumulative:
            return scores
        for memory, score in zip(memories, scores, strict=True):
            memory["sum"] += float(score)
        return np.array([memory["sum"] for memory in memories])

    def state(self) -> dict[str, Array]:
        """Statistics, weights, and whether scores are summed."""
        own = {"mean": self.mean, "std": self.std, "cumulative": np.array([self.cumulative])}
        return {**own, **weights_of("network", self.network)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std, self.cumulative = state["mean"], state["std"], bool(state["cumulative"][0])
        self.width = len(state["network.0.weight"])
        self.network = self._network(len(self.mean), None)
        load_weights("network", self.network, state)
        self.network = self.network.double()

    def _network(self, size: int, random: torch.Generator | None) -> nn.Sequential:
        return nn.Sequential(dense(size, self.width, random), nn.ReLU(), dense(self.width, 1, random))

    def _standardised(self, call: PolicyCall | EpisodeCalls) -> Array:
        values: Array = (embedding_of(call, "safe_mlp") - self.mean) / self.std
        return values
