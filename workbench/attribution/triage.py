"""Where to look first: failures in groups that nobody named, and all episodes in the order of cheap signals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from workbench.attribution.grouping import LEAST, Grouping, grouped, record_of
from workbench.attribution.signals import Ranked, ranked
from workbench.errors import StoreError, UnknownNameError
from workbench.monitoring.episodes import sound
from workbench.monitoring.monitor import AnyMonitor
from workbench.store import Store
from workbench.types import SPLITS, Record, Split


@dataclasses.dataclass(frozen=True)
class Triage:
    """Where to look first in a store.

    Attributes
    ----------
    episodes, failures : how many were looked at; those whose physics diverged are left out.
    grouping : the failures in groups; None where there are too few of them.
    ranking : all episodes, successes too, the one to look at first at the head.
    """

    episodes: int
    failures: int
    grouping: Grouping | None
    ranking: Sequence[Ranked]

    def record(self) -> Record:
        """Plain data."""
        return {
            "episodes": self.episodes,
            "failures": self.failures,
            "grouping": None if self.grouping is None else record_of(self.grouping),
            "ranking": [dataclasses.asdict(each) for each in self.ranking],
        }


def triage(store: Store, *, split: Split | None = None, monitors: Sequence[AnyMonitor] = (), most: int = 12) -> Triage:
    """Group the failures of a store, and rank its episodes by cheap signals.  Nothing is simulated, no label is needed.

    Parameters
    ----------
    split : of the episodes; None for all.
    monitors : fitted ones, whose disagreement is a signal more; they are judged on splits they were not fitted on.
    most : groups that there may be.

    Raises
    ------
    UnknownNameError
        if there is no such split.
    StoreError
        if it holds no episode, or one without policy calls.
    """
    if split is not None and split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    numbers = sound(store, *([split] if split else []))
    if not numbers:
        raise StoreError(f"{store.path} holds no episode{f' of split {split}' if split else ''} to look at")
    failed = [number for number in numbers if not store.episodes["success"][number]]
    grouping = grouped(store, failed, most) if len(failed) >= LEAST else None
    return Triage(len(numbers), len(failed), grouping, ranked(store, numbers, monitors))
