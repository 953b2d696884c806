"""Does a strategy keep the contract?  The laws, one function each, and what they are tried on."""

from __future__ import annotations

import copy
import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from workbench.testing.contract import blaming, name_of, require
from workbench.testing.policy import check_policy
from workbench.types import (
    RECENT,
    STEP,
    Alarm,
    Array,
    Intervention,
    Observation,
    Policy,
    PolicyCall,
    Record,
    Scene,
    Strategy,
    Task,
    follow,
)
from workbench.types.abilities import images_of

SAMPLES, CALLS = 8, 3


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

    def followed(self) -> Record:
        """The memory of an episode in which it has seen the first calls of the policy."""
        memory = self.begin()
        for call in self.calls:
            self.follow(memory, call)
        return memory

    def follow(self, memory: Record, call: PolicyCall) -> None:
        """Show it a call, if it follows them."""
        with blaming(self.who, "follow(memory, call)"):
            follow(self.strategy, memory, call)

    def act(self, memory: Record, number: int = 0) -> Intervention | None:
        """What it asks for at an alarm at the last call."""
        with blaming(self.who, "act(memory, alarm)"):
            return self.strategy.act(memory, Alarm(self.calls[-1], self.policy, self.task.deadline, number))

    @functools.cached_property
    def calls(self) -> tuple[PolicyCall, ...]:
        """The first calls of the policy in an episode, with what the robot saw."""
        scene, policy = self.task.scene(), self.policy
        scene.privileged = policy.privileged
        recent: list[Observation] = []
        told: list[Observation] = []
        found = []
        for number in range(CALLS):
            recent, told = [*recent, scene.observe()], [*told, _shown(scene)]
            shown = _padded(told, policy.history)
            if policy.cameras:
                images = images_of(scene)
                shown |= {f"images/{camera}": images[f"images/{camera}"][None] for camera in policy.cameras}
            asked = {"instructions": [scene.instruction()]} if policy.listens else {}
            output = policy.plan(shown, [np.random.default_rng(number)], SAMPLES, **asked)
            found.append(
                PolicyCall(
                    np.array([len(recent) - 1]),
                    output.chunk,
                    output.samples,
                    output.embedding,
                    policy.execute,
                    [scene.instruction()],
                    dict(output.signals),
                    _padded(recent, RECENT),
                )
            )
            for place, action in enumerate(output.chunk[0, : policy.execute]):
                scene.step(action)
                if place < policy.execute - 1:
                    recent, told = [*recent, scene.observe()], [*told, _shown(scene)]
        return tuple(found)


def _shown(scene: Scene) -> Observation:
    return scene.truth().observation if scene.privileged else scene.observe()


def _padded(seen: Sequence[Observation], length: int) -> dict[str, Array]:
    """Key -> (1, length, size) of the last observations, the oldest repeated at the start of an episode."""
    last = list(seen[-length:])
    last = [last[0]] * (length - len(last)) + last
    return {key: np.stack([np.stack([each[key] for each in last])]) for key in last[0]}


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
    memory = case.followed()
    with blaming(case.who, "its memory cannot be copied once it has followed a call"):
        copy.deepcopy(memory)


def asks_for_an_intervention(case: StrategyCase) -> None:
    """It returns an Intervention, or None; a hand-back is after one control step or more."""
    asked = case.act(case.followed())
    require(
        asked is None or isinstance(asked, Intervention),
        case.who,
        f"act returns {asked!r}; return an Intervention, or None for nothing",
    )
    if asked is not None and asked.steps is not None:
        require(asked.steps >= 1, case.who, f"it hands back after {asked.steps} control steps; at least 1, or None")
    remembered = asked.memory if asked is not None else None
    require(
        remembered is None or isinstance(remembered, dict),
        case.who,
        f"what its driver is to remember is {type(remembered).__name__}; give it a dict, or None",
    )
    with blaming(case.who, "what its driver is to remember cannot be copied"):
        copy.deepcopy(remembered)


def acts_by_its_memory_alone(case: StrategyCase) -> None:
    """The same memory and alarm give the same intervention, whatever happened in other episodes in between."""
    memory = case.followed()
    kept = copy.deepcopy(memory)
    first = case.act(memory)
    other = case.begin()
    for number, call in enumerate(case.calls):
        case.follow(other, call)
        case.act(other, number=number)
    again = case.act(kept)
    require(
        _terms(first) == _terms(again),
        case.who,
        f"the same memory and alarm gave {_terms(first)} and then {_terms(again)}: keep all of it in the memory",
    )


def more_time_goes_with_fresh_noise(case: StrategyCase) -> None:
    """Another driver that is given more time draws the noise that the placebo draws, or that is no control of it."""
    asked = case.act(case.followed())
    if asked is not None and asked.driver is not None and asked.more_time:
        require(
            asked.fresh_noise,
            case.who,
            "it takes more time and goes on with the factual noise: the placebo is then no control of it; set "
            "fresh_noise=True",
        )


def the_driver_is_a_policy(case: StrategyCase) -> None:
    """Who drives keeps the contract of a policy on the task, with the memory that it begins with."""
    asked = case.act(case.followed())
    if asked is None or asked.driver is None:
        return
    require(
        callable(getattr(asked.driver, "plan", None)),
        case.who,
        f"its driver is {asked.driver!r}, which is no policy: it has no plan",
    )
    driver, step = asked.driver, int(case.calls[-1].step[0])
    check_policy(driver if asked.memory is None else _reminded(driver, {**asked.memory, STEP: step}), case.task)


def _reminded(driver: Policy, memory: Record) -> Policy:
    """A driver that is handed the same memory at each of its calls, under the name of its class."""
    kind: Any = type(type(driver).__name__, (_Reminded,), {})
    return cast(Policy, kind(driver, memory))


class _Reminded:
    """See :func:`_reminded`."""

    def __init__(self, driver: Policy, memory: Record) -> None:
        self._driver, self._memory = driver, memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def plan(
        self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0, **asked: Any
    ) -> Any:
        memories = [copy.deepcopy(self._memory) for _ in noise]
        return cast(Any, self._driver).plan(observation, noise, samples, memories=memories, **asked)


def _terms(asked: Intervention | None) -> tuple[object, ...]:
    if asked is None:
        return ()
    driver = type(asked.driver).__name__ if asked.driver is not None else None
    with np.printoptions(threshold=sys.maxsize):
        told = repr(asked.memory)
    return driver, asked.steps, asked.fresh_noise, asked.more_time, asked.instruction, asked.stops, told


LAWS: tuple[Callable[[StrategyCase], None], ...] = (
    declares_what_it_does,
    remembers_plain_data,
    asks_for_an_intervention,
    acts_by_its_memory_alone,
    more_time_goes_with_fresh_noise,
    the_driver_is_a_policy,
)
