"""Exact finite-sample ranks, and the checks that every calibrator makes of its curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from workbench.errors import CalibrationError, ConfigError
from workbench.types import Array, RateLaw


def conformal_rank(count: int, level: float, shares: int = 1) -> int:
    """``ceil((count + 1)(1 - level / shares))``: which order statistic bounds a further exchangeable value.

    In fractions, since in floating point ``0.95 * 60`` may come out above 57 and cost a rank.  Above ``count`` there is
    no such statistic.  ``shares`` is among how many bounds the level is divided (the union bound).
    """
    return math.ceil((count + 1) * (1 - Fraction(repr(float(level))) / shares))


def law_of(rank: int, count: int, shares: int = 1, group: int | None = None) -> RateLaw:
    """Of the rate at which further values exceed the ``rank``-th smallest of ``count``; or any of ``shares`` such."""
    return RateLaw(beyond=shares * (count + 1 - rank), ranked=count, group=group)


def episodes_needed(level: float, shares: int = 1) -> int:
    """Smallest number of episodes for which :func:`conformal_rank` exists: ``ceil(shares / level) - 1``."""
    return math.ceil(shares / Fraction(repr(float(level)))) - 1


def require_episodes(count: int, level: float, shares: int = 1) -> None:
    """Raise a CalibrationError with both numbers if there are too few episodes for a conformal rank."""
    if count < (needed := episodes_needed(level, shares)):
        divided = f" divided among {shares} bounds" if shares > 1 else ""
        raise CalibrationError(
            f"a false-alarm rate of {level:g}{divided} needs at least {needed} successful calibration episodes, and "
            f"there are {count}: roll out more of the calibrate split or raise the level"
        )


def checked(curves: Sequence[Array], level: float) -> list[Array]:
    """Curves (C_i,) as float64.

    Raises
    ------
    ConfigError
        if the level is no false-alarm rate below one half.
    CalibrationError
        if a curve is empty or not finite.
    """
    if not 0 < level < 0.5:
        raise ConfigError(f"level={level} is impossible: a nominal false-alarm rate lies in (0, 0.5)")
    arrays = [np.asarray(curve, np.float64) for curve in curves]
    for number, curve in enumerate(arrays):
        if curve.ndim != 1 or not len(curve) or not np.isfinite(curve).all():
            raise CalibrationError(f"calibration curve {number} is empty or not finite: score the episode again")
    return arrays


def spread(values: Array) -> float:
    """A positive unit for a sample: interquartile range, else standard deviation, else 1."""
    low, high = np.quantile(values, [0.25, 0.75])
    for unit in (float(high - low), float(np.std(values))):
        if unit > 0:
            return unit
    return 1.0
