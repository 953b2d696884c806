"""What learned scores read of the chunk that a policy call is about to run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.errors import ScoreError
from workbench.types import Array, EpisodeCalls, PolicyCall


def chunk_of(call: PolicyCall | EpisodeCalls) -> Array:
    """Chunks of a call end to end, (N, H * A), float64."""
    return np.asarray(call.chunk, np.float64).reshape(len(call.chunk), -1)


def fit_chunks(episodes: Sequence[EpisodeCalls], score: str) -> Array:
    """All chunks of the fit split end to end, (sum of C, H * A), float64, finite and not all the same."""
    for episode in episodes:
        if not np.isfinite(episode.chunk).all():
            raise ScoreError(f"score {score} cannot be fitted: a chunk of episode {episode.uid} is not finite")
    chunks = np.concatenate([chunk_of(episode) for episode in episodes])
    if not np.ptp(chunks, axis=0).any():
        raise ScoreError(f"score {score} cannot be fitted: all chunks of the fit split are the same")
    return chunks
