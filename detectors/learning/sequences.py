"""Learning from whole episodes: what became of them, episodes of unequal length side by side, recurrent layers.

Networks are made without torch's own initialisation, which would draw from the process-wide stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn

from workbench.detectors.learning.networks import linear
from workbench.errors import ScoreError
from workbench.types import Array, EpisodeCalls, EpisodeTruth


def outcomes(episodes: Sequence[EpisodeCalls], truths: Sequence[EpisodeTruth], score: str) -> Array:
    """What became of the episodes (E,): 1.0 for failed, 0.0 for succeeded; both kinds must be there."""
    if not episodes:
        raise ScoreError(f"score {score} was given no episode to fit on: roll out episodes of the fit split")
    if [truth.uid for truth in truths] != [episode.uid for episode in episodes]:
        raise ScoreError(f"score {score} needs the truth of every episode that it is fitted on, in the same order")
    failed = np.array([not truth.success for truth in truths], np.float64)
    if failed.min() == failed.max():
        became = "failed" if failed[0] else "succeeded"
        raise ScoreError(
            f"score {score} learns from successes and failures, but all {len(failed)} episodes {became}: add "
            f"{'nominal' if failed[0] else 'perturbed'} episodes to the fit split"
        )
    return failed


def padded(episodes: Sequence[Array]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (C_i, F) of E episodes as (E, C, F) float32, zeros behind the shorter ones, and which are rows (E, C)."""
    calls = max(len(rows) for rows in episodes)
    values = np.zeros((len(episodes), calls, episodes[0].shape[1]), np.float32)
    real = np.zeros((len(episodes), calls), np.float32)
    for episode, rows in enumerate(episodes):
        values[episode, : len(rows)], real[episode, : len(rows)] = rows, 1.0
    return torch.as_tensor(values), torch.as_tensor(real)


def balance(failed: Array) -> torch.Tensor:
    """Weight (E,) of each episode so that failures and successes count alike.

    ``N / (n + 1)`` for the n episodes of a class among N, as in Gu et al. (SAFE, NeurIPS 2025).
    """
    failures = failed.sum()
    weights = np.where(failed > 0, len(failed) / (failures + 1), len(failed) / (len(failed) - failures + 1))
    return torch.as_tensor(weights, dtype=torch.float32)


def dense(inputs: int, outputs: int, random: torch.Generator | None) -> nn.Linear:
    """Linear layer; uniform within ``1 / sqrt(inputs)``, or not initialised where there is no generator."""
    layer = linear(inputs, outputs)
    _initialise(layer, inputs, random)
    return layer


def recurrent(inputs: int, width: int, random: torch.Generator | None) -> nn.LSTM:
    """One recurrent layer, episodes first; uniform within ``1 / sqrt(width)``."""
    layer: nn.LSTM = nn.LSTM(inputs, width, batch_first=True, device="meta").to_empty(device="cpu")
    _initialise(layer, width, random)
    return layer


def _initialise(layer: nn.Module, units: int, random: torch.Generator | None) -> None:
    if random is not None:
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -(units**-0.5), units**-0.5, generator=random)


def squares(network: nn.Module) -> torch.Tensor:
    """Sum of the squared weights, without the biases."""
    return torch.stack([part.square().sum() for name, part in network.named_parameters() if "bias" not in name]).sum()


def descend(parameters: Iterable[nn.Parameter], loss: Callable[[], torch.Tensor], epochs: int, rate: float) -> None:
    """Adam on the loss of all episodes at once, the learning rate falling to a hundredth as a cosine."""
    adjusted = list(parameters)
    optimiser = torch.optim.Adam(adjusted, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs, eta_min=rate / 100)
    for _ in range(epochs):
        optimiser.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(adjusted, 1.0)
        optimiser.step()
        schedule.step()
