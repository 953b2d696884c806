"""How large the planned actions are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.detectors.learning.inputs import chunk_of, dimensions
from workbench.types import Array, EpisodeCalls, PolicyCall, Record


class ChunkMagnitude:
    """``s = ||chunk||``, root of the sum of squares over steps and dimensions, in action units.

    ``action_norm`` of ActProbe (Huang et al., arXiv 2606.08508, 2026), there one of three inputs of a trained network
    beside the overlap of chunks (:class:`workbench.detectors.scores.chunk_overlap.ChunkOverlap`).  Alone it says that a
    policy wants to move far, which is bad late in a task and normal early.

    Parameters
    ----------
    dims : action dimensions that count; a gripper command is as large whatever it says.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, dims: Sequence[int] = (0, 1, 2, 3, 4, 5)) -> None:
        self.dims = dimensions("overlap_magnitude", dims)

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt; episodes that it could not score are refused already here."""
        for episode in episodes:
            chunk_of(episode, "overlap_magnitude", self.dims)

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,)."""
        norm: Array = np.sqrt((chunk_of(call, "overlap_magnitude", self.dims) ** 2).sum(axis=(1, 2)))
        return norm

    def state(self) -> dict[str, Array]:
        """Which dimensions count."""
        return {"dims": np.array(self.dims)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.dims = tuple(int(dim) for dim in state["dims"])
