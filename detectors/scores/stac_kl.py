"""Temporal consistency in nats: by how much the densities of two calls in a row diverge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from scipy.spatial.distance import cdist  # type: ignore[import-untyped,unused-ignore]
from scipy.special import logsumexp  # type: ignore[import-untyped,unused-ignore]

from workbench.detectors.learning.inputs import dimensions, samples_of
from workbench.detectors.learning.overlap import no_plan, planned_twice
from workbench.errors import UnknownNameError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

Direction = Literal["forward", "reverse"]


class TemporalDivergence:
    """Kullback-Leibler divergence between kernel densities of two calls in a row, on the steps that both plan.

    STAC's second distance (Agia et al., "Unpacking Failure Modes of Generative Policies", CoRL 2024).  With X the B
    flattened samples of the call before and Y those of this one, as in
    :class:`workbench.detectors.scores.stac.StatisticalTemporalConsistency`, p and q their Gaussian kernel densities::

        forward   s = mean over x in X of log p(x) - log q(x)
        reverse   s = mean over y in Y of log q(y) - log p(y)

    Both have the bandwidth ``sqrt(largest eigenvalue of the covariance of X and Y together)``, so normalising
    constants cancel.  In nats; exactly 0 at the first call and for a replan that draws the same samples.  An estimate
    from samples, so slightly below 0 where one density lies wide around the other.

    Parameters
    ----------
    direction : ``forward``, or ``reverse``, which is what the authors ran on the robot.
    dims : action dimensions that are compared; the paper leaves the gripper out.
    """

    needs = frozenset({"samples"})

    def __init__(self, direction: Direction = "forward", dims: Sequence[int] = (0, 1, 2, 3, 4, 5)) -> None:
        if direction not in get_args(Direction):
            raise UnknownNameError("direction of score stac_kl", direction, get_args(Direction))
        self.reverse = direction == "reverse"
        self.dims = dimensions("stac_kl", dims)

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt; episodes that it could not score are refused already here."""
        for episode in episodes:
            samples_of(episode, "stac_kl", self.dims)

    def begin(self) -> Record:
        """No samples yet."""
        return no_plan()

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) in nats."""
        pairs = planned_twice("stac_kl", memories, samples_of(call, "stac_kl", self.dims), call.step)
        flat = [(previous.reshape(len(previous), -1), current.reshape(len(current), -1)) for previous, current in pairs]
        return np.array([_divergence(y, x) if self.reverse else _divergence(x, y) for x, y in flat])

    def state(self) -> dict[str, Array]:
        """Direction and dimensions."""
        return {"dims": np.array(self.dims), "reverse": np.array([self.reverse])}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.dims, self.reverse = tuple(int(dim) for dim in state["dims"]), bool(state["reverse"][0])


def _divergence(x: Array, y: Array) -> float:
    """Mean over the rows of x (B, F) of the log density around x minus that around y, in nats."""
    pooled = np.concatenate([x, y])
    if not np.isfinite(pooled).all():
        return float("nan")
    variance = _largest_variance(pooled)
    if variance == 0:
        return 0.0
    own, other = (logsumexp(cdist(x, centres, "sqeuclidean") / (-2 * variance), axis=1) for centres in (x, y))
    return float((own - other).mean())


def _largest_variance(rows: Array) -> float:
    """Largest eigenvalue of the covariance of rows (R, F)."""
    centred = rows - rows.mean(axis=0)
    # Both products have the same positive eigenvalues.
    scatter = centred.T @ centred if rows.shape[1] <= len(rows) else centred @ centred.T
    return max(float(np.linalg.eigvalsh(scatter)[-1]), 0.0) / (len(rows) - 1)
