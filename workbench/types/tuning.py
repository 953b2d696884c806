"""Numbers of a strategy that a search chose, and the file that holds them: written by one room, read by another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from workbench.errors import CheckpointError
from workbench.types.data import Record
from workbench.types.ranges import Count, Positive, Seed
from workbench.types.reading import RECORD_SEAL, Between, Size, Source, check_record_seal, checked, read_json
from workbench.types.results import Tabular

MOST_BYTES = 4 * 2**20
MOST_POINTS = 10_000
"""Settings that one search tries, at most."""


@dataclasses.dataclass(frozen=True)
class Tried:
    """Settings that were tried.

    Attributes
    ----------
    numbers : name -> value.
    won : branches that succeed within the horizon, of all.
    cost : those that do not, and a part of one for the time that the others take: what was minimised.
    """

    numbers: Mapping[str, float]
    won: Count
    cost: Annotated[float, Between(0, 1e9)]


@dataclasses.dataclass(frozen=True)
class Tuning(Tabular):
    """What a search for the numbers of a strategy came to.

    Attributes
    ----------
    task : name of the task.
    strategy : target of the configuration whose numbers were chosen.
    settings : all its settings, with the best numbers that were found.
    monitor : whose first alarms the branches leave from.
    states, branches : alarms, and branches from all of them together.
    placebo : branches that succeed with the placebo, from the same states with the same noise.
    points : what was tried, in its order; the first is what the search began with.
    best : place in ``points`` of what it ended with: the fewest lost branches, then the least time.
    simulated : control steps.
    made_with : what decides all this.
    """

    kind: Literal["tuning"]
    task: Annotated[str, Size(1, 200)]
    strategy: Annotated[str, Size(1, 1000)]
    settings: dict[str, Any]
    monitor: Annotated[str, Size(1, 1000)]
    states: Positive
    branches: Positive
    placebo: Count
    points: Annotated[list[Tried], Size(1, MOST_POINTS)]
    best: Count
    simulated: Count
    seed: Seed
    made_with: Record

    def record(self) -> Record:
        """What a file of it holds."""
        return dataclasses.asdict(self)

    def section(self) -> Record:
        """The section ``tuning`` of ``metrics.json``."""
        won = {"placebo": self.placebo, "first": self.points[0].won, "tuned": self.points[self.best].won}
        return {
            "rows": [{"name": name, "won": count, "branches": self.branches} for name, count in won.items()],
            "first": dict(self.points[0].numbers),
            "tuned": dict(self.points[self.best].numbers),
            "monitor": self.monitor,
            "points": len(self.points),
            "states": self.states,
            "simulated_steps": self.simulated,
        }

    def rows_of_table(self) -> Sequence[Record]:
        """One row a point."""
        return [{**point.numbers, "won": point.won, "branches": self.branches} for point in self.points]


def source_of(path: Path) -> Source:
    """A file of a tuning, for errors."""
    return Source(f"the tuned skill {path}", CheckpointError, "workbench tune overwrite=true makes it anew")


def read_tuning(path: Path) -> Tuning:
    """A tuning from the file that :func:`workbench.tune_skill` wrote.

    Raises
    ------
    CheckpointError
        if there is none, or it is damaged.
    """
    source = source_of(path)
    said = read_json(path, source, MOST_BYTES)
    if not isinstance(said, dict) or RECORD_SEAL not in said:
        raise source.wrong("holds no tuning")
    check_record_seal(said, source)
    found: Tuning = checked(Tuning, {key: value for key, value in said.items() if key != RECORD_SEAL}, source)
    if found.best >= len(found.points) or max(found.placebo, *(each.won for each in found.points)) > found.branches:
        raise source.wrong("counts what it does not hold")
    return found
