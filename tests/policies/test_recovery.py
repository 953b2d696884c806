"""Strategies: who drives, and what a comparison has to know about them; and that every yaml builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

import workbench.conf
from workbench.envs.tasks.lift import Lift
from workbench.policies.recovery.continuation import Continue
from workbench.policies.recovery.expert import Expert
from workbench.policies.recovery.head import Head
from workbench.policies.recovery.placebo import Placebo
from workbench.types import Policy, Strategy

DRIVER, RELIEF = cast(Policy, object()), cast(Policy, object())
STRATEGIES: list[tuple[Strategy, Policy, bool]] = [
    (Continue(), DRIVER, False),
    (Placebo(), DRIVER, True),
    (Expert(expert=RELIEF), RELIEF, True),
    (Head(head=RELIEF), RELIEF, True),
]


@pytest.mark.parametrize(("strategy", "driver", "intervenes"), STRATEGIES, ids=lambda value: getattr(value, "name", ""))
def test_who_drives_and_with_what(strategy: Strategy, driver: Policy, intervenes: bool) -> None:
    assert strategy.driver(DRIVER) is driver
    # Everything but doing nothing gets the same fresh noise and time, or the placebo would be no control.
    assert (strategy.replans, strategy.fresh_noise, strategy.extends) == (intervenes,) * 3


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
