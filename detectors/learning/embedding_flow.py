"""What the scores that read a flow between embeddings and noise have in common."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from workbench.detectors.learning.flow_network import VelocityField, train
from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.detectors.learning.networks import load_weights, weights_of
from workbench.errors import ConfigError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class EmbeddingFlow(abc.ABC):
    """Flow matching on the standardised embeddings of the fit split; a subclass says what of it is the score.

    Parameters
    ----------
    width : units of a hidden layer of the velocity field.
    iterations : gradient steps.
    """

    needs = frozenset({"embedding"})
    name: str
    consistency = 0.0
    """Share of the consistency loss in training."""

    def __init__(self, width: int = 128, iterations: int = 1500) -> None:
        if width < 1 or iterations < 1:
            raise ConfigError(f"width={width} and iterations={iterations} of score {self.name} must be at least 1")
        self.width = width
        self.iterations = iterations

    @abc.abstractmethod
    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (N,) of standardised embeddings (N, D), both float64; without gradients."""

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Train the velocity field."""
        values = fit_embeddings(episodes, self.name)
        self.mean, self.std = standardisation(values)
        random = torch.Generator().manual_seed(seed)
        self.field = VelocityField(values.shape[1], 0, self.width, random)
        data = torch.as_tensor((values - self.mean) / self.std, dtype=torch.float32)
        train(self.field, data, self.iterations, random, consistency=self.consistency)
        self._settle()

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        with torch.no_grad():
            scores: Array = self.scores(torch.as_tensor((embedding_of(call, self.name) - self.mean) / self.std)).numpy()
        return scores

    def state(self) -> dict[str, Array]:
        """Statistics and weights."""
        return {"mean": self.mean, "std": self.std, **weights_of("field", self.field)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std = np.array(state["mean"]), np.array(state["std"])
        self.width = len(state["field.enter.weight"])
        self.field = VelocityField(len(self.mean), 0, self.width)
        load_weights("field", self.field, state)
        self._settle()

    def _settle(self) -> None:
        """Score in double precision, or a score would differ in its 6th digit with how many scenes share its call."""
        self.field = self.field.double()
