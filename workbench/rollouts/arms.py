"""Strategies by name, each given the parts that it hands over to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.config import build, named, parameters_of
from workbench.config.parts import load_policy
from workbench.errors import CheckpointError, ConfigError
from workbench.types import Policy, Record, Strategy, Task
from workbench.types.reading import shown

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
            refuse_no_strategy(node)
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
            given["head"] = _head(name, policy, task, head)
        found[name] = build({key: value for key, value in node.items() if key not in given}, **given)
    return found


def _head(name: str, policy: Policy, task: Task, folder: Path | None) -> Policy:
    """The recovery head of a folder, of the policy's kind and for this task."""
    if folder is None or not Path(folder).exists():
        raise ConfigError(
            f"strategy {name} hands over to a recovery head, and there is none; workbench recover trains one"
        )
    try:
        return load_policy(type(policy), Path(folder), task)
    except CheckpointError as error:
        raise CheckpointError(
            f"strategy {name} cannot hand over to the recovery head: {error}; workbench recover overwrite=true trains "
            "one of this policy"
        ) from None


def refuse_no_strategy(part: Any) -> None:
    """ConfigError for what is no strategy."""
    if missing := [each for each in ("name", "needs", "begin", "act") if not hasattr(part, each)]:
        raise ConfigError(
            f"a strategy is needed, such as wb.strategy('placebo'), and {shown(part)} lacks {', '.join(missing)}"
        )


def needs_head(strategies: Mapping[str, Any]) -> bool:
    """Whether any strategy is driven by a learned head."""
    return any("head" in parameters_of(node["_target_"]) for node in strategies.values() if isinstance(node, Mapping))
