"""Checks of numbers that people set."""

from __future__ import annotations

import math

from workbench.errors import ConfigError


def check_whole(name: str, value: object) -> None:
    """Refuse what is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"policy.{name}={value!r} must be a whole number of at least 1")


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
