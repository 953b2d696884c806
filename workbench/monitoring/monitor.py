"""Monitors: a fitted score, a window and a calibrated threshold, alone or combined."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from workbench.errors import ConfigError
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.types import AdaptiveThreshold, Array, Threshold
from workbench.types.reading import shown

NO_PROMISE = "none"
"""How the guarantee of a monitor begins of which nothing is promised; the reason follows."""


def refuse_silent(monitor: AnyMonitor) -> None:
    """ConfigError for a monitor that can never alarm, and for what is none."""
    if not hasattr(monitor, "leaves"):
        raise ConfigError(
            f"a monitor is needed, not {shown(monitor)}: monitors[name] of what wb.fit or wb.load returns"
        )
    if monitor.reason:
        raise ConfigError(f"monitor {monitor.name} can never alarm ({monitor.reason}); choose one with a threshold")


def identified(monitor: AnyMonitor) -> str:
    """Which monitor it is, for what is learned behind its alarms: its name, and the level that decides them."""
    return f"{monitor.name} at level {monitor.level:g}"


class Reading(NamedTuple):
    """What a monitor says: (N,) for one call of N scenes, (C,) for the calls of one episode.

    ``score`` is windowed; ``margin`` is (score - threshold) / scale, NaN without a threshold; ``alarm`` is margin > 0.
    """

    score: Array
    margin: Array
    alarm: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Monitor:
    """Score, window and threshold.

    Attributes
    ----------
    calibrator : name of the rule behind the threshold.
    level : nominal false-alarm rate that was asked for.
    threshold : None where it could not be computed; such a monitor never alarms.
    reason : why there is no threshold.
    groups : what tells the groups of calls apart where the threshold is one for each; else None.
    """

    name: str
    score: FittedScore
    window: Window
    calibrator: str
    level: float
    threshold: Threshold | None
    reason: str = ""
    groups: FittedScore | None = None

    @property
    def guarantee(self) -> str:
        """What is promised, in one sentence."""
        return self.threshold.guarantee if self.threshold else f"{NO_PROMISE}: {self.reason}"

    @property
    def promises(self) -> bool:
        """Whether anything is promised."""
        return not self.guarantee.startswith(NO_PROMISE)

    @property
    def promises_silence(self) -> bool:
        """Whether what is promised is a rate of false alarms, and not one of failures that are found."""
        return self.promises and self.threshold is not None and not self.threshold.on_failures

    @property
    def threshold_episodes(self) -> int:
        """How many calibration episodes stand behind the threshold."""
        return self.threshold.episodes if self.threshold else 0

    def leaves(self) -> tuple[Monitor, ...]:
        """Itself: the monitors whose readings decide this one's."""
        return (self,)

    def judge(self, windowed: Array, first_call: int = 0, groups: Array | None = None) -> Reading:
        """Reading along a windowed curve (C,) that starts at call ``first_call``; ``groups`` (C,) are its calls'."""
        margin = np.full(len(windowed), np.nan)
        if self.threshold is not None:
            margin = self.threshold.margin(windowed, first_call, groups)
        return Reading(windowed, margin, margin > 0)

    def after(self, highest: float, alarmed: bool) -> Monitor:
        """The monitor for the next episode, after a successful one with that highest windowed score.

        It differs where the threshold is adaptive; ``alarmed`` is whether the monitor of that episode alarmed.
        """
        if not isinstance(self.threshold, AdaptiveThreshold):
            return self
        return dataclasses.replace(self, threshold=self.threshold.after(highest, alarmed))

    def combine(self, readings: Mapping[str, Reading]) -> Reading:
        """Its own reading, out of those of all leaves by name."""
        return readings[self.name]


@dataclasses.dataclass(frozen=True, eq=False)
class _Combination:
    name: str
    legs: tuple[Monitor, ...]

    def __post_init__(self) -> None:
        if len(self.legs) < 2:
            raise ConfigError(f"monitor {self.name} combines at least two others, not {len(self.legs)}")

    @property
    def reason(self) -> str:
        """Why it can never alarm; empty if it can."""
        return "; ".join(f"{leg.name}: {leg.reason}" for leg in self.legs if leg.threshold is None)

    @property
    def threshold_episodes(self) -> int:
        """How many calibration episodes stand behind the leg that has fewest."""
        return min(leg.threshold_episodes for leg in self.legs)

    def leaves(self) -> tuple[Monitor, ...]:
        """The legs."""
        return self.legs

    @property
    def guarantee(self) -> str:
        """What is promised, in one sentence."""
        if self.reason:
            return f"{NO_PROMISE}: {self.reason}"
        # A promise of recall is broken by an And; by an Or, that of another leg about false alarms.
        for leg in self.legs:
            if leg.threshold is not None and leg.threshold.on_failures:
                return f"{NO_PROMISE}: {leg.name} promises recall, which says nothing of the combination"
        return self._of_silence([leg for leg in self.legs if leg.promises])

    def _of_silence(self, promising: Sequence[Monitor]) -> str:
        """What follows for the combination from the legs that promise a rate of false alarms."""
        raise NotImplementedError

    def _without(self, promising: Sequence[Monitor]) -> str:
        first = next(leg.name for leg in self.legs if leg not in promising)
        return f"{NO_PROMISE}: {first} promises nothing"

    @property
    def promises(self) -> bool:
        """Whether anything is promised."""
        return not self.guarantee.startswith(NO_PROMISE)

    @property
    def promises_silence(self) -> bool:
        """Whether a rate of false alarms is promised: a combination promises nothing else."""
        return self.promises


@dataclasses.dataclass(frozen=True, eq=False)
class And(_Combination):
    """Alarm where all legs exceed their thresholds at the same call; the margin is the smallest of the legs'.

    FIPER's combination (Römer et al., NeurIPS 2025) of a novelty and an uncertainty score.  An alarm of it is an alarm
    of every leg, so each leg's guarantee holds for it too.  A leg without a threshold silences it.
    """

    @property
    def level(self) -> float:
        """The smallest of the legs' levels: an upper bound of its own false-alarm rate."""
        return min(leg.level for leg in self.legs)

    def _of_silence(self, promising: Sequence[Monitor]) -> str:
        if not promising:
            return self._without(promising)
        return f"an alarm of all legs is an alarm of each, so each leg's holds: {_listed(promising)}"

    def combine(self, readings: Mapping[str, Reading]) -> Reading:
        """Smallest margin; there is no common unit but the margin, so the score is the margin too."""
        margin: Array = np.min([readings[leg.name].margin for leg in self.legs], axis=0)
        return Reading(margin, margin, margin > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Or(_Combination):
    """Alarm where any leg exceeds its threshold; the margin is the largest of the legs'.

    Sentinel's combination (Agia et al., CoRL 2024) of a consistency and a progress score.  By the union bound the
    legs' levels add up, so for a level of its own each leg is calibrated at that level divided by their number.  A leg
    without a threshold silences it: with the other alone it would be another monitor.
    """

    @property
    def level(self) -> float:
        """The sum of the legs' levels: an upper bound of its own false-alarm rate."""
        return sum(leg.level for leg in self.legs)

    def _of_silence(self, promising: Sequence[Monitor]) -> str:
        if len(promising) < len(self.legs):
            return self._without(promising)
        return (
            f"an alarm is one of some leg, so the legs' false-alarm rates add up to at most {self.level:g} (union "
            f"bound) where each leg's promise holds: {_listed(promising)}"
        )

    def combine(self, readings: Mapping[str, Reading]) -> Reading:
        """Largest margin, which is the score too."""
        margin: Array = np.max([readings[leg.name].margin for leg in self.legs], axis=0)
        return Reading(margin, margin, margin > 0)


def _listed(legs: Sequence[Monitor]) -> str:
    return "; ".join(f"{leg.name}: {leg.guarantee}" for leg in legs)


ALL, ANY = "all", "any"
COMBINATIONS: Mapping[str, type[And] | type[Or]] = {ALL: And, ANY: Or}
"""How legs are combined, in the words of ``monitor.combine``."""
AnyMonitor = Monitor | And | Or


def parts_of(monitors: Iterable[AnyMonitor]) -> tuple[dict[str, Monitor], dict[str, FittedScore]]:
    """Distinct monitors, and scores and groups behind some monitors, by name; one name for two things is refused."""
    leaves: dict[str, Monitor] = {}
    scores: dict[str, FittedScore] = {}
    taken: dict[str, AnyMonitor] = {}
    for monitor in monitors:
        for part in {id(part): part for part in (monitor, *monitor.leaves())}.values():
            if taken.setdefault(part.name, part) is not part:
                raise ConfigError(f"two monitors are called {part.name}: give each a name of its own")
        for leaf in monitor.leaves():
            leaves[leaf.name] = leaf
            for score in (leaf.score, leaf.groups):
                if score is not None and scores.setdefault(score.name, score) is not score:
                    raise ConfigError(f"two fitted scores are called {score.name}: give each a name of its own")
    return leaves, scores


def needs_of(monitors: Iterable[AnyMonitor]) -> frozenset[str]:
    """What some monitors read of a call, in the words of :class:`workbench.types.Scorer`."""
    _, scores = parts_of(monitors)
    return frozenset(need for score in scores.values() for need in score.score.needs)


def scores_of(monitors: Sequence[AnyMonitor]) -> dict[str, FittedScore]:
    """Fitted scores behind some monitors, and what tells groups apart for them, by name."""
    return parts_of(monitors)[1]
