"""Demonstrations as a policy's network sees them: normalised, and cut into windows."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.errors import ConfigError
from workbench.types import Array, Demonstration

if TYPE_CHECKING:
    from workbench.policies.chunks.chunk_policy import ChunkPolicy
    from workbench.policies.networks.layers import Inputs


@dataclasses.dataclass(frozen=True)
class Windows:
    """Demonstrations end to end, and every window into them as row indices.

    Attributes
    ----------
    inputs : ``state`` (T, S) float32, normalised; what else the policy reads, (T, ...) or (demonstrations, ...).
    actions : (T, A) float32, normalised.
    past, future : (M, history) and (M, H) rows of a window's observations and actions; within a demonstration the
        first observation is repeated before its start, and the last action after its end.
    owner : (M,) the demonstration that a window is in.
    """

    inputs: Inputs
    actions: torch.Tensor
    past: torch.Tensor
    future: torch.Tensor
    owner: torch.Tensor

    def __len__(self) -> int:
        return len(self.past)

    def batch(self, windows: torch.Tensor) -> tuple[Inputs, torch.Tensor]:
        """What an encoder reads of some windows, and their chunks (n, H, A)."""
        past, now = self.past[windows], self.past[windows, -1]
        inputs = {
            key: values[past] if key == "state" else values[self.owner[windows]] if key == "text" else values[now]
            for key, values in self.inputs.items()
        }
        return inputs, self.actions[self.future[windows]]


def windows_of(policy: ChunkPolicy, demonstrations: Sequence[Demonstration]) -> Windows:
    """Windows of demonstrations as a policy's network sees them."""
    lengths = [len(each.actions) for each in demonstrations]
    past, future = rows_of(lengths, policy.history, policy.horizon)
    return Windows(
        policy.stored_inputs(demonstrations),
        torch.from_numpy(np.concatenate([policy.normalisation.action(each.actions) for each in demonstrations])),
        past,
        future,
        torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
    )


def rows_of(lengths: Sequence[int], history: int, horizon: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (M, history) and (M, horizon) of every window into sequences that lie end to end."""
    past, future, first = [], [], 0
    for length in lengths:
        rows = np.arange(length)[:, None]
        past.append(first + np.maximum(rows + np.arange(1 - history, 1), 0))
        future.append(first + np.minimum(rows + np.arange(horizon), length - 1))
        first += length
    return torch.from_numpy(np.concatenate(past)), torch.from_numpy(np.concatenate(future))


def split(
    demonstrations: Sequence[Demonstration], held_out: float, seed: int
) -> tuple[list[Demonstration], list[Demonstration]]:
    """Demonstrations to train on and to hold out, at least one of each."""
    order = np.random.default_rng(seed).permutation(len(demonstrations))
    count = min(max(1, round(held_out * len(demonstrations))), len(demonstrations) - 1)
    return [demonstrations[i] for i in sorted(order[count:])], [demonstrations[i] for i in sorted(order[:count])]


def digest_of(policy: ChunkPolicy, demonstrations: Sequence[Demonstration]) -> str:
    """Digest of first weights and data, by which an interrupted training knows its own state."""
    found = hashlib.sha256()
    for parameter in policy.network.parameters():
        found.update(parameter.detach().cpu().numpy().tobytes())
    for each in demonstrations:
        found.update(each.instruction.encode())
        for key in sorted(each.observation):
            found.update(np.ascontiguousarray(each.observation[key]).tobytes())
        found.update(np.ascontiguousarray(each.actions, dtype=np.float64).tobytes())
    return found.hexdigest()[:16]


def check_demonstrations(demonstrations: Sequence[Demonstration]) -> None:
    """Refuse too few, empty, inconsistent or broken demonstrations."""
    if len(demonstrations) < 2:
        raise ConfigError(
            f"{len(demonstrations)} demonstrations are too few: one is trained on and one held out at least"
        )
    shapes, action_shape = shapes_of(demonstrations[0]), np.shape(demonstrations[0].actions)[1:]
    for number, each in enumerate(demonstrations):
        if shapes_of(each) != shapes or np.shape(each.actions)[1:] != action_shape:
            raise ConfigError(
                f"demonstration {number} has another layout than the first: {shapes_of(each)}, not {shapes}"
            )
        if not len(each.actions) or any(len(value) != len(each.actions) for value in each.observation.values()):
            raise ConfigError(f"demonstration {number} is empty, or its arrays differ in length")
        for key, images in each.observation.items():
            if key.startswith("images/") and (np.shape(images)[3:] != (3,) or np.asarray(images).dtype != np.uint8):
                raise ConfigError(
                    f"{key} of demonstration {number} is {np.shape(images)} {np.asarray(images).dtype}, must be "
                    "(T, height, width, 3) uint8"
                )
        if not all(np.isfinite(values).all() for values in (*each.observation.values(), each.actions)):
            raise ConfigError(f"demonstration {number} holds NaN or infinity")


def shapes_of(demonstration: Demonstration) -> dict[str, tuple[int, ...]]:
    """Observation key -> its shape at one control step."""
    return {key: np.shape(value)[1:] for key, value in demonstration.observation.items()}


def vectors_of(demonstration: Demonstration, keys: Sequence[str]) -> Array:
    """Observations (T, S) of some keys end to end."""
    return np.concatenate([np.asarray(demonstration.observation[key], dtype=np.float64) for key in keys], axis=1)
