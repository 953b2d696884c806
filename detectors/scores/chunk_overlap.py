"""Temporal consistency of the chunks that are run: the one-sample form of STAC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from workbench.detectors.learning.inputs import chunk_of, dimensions
from workbench.detectors.learning.overlap import no_plan, planned_twice
from workbench.errors import UnknownNameError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

Norm = Literal["squared", "euclidean"]


class ChunkOverlap:
    """How far this call's chunk is from that of the call before, on the control steps that both plan.

    With d the differences (L, A) on these steps, in action units::

        squared     s = mean over steps and dimensions of d²     (chunk_mse of ActProbe, Huang et al., arXiv 2606.08508)
        euclidean   s = mean over steps of ||d||                 (STAC-Single of SAFE, Gu et al., NeurIPS 2025)

    0 at the first call and exactly 0 for a replan that goes on with its plan.  Needs no samples.

    Parameters
    ----------
    norm : ``squared`` or ``euclidean``.
    dims : action dimensions that are compared; without the gripper, whose extremes would drown the rest.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, norm: Norm = "squared", dims: Sequence[int] = (0, 1, 2, 3, 4, 5)) -> None:
        if norm not in get_args(Norm):
            raise UnknownNameError("norm of score chunk_overlap", norm, get_args(Norm))
        self.squared = norm == "squared"
        self.dims = dimensions("chunk_overlap", dims)

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt; episodes that it could not score are refused already here."""
        for episode in episodes:
            chunk_of(episode, "chunk_overlap", self.dims)

    def begin(self) -> Record:
        """No chunk yet."""
        return no_plan()

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        chunks = chunk_of(call, "chunk_overlap", self.dims)
        pairs = planned_twice("chunk_overlap", memories, chunks, call.step)
        squares = [(current - previous) ** 2 for previous, current in pairs]
        return np.array([s.mean() if self.squared else np.sqrt(s.sum(axis=1)).mean() for s in squares])

    def state(self) -> dict[str, Array]:
        """Norm and dimensions."""
        return {"dims": np.array(self.dims), "squared": np.array([self.squared])}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.dims, self.squared = tuple(int(dim) for dim in state["dims"]), bool(state["squared"][0])
