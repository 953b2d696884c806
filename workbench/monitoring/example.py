"""What monitors said during one episode, and what happened in it: the curves that a report draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from workbench.types import Record


@dataclasses.dataclass(frozen=True)
class Margins:
    """Margin of one monitor at each policy call: an alarm where it is positive.

    Attributes
    ----------
    step : (C,) control step of each call.
    margin : (C,) score less threshold, in units of the threshold's scale.
    """

    step: Sequence[int]
    margin: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Example:
    """One episode.

    Attributes
    ----------
    uid : of the episode.
    title : task, fault and outcome in a few words.
    events : name -> control step, negative if it did not happen.
    monitors : name -> its margins.
    """

    uid: str
    title: str
    events: Mapping[str, int]
    monitors: Mapping[str, Margins]

    def record(self) -> Record:
        """As plain data, as it stands in ``metrics.json``."""
        curves = self.monitors.items()
        monitors = {name: {"step": list(each.step), "margin": list(each.margin)} for name, each in curves}
        return {"uid": self.uid, "title": self.title, "events": dict(self.events), "monitors": monitors}

    @classmethod
    def of(cls, record: Record) -> Example:
        """From what :meth:`record` gave."""
        monitors = {name: Margins(each["step"], each["margin"]) for name, each in record["monitors"].items()}
        return cls(record["uid"], record["title"], record["events"], monitors)
