"""What monitors promise, in numbers: how many errors contradict it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.monitoring.monitor import And, AnyMonitor, Monitor
from workbench.stats.promises import STATED, chances_of
from workbench.types import AdaptiveThreshold, Array, RateLaw

FALSE_ALARMS, MISSED = "false alarms", "missed failures"

Laws = tuple[RateLaw, ...]
"""One law for all episodes, or one a group."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a promise fared on some episodes.

    Attributes
    ----------
    errors : what is counted: :data:`FALSE_ALARMS` or :data:`MISSED`.
    count, episodes : so many errors among so many episodes of which anything is promised.
    p_value : probability of so many or more where the promise is kept, over the draw of both the calibration and these
        episodes; None of a promise about every sequence of episodes.
    broken : whether the promise is contradicted: more errors than the level allows, and a p-value of at most
        :data:`workbench.stats.promises.STATED`.
    chance : of so many errors as contradict it, where the promise is kept.
    tested : whether anything is promised of these episodes; if not, they cannot contradict it.
    """

    errors: str
    count: int
    episodes: int
    p_value: float | None
    broken: bool
    chance: float
    tested: bool = True


@dataclasses.dataclass(frozen=True)
class Promise:
    """What a monitor promises.

    Attributes
    ----------
    errors : what there are few of: :data:`FALSE_ALARMS` or :data:`MISSED`.
    level : their promised rate.
    laws : each bounds the errors by itself, as each leg of an And does.
    allowance : how many errors more than ``level`` times the episodes there can be, in whatever sequence of successes;
        None where laws hold.
    """

    errors: str
    level: float
    laws: tuple[Laws, ...] = ()
    allowance: float | None = None

    def covers(self, groups: Array) -> Array:
        """(N,) of which episodes of these groups anything is promised."""
        known = [law.group for law in self.laws[0] if law.group is not None] if self.laws else []
        covered: Array = np.isin(groups, known) if known else np.full(len(groups), True)
        return covered

    def verdict(self, wrong: Array, groups: Array) -> Verdict:
        """How it fared on episodes (N,) of these groups, ``wrong`` where one was an error."""
        wrong, groups = wrong[(covered := self.covers(groups))], groups[covered]
        count, episodes = int(wrong.sum()), len(wrong)
        if self.allowance is not None:
            broken = count > self.level * episodes + self.allowance
            return Verdict(self.errors, count, episodes, None, broken, 0.0)
        judged: dict[int | None, int] = {int(group): int((groups == group).sum()) for group in np.unique(groups)}
        judged = collections.defaultdict(int, judged | {None: episodes})
        chances = np.min([chances_of(judged, laws) for laws in self.laws], axis=0)
        marked = (np.arange(episodes + 1) > self.level * episodes) & (chances <= STATED)
        chance = float(chances[marked.argmax()]) if marked.any() else 0.0
        return Verdict(self.errors, count, episodes, float(chances[count]), bool(marked[count]), chance)


def promise_of(monitor: AnyMonitor) -> Promise | None:
    """The promise of a monitor; None where it makes none, or none whose law is known.

    An alarm of an And is one of each leg, so each leg's law bounds it.  An alarm of an Or is one of some leg, and legs
    ranked among the same episodes cut off as many blocks together as each does, at most (Tukey, 1947); no law is known
    of an Or whose legs are ranked among other numbers of episodes.
    """
    if not monitor.promises:
        return None
    found = [_of_leaf(leaf) for leaf in monitor.leaves() if leaf.promises]
    legs = [promise for promise in found if promise is not None]
    if not legs or isinstance(monitor, Monitor):
        return legs[0] if legs else None
    if isinstance(monitor, And):
        return _of_each(legs)
    return _of_any(legs) if len(legs) == len(monitor.legs) else None


def _of_leaf(leaf: Monitor) -> Promise | None:
    threshold = leaf.threshold
    if isinstance(threshold, AdaptiveThreshold):
        return Promise(FALSE_ALARMS, threshold.level, allowance=threshold.allowance)
    if threshold is None or not threshold.laws:
        return None
    return Promise(MISSED if threshold.on_failures else FALSE_ALARMS, threshold.level, (threshold.laws,))


def _of_each(legs: Sequence[Promise]) -> Promise:
    """That of an And: those legs' that are about the same groups as the first."""
    first = legs[0]
    if first.allowance is not None:
        return first
    alike = [leg for leg in legs if leg.laws and _groups(leg) == _groups(first)]
    return Promise(first.errors, min(leg.level for leg in alike), tuple(laws for leg in alike for laws in leg.laws))


def _of_any(legs: Sequence[Promise]) -> Promise | None:
    level = sum(leg.level for leg in legs)
    if all(leg.allowance is not None for leg in legs):
        return Promise(FALSE_ALARMS, level, allowance=sum(leg.allowance or 0.0 for leg in legs))
    ranked = {tuple((law.group, law.ranked) for law in laws) for leg in legs for laws in leg.laws or [()]}
    if len(ranked) > 1:
        return None
    together = [laws for leg in legs for laws in leg.laws]
    joined = tuple(
        dataclasses.replace(of_group[0], beyond=sum(law.beyond for law in of_group))
        for of_group in zip(*together, strict=True)
    )
    return Promise(FALSE_ALARMS, level, (joined,))


def _groups(promise: Promise) -> list[int | None]:
    return [law.group for law in promise.laws[0]]
