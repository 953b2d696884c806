"""The leaderboard of a comparison: typed rows, and the plain data that pages and files are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from workbench.benchmarking.figures import Figure
from workbench.types import Record
from workbench.types.results import Tabular


@dataclasses.dataclass(frozen=True)
class StoreSummary:
    """A store that was judged on.

    Attributes
    ----------
    store : its path, relative to the root of the question.
    task : how it is called in rows: the name of its file.
    policy : as on the command line, or the class behind it.
    splits : split -> episodes.
    test, failures : episodes that were judged, and how many of them failed.
    """

    store: str
    task: str
    policy: str
    splits: Mapping[str, int]
    test: int
    failures: int


@dataclasses.dataclass(frozen=True)
class MonitorRow:
    """One monitor on all stores.

    Attributes
    ----------
    monitor : its name, ``<score>+<calibrator>``.
    score : the score, or the combination of scores.
    window : those that were chosen, such as "mean 4, sum 4".
    kind : failure-free, supervised, combination or baseline.
    guarantee : what is promised, in one sentence; the weakest of its stores and folds.
    selected : whether this row stands for its score; None of a baseline that is no score.
    figures : metric -> figure over all episodes.
    tasks, families : name -> metric -> figure.
    """

    monitor: str
    score: str
    window: str
    calibrator: str
    kind: str
    guarantee: str
    selected: bool | None
    figures: Mapping[str, Figure]
    tasks: Mapping[str, Mapping[str, Figure]]
    families: Mapping[str, Mapping[str, Figure]]

    def record(self) -> Record:
        """As plain data; ``selected`` is left out where it is None."""
        made: Record = plain(self)
        if self.selected is None:
            del made["selected"]
        return made


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a score costs: milliseconds a scene and call on one core, and mean seconds of a fit."""

    score: str
    milliseconds: Figure
    fit_s: float


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two monitors on the same episodes and seeds: a metric of the first less that of the second."""

    first: str
    second: str
    metric: str
    difference: Figure
    p_value: float | None


@dataclasses.dataclass(frozen=True)
class Audit:
    """Realised errors of one monitor on one task against its level.

    Attributes
    ----------
    errors : what is counted: false alarms in nominal successes, unless the promise is about missed failures, or about
        every success.
    count, episodes, rate, ci95 : so many of so many episodes, their share and its exact 95 % interval.
    promised : whether the monitor promises the level.
    p_value, broken, chance : as in :class:`workbench.monitoring.promises.Verdict`; False, 0 and None where there is
        none.
    """

    monitor: str
    calibrator: str
    task: str
    errors: str
    count: int
    episodes: int
    rate: float | None
    ci95: tuple[float, float]
    level: float
    promised: bool
    p_value: float | None
    broken: bool
    chance: float


@dataclasses.dataclass(frozen=True)
class DriftWatch:
    """After how many episodes of a stream a score's calibration was seen not to hold; None for never."""

    monitor: str
    task: str
    stream: str
    noticed_after: int | None
    episodes: int


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A score that could not be fitted, and why."""

    part: str
    score: str
    store: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Leaderboard(Tabular):
    """All monitors of a question, the best first, and what stands around them.

    Attributes
    ----------
    protocol, about : name of the protocol, and in a paragraph what is learnt, chosen, calibrated and judged on what.
    level : nominal false-alarm rate of every monitor.
    seeds : training seeds.
    command : what makes it again on the command line; "" where it was made otherwise.
    diverged : episodes of the stores that were left out because their physics diverged.
    """

    protocol: str
    about: str
    level: float
    seeds: tuple[int, ...]
    command: str
    stores: tuple[StoreSummary, ...]
    rows: tuple[MonitorRow, ...]
    costs: tuple[Cost, ...]
    pairs: tuple[Pair, ...]
    audit: tuple[Audit, ...]
    drift: tuple[DriftWatch, ...]
    refused: tuple[Refusal, ...]
    diverged: int

    def rows_of_table(self) -> list[Record]:
        """One row a monitor: value and 95 % interval of every figure."""
        return [row.record() for row in self.rows]

    def record(self) -> Record:
        """As plain data: ``leaderboard.json``."""
        made: Record = plain(self)
        del made["diverged"]
        return {**made, "rows": [row.record() for row in self.rows]}


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries and tuples as lists, as JSON has them."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple | list) else value
