"""Strategies by name, each given the parts that it hands over to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.config import build, parameters_of
from workbench.config.parts import load_policy
from workbench.errors import ConfigError
from workbench.rollouts.setup import Setup
from workbench.types import Policy, Record, Strategy


def built(strategies: Mapping[str, Record], setup: Setup, expert: Record, head: Path | None) -> dict[str, Strategy]:
    """Strategies by name, each given what its constructor asks for: the expert, the head, or nothing."""
    found = {}
    for name, node in strategies.items():
        wanted = parameters_of(node["_target_"])
        parts: dict[str, Policy] = {}
        if "expert" in wanted:
            parts["expert"] = setup.expert(expert)
        if "head" in wanted:
            if head is None:
                raise ConfigError(f"strategy {name} hands over to a recovery head, and none is given; train one first")
            parts["head"] = load_policy(type(setup.policy), head, setup.task)
        found[name] = build(node, **parts)
    return found


def needs_head(strategies: Mapping[str, Record]) -> bool:
    """Whether any strategy is driven by a learned head."""
    return any("head" in parameters_of(node["_target_"]) for node in strategies.values())
