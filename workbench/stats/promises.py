"""Whether errors contradict a promise that holds over the draw of both the calibration and the judged episodes.

An interval of the judged episodes alone takes the threshold for given: it lies wholly above a level that is kept in
9 to 12 % of runs.  Over both draws the errors are beta-binomial.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.types import Array, RateLaw

STATED = 0.05
"""Chance, at most, that a promise is marked which is kept."""


def chances_of(judged: Mapping[int | None, int], laws: Sequence[RateLaw]) -> Array:
    """P(at least k errors among the judged episodes) for k from 0 to all of them, where every law holds.

    ``judged`` counts the episodes of every law's group.
    """
    return _tail(tuple((judged[law.group], law.beyond, law.ranked) for law in laws))


@functools.lru_cache(maxsize=1024)
def _tail(parts: tuple[tuple[int, int, int], ...]) -> Array:
    """:func:`chances_of` independent groups: episodes judged, blocks beyond the threshold, episodes ranked."""
    from scipy.stats import betabinom  # type: ignore[import-untyped,unused-ignore]

    mass = np.ones(1)
    for judged, beyond, ranked in parts:
        if beyond > ranked:  # nothing is promised of so few
            of_group = np.eye(judged + 1)[judged]
        else:
            of_group = betabinom.pmf(np.arange(judged + 1), judged, beyond, ranked + 1 - beyond)
        mass = np.convolve(mass, of_group)
    tail: Array = np.minimum(np.cumsum(mass[::-1])[::-1], 1.0)
    tail.setflags(write=False)
    return tail
