"""Does a strategy keep the contract?  The laws, one function each, and what they are tried on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from workbench.testing.contract import blaming, name_of, require
from workbench.testing.policy import check_policy
from workbench.types import Policy, Strategy, Task


def check_strategy(strategy: Strategy, policy: Policy, task: Task | None = None) -> tuple[str, ...]:
    """Raise at the first law that a strategy breaks; returns the laws that it keeps.

    Parameters
    ----------
    policy : that drove until the alarm.
    task : on which whoever drives afterwards is checked as a policy; not at all if it is not given.

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
    task: Task | None = None

    @property
    def who(self) -> str:
        """How messages call the strategy."""
        return name_of(self.strategy, "strategy")

    def driver(self) -> Policy:
        """Who drives from the alarm on."""
        with blaming(self.who, f"driver({type(self.policy).__name__})"):
            return self.strategy.driver(self.policy)


def declares_what_it_does(case: StrategyCase) -> None:
    """It has a name, and says whether it replans, takes fresh noise and more time."""
    name = getattr(case.strategy, "name", None)
    require(isinstance(name, str) and bool(name), case.who, f"its name is {name!r}; it is what tables call it")
    for flag in ("replans", "fresh_noise", "extends"):
        value = getattr(case.strategy, flag, None)
        require(
            isinstance(value, bool), case.who, f"{flag}={value!r} must be True or False; see workbench.types.Strategy"
        )
    require(callable(getattr(case.strategy, "driver", None)), case.who, "it has no driver(policy)")


def whoever_relieves_replans(case: StrategyCase) -> None:
    """Another driver does not run the queue of the one that it relieves."""
    if case.driver() is not case.policy:
        require(
            case.strategy.replans,
            case.who,
            "another policy drives from the alarm on, and replans=False lets it run what the one before had queued",
        )


def more_time_goes_with_fresh_noise(case: StrategyCase) -> None:
    """What is given more time draws the noise that the placebo draws, or the placebo is no control of it."""
    require(
        case.strategy.fresh_noise or not case.strategy.extends,
        case.who,
        "it takes more time (extends) and goes on with the factual noise: neither `continue` nor the placebo is then "
        "its control; set fresh_noise=True",
    )


def the_driver_is_a_policy(case: StrategyCase) -> None:
    """Who drives is always the same for the same policy, and keeps the contract of a policy on the task."""
    driver = case.driver()
    require(
        type(case.driver()) is type(driver),
        case.who,
        "driver returns now one kind of policy and now another",
    )
    require(
        callable(getattr(driver, "plan", None)),
        case.who,
        f"driver returns {driver!r}, which is no policy: it has no plan",
    )
    if case.task is not None:
        check_policy(driver, case.task)


LAWS: tuple[Callable[[StrategyCase], None], ...] = (
    declares_what_it_does,
    whoever_relieves_replans,
    more_time_goes_with_fresh_noise,
    the_driver_is_a_policy,
)
