"""Baseline: alarms at random, as often as a monitor that was calibrated to the same rate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class Random:
    """A number in [0, 1), uniform and the same whenever the same chunk is seen, that knows nothing of it.

    Calibrated like any other score it has the false-alarm rate that was asked for, and what it finds of the failures it
    finds by chance: more in longer episodes.  It is read off a hash of the chunk's bytes, since a stream of random
    numbers would say something else online than offline.
    """

    needs: frozenset[str] = frozenset()

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt."""

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        # As stores keep chunks, so that it does not matter whether a policy computes in double precision.
        chunks = np.ascontiguousarray(call.chunk, dtype="<f4")
        return np.array([_uniform(chunk.tobytes()) for chunk in chunks])

    def state(self) -> dict[str, Array]:
        """Nothing."""
        return {}

    def load(self, state: Mapping[str, Array]) -> None:
        """Nothing to load."""


def _uniform(content: bytes) -> float:
    """A number in [0, 1) from the 53 first bits of a hash, as many as a double keeps."""
    return float((int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 11) / 2**53)
