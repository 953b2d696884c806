"""A guard: a monitor and a strategy at work in a rollout, one memory an episode."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError
from workbench.monitoring.monitor import AnyMonitor, needs_of
from workbench.monitoring.online import Followed, OnlineMonitor
from workbench.types import Alarm, Intervention, Policy, PolicyCall, Record, Strategy


@dataclasses.dataclass
class Guarded:
    """What a guard remembers of one episode; part of every moment that a rollout can go on from.

    Attributes
    ----------
    followed : memory of the monitor.
    strategy : memory of the strategy.
    interventions : how many there were.
    last : control step of the last one; -1 before the first.
    """

    followed: Followed
    strategy: Record
    interventions: int = 0
    last: int = -1

    def copy(self) -> Guarded:
        """A copy that shares nothing that changes."""
        return dataclasses.replace(self, followed=self.followed.copy(), strategy=copy.deepcopy(self.strategy))


@dataclasses.dataclass(frozen=True)
class Watched:
    """What a guard made of one policy call of one scene.

    Attributes
    ----------
    margin : of the monitor, above 0 where it alarms.
    intervention : what is to be done; None if nothing.
    """

    margin: float
    intervention: Intervention | None


class Guard:
    """At every call of the policy the monitor is fed; on an alarm the strategy says what is to be done.

    While another driver drives, the monitor is not fed: its calls are none of the policy's.  After every intervention
    it begins anew, as in an episode that starts there: windows, memories, and thresholds that go by the number of the
    call.  With ``held`` it goes on with what it remembers.  Thresholds stay as they were fitted, also adaptive ones:
    an episode must not depend on which others were rolled before it.

    Parameters
    ----------
    horizon : control step at which an episode ends that is given more time.
    most : interventions in one episode.
    cool_down : control steps after an intervention in which alarms are not heard.
    held : whether the monitor goes on behind an intervention instead of beginning anew.
    """

    def __init__(
        self,
        monitor: AnyMonitor,
        strategy: Strategy,
        *,
        horizon: int,
        most: int = 1,
        cool_down: int = 0,
        held: bool = False,
    ) -> None:
        if most < 1 or cool_down < 0:
            raise ConfigError(f"a guard's most={most} must be at least 1, and its cool_down={cool_down} at least 0")
        if monitor.reason:
            raise ConfigError(f"monitor {monitor.name} can never alarm ({monitor.reason}); choose one with a threshold")
        self.monitor, self.strategy, self.horizon = monitor, strategy, horizon
        self.most, self.cool_down, self.held = most, cool_down, held
        self._online = OnlineMonitor([monitor])

    @property
    def needs(self) -> tuple[str, ...]:
        """What it looks at of a policy call."""
        return tuple(dict.fromkeys([*needs_of([self.monitor]), *self.strategy.needs]))

    def begin(self) -> Guarded:
        """Memory of an episode that begins."""
        return Guarded(self._online.start(), self.strategy.begin())

    def watch(
        self, memories: Sequence[Guarded], call: PolicyCall, policy: Policy, deadlines: Sequence[int]
    ) -> list[Watched]:
        """What is to be done at one call of N scenes, each with its memory."""
        names = [f"scene {row}" for row in range(len(memories))]
        reading = self._online.follow([memory.followed for memory in memories], call, names)[self.monitor.name]
        found = []
        for row, memory in enumerate(memories):
            asked = None
            if reading.alarm[row] and self._hears(memory, int(call.step[row])):
                asked = self.strategy.act(
                    memory.strategy, Alarm(call.one(row), policy, deadlines[row], memory.interventions)
                )
            if asked is not None:
                self._note(memory, int(call.step[row]))
            found.append(Watched(float(reading.margin[row]), asked))
        return found

    def _hears(self, memory: Guarded, step: int) -> bool:
        cooled = memory.last < 0 or step - memory.last > self.cool_down
        return memory.interventions < self.most and cooled

    def _note(self, memory: Guarded, step: int) -> None:
        memory.interventions += 1
        memory.last = step
        if not self.held:
            memory.followed = self._online.start()


def steps_beyond(deadline: int, horizon: float) -> int:
    """The horizon in control steps, of a share of the deadline: 2.0 is twice as long."""
    if not (np.isfinite(horizon) and horizon >= 1):
        raise ConfigError(f"horizon={horizon} must be a number of deadlines, 1 or more")
    return round(deadline * horizon)
