"""Strategies by name, each given the parts that it hands over to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.config import build, named, parameters_of
from workbench.config.parts import load_policy
from workbench.errors import ConfigError
from workbench.types import Policy, Record, Strategy, Task

EXPERT: Record = {"_target_": "workbench.policies.expert.Expert"}
"""The reference: who collects demonstrations, and says from where an episode could still be won."""


def built(
    strategies: Mapping[str, Any], task: Task, policy: Policy, expert: Record, head: Path | None
) -> dict[str, Strategy]:
    """Strategies by name, each given what its constructor asks for: the task, the expert, the head, a named policy.

    Parameters
    ----------
    strategies : name -> configuration, or an object of your own.
    """
    found = {}
    for name, node in strategies.items():
        if not isinstance(node, Mapping):
            found[name] = node
            continue
        wanted = parameters_of(node["_target_"])
        given: dict[str, Any] = {}
        if "task" in wanted:
            given["task"] = task
        if "strong" in wanted:
            if not isinstance(node.get("strong"), str):
                raise ConfigError(
                    f"strategy {name} hands over to a policy, and none is named: strategy.{name}.strong=zoo/lift_flow"
                )
            given["strong"] = named.policy(node["strong"], task)
        if "expert" in wanted:
            given["expert"] = build(expert, task=task)
        if "head" in wanted:
            if head is None or not head.exists():
                raise ConfigError(
                    f"strategy {name} hands over to a recovery head, and there is none; workbench recover trains one"
                )
            given["head"] = load_policy(type(policy), head, task)
        if "corrector" in wanted:
            folder = None if head is None else corrector_beside(head)
            if folder is None or not folder.exists():
                raise ConfigError(
                    f"strategy {name} goes by a corrector, and there is none; workbench correct makes what it learns "
                    "from, and workbench recover trains it"
                )
            given["corrector"] = folder
        found[name] = build({key: value for key, value in node.items() if key not in given}, **given)
    return found


def corrector_beside(head: Path) -> Path:
    """Folder of the corrector of a run, beside that of its recovery head."""
    return head.with_name("corrector")


def needs_corrector(strategies: Mapping[str, Any]) -> bool:
    """Whether any strategy goes by what a corrector says."""
    return _asks_for("corrector", strategies)


def needs_head(strategies: Mapping[str, Any]) -> bool:
    """Whether any strategy is driven by a learned head."""
    return _asks_for("head", strategies)


def _asks_for(part: str, strategies: Mapping[str, Any]) -> bool:
    nodes = [node for node in strategies.values() if isinstance(node, Mapping)]
    return any(part in parameters_of(node["_target_"]) for node in nodes)
