"""How unlike the fit split is what the robot sees: random network distillation on the policy's embeddings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from workbench.detectors.scores.inputs import embedding_of, fit_embeddings, standardisation
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
    an episode; and the threshold never comes from the episodes it was trained on (:func:`workbench.monitor.calibrate`).

    Parameters
    ----------
    width : units of a hidden layer; the target has two such layers, the predictor three.
    epochs : passes over the fit split.
    """

    needs = frozenset({"embedding"})

    def __init__(self, width: int = 128, epochs: int = 150) -> None:
        if width < 1 or epochs < 1:
            raise ConfigError(f"width={width} and epochs={epochs} of score rnd must be at least 1")
        self.width = width
        self.epochs = epochs

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Train the predictor; about a second for 60 episodes of 6 calls on one core."""
        values = fit_embeddings(episodes, "rnd")
        self.mean, self.std = standardisation(values)
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
                loss = (self.predictor(inputs[batch]) - wanted[batch]).norm(dim=1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            schedule.step()

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        with torch.no_grad():
            inputs = self._standardised(embedding_of(call, "rnd")).double()
            distance: Array = (self.predictor(inputs) - self.target(inputs)).norm(dim=1).numpy()
        return distance

    def state(self) -> dict[str, Array]:
        """Statistics and weights."""
        weights = {
            f"{part}.{name}": tensor.float().numpy()
            for part, network in (("target", self.target), ("predictor", self.predictor))
            for name, tensor in network.state_dict().items()
        }
        return {"mean": self.mean, "std": self.std, **weights}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std = state["mean"], state["std"]
        self.width = len(state["target.0.weight"])
        self.target, self.predictor = self._networks(len(self.mean))
        for part, network in (("target", self.target), ("predictor", self.predictor)):
            names = network.state_dict()
            network.load_state_dict({name: torch.as_tensor(np.array(state[f"{part}.{name}"])) for name in names})
        self._settle()

    def _settle(self) -> None:
        """Score in double precision: in single, a score would differ by 1e-6 with how many scenes share its call."""
        self.target, self.predictor = self.target.double(), self.predictor.double()

    def _networks(self, size: int) -> tuple[nn.Sequential, nn.Sequential]:
        return _network([size, self.width, self.width, OUTPUTS]), _network([size, *[self.width] * 3, OUTPUTS])

    def _standardised(self, values: Array) -> torch.Tensor:
        return torch.as_tensor((values - self.mean) / self.std, dtype=torch.float32)


def _network(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        # Without torch's own initialisation, which would draw from the process-wide stream.
        layers += [nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu"), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


def _initialise(network: nn.Sequential, random: torch.Generator) -> None:
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=float(np.sqrt(2)), generator=random)
            nn.init.zeros_(layer.bias)
