"""Observations as they are handed to a policy, checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from workbench.errors import ObservationError
from workbench.types import Array, Observation


def vectors_in(observation: Observation, layout: Mapping[str, int], count: int, history: int) -> Array:
    """Observations (N, history, S) of a layout end to end.

    Raises
    ------
    ObservationError
        if a key is missing, has another shape than (N, history, size), or holds NaN or infinity.
    """
    for key, size in layout.items():
        shape = np.shape(observation[key]) if key in observation else "nothing"
        if shape != (count, history, size):
            raise ObservationError(f"observation {key!r} is {shape}, must be {(count, history, size)}")
    for key in layout:
        broken = np.flatnonzero(~np.isfinite(observation[key]).all(axis=(1, 2)))
        if len(broken):
            raise ObservationError(
                f"observation {key!r} of scene {broken[0]} holds NaN or infinity: {observation[key][broken[0]]}"
            )
    return np.concatenate([observation[key] for key in layout], axis=-1)


def images_in(observation: Observation, camera: str, count: int, size_px: tuple[int, int]) -> torch.Tensor:
    """Images (N, 3, height, width) uint8 of one camera; ObservationError if they are missing or of another kind."""
    key, wanted = f"images/{camera}", (count, *size_px, 3)
    seen = np.asarray(observation[key]) if key in observation else None
    if seen is None or seen.shape != wanted or seen.dtype != np.uint8:
        shown = "nothing" if seen is None else f"{seen.shape} {seen.dtype}"
        raise ObservationError(f"{key} is {shown}, must be {wanted} uint8")
    return channels_first(seen.copy())  # it may be read-only, or stand on its head in memory


def channels_first(images: Array) -> torch.Tensor:
    """Images (n, height, width, 3) uint8 -> (n, 3, height, width), without a copy."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
