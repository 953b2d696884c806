"""Parts by name: what a configuration becomes, and how the same part is made again in another process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.config.build import build, resolve
from workbench.config.files import digest, hash_file
from workbench.errors import CheckpointError, ConfigError
from workbench.types import Policy, Record, Task
from workbench.types.abilities import image_sizes_of

ZOO = Path(__file__).parents[1] / "policies" / "zoo"
"""Where the trained policies lie that come with the package; only publishing a new one writes there."""
_ORIGIN = "_workbench_origin"


@dataclasses.dataclass(frozen=True)
class Origin:
    """How a part was made, as plain data: enough to make it again anywhere, and to say so in a file.

    Attributes
    ----------
    node : its configuration.
    weights : folder of its weights; None where it has none.
    """

    node: Record
    weights: Path | None = None


def origin_of(part: object) -> Origin | None:
    """How a part was made; None for an object that a person made by hand."""
    found: Origin | None = getattr(part, _ORIGIN, None)
    return found


def described(part: object) -> Record:
    """What a file says of a part: its configuration, or for one made by hand its class, and its name if it has one."""
    origin = origin_of(part)
    if origin is not None:
        return origin.node
    kind = type(part)
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", "by": "hand", "name": str(getattr(part, "name", ""))}


def made(node: Mapping[str, Any], weights: Path | None = None, **extra: Any) -> Any:
    """A part built from its configuration, which remembers it."""
    return remembering(build(node, **extra), node, weights)


def remembering(part: Any, node: Mapping[str, Any], weights: Path | None = None) -> Any:
    """The part itself, with its origin noted on it."""
    object.__setattr__(part, _ORIGIN, Origin(dict(node), weights))
    return part


def made_policy(node: Mapping[str, Any], task: Task, weights: Path) -> Policy:
    """A policy from its configuration: built, or where it has any with its weights, for this task.

    Parameters
    ----------
    weights : folder of the weights; for an entry of the zoo its own folder is taken.

    Raises
    ------
    CheckpointError
        if the weights are missing, or belong to another task or see through other cameras.
    """
    kind = resolve(node["_target_"])
    policy: Policy
    if not hasattr(kind, "load"):
        policy = made(node, task=task)
    elif node.get("zoo"):
        policy = remembering(_zoo_policy(kind, node, task), node, ZOO / node["zoo"])
    else:
        policy = remembering(load_policy(kind, weights, task), node, weights)
    return policy


def load_policy(kind: Any, folder: Path, task: Task) -> Policy:
    """Weights from a folder, refused if they belong to another task or see through other cameras."""
    if not folder.exists():
        raise CheckpointError(f"there is no checkpoint at {folder}; train one with: workbench train")
    policy: Policy = kind.load(
        folder, task=task.name, observation_sizes=task.observation_sizes, image_sizes=image_sizes_of(task)
    )
    return policy


def _zoo_policy(kind: Any, node: Mapping[str, Any], task: Task) -> Policy:
    """The entry of the zoo, with the settings that the configuration names in the place of its own."""
    entry = node["zoo"]
    folder = ZOO / entry
    if not folder.exists():
        raise CheckpointError(
            f"the zoo has no weights for {entry} yet; make them with: workbench zoo +experiment=zoo/{entry}"
        )
    try:
        policy: Any = load_policy(kind, folder, task)
    except CheckpointError:
        trained_on = kind.load(folder).task
        if trained_on == task.name:
            raise
        raise CheckpointError(
            f"policy=zoo/{entry} was trained on task={trained_on}, not on task={task.name}; "
            f"choose task={trained_on}, or another policy"
        ) from None
    policy.configure({key: node[key] for key in node if key not in ("_target_", "zoo") and node[key] is not None})
    loaded: Policy = policy
    return loaded


def weights_digest(folder: Path | None) -> str:
    """Short digest of a checkpoint's record and weights; "" where there is none."""
    if folder is None or not folder.is_dir():
        return ""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".json", ".safetensors")]
    return digest({file.name: hash_file(file) for file in files})


def travelling(*parts: object) -> list[Origin]:
    """Origins of parts that are to be made again in other processes; ConfigError for one that was made by hand."""
    found = []
    for part in parts:
        origin = origin_of(part)
        if origin is None:
            raise ConfigError(
                f"{type(part).__qualname__} was made by hand and cannot travel to worker processes: roll it with "
                "workers=1, or name it in a configuration from a package of your own (workbench new shows how)"
            )
        found.append(origin)
    return found
