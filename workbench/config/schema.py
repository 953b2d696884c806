"""The keys of a run, typed: a misspelt one is refused with the right ones listed."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Any

from workbench.config.hints import complaint
from workbench.errors import ConfigError
from workbench.types import MOST_SEED, Record

MOST_BYTES = 200
"""File systems allow 255; stores and exports put something behind a name."""


NAMES = ("name", "store", "demos")
"""Keys whose text becomes the name of a file or folder."""
PATHS = ("root", "checkpoint")
"""Keys whose text is a path, or null."""


@dataclasses.dataclass
class RolloutSchema:
    """How episodes are rolled.

    Attributes
    ----------
    until : what ends an episode: success, or deadline to run on
    samples : further action chunks that are kept of every policy call, for scores that read them
    signals : what else the policy is asked to say of its calls, for scores that read it
    images : whether the store keeps what the task's cameras see at every control step
    """

    until: str = "success"
    samples: int = 32
    signals: list[str] = dataclasses.field(default_factory=list)
    images: bool = True


@dataclasses.dataclass
class MonitorSchema:
    """How scores become monitors; every score gets every calibrator.

    Attributes
    ----------
    window : how the last scores are combined: last, mean, sum, max, total or cusum
    width : scores in the window
    level : share of false alarms that is asked for
    combine : combinations of scores: {all: [...]} have to exceed their thresholds at the same call, of {any: [...]} one
        is enough, each calibrated at the level divided by their number; one whose scores are not all there is left out
    baselines : scores that are there for comparison, each with its calibrator
    """

    window: str = "mean"
    width: int = 2
    level: float = 0.1
    combine: dict[str, dict[str, list[str]]] = dataclasses.field(
        default_factory=lambda: {"fiper": {"all": ["rnd", "entropy"]}, "sentinel": {"any": ["stac", "progress"]}}
    )
    baselines: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"elapsed": "split_conformal", "always": "fixed"}
    )


@dataclasses.dataclass
class Schema:
    """Run-level keys; a misspelt one is refused with the right ones listed.

    Keys of text are typed Any, as OmegaConf would turn a yaml file's ``name: 1.10`` into the text 1.1;
    :func:`refuse_other_kinds` refuses what is no text.  ``plugins`` is for a yaml file of the user's own conf/local
    alone; see :mod:`workbench.config.plugins`.

    Attributes
    ----------
    name : of the run: runs/<name>/
    seed : decides every random draw; 0 or more
    store : of the rollouts: datasets/<store>.zarr
    demos : of the demonstrations: datasets/<demos>.zarr
    root : folder of runs/ and datasets/; without it that of WORKBENCH_ROOT, or the current one
    checkpoint : folder of the policy's weights; without it runs/<name>/policy
    overwrite : whether what is there and was made with other settings is replaced
    """

    name: Any = "default"
    seed: int = 0
    store: Any = "${name}"
    demos: Any = "${name}-demos"
    root: Any = None
    checkpoint: Any = None
    overwrite: bool = False
    task: Any = None
    policy: Any = None
    perturbation: dict[str, Any] = dataclasses.field(default_factory=dict)
    score: dict[str, Any] = dataclasses.field(default_factory=dict)
    calibrator: dict[str, Any] = dataclasses.field(default_factory=dict)
    strategy: dict[str, Any] = dataclasses.field(default_factory=dict)
    shield: dict[str, Any] = dataclasses.field(default_factory=dict)
    attributor: dict[str, Any] = dataclasses.field(default_factory=dict)
    protocol: Any = None
    monitor: MonitorSchema = dataclasses.field(default_factory=MonitorSchema)
    rollout: RolloutSchema = dataclasses.field(default_factory=RolloutSchema)
    runner: Any = None
    job: Any = None
    plugins: list[str] = dataclasses.field(default_factory=list)


def hints() -> dict[str, Any]:
    """Key -> annotation of what it takes; keys of text as text."""
    text = dict.fromkeys(NAMES, str) | dict.fromkeys(PATHS, str | None)
    return typing.get_type_hints(Schema) | text


def abouts() -> dict[str, str]:
    """Dotted key -> the sentence about it: what the schemas' docstrings say of their attributes."""
    found = {}
    for prefix, schema in (("", Schema), ("monitor.", MonitorSchema), ("rollout.", RolloutSchema)):
        _, _, attributes = inspect.cleandoc(schema.__doc__ or "").partition("Attributes\n----------\n")
        for entry in re.split(r"\n(?=\S)", attributes):
            name, _, about = entry.partition(" : ")
            found[prefix + name] = " ".join(about.split())
    return found


def refuse_other_kinds(config: Record) -> None:
    """Refuse values that become names, paths or seeds and cannot.

    Raises
    ------
    ConfigError
        for a name that is no plain text, an empty path, or a seed that nobody can draw with.
    """
    for name in (*NAMES, *PATHS):
        if said := complaint(config[name], hints()[name], name):
            raise ConfigError(said)
    for name in NAMES:
        refuse_name(name, config[name])
    for name in PATHS:
        if config[name] is not None and not config[name].strip():
            raise ConfigError(f"{name}={config[name]!r} must be the path of a folder; leave it out for the usual one")
    if not 0 <= config["seed"] <= MOST_SEED:
        raise ConfigError(f"seed={config['seed']} must be 0 or more, and at most {MOST_SEED}")


def refuse_name(key: str, name: str) -> None:
    """ConfigError for a text that cannot be the name of a file or folder everywhere."""
    if not name or "/" in name or "\\" in name or name.startswith(".") or name.strip() != name:
        raise ConfigError(f"{key}={name!r} must be a plain name: it becomes a file name")
    if not name.isprintable() or len(name.encode()) > MOST_BYTES:
        raise ConfigError(f"{key}={name!r} must be a plain name of at most {MOST_BYTES} bytes: it becomes a file name")
