"""Parts by the names that ``conf/`` gives them, or a person's own objects in their place."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.config.build import build, resolve
from workbench.config.compose import compose
from workbench.config.options import options_of
from workbench.config.parts import made, made_policy
from workbench.errors import CheckpointError, ConfigError, UnknownNameError
from workbench.types import Calibrator, Perturbation, Policy, Record, Score, Strategy, SupervisedScore, Task
from workbench.types.reading import Source, checked, read_json

OWN: Record = {"_target_": "workbench.policies.own.OwnPolicy"}
"""What makes a policy of a person's own object."""


def names(group: str) -> list[str]:
    """Names of a group: ``task``, ``policy``, ``perturbation``, ``score``, ``calibrator``, ``strategy``, ...

    Raises
    ------
    UnknownNameError
        if there is no such group.
    """
    known = options_of(group)
    if group == "policy":
        known += [f"zoo/{entry}" for entry in options_of("policy/zoo")]
    return known


def task(name: str, **settings: Any) -> Task:
    """A task by name, with settings in the place of its yaml's.

    Raises
    ------
    UnknownNameError
        if there is no such task or setting.
    """
    found: Task = made({**node_of("task", name), **settings})
    return found


def policy(part: Any, task: Task, **settings: Any) -> Policy:
    """A policy for a task.

    Parameters
    ----------
    part : a name (``zoo/lift_flow``, ``expert``, ``remote_openpi``); a folder that ``workbench train`` wrote; or an
        object of your own: one with ``plan``, a torch module, or a function from the observation (name -> (N, history,
        size)) to actions (N, H, A) or (N, A).
    settings : of the yaml; for an object of your own those of :class:`workbench.policies.own.OwnPolicy`.

    Raises
    ------
    UnknownNameError
        if there is no such policy.
    CheckpointError
        if its weights are missing, or were trained for another task.
    """
    if not isinstance(part, str | Path):
        found: Policy = part if _is_whole(part) and not settings else build(OWN, inner=part, **settings)
        return found
    folder = Path(part)
    if (folder / "policy.json").is_file():
        return made_policy({**node_of_checkpoint(folder), **settings}, task, folder)
    node = {**node_of("policy", str(part)), **settings}
    if hasattr(resolve(node["_target_"]), "load") and not node.get("zoo"):
        raise ConfigError(
            f"policy {part!r} has to be trained first: train(policy, ...) writes a folder, and policy(folder, task) "
            "reads it; names that begin with zoo/ are trained"
        )
    return made_policy(node, task, folder)


def untrained(name: str, **settings: Any) -> Policy:
    """A policy that has learned nothing yet, for :func:`workbench.train`."""
    found: Policy = made({**node_of("policy", name), **settings})
    return found


def perturbation(name: str, **settings: Any) -> Perturbation:
    """A fault by name, with settings in the place of its yaml's; UnknownNameError if there is none."""
    found: Perturbation = made({**node_of("perturbation", name), **settings})
    return found


def score(name: str, **settings: Any) -> Score | SupervisedScore:
    """A score by name, not yet fitted, with settings in the place of its yaml's."""
    found: Score | SupervisedScore = made({**node_of("score", name), **settings})
    return found


def calibrator(name: str, **settings: Any) -> Calibrator:
    """A rule that turns scores of calibration episodes into a threshold, by name."""
    found: Calibrator = made({**node_of("calibrator", name), **settings})
    return found


def strategy(name: str, **settings: Any) -> Strategy:
    """What is done on an alarm, by name; ``expert=`` or ``head=`` is the policy that some hand over to."""
    node = node_of("strategy", name)
    found: Strategy = build(node, **settings)
    return found


def nodes(group: str, given: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Parts of a group by name: names become their configuration, configurations and own objects stay what they are.

    Parameters
    ----------
    given : names, or objects of your own (named after their class), or name -> configuration or object.
    """
    if isinstance(given, str):
        plural = f"{group}s".replace("ys", "ies")
        raise ConfigError(f"{plural} must be a list of names, such as [{given!r}], not {given!r}")
    if isinstance(given, Mapping):
        return {name: node_of(group, part) if isinstance(part, str) else part for name, part in given.items()}
    found: dict[str, Any] = {}
    for part in given:
        name = part if isinstance(part, str) else _snake(type(part).__name__)
        if name in found:
            raise ConfigError(f"two {group}s are called {name!r}: give them as a dictionary with names of their own")
        found[name] = node_of(group, part) if isinstance(part, str) else part
    return found


def parts(group: str, given: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`nodes`, but built."""
    return {name: made(part) if isinstance(part, Mapping) else part for name, part in nodes(group, given).items()}


def node_of(group: str, name: str) -> Record:
    """Configuration of a part by its name; UnknownNameError if there is none."""
    if name not in names(group):
        raise UnknownNameError(group, name, names(group))
    found: Record = json.loads(_composed(group, name))
    return found


@functools.cache
def _composed(group: str, name: str) -> str:
    """Configuration of a part as JSON, so that nobody changes what is kept."""
    if group in ("task", "policy", "protocol"):
        return json.dumps(compose([f"{group}={name}"])[group])
    return json.dumps(compose([f"{group}=[{name}]"])[group][name])


def _is_whole(part: Any) -> bool:
    """Whether an object has everything that the contract of a policy asks for."""
    wanted = ("plan", "history", "horizon", "execute", "privileged", "listens", "cameras", "signals")
    return all(hasattr(part, name) for name in wanted)


def node_of_checkpoint(folder: Path) -> Record:
    """Configuration of the kind of policy that a folder holds; its own settings stand in the folder."""
    source = Source(str(folder / "policy.json"), CheckpointError, "train the policy again")
    kind = checked(dict[str, Any], read_json(folder / "policy.json", source), source).get("policy")
    for name in options_of("policy"):
        node = node_of("policy", name)
        if resolve(node["_target_"]).__name__ == kind:
            return node
    raise UnknownNameError(f"kind of policy in {folder}", str(kind), options_of("policy"))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
