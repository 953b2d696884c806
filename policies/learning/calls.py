"""What small networks over single policy calls share: inputs in standard deviations, and their training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

import numpy as np
import torch
from torch import nn

from workbench.types import Array

EVERY = 10
"""Iterations between two looks at what is held out."""
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
    network: nn.Module,
    loss: Callable[[torch.Tensor], torch.Tensor],
    taught: torch.Tensor,
    seed: int,
    settings: Descent,
    held: torch.Tensor | None = None,
) -> int:
    """Train a network on random batches of calls; its weights are then those of the iteration that is returned.

    Parameters
    ----------
    loss : of some calls, by their numbers.
    taught : numbers of the calls that it learns from.
    held : numbers of others: the iteration is that at which their loss was least; with none it is the last one.
    """
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings["iterations"])
    least, best, ended = float("inf"), None, settings["iterations"]
    for iteration in range(1, settings["iterations"] + 1):
        reached = loss(taught[torch.randint(len(taught), (settings["batch"],), generator=random)])
        optimiser.zero_grad()
        reached.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if held is not None and len(held) and iteration % EVERY == 0:
            with torch.inference_mode():
                now = float(loss(held))
            if now < least:
                least, best, ended = now, copy.deepcopy(network.state_dict()), iteration
    if best is not None:
        network.load_state_dict(best)
    return ended
