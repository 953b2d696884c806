"""From words on the command line to a configuration as plain data; with the command line the only user of Hydra."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path
from typing import Any

from workbench.config.schema import Schema
from workbench.errors import ConfigError
from workbench.types import Record

CONFIG = "workbench.conf"
"""Package of the yaml files."""


def register_schema() -> None:
    """Put the schema where Hydra's defaults list finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Schema)


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


def command_asked() -> dict[str, str]:
    """The command line that Hydra was started with, by its job; empty where it was not started from there."""
    words = words_asked()
    job = next((word.removeprefix("job=") for word in words if word.startswith("job=")), "")
    rest = [word for word in words if not word.startswith("job=")]
    if rest and rest[0] == f"+experiment={job}":
        rest = rest[1:]  # comes with the job of that name
    return {job: shlex.join(["workbench", job, *rest])} if job else {}
