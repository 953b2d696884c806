"""From words on the command line to objects: the schema of a run, and the one place where targets are instantiated."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import os
import re
import signal
import threading
import typing
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from workbench.config.moved import where_now
from workbench.errors import CheckpointError, ConfigError, StoreError, UnknownNameError, WorkbenchError
from workbench.types import Policy, Record, Task
from workbench.types.abilities import image_sizes_of

ALLOWED_TARGETS = "workbench."
"""Only what lies below this prefix is ever instantiated: a run folder from elsewhere cannot execute other code."""
ZOO = Path(__file__).parents[1] / "policies" / "zoo"
"""Where the trained policies lie that come with the package; only publishing a new one writes there."""


@dataclasses.dataclass
class RolloutSchema:
    """How episodes are rolled; with ``images`` their store keeps what the task's cameras see at every control step.

    ``signals`` names what else the policy is asked to say of its calls, for scores that read it.
    """

    until: str = "success"
    samples: int = 32
    signals: list[str] = dataclasses.field(default_factory=list)
    images: bool = True


@dataclasses.dataclass
class RunnerSchema:
    """Where episodes are rolled: worker processes, and scenes in lockstep in each."""

    workers: int = 2
    scenes: int = 25


@dataclasses.dataclass
class MonitorSchema:
    """How scores become monitors.

    Every score gets every calibrator; ``combine`` names combinations of scores, ``{name: {all: [...]}}`` for those that
    have to exceed their thresholds at the same call and ``{name: {any: [...]}}`` for those of which one is enough (each
    calibrated at the level divided by their number); one whose scores are not all there is left out.  ``baselines``
    names the scores that are there for comparison, each with its calibrator.
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
    """Run-level keys; a misspelt one is refused with the right ones listed."""

    name: str = "default"
    seed: int = 0
    store: str = "${name}"
    demos: str = "${name}-demos"
    checkpoint: str | None = None
    overwrite: bool = False
    task: Any = None
    policy: Any = None
    perturbation: dict[str, Any] = dataclasses.field(default_factory=dict)
    score: dict[str, Any] = dataclasses.field(default_factory=dict)
    calibrator: dict[str, Any] = dataclasses.field(default_factory=dict)
    strategy: dict[str, Any] = dataclasses.field(default_factory=dict)
    protocol: Any = None
    monitor: MonitorSchema = dataclasses.field(default_factory=MonitorSchema)
    rollout: RolloutSchema = dataclasses.field(default_factory=RolloutSchema)
    runner: RunnerSchema = dataclasses.field(default_factory=RunnerSchema)
    job: Any = None


def register_schema() -> None:
    """Put the schema where Hydra's defaults list finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Schema)


def build(node: Mapping[str, Any], **extra: Any) -> Any:
    """Instantiate a ``_target_`` node; the one place where Hydra's ``instantiate`` is called.

    Raises
    ------
    ConfigError
        if the target lies outside the allow-list, does not exist, or refuses its arguments.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    target = where_now(str(node.get("_target_", "")))
    if not target.startswith(ALLOWED_TARGETS):
        raise ConfigError(f"target {target!r} is refused: only targets below {ALLOWED_TARGETS!r} are built")
    with contextlib.suppress(ImportError), ctrl_c_held_back():
        importlib.import_module(target.rpartition(".")[0])
    try:
        return instantiate({**node, "_target_": target, "_convert_": "all", "_recursive_": False}, **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, WorkbenchError):
            raise cause from None
        if match := re.search(r"unexpected keyword argument '(\w+)'", str(cause)):
            raise UnknownNameError(f"parameter of {target}", match[1], parameters_of(target)) from None
        raise ConfigError(f"{target} cannot be built: {' '.join(str(cause or error).split())}") from cause


@contextlib.contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the end: compiled libraries (mujoco, numba) that are interrupted in the middle of their
    import turn it into an ImportError, or lose it, and the program goes on.

    Where Ctrl-C is ignored, as by workers, or beside the main thread it changes nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if pressed:
        raise KeyboardInterrupt


def parameters_of(target: str) -> list[str]:
    """Names that a target takes from a configuration, those behind ``**name: Unpack[...]`` included."""
    names = []
    for name, parameter in inspect.signature(resolve(target), eval_str=True).parameters.items():
        unpacked = parameter.kind is inspect.Parameter.VAR_KEYWORD and typing.get_args(parameter.annotation)
        names += list(typing.get_type_hints(unpacked[0])) if unpacked else [name]
    return names


def resolve(target: str) -> Any:
    """The class or function behind an allowed dotted path."""
    target = where_now(target)
    if not target.startswith(ALLOWED_TARGETS):
        raise ConfigError(f"target {target!r} is refused: only targets below {ALLOWED_TARGETS!r} are used")
    module, _, name = target.rpartition(".")
    try:
        with ctrl_c_held_back():
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"there is no {target!r}: {error}") from None


def digest(value: Any, length: int = 12) -> str:
    """Short content digest of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:length]


class Run:
    """One composed configuration, its folders, and what it builds.

    Parameters
    ----------
    config : the composed configuration as plain data.
    root : folder below which ``runs/`` and ``datasets/`` lie.
    """

    def __init__(self, config: Record, root: Path | None = None) -> None:
        self.config = config
        self.root = Path.cwd() if root is None else root
        self.name: str = config["name"]
        self.seed: int = config["seed"]
        self.overwrite: bool = config["overwrite"]
        for key in ("name", "store", "demos"):
            if not config[key] or "/" in config[key] or config[key].startswith("."):
                raise ConfigError(f"{key}={config[key]!r} must be a plain name: it becomes a file name")
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed} must be 0 or more")
        for key, count in config["runner"].items():
            if count < 1:
                raise ConfigError(f"runner.{key}={count} must be at least 1")
        if self.zoo and config["checkpoint"] is not None:
            raise ConfigError(
                f"checkpoint={config['checkpoint']} and policy=zoo/{self.zoo} both name weights; leave one of them out"
            )

    @property
    def zoo(self) -> str:
        """Entry of the zoo whose weights the policy has; "" where they lie in a checkpoint of the user's own."""
        return str((self.config["policy"] or {}).get("zoo", ""))

    @property
    def folder(self) -> Path:
        """``runs/<name>/``."""
        return self.root / "runs" / self.name

    @property
    def store(self) -> Path:
        """Store of the rollouts."""
        return self.root / "datasets" / f"{self.config['store']}.zarr"

    @property
    def demos(self) -> Path:
        """Store of the expert's demonstrations."""
        return self.root / "datasets" / f"{self.config['demos']}.zarr"

    @property
    def checkpoint(self) -> Path:
        """Folder of the policy's weights."""
        if self.zoo:
            return ZOO / self.zoo
        given = self.config["checkpoint"]
        return self.folder / "policy" if given is None else self.root / given

    def shown(self, path: Path) -> str:
        """A path as it is printed and stored: relative to the root."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    @functools.cached_property
    def task(self) -> Task:
        """The task."""
        task: Task = build(self.config["task"])
        return task

    def policy(self, trained: bool = True) -> Policy:
        """The policy, with its weights if it has any and ``trained`` is asked for."""
        node = self.config["policy"]
        kind = resolve(node["_target_"])
        if not hasattr(kind, "load"):
            policy: Policy = build(node, task=self.task)
            return policy
        if not trained:
            policy = build(node)
            return policy
        return self.zoo_policy(kind) if self.zoo else self.load_policy(kind, self.checkpoint)

    def zoo_policy(self, kind: Any) -> Policy:
        """The entry of the zoo, with the settings that the configuration names in the place of its own."""
        if not self.checkpoint.exists():
            raise CheckpointError(
                f"the zoo has no weights for {self.zoo} yet; make them with: workbench zoo +experiment=zoo/{self.zoo}"
            )
        try:
            policy: Any = self.load_policy(kind, self.checkpoint)
        except CheckpointError:
            trained_on = kind.load(self.checkpoint).task
            if trained_on == self.task.name:
                raise
            raise CheckpointError(
                f"policy=zoo/{self.zoo} was trained on task={trained_on}, not on task={self.task.name}; "
                f"choose task={trained_on}, or another policy"
            ) from None
        node = self.config["policy"]
        policy.configure({key: node[key] for key in node if key not in ("_target_", "zoo") and node[key] is not None})
        loaded: Policy = policy
        return loaded

    def load_policy(self, kind: Any, folder: Path) -> Policy:
        """Weights from a folder, refused if they belong to another task or see through other cameras."""
        if not folder.exists():
            raise CheckpointError(
                f"there is no checkpoint at {self.shown(folder)}; train one with: workbench train name={self.name}"
            )
        policy: Policy = kind.load(
            folder,
            task=self.task.name,
            observation_sizes=self.task.observation_sizes,
            image_sizes=image_sizes_of(self.task),
        )
        return policy

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as configuration alone; they build their own task."""
        return Run, (self.config, self.root)

    def refuse_other_store(self) -> None:
        """Refuse to put the numbers of one store beside those of another."""
        other = self.metrics().get("store")
        if other not in (None, self.shown(self.store)):
            raise ConfigError(
                f"{self.shown(self.folder)} holds the numbers of {other}; "
                f"choose another name=... for {self.shown(self.store)}"
            )

    def metrics(self) -> Record:
        """What ``metrics.json`` holds so far."""
        path = self.folder / "metrics.json"
        if not path.exists():
            return {}
        try:
            found: Record = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise StoreError(f"{self.shown(path)} is not JSON ({error}); move it away and run the job again") from None
        return found

    def update_metrics(self, **sections: Any) -> None:
        """Replace sections of ``metrics.json``, all or none of them."""
        merged = {**self.metrics(), **sections}
        for key in ("policy", "labels"):
            if isinstance(sections.get(key), dict):
                merged[key] = {**self.metrics().get(key, {}), **sections[key]}
        write_text(self.folder / "metrics.json", json.dumps(merged, indent=2))


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def plain(composed: Any) -> Record:
    """A composed configuration as plain data, interpolations resolved."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def compose(overrides: list[str]) -> Record:
    """Compose a configuration from command-line words, without running anything."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    register_schema()
    if GlobalHydra.instance().is_initialized():
        return plain(hydra.compose("workbench", overrides=overrides))
    with hydra.initialize_config_module(config_module="workbench.conf", version_base="1.3"):
        return plain(hydra.compose("workbench", overrides=overrides))


def read_yaml(path: Path) -> Record:
    """A YAML file as plain data; ConfigError if it is no mapping."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    try:
        return plain(OmegaConf.load(path))
    except (YAMLError, AssertionError) as error:
        raise ConfigError(f"{path.name} is no YAML mapping: {' '.join(str(error).split())}") from None


def options_of(group: str) -> list[str]:
    """Names that a group of the configuration knows."""
    files = (resources.files("workbench.conf") / group).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def words_asked() -> list[str]:
    """The overrides that Hydra was given on the command line; none where it was not started from there."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    return list(HydraConfig.get().overrides.task)
