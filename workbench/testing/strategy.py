"""Does a strategy keep the contract?  The laws, one function each, and what they are tried on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import numpy as np

from workbench.testing.contract import blaming, name_of, require
from workbench.testing.policy import check_policy
from workbench.types import Alarm, Intervention, Policy, PolicyCall, Record, Strategy, Task

SAMPLES = 8


def check_strategy(strategy: Strategy, policy: Policy, task: Task) -> tuple[str, ...]:
    """Raise at the first law that a strategy breaks; returns the laws that it keeps.

    Parameters
    ----------
    policy : that drives until the alarm.
    task : on which it does, and on which whoever drives afterwards is checked as a policy.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    case = StrategyCase(strategy, policy, task)
    for law in LAWS:
        law(case)
    return tuple(law.__name__ for law in LAWS)


@dataclasses.dataclass(frozen=True)
class StrategyCase:
    """A strategy, whom it relieves, and where; see :func:`check_strategy`."""

    strategy: Strategy
    policy: Policy
    task: Task

    @property
    def who(self) -> str:
        """How messages call the strategy."""
        return name_of(self.strategy, "strategy")

    def begin(self) -> Record:
        """The memory of an episode that begins."""
        with blaming(self.who, "begin()"):
            return self.strategy.begin()

    def act(self, memory: Record, step: int = 8, number: int = 0) -> Intervention | None:
        """What it asks for at an alarm."""
        with blaming(self.who, "act(memory, alarm)"):
            return self.strategy.act(memory, self.alarm(step, number))

    def alarm(self, step: int, number: int) -> Alarm:
        """An alarm at a real call of the policy at the beginning of an episode, said to be at ``step``."""
        scene = self.task.scene()
        scene.privileged = self.policy.privileged
        seen = scene.truth().observation if self.policy.privileged else scene.observe()
        observation = {key: np.stack([np.stack([value] * self.policy.history)]) for key, value in seen.items()}
        asked = {"instructions": [scene.instruction()]} if self.policy.listens else {}
        output = self.policy.plan(observation, [np.random.default_rng(0)], SAMPLES, **asked)
        call = PolicyCall(
            np.array([step]),
            output.chunk,
            output.samples,
            output.embedding,
            self.policy.execute,
            [scene.instruction()],
            dict(output.signals),
            {key: value[:, -1:] for key, value in observation.items()},
        )
        return Alarm(call, self.policy, self.task.deadline, number)


def declares_what_it_does(case: StrategyCase) -> None:
    """It has a name, and says what it looks at of a call."""
    name = getattr(case.strategy, "name", None)
    require(isinstance(name, str) and bool(name), case.who, f"its name is {name!r}; it is what tables call it")
    needs = getattr(case.strategy, "needs", None)
    require(
        isinstance(needs, tuple | list | set | frozenset) and all(isinstance(need, str) for need in needs),
        case.who,
        f"needs={needs!r} must be names of what it looks at of a call, such as ('samples',); () for nothing",
    )
    for function in ("begin", "act"):
        require(callable(getattr(case.strategy, function, None)), case.who, f"it has no {function}")


def remembers_plain_data(case: StrategyCase) -> None:
    """Its memory is plain data that can be copied: it is part of every moment that a rollout can go on from."""
    memory = case.begin()
    require(isinstance(memory, dict), case.who, f"begin() returns {type(memory).__name__}; return a dict")
    with blaming(case.who, "its memory cannot be copied"):
        copy.deepcopy(memory)


def asks_for_an_intervention(case: StrategyCase) -> None:
    """It returns an Intervention, or None; a hand-back is after one control step or more."""
    asked = case.act(case.begin())
    require(
        asked is None or isinstance(asked, Intervention),
        case.who,
        f"act returns {asked!r}; return an Intervention, or None for nothing",
    )
    if asked is not None and asked.steps is not None:
        require(asked.steps >= 1, case.who, f"it hands back after {asked.steps} control steps; at least 1, or None")


def acts_by_its_memory_alone(case: StrategyCase) -> None:
    """The same memory and alarm give the same intervention, whatever happened in other episodes in between."""
    memory = case.begin()
    kept = copy.deepcopy(memory)
    first = case.act(memory)
    other = case.begin()
    for number in range(3):
        case.act(other, step=16 + 8 * number, number=number)
    again = case.act(kept)
    require(
        _terms(first) == _terms(again),
        case.who,
        f"the same memory and alarm gave {_terms(first)} and then {_terms(again)}: keep all of it in the memory",
    )


def more_time_goes_with_fresh_noise(case: StrategyCase) -> None:
    """Another driver that is given more time draws the noise that the placebo draws, or that is no control of it."""
    asked = case.act(case.begin())
    if asked is not None and asked.driver is not None and asked.more_time:
        require(
            asked.fresh_noise,
            case.who,
            "it takes more time and goes on with the factual noise: the placebo is then no control of it; set "
            "fresh_noise=True",
        )


def the_driver_is_a_policy(case: StrategyCase) -> None:
    """Who drives keeps the contract of a policy on the task."""
    asked = case.act(case.begin())
    if asked is None or asked.driver is None:
        return
    require(
        callable(getattr(asked.driver, "plan", None)),
        case.who,
        f"its driver is {asked.driver!r}, which is no policy: it has no plan",
    )
    check_policy(asked.driver, case.task)


def _terms(asked: Intervention | None) -> tuple[object, ...]:
    if asked is None:
        return ()
    driver = type(asked.driver).__name__ if asked.driver is not None else None
    return driver, asked.steps, asked.fresh_noise, asked.more_time, asked.instruction, asked.stops


LAWS: tuple[Callable[[StrategyCase], None], ...] = (
    declares_what_it_does,
    remembers_plain_data,
    asks_for_an_intervention,
    acts_by_its_memory_alone,
    more_time_goes_with_fresh_noise,
    the_driver_is_a_policy,
)
