"""A guard: a monitor and a strategy at work in a rollout, one memory an episode."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import Run, refuse_name, shown, weights_digest
from workbench.config.sweep import key_of
from workbench.errors import ConfigError
from workbench.monitoring.files import load
from workbench.monitoring.monitor import AnyMonitor, identified, needs_of, refuse_silent
from workbench.monitoring.online import Followed, OnlineMonitor
from workbench.rollouts.arms import (
    EXPERT,
    built,
    described_strategies,
    learned_parts,
    refuse_learned_behind_another,
    refuse_no_strategy,
)
from workbench.types import SIGNALS, Alarm, Intervention, Policy, PolicyCall, Record, Strategy, Task, follow

LONGEST = 2**15 - 1
"""Control steps of an episode, which tables keep as whole numbers of 16 bits."""
OF_A_GUARD = ("job.fitted_in", "job.horizon", "job.most", "job.cool_down", "job.held")
"""Keys of the job that say nothing without a monitor."""


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


@dataclasses.dataclass(frozen=True)
class GuardSettings:
    """A guard by name, as it travels to worker processes and stands in a store's header.

    Attributes
    ----------
    monitors : folder that ``workbench fit`` wrote.
    monitor : name of one of them.
    scores, calibrators : configurations by name, of those that the folder's monitors are made of.
    strategy : its name, and its configuration.
    expert : configuration of the reference that some strategies hand over to.
    head : folder of the recovery head, for those that hand over to it; other learned parts lie beside it.
    horizon : deadlines that an episode lasts at most that is given more time.
    most, cool_down, held : as of :class:`Guard`.
    """

    monitors: str
    monitor: str
    scores: Record
    calibrators: Record
    strategy: Record
    expert: Record
    head: str
    horizon: float = 2.0
    most: int = 1
    cool_down: int = 0
    held: bool = False

    def made(self, task: Task, policy: Policy) -> Guard:
        """The guard itself."""
        found = load(Path(self.monitors), self.scores, self.calibrators)
        found.refuse_other_source(shown(Path(self.monitors)), task, policy)
        every = (found[self.monitor], *found.values())
        (strategy,) = built(self.strategy, task, policy, self.expert, Path(self.head), every).values()
        horizon = steps_beyond(task.deadline, self.horizon)
        options: dict[str, Any] = {"most": self.most, "cool_down": self.cool_down, "held": self.held}
        return Guard(found[self.monitor], strategy, horizon=horizon, **options)

    def described(self) -> Record:
        """What decides the episodes that it watches over: no paths, but digests of what lies there."""
        said = dataclasses.asdict(self) | {"monitors": weights_digest(Path(self.monitors)), "head": ""}
        said |= learned_parts(self.strategy, Path(self.head))
        return {**said, "strategy": described_strategies(self.strategy)}


def guard_of(
    run: Run, monitor: str | None, fitted_in: str | None, horizon: float, most: int, cool_down: int, held: bool
) -> GuardSettings | None:
    """The guard that a run's configuration asks for; None without a monitor.

    Parameters
    ----------
    fitted_in : name of the run whose monitors and head they are; None for this one.

    Raises
    ------
    ConfigError
        if there is not just one strategy, or what a guard does is said and no monitor.
    """
    if monitor is None:
        refuse_unheard(run)
        return None
    if len(strategy := run.config["strategy"]) != 1:
        raise ConfigError(
            f"a guard has one strategy, not {', '.join(strategy) or 'none'}; choose one, such as strategy=[placebo]"
        )
    if fitted_in is not None:
        refuse_name("job.fitted_in", fitted_in)
    folder = run.folder if fitted_in is None else run.root / "runs" / fitted_in
    settings = GuardSettings(
        monitors=str(folder / "monitors"),
        monitor=monitor,
        scores=run.config["score"],
        calibrators=run.config["calibrator"],
        strategy=strategy,
        expert=EXPERT,
        head=str(folder / "head"),
        horizon=horizon,
        most=most,
        cool_down=cool_down,
        held=held,
    )
    settings.made(run.task, run.policy())  # what is refused is refused once, and not in every worker
    return settings


def refuse_unheard(run: Run) -> None:
    """ConfigError if the words of a run say what is done on an alarm, and nothing is to alarm.

    What an earlier job of the run was told is meant for that one, such as the strategies of ``recover``.
    """
    told = {*run.taken, *(word for entry in run.journal() if entry.done for word in entry.words)}
    said = [] if run.of else [key_of(word) for word in run.words if word not in told]
    for key in said:
        if key.partition(".")[0] == "strategy" or key in OF_A_GUARD:
            raise ConfigError(
                f"{key} says what is done on an alarm, and there is no monitor; name one of those that workbench fit "
                "made: job.monitor=rnd+split_conformal"
            )


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
        if not isinstance(horizon, int) or not 1 <= horizon <= LONGEST:
            raise ConfigError(f"a guard's horizon={horizon} must be a whole number of control steps, 1 .. {LONGEST}")
        refuse_silent(monitor)
        refuse_no_strategy(strategy)
        refuse_learned_behind_another(strategy, identified(monitor))
        self.monitor, self.strategy, self.horizon = monitor, strategy, horizon
        self.most, self.cool_down, self.held = most, cool_down, held
        self._online = OnlineMonitor([monitor])

    @property
    def needs(self) -> frozenset[str]:
        """What it looks at of a policy call."""
        return needs_of([self.monitor]) | frozenset(self.strategy.needs)

    def described(self) -> Record:
        """What a store's header says of a guard that was made by hand."""
        return {"by": "hand", "monitor": self.monitor.name, "strategy": self.strategy.name, "horizon": self.horizon}

    def refuse_unfit(self, deadline: int, samples: int, signals: Sequence[str]) -> None:
        """ConfigError for a task that ends later, and for a call that will not hold what is looked at."""
        if self.horizon < deadline:
            raise ConfigError(
                f"a guard's horizon={self.horizon} would end episodes before the task's deadline of {deadline} control "
                "steps; it must be as many or more"
            )
        signalled = {need.removeprefix(SIGNALS) for need in self.needs if need.startswith(SIGNALS)}
        missing = sorted(f"{SIGNALS}{name}" for name in signalled - {*signals})
        if "samples" in self.needs and not samples:
            missing.append("samples")
        if missing:
            raise ConfigError(
                f"monitor {self.monitor.name} with strategy {self.strategy.name} looks at {', '.join(missing)} of a "
                "call; ask for it: rollout.samples=32, rollout.signals=[...]"
            )

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
            asked, one = None, call.one(row)
            follow(self.strategy, memory.strategy, one)
            if reading.alarm[row] and self._hears(memory, int(call.step[row])):
                asked = self.strategy.act(memory.strategy, Alarm(one, policy, deadlines[row], memory.interventions))
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
    if not (isinstance(horizon, int | float) and np.isfinite(horizon) and 1 <= horizon <= LONGEST / deadline):
        raise ConfigError(f"horizon={horizon!r} must be a number of deadlines from 1 to {LONGEST / deadline:.0f}")
    return round(deadline * horizon)
