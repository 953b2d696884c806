"""Temporal consistency: whether the policy still plans what it planned at the call before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.distance import cdist  # type: ignore[import-untyped,unused-ignore]

from workbench.detectors.learning.inputs import dimensions, samples_of
from workbench.detectors.learning.overlap import no_plan, planned_twice
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class StatisticalTemporalConsistency:
    """MMD² between the samples of two calls in a row, on the control steps that both plan.

    STAC of Agia et al. ("Unpacking Failure Modes of Generative Policies", CoRL 2024).  With k control steps between
    the calls, ``X = previous[:, k:]`` and ``Y = current[:, :H-k]`` (B rows each, flattened) are about the same time::

        s = mean K(X, X) + mean K(Y, Y) - 2 mean K(X, Y),   K(x, y) = exp(-||x - y||² / (2 median d²))

    biased (the diagonal is kept), with the median over the positive squared distances among all 2B rows.  Exactly 0 at
    the first call and for a replan that draws the same samples; at most 2.  The sum over an episode that the paper
    uses is a window (:class:`workbench.monitoring.window.Window`, kind ``sum``), which need not be endless.

    Parameters
    ----------
    dims : action dimensions that are compared; the paper leaves the gripper out, whose extremes would drown the rest.
    """

    needs = frozenset({"samples"})

    def __init__(self, dims: Sequence[int] = (0, 1, 2, 3, 4, 5)) -> None:
        self.dims = dimensions("stac", dims)

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt; episodes that it could not score are refused already here."""
        for episode in episodes:
            samples_of(episode, "stac", self.dims)

    def begin(self) -> Record:
        """No samples yet."""
        return no_plan()

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        pairs = planned_twice("stac", memories, samples_of(call, "stac", self.dims), call.step)
        return np.array([_discrepancy(x.reshape(len(x), -1), y.reshape(len(y), -1)) for x, y in pairs])

    def state(self) -> dict[str, Array]:
        """Which dimensions are compared."""
        return {"dims": np.array(self.dims)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.dims = tuple(int(dim) for dim in state["dims"])


def _discrepancy(x: Array, y: Array) -> float:
    """Biased MMD² of two batches of rows (B, F)."""
    # Differences, not the expanded square: equal rows then have a distance of exactly 0.
    xx, yy, xy = (cdist(*pair, "sqeuclidean") for pair in ((x, x), (y, y), (x, y)))
    distances = np.concatenate([xx.ravel(), yy.ravel(), xy.ravel(), xy.ravel()])
    if np.isnan(distances).any():
        return float("nan")
    apart = distances[distances > 0]
    if not len(apart):
        return 0.0
    rate = -1.0 / (2.0 * float(np.median(apart)))
    squared = np.exp(rate * xx).mean() + np.exp(rate * yy).mean() - 2.0 * np.exp(rate * xy).mean()
    return max(float(squared), 0.0)
