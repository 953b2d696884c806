"""What scores read from a policy call, and what they say when it is not there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError, ScoreError
from workbench.types import Array, EpisodeCalls, PolicyCall

REMEDY = {
    "samples": "roll out with rollout.samples=32 and a policy that draws from a distribution (flow, diffusion)",
    "embedding": "use a policy that returns its observation features as PolicyOutput.embedding",
}
"""How to get what a score needs."""


def embedding_of(call: PolicyCall | EpisodeCalls, score: str) -> Array:
    """Embeddings (N, D) of a call, float64."""
    if call.embedding is None:
        raise ScoreError(missing(score, "embedding"))
    return np.asarray(call.embedding, np.float64)


def samples_of(call: PolicyCall | EpisodeCalls, score: str, dims: Sequence[int]) -> Array:
    """Some action dimensions of the sampled chunks, (N, B, H, len(dims)), float64."""
    if call.samples is None:
        raise ScoreError(missing(score, "samples"))
    if call.samples.shape[1] < 2:
        raise ScoreError(
            f"score {score} needs at least 2 samples a call, not {call.samples.shape[1]}: {REMEDY['samples']}"
        )
    _within(score, dims, call.samples)
    return np.asarray(call.samples[..., list(dims)], np.float64)


def chunk_of(call: PolicyCall | EpisodeCalls, score: str, dims: Sequence[int]) -> Array:
    """Some action dimensions of the chunks that are run, (N, H, len(dims)), float64."""
    _within(score, dims, call.chunk)
    return np.asarray(call.chunk[..., list(dims)], np.float64)


def _within(score: str, dims: Sequence[int], actions: Array) -> None:
    """Refuse dimensions that the actions (..., A) do not have."""
    if max(dims) >= actions.shape[-1]:
        raise ScoreError(
            f"score {score} was asked for action dimensions {list(dims)}, but an action has {actions.shape[-1]}: "
            "set the score's dims"
        )


def missing(score: str, what: str) -> str:
    """The sentence for a policy output that is not there."""
    return f"score {score} needs the policy's {what}, which these calls do not have: {REMEDY[what]}"


def dimensions(score: str, dims: Sequence[int]) -> tuple[int, ...]:
    """Action dimensions as a tuple, or a ConfigError."""
    chosen = tuple(int(dim) for dim in dims)
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise ConfigError(f"dims of score {score} must be different whole numbers from 0 up, not {list(dims)}")
    return chosen


def fit_embeddings(episodes: Sequence[EpisodeCalls], score: str) -> Array:
    """All embeddings of the fit split end to end, (sum of C, D), float64 and finite."""
    if not episodes:
        raise ScoreError(f"score {score} was given no episode to fit on: roll out episodes of the fit split")
    for episode in episodes:
        if not np.isfinite(embedding_of(episode, score)).all():
            raise ScoreError(f"score {score} cannot be fitted: the embedding of episode {episode.uid} is not finite")
    return np.concatenate([embedding_of(episode, score) for episode in episodes])


def standardisation(values: Array) -> tuple[Array, Array]:
    """Mean and standard deviation (D,) over rows; a dimension that never moved gets the mean deviation of the others.

    Left at its own deviation of (nearly) zero it would turn rounding errors into huge scores.
    """
    mean, std = values.mean(axis=0), values.std(axis=0)
    moved = std > 1e-6 * max(float(std.max()), 1e-12)
    if not moved.any():
        raise ScoreError("all embeddings of the fit split are the same: nothing can be learnt from them")
    return mean, np.where(moved, std, std[moved].mean())
