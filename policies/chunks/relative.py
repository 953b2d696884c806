"""Differences of observed positions, shown to a network at the scales that matter at a grasp.

A network that reads positions in metres, each divided by how far it varied, has to subtract them to a hundredth of that
to place a finger.  Here it is also shown tanh of every difference over a few lengths: coarse ones far away, fine ones
near.  The idea is that of multi-scale encodings (Mildenhall et al., NeRF, ECCV 2020), squashed instead of waving,
so that far away stays far away.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.types import Array

SUFFIX = "_pos"
"""Keys of observations that are positions in the world frame, in metres, end so."""


def differences(vectors: Array, layout: Mapping[str, int], scales_m: Sequence[float]) -> Array:
    """Squashed differences (..., E) of every two positions in observations (..., S) of a layout, at every scale.

    E is the number of scales times the coordinates that the pairs share; 0 with fewer than two positions.
    """
    stops = np.cumsum(list(layout.values()))
    places = [
        (stop - size, size) for (key, size), stop in zip(layout.items(), stops, strict=True) if key.endswith(SUFFIX)
    ]
    apart = [
        vectors[..., first : first + min(size, other)] - vectors[..., second : second + min(size, other)]
        for (first, size), (second, other) in itertools.combinations(places, 2)
    ]
    shown = [np.tanh(difference / scale) for scale in scales_m for difference in apart]
    return np.concatenate(shown, axis=-1) if shown else np.zeros((*vectors.shape[:-1], 0))
