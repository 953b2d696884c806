"""Group = which of the fit split's instructions the robot was given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.errors import ScoreError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record
from workbench.types.reading import Source, checked, parsed


class TaskGroups:
    """Index of the episode's instruction among those of the fit split, in alphabetical order; -1 for any other.

    An episode never leaves its group.  A reworded instruction is another one.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Collect the instructions."""
        found = sorted({episode.instruction for episode in episodes} - {""})
        if not found:
            raise ScoreError("groups by task need episodes that say what the robot was told, and none does")
        self._index = {instruction: number for number, instruction in enumerate(found)}

    def begin(self) -> Record:
        """Nothing is remembered."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Groups (N,) of one call."""
        return np.array([self._index.get(instruction, -1) for instruction in call.instructions], np.float64)

    def state(self) -> dict[str, Array]:
        """The instructions, as bytes of a JSON list."""
        return {"instructions": np.frombuffer(json.dumps(list(self._index)).encode(), np.uint8)}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        source = Source("the instructions that groups by task know", ScoreError)
        found: list[str] = checked(list[str], parsed(np.asarray(state["instructions"]).tobytes(), source), source)
        self._index = {instruction: number for number, instruction in enumerate(found)}
