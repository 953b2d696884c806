"""How well outcomes can be ranked by anything that does not know the noise: the ceiling of AUROC given luck.

If episode i fails with probability f_i, no score ranks failures above successes more often than f itself does.  What
is left to one half or one is noise of the outcome.  The f_i are never known, only counts of reruns.  Put in their
place, counts promise too much, for they are spread more widely than what they count.  So the distribution of f over
episodes is estimated by its maximum of likelihood without a form (Kiefer and Wolfowitz, Annals of Mathematical
Statistics 1956; Laird, JASA 1978), by the EM algorithm on a grid.  When the reruns were stopped plays no part in it.
"""

from __future__ import annotations

import numpy as np

from workbench.stats.bootstrap import percentiles
from workbench.types import Array

GRID, ROUNDS, RESAMPLES = 201, 2000, 200


def auroc_ceiling(failing: Array, weights: Array | None = None) -> float:
    """AUROC of the perfect score against outcomes that are drawn; NaN where nothing ever fails, or all always does.

    Parameters
    ----------
    failing : (N,) probability of failure of each kind of episode.
    weights : (N,) how common each kind is; None for equally so.  A pair of one kind is a tie.
    """
    share = np.ones(len(failing)) if weights is None else np.asarray(weights, float)
    order = np.argsort(failing, kind="stable")
    value, share = np.asarray(failing, float)[order], share[order]
    fails, succeeds = share * value, share * (1 - value)
    distinct, kind = np.unique(value, return_inverse=True)
    failed, succeeded = (np.bincount(kind, each, minlength=len(distinct)) for each in (fails, succeeds))
    below = np.concatenate([[0.0], np.cumsum(succeeded)[:-1]])
    pairs = failed.sum() * succeeded.sum()
    return float((failed * (below + succeeded / 2)).sum() / pairs) if pairs > 0 else float("nan")


def mixture(failures: Array, runs: Array, weights: Array) -> tuple[Array, Array]:
    """Distribution of the probability of failure over episodes: a grid (G,) and the share (G, R) of every point.

    Parameters
    ----------
    failures, runs : (N,) counts of each episode.
    weights : (N, R) of the episodes, a column a resample.
    """
    grid = np.linspace(0, 1, GRID)
    counts, kind = np.unique(np.stack([failures, runs]), axis=1, return_inverse=True)
    kinds = np.zeros((counts.shape[1], weights.shape[1]))
    np.add.at(kinds, kind.ravel(), weights)
    kinds /= kinds.sum(axis=0)
    inside = np.clip(grid, 1e-12, 1 - 1e-12)
    log = counts[0][:, None] * np.log(inside) + (counts[1] - counts[0])[:, None] * np.log1p(-inside)
    likely = np.exp(log - log.max(axis=1, keepdims=True))
    share = np.full((GRID, weights.shape[1]), 1 / GRID)
    for _ in range(ROUNDS):
        share *= likely.T @ (kinds / (likely @ share))
    return grid, share


def estimated_ceiling(failures: Array, runs: Array, weights: Array, strata: Array, seed: int = 0) -> tuple[float, ...]:
    """The ceiling that counts of reruns say, with its 95 % bootstrap interval over episodes.

    Parameters
    ----------
    failures, runs : (N,) counts of each episode.
    weights : (N,) how many episodes each stands for.
    strata : (N,) int, from each of which as many episodes are drawn as there are: failures and successes.

    Returns
    -------
    The ceiling, and the ends of its interval; NaN where it is not defined.
    """
    random, drawn = np.random.default_rng(seed), np.ones((len(runs), 1 + RESAMPLES))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        drawn[rows, 1:] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES).T
    grid, share = mixture(failures, runs, drawn * np.asarray(weights, float)[:, None])
    ceilings = np.array([auroc_ceiling(grid, each) for each in share.T])
    low, high = percentiles(ceilings)
    return float(ceilings[0]), float("nan") if low is None else low, float("nan") if high is None else high
