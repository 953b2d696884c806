"""A strategy that breaks a law of its contract is caught, by that law."""

from __future__ import annotations

import dataclasses

import pytest

from workbench.envs.tasks.lift import Lift
from workbench.errors import ContractError
from workbench.policies.expert import Expert
from workbench.policies.recovery import expert as relief
from workbench.policies.recovery.continuation import Continue
from workbench.policies.recovery.head import Head
from workbench.policies.recovery.placebo import Placebo
from workbench.testing import check_strategy
from workbench.testing.strategy import LAWS

TASK = Lift()
POLICY, OTHER = Expert(TASK, privileged=False), Expert(TASK)


@pytest.mark.parametrize(
    "strategy", [Continue(), Placebo(), relief.Expert(expert=OTHER), Head(head=OTHER)], ids=lambda part: part.name
)
def test_every_strategy_keeps_the_contract(strategy):
    assert check_strategy(strategy, POLICY, TASK) == tuple(law.__name__ for law in LAWS)


@dataclasses.dataclass
class Relief:
    """A correct strategy to break."""

    name: object = "relief"
    replans: object = True
    fresh_noise: object = True
    extends: object = True
    who: object = OTHER
    other: object = None

    def driver(self, policy):
        self.who, self.other = self.other or self.who, self.who if self.other else None
        return self.who


def test_the_correct_one_passes():
    check_strategy(Relief(), POLICY, TASK)


BROKEN = {
    "its name is ''": {"name": ""},
    "replans=None must be True or False": {"replans": None},
    "extends=1 must be True or False": {"extends": 1},
    "replans=False lets it run": {"replans": False},
    "set fresh_noise=True": {"fresh_noise": False},
    "returns None, which is no policy": {"who": None},
    "now one kind of policy and now another": {"other": Placebo()},
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_strategy_is_caught(message):
    with pytest.raises(ContractError, match=message):
        check_strategy(Relief(**BROKEN[message]), POLICY)


def test_a_driver_that_is_no_policy_for_the_task_is_caught():
    class Lazy(Expert):
        execute = 3

    with pytest.raises(ContractError, match="execute=3 actions of a chunk"):
        check_strategy(Relief(who=Lazy(TASK)), POLICY, TASK)


def test_a_driver_that_raises_is_caught():
    class Failing(Relief):
        def driver(self, policy):
            raise RuntimeError("no head here")

    with pytest.raises(ContractError, match=r"driver\(Expert\) raises RuntimeError: no head here"):
        check_strategy(Failing(), POLICY)
