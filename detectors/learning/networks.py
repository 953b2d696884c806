"""Small networks of learned scores: made without the process-wide random stream, kept as named arrays."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from workbench.types import Array


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer without torch's own initialisation, which would draw from the process-wide stream."""
    layer: nn.Linear = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    return layer


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Layers of these sizes with leaky rectifiers between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [linear(inputs, outputs), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


def weights_of(part: str, network: nn.Module) -> dict[str, Array]:
    """Weights in single precision, in which they were trained, as ``<part>.<name>``."""
    return {f"{part}.{name}": tensor.float().numpy() for name, tensor in network.state_dict().items()}


def load_weights(part: str, network: nn.Module, state: Mapping[str, Array]) -> None:
    """The inverse of :func:`weights_of`."""
    names = network.state_dict()
    network.load_state_dict({name: torch.as_tensor(np.array(state[f"{part}.{name}"])) for name in names})
