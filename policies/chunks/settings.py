"""What every policy of chunks can be set to, and checks of numbers that people set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from workbench.errors import ConfigError
from workbench.types.reading import shown


class ChunkSettings(TypedDict, total=False):
    """Parameters of :class:`workbench.policies.chunks.chunk_policy.ChunkPolicy`, for policies that have more."""

    denoiser: str
    hidden: int
    blocks: int
    embedding: int
    horizon: int
    execute: int
    history: int
    inference_steps: int
    observations: Sequence[str] | None
    cameras: Sequence[str]
    crop_px: int | None
    relative_scales_m: Sequence[float]
    condition_dropout: float
    guidance: float
    self_guidance: float


MOST = {"blocks": 200, "inference_steps": 10_000, "history": 1000, "horizon": 1000, "execute": 1000}
"""Of sizes that more than a number of weights follows from; of others :data:`MOST_WIDE`."""
MOST_WIDE = 16_384


def check_whole(name: str, value: object) -> None:
    """Refuse what is not a whole number of at least 1, and what no computer could hold."""
    most = MOST.get(name, MOST_WIDE)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"policy.{name}={shown(value)} must be a whole number of at least 1")
    if value > most:
        raise ConfigError(f"policy.{name}={shown(value)} must be at most {most}")


def check_weight(name: str, value: object) -> float:
    """Refuse what is not a number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < math.inf:
        raise ConfigError(f"policy.{name}={value!r} must be a number of at least 0")
    return float(value)


def check_scale(name: str, value: object) -> float:
    """The value as a number; ConfigError if it is not a positive one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < math.inf:
        raise ConfigError(f"policy.{name}={value!r} must be a positive number")
    return float(value)
