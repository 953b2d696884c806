"""What small networks over single policy calls share: scaled inputs, their training, and how checkpoints are read."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, TypedDict, TypeVar

import numpy as np
import torch
from torch import nn

from workbench.errors import CheckpointError
from workbench.policies.learning import checkpoint
from workbench.types import Array
from workbench.types.reading import Between, Size, Source, checked

EVERY = 10
"""Iterations between two looks at what is held out."""
LEAST_DEVIATION = 1e-6
"""An input that varies less than this in training is as good as constant."""


@dataclasses.dataclass(frozen=True)
class Network:
    """What a checkpoint says of the network that it holds."""

    hidden: Annotated[int, Between(1, 10_000)]
    blocks: Annotated[int, Between(0, 100)]


@dataclasses.dataclass(frozen=True)
class Scale:
    """What a checkpoint says of the inputs in training."""

    mean: Annotated[list[float], Size(1, 10_000)]
    deviation: Annotated[list[float], Size(1, 10_000)]


Net = TypeVar("Net", bound=nn.Module)
Config = TypeVar("Config", bound=Network)
Scales = TypeVar("Scales", bound=Scale)


def read(
    folder: Path,
    kind: str,
    words: str,
    config: type[Config],
    scale: type[Scales],
    network: Callable[[int, Config], Net],
) -> tuple[Net, checkpoint.Made, Config, Scales]:
    """A network in evaluation, and what its checkpoint says beside it.

    Parameters
    ----------
    kind, words : which class it is to be of, and what it is called in sentences.
    config, scale : dataclasses of its configuration and its statistics: :class:`Network` and :class:`Scale`, and more.
    network : makes it for so many inputs and a configuration; its parameters take no memory before they are read.

    Raises
    ------
    CheckpointError
        if there is none, or it is damaged or of another class.
    """
    weights, made = checkpoint.read(folder)
    if made.policy != kind:
        raise CheckpointError(f"{folder} holds a {made.policy}, and no {words}")
    source = Source(f"the {words} in {folder}", CheckpointError, "train it again")
    said: Config = checked(config, made.config, source)
    scales: Scales = checked(scale, made.statistics, source)
    inputs = sum(made.layout.values())
    if not len(scales.mean) == len(scales.deviation) == inputs or min(scales.deviation) <= 0:
        raise source.wrong(f"does not hold the scale of {inputs} inputs")
    if not all(each.dtype == torch.float32 and each.isfinite().all() for each in weights.values()):
        raise source.wrong("is damaged: its weights are not finite numbers of 32 bits")
    with torch.device("meta"):
        found = network(inputs, said)
    try:
        found.load_state_dict(weights, assign=True)
    except RuntimeError:
        raise source.wrong("is damaged: its weights are not those of its network") from None
    return found.eval(), made, said, scales


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
