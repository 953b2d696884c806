"""Resampling by weights: how much of each unit stands in every resample, and what follows of weighted numbers.

From a stratum of n one draws n - 1, which makes the variance right where n is small (Rao and Wu, JASA 1988, 83:231).
"""

from __future__ import annotations

import functools

import numpy as np

from workbench.types import Array


def stratified_weights(strata: Array, units: Array, resamples: int, seed: int) -> Array:
    """Weight (N, 1 + R) of every row in the data as they are, and in every resample of units; read-only.

    Parameters
    ----------
    strata : (U,) int, the stratum of each unit: units are drawn within it.
    units : (N,) int, the unit of each row: rows of one unit are drawn together.
    """
    return _stratified_weights(strata.tobytes(), units.tobytes(), resamples, seed)


@functools.lru_cache(maxsize=8)
def _stratified_weights(strata: bytes, units: bytes, resamples: int, seed: int) -> Array:
    stratum = np.frombuffer(strata, int)
    random = np.random.default_rng([seed, 0])
    weights = np.ones((len(stratum), 1 + resamples))
    for number in np.unique(stratum):
        rows = np.flatnonzero(stratum == number)
        weights[rows, 1:] = draws(len(rows), resamples, random)
    of_rows: Array = weights[np.frombuffer(units, int)]
    of_rows.setflags(write=False)
    return of_rows


def draws(size: int, resamples: int, random: np.random.Generator) -> Array:
    """Weights (size, R) of ``size - 1`` draws with replacement, scaled to sum up to ``size``; 1 of a single one."""
    if size == 1:
        return np.ones((1, resamples))
    drawn = random.integers(size, size=(resamples, size - 1)) + size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
    return counts.T * (size / (size - 1))


def seed_weights(seeds: int, resamples: int, seed: int) -> Array:
    """Weight (S, 1 + R) of every training seed, in the data as they are and in every resample."""
    return np.hstack([np.ones((seeds, 1)), draws(seeds, resamples, np.random.default_rng([seed, 1]))])


def percentiles(samples: Array) -> tuple[float | None, float | None]:
    """95 % interval from samples (1 + R,), the first of the data as they are; None where no resample is defined."""
    known = samples[1:][~np.isnan(samples[1:])]
    if not len(known):
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def running_sums(weights: Array, rows: Array) -> Array:
    """Cumulative sums (len(rows) + 1, R) of the weights (N, R) of rows in this order, the first being 0."""
    sums = np.zeros((len(rows) + 1, weights.shape[1]))
    for place, row in enumerate(rows):  # row by row is vectorised; numpy's cumsum along the first axis is not
        np.add(sums[place], weights[row], out=sums[place + 1])
    return sums
