"""How unlike the fit split is what the robot sees: random network distillation on the policy's embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from workbench.detectors.learning.inputs import embedding_of, fit_embeddings, standardisation
from workbench.detectors.learning.networks import load_weights, perceptron, weights_of
from workbench.errors import ConfigError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

OUTPUTS = 64
BATCH = 128


class RandomNetworkDistillation:
    """Distance between a frozen random network and one trained to imitate it on the fit split.

    ``s = || f(e) - g(e) ||_2`` with e an embedding (D,), g frozen and random, f trained on the same norm (Burda et al.,
    ICLR 2019; RND-OE of Römer et al., "Failure Prediction at Runtime for Generative Robot Policies", NeurIPS 2025).

    What differs from the latter: embeddings are standardised with the fit split's statistics (theirs are raw, so their
    score follows the scale of the encoder); the networks are 10-30 times narrower (a few hundred embeddings do not fill
    4096 units); epochs are fixed instead of stopped on a random tenth of the *steps*, which leaks between the steps of
    an episode; and the threshold never comes from the episodes it was trained on
    (:func:`workbench.monitoring.calibration.calibrate`).

    Parameters
    ----------
    width : units of a hidden layer; the target has two such layers, the predictor three.
    epochs : passes over the fit split.
    """

    needs = frozenset({"embedding"})
    name = "rnd"
    steps = 1
    """In how many equal parts the networks' outputs are compared; the score is the sum of the parts' distances."""

    def __init__(self, width: int = 128, epochs: int = 150) -> None:
        if width < 1 or epochs < 1:
            raise ConfigError(f"width={width} and epochs={epochs} of score {self.name} must be at least 1")
        self.width = width
        self.epochs = epochs

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Train the predictor; about a second for 60 episodes of 6 calls on one core."""
        values = self._fit_values(episodes)
        random = torch.Generator().manual_seed(seed)
        self.target, self.predictor = self._networks(values.shape[1])
        for network in (self.target, self.predictor):
            _initialise(network, random)
        inputs = self._standardised(values)
        with torch.no_grad():
            wanted = self.target(inputs)
        self._imitate(inputs, wanted, random)
        self._settle()

    def _imitate(self, inputs: torch.Tensor, wanted: torch.Tensor, random: torch.Generator) -> None:
        optimiser = torch.optim.AdamW(self.predictor.parameters(), lr=1e-3, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs, eta_min=1e-5)
        for _ in range(self.epochs):
            for batch in torch.split(torch.randperm(len(inputs), generator=random), BATCH):
                loss = self._distance(self.predictor(inputs[batch]), wanted[batch]).mean()
                optimiser.zero_grad()
                torch.autograd.backward([loss])
                optimiser.step()
            schedule.step()

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        with torch.no_grad():
            inputs = self._standardised(self._values(call)).double()
            distance: Array = self._distance(self.predictor(inputs), self.target(inputs)).numpy()
        return distance

    def state(self) -> dict[str, Array]:
        """Statistics and weights."""
        networks = {**weights_of("target", self.target), **weights_of("predictor", self.predictor)}
        return {"mean": self.mean, "std": self.std, **networks}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std = state["mean"], state["std"]
        self.width = len(state["target.0.weight"])
        self.target, self.predictor = self._networks(len(self.mean))
        load_weights("target", self.target, state)
        load_weights("predictor", self.predictor, state)
        self._settle()

    def _settle(self) -> None:
        """Score in double precision: in single, a score would differ by 1e-6 with how many scenes share its call."""
        self.target, self.predictor = self.target.double(), self.predictor.double()

    def _networks(self, size: int) -> tuple[nn.Sequential, nn.Sequential]:
        outputs = OUTPUTS * self.steps
        return perceptron([size, self.width, self.width, outputs]), perceptron([size, *[self.width] * 3, outputs])

    def _distance(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        distance: torch.Tensor = (one - other).view(len(one), self.steps, -1).norm(dim=2).sum(dim=1)
        return distance

    def _fit_values(self, episodes: Sequence[EpisodeCalls]) -> Array:
        """What the networks read of the fit split, (sum of C, D), and its statistics."""
        values = fit_embeddings(episodes, self.name)
        self.mean, self.std = standardisation(values)
        return values

    def _values(self, call: PolicyCall) -> Array:
        return embedding_of(call, self.name)

    def _standardised(self, values: Array) -> torch.Tensor:
        return torch.as_tensor((values - self.mean) / self.std, dtype=torch.float32)


def _initialise(network: nn.Sequential, random: torch.Generator) -> None:
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=float(np.sqrt(2)), generator=random)
            nn.init.zeros_(layer.bias)
