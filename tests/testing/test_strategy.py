"""A strategy that breaks a law of its contract is caught, by that law."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from workbench.config import named
from workbench.detectors.scores.chunk_overlap import ChunkOverlap
from workbench.envs.tasks.lift import Lift
from workbench.errors import ContractError
from workbench.policies.expert import Expert
from workbench.policies.recovery import expert as relief
from workbench.policies.recovery.adaptive_chunking import AdaptiveChunking
from workbench.policies.recovery.ask import Ask
from workbench.policies.recovery.backtrack import Backtrack
from workbench.policies.recovery.best_of import BestOf
from workbench.policies.recovery.cascade import Cascade
from workbench.policies.recovery.continuation import Continue
from workbench.policies.recovery.head import Head
from workbench.policies.recovery.home import Home, HomeDriver
from workbench.policies.recovery.more_time import MoreTime
from workbench.policies.recovery.placebo import Placebo
from workbench.policies.recovery.redraw import Redraw
from workbench.policies.recovery.retreat import Retreat
from workbench.policies.recovery.retrieve import Retrieve
from workbench.policies.recovery.reward_steered import RewardSteered
from workbench.policies.recovery.skill import Skill
from workbench.testing import check_strategy
from workbench.testing.strategy import LAWS
from workbench.types import Intervention, Successes

TASK = Lift()
POLICY, OTHER = Expert(TASK, privileged=False), Expert(TASK)
STRATEGIES = [
    Continue(), Redraw(), MoreTime(), Placebo(), Ask(), relief.Expert(expert=OTHER), relief.Expert(OTHER, steps=20),
    Head(head=OTHER), Cascade(OTHER, steps=9), Retreat(TASK),
    Home(TASK), Backtrack(TASK, steps=5), Skill(TASK), Skill(TASK, "cube_pos", turns=0.0),
]  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda part: part.name)
def test_every_strategy_keeps_the_contract(strategy):
    assert check_strategy(strategy, POLICY, TASK) == tuple(law.__name__ for law in LAWS)


SUCCESSES = Successes(np.random.default_rng(0).normal(size=(9, 64)), np.zeros((9, 16, 7)), np.arange(9))
SAMPLING = [
    BestOf(ChunkOverlap(), samples=3), RewardSteered(TASK, "cube_pos", (0.0, 0.0, 0.1)),
    AdaptiveChunking(self_guidance=1.0), Retrieve(SUCCESSES, within=1.0), RewardSteered(TASK, reward="stage"),
]  # fmt: skip


@pytest.mark.parametrize("strategy", SAMPLING, ids=lambda part: part.name)
def test_every_strategy_that_samples_keeps_the_contract(strategy):
    assert check_strategy(strategy, named.policy("zoo/lift_flow", TASK), TASK) == tuple(law.__name__ for law in LAWS)


@dataclasses.dataclass
class Relief:
    """A correct strategy to break."""

    name: Any = "relief"
    needs: Any = ()
    memory: Any = dataclasses.field(default_factory=dict)
    asked: Any = dataclasses.field(default_factory=lambda: Intervention(OTHER, 5, fresh_noise=True, more_time=True))

    def begin(self):
        return self.memory

    def act(self, memory, alarm):
        return self.asked


class Forgetful(Relief):
    """Counts all its alarms, of whatever episode."""

    times = 0

    def act(self, memory, alarm):
        self.times += 1
        return Intervention(OTHER, self.times, fresh_noise=True)


class Mutters(Relief):
    """Keeps what it has followed where it is that of all episodes."""

    seen = 0

    def follow(self, memory, call):
        self.seen += 1

    def act(self, memory, alarm):
        return Intervention(OTHER, self.seen, fresh_noise=True)


class Remembers(Relief):
    """Whose driver is handed a memory."""

    told: Any = None

    def __init__(self, told, driver=None):
        super().__init__(asked=Intervention(driver or OTHER, 5, fresh_noise=True, more_time=True, memory=told))


def test_the_correct_one_passes():
    check_strategy(Relief(), POLICY, TASK)


BROKEN = {
    "its name is ''": Relief(name=""),
    "needs=None must be names": Relief(needs=None),
    "needs='samples' must be names": Relief(needs="samples"),
    "returns list; return a dict": Relief(memory=[]),
    "act returns 3; return an Intervention": Relief(asked=3),
    "hands back after 0 control steps": Relief(asked=Intervention(OTHER, 0)),
    "set fresh_noise=True": Relief(asked=Intervention(OTHER, more_time=True)),
    "is no policy: it has no plan": Relief(asked=Intervention(object())),
    "keep all of it in the memory": Forgetful(),
    "gave .*: keep all of it": Mutters(),
    "is to remember is list; give it a dict": Remembers([1]),
    "is to remember cannot be copied": Remembers({"open": (each for each in ())}),
    "unexpected keyword argument 'memories'": Remembers({"number": 1}),
    "its memory cannot be copied": Relief(memory={"open": (each for each in ())}),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_strategy_is_caught(message):
    with pytest.raises(ContractError, match=message):
        check_strategy(BROKEN[message], POLICY, TASK)


def test_a_driver_that_draws_on_the_memory_of_another_scene_is_caught():
    class Leaks(HomeDriver):
        def action(self, pose, memory):
            self.calls = getattr(self, "calls", 0) + 1
            return super().action(pose, memory) + 0.01 * self.calls

    home = Home(TASK)
    home._driver = Leaks(home._hand)
    with pytest.raises(ContractError, match=r"Leaks"):
        check_strategy(home, POLICY, TASK)


def test_a_driver_that_is_no_policy_for_the_task_is_caught():
    class Lazy(Expert):
        execute = 3

    with pytest.raises(ContractError, match="execute=3 actions of a chunk"):
        check_strategy(Relief(asked=Intervention(Lazy(TASK))), POLICY, TASK)


def test_a_strategy_that_raises_is_caught():
    class Failing(Relief):
        def act(self, memory, alarm):
            raise RuntimeError("no head here")

    with pytest.raises(ContractError, match=r"act\(memory, alarm\) raises RuntimeError: no head here"):
        check_strategy(Failing(), POLICY, TASK)
