"""What the wrist feels: a small temporal convolution over the last force-torque readings, trained on outcomes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad

from workbench.detectors.learning.inputs import standardisation
from workbench.detectors.learning.networks import load_weights, weights_of
from workbench.errors import ConfigError, ScoreError
from workbench.types import Array, EpisodeCalls, EpisodeTruth, PolicyCall, Record

KERNEL = 3
DILATIONS = (1, 2, 4)
"""Of the layers: together the last output sees 15 readings."""
BATCH = 128


class ForceTorque:
    """Probability that the episode fails, from the forces and torques of the last control steps alone.

    A dilated convolution along time over force-torque readings, as that with which Watson and Correll ("Optimal
    Decision Making in Robotic Assembly and Other Trial-and-Error Tasks", 2023) predict failures of a peg in hole; each
    layer is causal, ``y_t = LeakyReLU(W x_{t - d k}, k = 0, 1, 2)`` with d = 1, 2, 4 (Bai, Kolter and Koltun, arXiv
    1803.01271, 2018, without their residual paths).  Trained as SAFE-LSTM is (Gu et al., NeurIPS 2025): cross-entropy
    with the episode's outcome at every call, each episode's calls averaged, so that long failures count no more than
    short successes, and the two classes weighted to the same sum.  Readings enter as ``asinh`` of their distance from
    the fit split's mean in standard deviations, since a collision is a hundred times what is felt otherwise.

    Parameters
    ----------
    reading : observation that holds forces and torques.
    channels : of each of the three layers.
    iterations : steps of training, each on 128 calls drawn with replacement.
    weight_decay : of AdamW (Loshchilov and Hutter, ICLR 2019).
    """

    supervised = True

    def __init__(
        self, reading: str = "wrench", channels: int = 16, iterations: int = 600, weight_decay: float = 0.01
    ) -> None:
        if channels < 1 or iterations < 1 or weight_decay < 0:
            raise ConfigError(
                f"channels={channels} and iterations={iterations} of score force_torque must be at least 1, "
                f"weight_decay={weight_decay} 0 or more"
            )
        self.reading, self.channels, self.iterations, self.weight_decay = reading, channels, iterations, weight_decay
        self.needs = frozenset({f"observation/{reading}"})

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int, truths: Sequence[EpisodeTruth]) -> None:
        """Train on outcomes; some seconds on one core, however many episodes there are."""
        windows = [self._readings(episode) for episode in episodes]
        failed = np.array([not truth.success for truth in truths], dtype=bool)
        if not failed.any() or failed.all():
            raise ScoreError(
                f"score force_torque learns successes from failures, and was given {int((~failed).sum())} and "
                f"{int(failed.sum())}: roll out nominal and perturbed episodes of the fit split"
            )
        self._refuse(episodes, windows)
        # The present readings, one a call: windows overlap, and would count the middle of an episode more often.
        self.mean, self.std = standardisation(np.concatenate([window[:, -1] for window in windows]))
        random = torch.Generator().manual_seed(seed)
        self.network = _Convolution(windows[0].shape[-1], self.channels)
        self.network.initialise(random)
        label = np.concatenate([np.full(len(window), bad) for window, bad in zip(windows, failed, strict=True)])
        self._train(np.concatenate(windows), label, _weights(windows, failed), random)
        self.network.double()

    def _refuse(self, episodes: Sequence[EpisodeCalls], windows: Sequence[Array]) -> None:
        for episode, window in zip(episodes, windows, strict=True):
            if not np.isfinite(window).all():
                raise ScoreError(
                    f"score force_torque cannot be fitted: {self.reading} of episode {episode.uid} is not finite"
                )
        if not np.ptp(np.concatenate([window[:, -1] for window in windows]), axis=0).any():
            raise ScoreError(f"score force_torque cannot be fitted: {self.reading} is the same at every call")

    def _train(self, windows: Array, label: Array, weight: Array, random: torch.Generator) -> None:
        inputs = self._standardised(windows).float()
        wanted, counts = (torch.as_tensor(each, dtype=torch.float32) for each in (label, weight))
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=3e-3, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.iterations)
        for _ in range(self.iterations):
            batch = torch.randint(len(inputs), (BATCH,), generator=random)
            loss = nn.BCEWithLogitsLoss(counts[batch])(self.network(inputs[batch]), wanted[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    def begin(self) -> Record:
        """Nothing is remembered from call to call: a call shows the last readings itself."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,), a probability."""
        with torch.no_grad():
            probability: Array = torch.sigmoid(self.network(self._standardised(self._readings(call)))).numpy()
        return probability

    def state(self) -> dict[str, Array]:
        """Statistics and weights."""
        return {"mean": self.mean, "std": self.std, **weights_of("network", self.network)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`; sizes come from the weights, not from the arguments."""
        self.mean, self.std = state["mean"], state["std"]
        self.channels = len(state["network.layers.0.weight"])
        self.network = _Convolution(len(self.mean), self.channels)
        load_weights("network", self.network, state)
        self.network.double()

    def _readings(self, call: PolicyCall | EpisodeCalls) -> Array:
        """Readings (N, RECENT, size) of a call, float64."""
        if self.reading not in call.observation:
            raise ScoreError(
                f"score force_torque needs the observation {self.reading}, which these calls do not have: only task "
                "peg_insertion has a force-torque sensor (its wrench); leave the score out elsewhere"
            )
        return np.asarray(call.observation[self.reading], np.float64)

    def _standardised(self, readings: Array) -> torch.Tensor:
        return torch.as_tensor(np.arcsinh((readings - self.mean) / self.std))


def _weights(windows: Sequence[Array], failed: Array) -> Array:
    """Weight of every call (sum of C,): the same sum for each episode of a class, and for both classes; mean 1."""
    episode = np.where(failed, 1.0 / failed.sum(), 1.0 / (~failed).sum())
    call = np.concatenate([np.full(len(window), w / len(window)) for window, w in zip(windows, episode, strict=True)])
    mean_one: Array = call / call.mean()
    return mean_one


class _Convolution(nn.Module):
    """Logit (n,) of readings (n, T, size): dilated causal convolutions, of which the last output is read."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        sizes = itertools.pairwise([size, *[channels] * len(DILATIONS)])
        # Without torch's own initialisation, which would draw from the process-wide stream.
        with torch.device("meta"):
            self.layers = nn.ModuleList(
                nn.Conv1d(inputs, outputs, KERNEL, dilation=dilation)
                for (inputs, outputs), dilation in zip(sizes, DILATIONS, strict=True)
            )
            self.head = nn.Linear(channels, 1)
        self.to_empty(device="cpu")

    def initialise(self, random: torch.Generator) -> None:
        for layer in (*self.layers, self.head):
            nn.init.kaiming_uniform_(layer.weight, a=0.01, nonlinearity="leaky_relu", generator=random)
            nn.init.zeros_(layer.bias)

    def forward(self, readings: torch.Tensor) -> torch.Tensor:
        features = readings.transpose(1, 2)
        for layer, dilation in zip(self.layers, DILATIONS, strict=True):
            features = nn.functional.leaky_relu(layer(pad(features, ((KERNEL - 1) * dilation, 0))), 0.01)
        logit: torch.Tensor = self.head(features[..., -1])[:, 0]
        return logit
