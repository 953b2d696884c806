"""A threshold that changes along the episode: a one-sided functional conformal band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.detectors.learning.ranks import checked, conformal_rank, episodes_needed, law_of
from workbench.errors import CalibrationError
from workbench.types import Array, Threshold

SMALLEST_SIGMA = 1e-3
"""Floor of sigma(t) as a share of the largest: calls at which all curves agree must not make margins explode."""


class FunctionalBand:
    """``threshold(t) = mu(t) + h sigma(t)``: the band's shape from half of the episodes, its height from the others.

    Diquigiovanni, Fontana and Vantini ("The importance of being a band: finite-sample exact distribution-free
    prediction sets for functional data", Statistica Sinica 2024); one-sided for failure detection by Xu et al.
    ("Can We Detect Failures Without Failure Data?", RSS 2025)::

        shape half  mu(t)    = mean of the curves
                    sigma(t) = max |s - mu|(t) over the ceil((n+1)(1-level)) curves with the smallest max |s - mu|
        rank half   D_j      = max over the calls of episode j of (s_j(t) - mu(t)) / sigma(t)
                    h        = the ceil((n+1)(1-level))-th smallest D_j

    The sign is that of an upper bound: a curve counts by how far it rises *above* mu (published code had it reversed).
    Curves of other lengths: in the shape half, an episode that ended holds its last value up to the longest of that
    half; beyond it mu and sigma hold theirs.  D_j looks at the episode's own calls alone, which is exactly what an
    alarm looks at.  Halves alternate in the order given, the rank half taking the odd one.
    """

    def calibrate(self, curves: Sequence[Array], level: float) -> Threshold:
        """Threshold (C,) from one curve (C_i,) an episode.

        Raises
        ------
        CalibrationError
            if the rank half has fewer than ``ceil(1/level) - 1`` episodes or the shape half fewer than 2.
        """
        arrays = checked(curves, level)
        ranked, shaped = arrays[0::2], arrays[1::2]
        needed = max(2 * episodes_needed(level) - 1, 4)
        if len(arrays) < needed:
            raise CalibrationError(
                f"a band with a false-alarm rate of {level:g} needs at least {needed} successful calibration episodes "
                f"(half give its shape), and there are {len(arrays)}: roll out more of the calibrate split, raise the "
                "level, or use calibrator=split_conformal"
            )
        centre, sigma = _shape(shaped, level)
        band = Threshold(values=centre, scale=sigma, level=level, episodes=len(arrays), guarantee="")
        heights = np.sort([band.margin(curve).max() for curve in ranked])
        rank = conformal_rank(len(ranked), level)
        height = heights[rank - 1]
        # A hair above, so that rounding never makes an alarm of a curve that only touches the band.
        rounding = 1e-12 * (np.abs(centre) + abs(height) * sigma)
        return Threshold(
            values=centre + height * sigma + rounding,
            scale=sigma,
            level=level,
            episodes=len(arrays),
            guarantee=(
                f"P(any alarm in a successful episode exchangeable with the {len(ranked)} ranked calibration episodes) "
                f"<= {level:g}, over the draw of both (functional conformal band shaped by {len(shaped)} others)"
            ),
            laws=(law_of(rank, len(ranked)),),
        )


def _shape(curves: Sequence[Array], level: float) -> tuple[Array, Array]:
    """Centre and half width (C,) of the band, from curves that hold their last value to the longest one's length."""
    longest = max(len(curve) for curve in curves)
    held = np.stack([np.pad(curve, (0, longest - len(curve)), mode="edge") for curve in curves])
    centre = held.mean(axis=0)
    away = np.abs(held - centre)
    furthest = away.max(axis=1)
    rank = min(conformal_rank(len(curves), level), len(curves))
    sigma = away[furthest <= np.sort(furthest)[rank - 1]].max(axis=0)
    largest = float(sigma.max())
    return centre, np.maximum(sigma, SMALLEST_SIGMA * largest if largest > 0 else 1.0)
