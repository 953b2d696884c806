"""What small networks over single policy calls share: inputs in standard deviations, and their training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

import numpy as np
import torch
from torch import nn

from workbench.types import Array

LEAST_DEVIATION = 1e-6
"""An input that varies less than this in training is as good as constant."""


class Descent(TypedDict):
    """Of AdamW with a cosine schedule."""

    iterations: int
    batch: int
    learning_rate: float
    weight_decay: float


def joined(inputs: Mapping[str, Array], layout: Iterable[str]) -> Array:
    """Inputs (n, F) side by side, in the order of their names in ``layout``."""
    return np.concatenate([np.asarray(inputs[name], np.float64) for name in layout], axis=1)


def moments(inputs: Array) -> tuple[Array, Array]:
    """Mean and standard deviation (F,) of inputs (n, F)."""
    return inputs.mean(axis=0), np.maximum(inputs.std(axis=0), LEAST_DEVIATION)


def normalised(inputs: Array, mean: Array, deviation: Array) -> torch.Tensor:
    """Inputs (n, F) in standard deviations of the training's."""
    return torch.from_numpy((inputs - mean) / deviation).float()


def descend(
    network: nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], calls: int, seed: int, settings: Descent
) -> None:
    """Train a network on random batches of so many calls; ``loss`` is of some of them, by their numbers."""
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings["iterations"])
    for _ in range(settings["iterations"]):
        reached = loss(torch.randint(calls, (settings["batch"],), generator=random))
        optimiser.zero_grad()
        reached.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
