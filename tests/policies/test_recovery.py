"""Strategies: who drives, and what a comparison has to know about them; and that every yaml builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import workbench.conf
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.push_t import PushT
from workbench.errors import ConfigError
from workbench.policies.recovery.ask import Ask
from workbench.policies.recovery.cascade import Cascade
from workbench.policies.recovery.continuation import Continue
from workbench.policies.recovery.expert import Expert
from workbench.policies.recovery.head import Head
from workbench.policies.recovery.more_time import MoreTime
from workbench.policies.recovery.placebo import Placebo
from workbench.policies.recovery.redraw import Redraw
from workbench.policies.recovery.retreat import Retreat
from workbench.rollouts.arms import EXPERT, built
from workbench.types import Alarm, Intervention, Policy, PolicyCall, Strategy

POLICY, RELIEF = cast(Policy, object()), cast(Policy, object())
ASKED: list[tuple[Strategy, Intervention | None]] = [
    (Continue(), None),
    (Redraw(), Intervention(fresh_noise=True)),
    (MoreTime(), Intervention(more_time=True)),
    (Placebo(), Intervention(fresh_noise=True, more_time=True)),
    (Ask(), Intervention(stops=True)),
    (Expert(expert=RELIEF), Intervention(RELIEF, None, fresh_noise=True, more_time=True)),
    (Expert(expert=RELIEF, steps=20), Intervention(RELIEF, 20, fresh_noise=True, more_time=True)),
    (Cascade(strong=RELIEF, steps=50), Intervention(RELIEF, 50, fresh_noise=True, more_time=True)),
    (Head(head=RELIEF), Intervention(RELIEF, None, fresh_noise=True, more_time=True)),
]


def raised(step: int) -> Alarm:
    return Alarm(PolicyCall(np.array([step]), np.zeros((1, 4, 7)), None, None, 4), POLICY, 100)


@pytest.mark.parametrize(("strategy", "asked"), ASKED, ids=lambda value: getattr(value, "name", ""))
def test_what_each_asks_for(strategy: Strategy, asked: Intervention | None) -> None:
    """Whatever is to be held against the placebo has its noise and its time."""
    assert strategy.act(strategy.begin(), raised(8)) == asked


def test_a_retreat_lets_go_and_goes_up_and_hands_back() -> None:
    asked = Retreat(Lift(), steps=5, speed=0.5).act({}, raised(8))
    assert (asked.steps, asked.fresh_noise, asked.more_time) == (5, True, True)
    assert asked.driver is not None
    output = asked.driver.plan({}, [np.random.default_rng(0)] * 2)
    assert output.chunk.shape == (2, 5, 7)
    assert (output.chunk == [0, 0, 0.5, 0, 0, 0, -1]).all()
    scene = Lift().scene()
    height = scene.observe()["eef_pos"][2]
    for action in output.chunk[0]:
        scene.step(action)
    assert scene.observe()["eef_pos"][2] > height + 0.02


def test_what_a_task_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="the actions of task push_t are position; choose another strategy"):
        Retreat(PushT())
    for settings in ({"steps": 0}, {"speed": 0.0}, {"speed": 2.0}):
        with pytest.raises(ConfigError, match="must be at least 1, and speed"):
            Retreat(Lift(), **settings)  # type: ignore[arg-type]
    node = {"cascade": {"_target_": "workbench.policies.recovery.cascade.Cascade", "strong": None}}
    with pytest.raises(ConfigError, match=r"none is named: strategy\.cascade\.strong=zoo/lift_flow"):
        built(node, Lift(), POLICY, EXPERT, None)
    head = {"head": {"_target_": "workbench.policies.recovery.head.Head"}}
    with pytest.raises(ConfigError, match="there is none; workbench recover trains one"):
        built(head, Lift(), POLICY, EXPERT, Path("none"))


def test_nobody_is_asked_before_anything_was_done() -> None:
    assert Ask().act({}, raised(0)) is None


def nodes(group: str) -> list[Any]:
    from omegaconf import OmegaConf

    files = sorted((Path(workbench.conf.__file__).parent / group).glob("*.yaml"))
    assert files
    return [(file.stem, OmegaConf.to_container(OmegaConf.load(file))) for file in files]


@pytest.mark.parametrize(("name", "node"), nodes("strategy"))
def test_strategy_yaml_is_named_as_its_class_says(name: str, node: dict[str, Any]) -> None:
    from workbench.config import resolve

    assert list(node) == [name]
    assert resolve(node[name]["_target_"]).name == name


@pytest.mark.parametrize(("name", "node"), [part for part in nodes("policy") if "url" not in part[1]])
def test_policy_yaml_builds(name: str, node: dict[str, Any]) -> None:
    from workbench.config import build, resolve

    handed = {} if hasattr(resolve(node["_target_"]), "load") else {"task": Lift()}
    policy = build(node, **handed)
    assert policy.execute <= policy.horizon
