"""Supervised: a recurrent network on the policy's embeddings, trained on how the episode ended."""

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
    recurrent,
    squares,
)
from workbench.errors import ConfigError
from workbench.types import Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record

RATE = 3e-3


class SafeLstm:
    """Probability that the episode fails, from an LSTM over the embeddings so far.

    SAFE-LSTM of Gu et al. ("SAFE: Multitask Failure Detection for Vision-Language-Action Models", NeurIPS 2025): one
    LSTM layer, one linear unit, cross-entropy with the episode's outcome at every call (mean over the calls of an
    episode, classes weigh alike), ``regularisation`` times the squared weights.

    What differs: embeddings are standardised with the fit split's statistics, a layer has 128 units (theirs: 256, for
    embeddings of 1024 numbers and more), and 150 epochs of all episodes at once with a learning rate that falls from
    3e-3 stand for their 1000.

    Parameters
    ----------
    width : units of the recurrent layer.
    epochs : passes over the fit split.
    regularisation : weight of the squared weights.
    """

    needs = frozenset({"embedding"})
    supervised = True

    def __init__(self, width: int = 128, epochs: int = 150, regularisation: float = 1e-3) -> None:
        if width < 1 or epochs < 1 or regularisation < 0:
            raise ConfigError(
                f"width={width} and epochs={epochs} of score safe_lstm must be at least 1, "
                f"regularisation={regularisation} at least 0"
            )
        self.width, self.epochs = width, epochs
        self.regularisation = regularisation

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int, truths: Sequence[EpisodeTruth]) -> None:
        """Train on episodes of both outcomes; seconds for 300 episodes on one core."""
        failed = outcomes(episodes, truths, "safe_lstm")
        self.mean, self.std = standardisation(fit_embeddings(episodes, "safe_lstm"))
        self._make(torch.Generator().manual_seed(seed))
        values, real = padded([self._standardised(episode) for episode in episodes])
        wanted = torch.as_tensor(failed, dtype=torch.float32)[:, None].expand(real.shape)
        share = balance(failed)[:, None] * real / real.sum(dim=1, keepdim=True) / len(failed)

        def loss() -> torch.Tensor:
            logits = self.last(self.layer(values)[0])[..., 0]
            entropy = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            return (share * entropy).sum() + self.regularisation * (squares(self.layer) + squares(self.last))

        descend([*self.layer.parameters(), *self.last.parameters()], loss, self.epochs, RATE)
        self._settle()

    def begin(self) -> Record:
        """An LSTM that has seen nothing."""
        return {"hidden": None, "cell": None}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) between 0 and 1."""
        values = torch.as_tensor(self._standardised(call))[:, None]
        nothing = np.zeros(self.width)
        parts = [
            torch.as_tensor(np.stack([nothing if memory[key] is None else memory[key] for memory in memories]))[None]
            for key in ("hidden", "cell")
        ]
        with torch.no_grad():
            output, (hidden, cell) = self.layer(values, (parts[0], parts[1]))
            scores: Array = torch.sigmoid(self.last(output[:, 0]))[:, 0].numpy()
        for scene, memory in enumerate(memories):
            memory["hidden"], memory["cell"] = hidden[0, scene].numpy(), cell[0, scene].numpy()
        return scores

    def state(self) -> dict[str, Array]:
        """Statistics and weights."""
        learnt = {**weights_of("layer", self.layer), **weights_of("last", self.last)}
        return {"mean": self.mean, "std": self.std, **learnt}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std = state["mean"], state["std"]
        self.width = state["last.weight"].shape[1]
        self._make(None)
        load_weights("layer", self.layer, state)
        load_weights("last", self.last, state)
        self._settle()

    def _make(self, random: torch.Generator | None) -> None:
        self.layer = recurrent(len(self.mean), self.width, random)
        self.last = dense(self.width, 1, random)

    def _settle(self) -> None:
        """Score in double precision, so that a score does not depend on how many scenes share its call."""
        self.layer, self.last = self.layer.double(), self.last.double()

    def _standardised(self, call: PolicyCall | EpisodeCalls) -> Array:
        values: Array = (embedding_of(call, "safe_lstm") - self.mean) / self.std
        return values
