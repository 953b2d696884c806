"""How undecided the policy is: entropy of the action chunks that it samples for one observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import dimensions, samples_of
from workbench.errors import ConfigError, ScoreError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

MARGIN = 0.01
"""By how much of the samples' own range their grid begins below the smallest."""


class ActionChunkEntropy:
    """Mean over the horizon of the histogram entropy of B sampled positions, in bits: between 0 and log2 B.

    Römer et al. ("Failure Prediction at Runtime for Generative Robot Policies", NeurIPS 2025, eq. 4), as their code
    computes it: at each of the H steps of the chunk the B positions are counted in cells whose edge is
    ``cell_fraction`` of the range seen in the fit split.  The grid starts one hundredth of these B samples' own range
    below the smallest, so samples within 0.99 of a cell of one another share it.  The score is the mean of the H
    entropies (the paper sums them: a constant factor).

    Parameters
    ----------
    dims : action dimensions that are a position (or its change).
    cell_fraction : edge of a cell, as a share of the range of the fit split.
    """

    needs = frozenset({"samples"})

    def __init__(self, dims: Sequence[int] = (0, 1, 2), cell_fraction: float = 0.03) -> None:
        if not 0 < cell_fraction <= 1:
            raise ConfigError(f"cell_fraction={cell_fraction} of score entropy must lie in (0, 1]")
        self.dims = dimensions("entropy", dims)
        self.cell_fraction = cell_fraction

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Cells from the range of the fit split; the seed plays no part."""
        if not episodes:
            raise ScoreError("score entropy was given no episode to fit on: roll out episodes of the fit split")
        samples = [samples_of(episode, "entropy", self.dims).reshape(-1, len(self.dims)) for episode in episodes]
        extent = np.max([s.max(axis=0) for s in samples], axis=0) - np.min([s.min(axis=0) for s in samples], axis=0)
        if not (np.isfinite(extent).all() and extent.max() > 0):
            raise ScoreError(f"score entropy cannot be fitted: the samples' ranges are {extent.tolist()}")
        self.extent: Array = np.where(extent > 0, extent, extent.max())
        self.own_range = True

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) in bits."""
        samples = samples_of(call, "entropy", self.dims)
        span = np.ptp(samples, axis=1, keepdims=True) if self.own_range else self.extent
        cells = cells_of(samples, MARGIN * span, self.cell_fraction * self.extent)
        cells = np.ascontiguousarray(cells.transpose(0, 2, 3, 1))  # the samples beside one another
        together = np.ones((*cells.shape[:2], cells.shape[-1], cells.shape[-1]), bool)
        for dim in range(len(self.dims)):
            together &= cells[:, :, dim, :, None] == cells[:, :, dim, None, :]
        # Entry b of `share` is the share of samples in b's own cell, so the mean of -log2 over b is the entropy:
        # the same number as over cells, without a grid.  A NaN shares a cell with nothing, and stays NaN.
        share = together.mean(axis=-1)
        bits: Array = -np.log2(np.where(share > 0, share, np.nan)).mean(axis=(1, 2))
        return bits + 0.0

    def state(self) -> dict[str, Array]:
        """What decides the cells."""
        grid = {"own_range": np.ones(1)} if self.own_range else {}
        numbers = {"extent": self.extent, "cell_fraction": np.array([self.cell_fraction])}
        return {"dims": np.array(self.dims), **numbers, **grid}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`.

        One without ``own_range`` is of before 0.2: its grid, and the threshold beside it, begin 1 % of the fit split's
        range below.
        """
        self.dims = tuple(int(dim) for dim in state["dims"])
        self.extent, self.cell_fraction = state["extent"], float(state["cell_fraction"][0])
        self.own_range = "own_range" in state


def cells_of(samples: Array, margin: Array, edge: Array) -> Array:
    """Cell (N, B, H, D) of each sample in the grid of its call and step, which begins ``margin`` below the smallest.

    Borders are those of ``numpy.arange(low, high, edge)``, to the last bit: a sample on one belongs to the cell above.
    """
    low = samples.min(axis=1, keepdims=True) - margin
    edge = (low + edge) - low
    cells: Array = np.floor((samples - low) / edge)
    cells += low + (cells + 1) * edge <= samples
    cells -= low + cells * edge > samples
    return cells
