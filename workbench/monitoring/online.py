"""Monitors that are fed call by call as the robot moves."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.monitoring.monitor import AnyMonitor, Monitor, Reading, parts_of
from workbench.types import Array, PolicyCall, Record


class OnlineMonitor:
    """Monitors that are fed call by call, for slots that each run one episode at a time.

    ``begin(slot)`` before an episode, then ``update(slots, call)`` for every policy call; each score is computed once.
    ``end(slot, success)`` after it lets adaptive thresholds follow; an episode keeps those that it began with.
    """

    def __init__(self, monitors: Sequence[AnyMonitor]) -> None:
        self.monitors = tuple(monitors)
        self._leaves, self._scores = parts_of(monitors)
        self._slots: dict[int, Followed] = {}

    def begin(self, slot: int) -> None:
        """Forget the slot's episode; a new one begins."""
        self._slots[slot] = self.start()

    def start(self) -> Followed:
        """Memory of an episode that begins, for whoever keeps it; see :meth:`follow`."""
        return Followed(
            leaves=dict(self._leaves),
            memories={name: score.score.begin() for name, score in self._scores.items()},
            windows={name: leaf.window.begin() for name, leaf in self._leaves.items()},
            highest=dict.fromkeys(self._leaves, -np.inf),
            alarmed=dict.fromkeys(self._leaves, False),
        )

    def update(self, slots: Sequence[int], call: PolicyCall) -> dict[str, Reading]:
        """Readings (n,) of every monitor for one call whose n scenes are those of ``slots``."""
        return self.follow([self._slots[slot] for slot in slots], call, [f"slot {slot}" for slot in slots])

    def follow(self, running: Sequence[Followed], call: PolicyCall, names: Sequence[str]) -> dict[str, Reading]:
        """As :meth:`update`, for n memories of :meth:`start`; ``names`` are what errors call them."""
        numbers = [each.calls for each in running]
        raw = {
            name: score.update([each.memories[name] for each in running], call, names, numbers)
            for name, score in self._scores.items()
        }
        readings = {name: self._read(name, running, raw) for name in self._leaves}
        for each in running:
            each.calls += 1
        return {monitor.name: monitor.combine(readings) for monitor in self.monitors}

    def _read(self, name: str, running: Sequence[Followed], raw: Mapping[str, Array]) -> Reading:
        """Readings (n,) of one leaf, each slot by the thresholds that its episode began with."""
        leaf = self._leaves[name]
        windowed = leaf.window.update([each.windows[name] for each in running], raw[leaf.score.name])
        read = []
        for i, each in enumerate(running):
            groups = raw[leaf.groups.name][i : i + 1] if leaf.groups else None
            read.append(each.leaves[name].judge(windowed[i : i + 1], each.calls, groups))
            each.highest[name] = max(each.highest[name], float(windowed[i]))
            each.alarmed[name] |= bool(read[-1].alarm[0])
        return Reading(*(np.concatenate(part) for part in zip(*read, strict=True)))

    def end(self, slot: int, success: bool) -> None:
        """The slot's episode is over; what it says of a success moves adaptive thresholds for those that begin next."""
        ended = self._slots.pop(slot)
        if success and ended.calls:
            for name, leaf in self._leaves.items():
                self._leaves[name] = leaf.after(ended.highest[name], ended.alarmed[name])


@dataclasses.dataclass
class Followed:
    """One running episode: its thresholds, memories, and what it has said so far, each by the name of its leaf."""

    leaves: Mapping[str, Monitor]
    memories: Mapping[str, Record]
    windows: Mapping[str, Record]
    highest: dict[str, float]
    alarmed: dict[str, bool]
    calls: int = 0

    def copy(self) -> Followed:
        """A copy that shares nothing that changes."""
        return dataclasses.replace(
            self,
            memories=copy.deepcopy(self.memories),
            windows=copy.deepcopy(self.windows),
            highest=dict(self.highest),
            alarmed=dict(self.alarmed),
        )
