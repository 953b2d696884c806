"""Scenes in company: batches of a fixed shape, so that what one is given does not depend on the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from workbench.policies.networks.layers import Inputs

BLOCK = 16
"""Scenes that go through the network together; fewer are padded, as a product of another shape is rounded differently.

Contacts amplify a last bit to centimetres: without this an episode would end differently in other company, so with
another number of scenes or after an interruption.
"""
SAMPLES = 64
"""Samples that go through the network together, of several scenes where they have fewer each.

A scene alone is padded to as many, and so pays for them: more would make a call for one scene dearer than they save
in company (tests/benchmarks/policies.py).
"""


def gaussian(noise: Sequence[np.random.Generator], shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal numbers (N, *shape) float32, a row from each generator."""
    return torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in noise]))


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """The same inputs on a device."""
    return {key: seen.to(device) for key, seen in inputs.items()}


def padded(rows: torch.Tensor, count: int = BLOCK) -> torch.Tensor:
    """A copy of rows (n, ...) with zeros behind them, so many in all."""
    return torch.cat([rows, rows.new_zeros((count - len(rows), *rows.shape[1:]))])
