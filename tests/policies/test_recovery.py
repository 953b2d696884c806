"""Strategies: who drives, and what a comparison has to know about them; and that every yaml builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import workbench.conf
from workbench.envs.tasks.lift import Lift
from workbench.policies.recovery.ask import Ask
from workbench.policies.recovery.continuation import Continue
from workbench.policies.recovery.expert import Expert
from workbench.policies.recovery.head import Head
from workbench.policies.recovery.more_time import MoreTime
from workbench.policies.recovery.placebo import Placebo
from workbench.policies.recovery.redraw import Redraw
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
    (Head(head=RELIEF), Intervention(RELIEF, None, fresh_noise=True, more_time=True)),
]


def alarm(step: int) -> Alarm:
    return Alarm(PolicyCall(np.array([step]), np.zeros((1, 4, 7)), None, None, 4), POLICY, 100)


@pytest.mark.parametrize(("strategy", "asked"), ASKED, ids=lambda value: getattr(value, "name", ""))
def test_what_each_asks_for(strategy: Strategy, asked: Intervention | None) -> None:
    """Whatever is to be held against the placebo has its noise and its time."""
    assert strategy.act(strategy.begin(), alarm(8)) == asked


def test_nobody_is_asked_before_anything_was_done() -> None:
    assert Ask().act({}, alarm(0)) is None


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
