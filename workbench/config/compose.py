"""From words on the command line to a configuration as plain data; with the command line the only user of Hydra."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Any

from workbench.config.plugins import conf_folders, refuse_strangers
from workbench.config.schema import Schema
from workbench.config.sweep import key_of
from workbench.errors import ConfigError
from workbench.types import Record

CONFIG = "workbench.conf"
"""Package of the yaml files."""


def prepare_hydra() -> None:
    """Tell Hydra of the schema, and in which folders beside ours yaml files lie.

    Raises
    ------
    ConfigError
        if a package of parts is named that is not there, or two have a yaml file of the same name.
    """
    from hydra.core.config_store import ConfigStore

    conf_folders()  # what is wrong there is said here, and not by Hydra
    ConfigStore.instance().store(name="schema", node=Schema)
    _extend_search_path()


@functools.cache
def _extend_search_path() -> None:
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class ConfFolders(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for owner, folder in conf_folders():
                search_path.append(owner, f"file://{folder}")

    Plugins.instance().register(ConfFolders)


def plain(composed: Any) -> Record:
    """A composed configuration as plain data, interpolations resolved.

    Raises
    ------
    ConfigError
        if it asks for plug-ins that are not the user's own; which there are is no part of what it returns.
    """
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(container, dict)
    refuse_strangers(container.pop("plugins", []))
    return {str(key): value for key, value in container.items()}


def compose(overrides: list[str]) -> Record:
    """Compose a configuration from command-line words, without running anything."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    prepare_hydra()
    if GlobalHydra.instance().is_initialized():
        return plain(hydra.compose("workbench", overrides=overrides))
    with hydra.initialize_config_module(config_module=CONFIG, version_base="1.3"):
        return plain(hydra.compose("workbench", overrides=overrides))


def read_yaml(path: Path) -> Record:
    """A YAML file as plain data, with text as it stands; ConfigError if it is no mapping."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except YAMLError as error:
        raise ConfigError(f"{path.name} is no YAML mapping: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} is no YAML mapping, but a {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def options_of(group: str) -> list[str]:
    """Names that a group of the configuration knows, those of installed packages of parts included."""
    folders = [resources.files(CONFIG), *(folder for _, folder in conf_folders())]
    found = [file.name for folder in folders if (folder / group).is_dir() for file in (folder / group).iterdir()]
    return sorted({name.removesuffix(".yaml") for name in found if name.endswith(".yaml")})


def words_asked() -> list[str]:
    """The overrides that Hydra was given on the command line; none where it was not started from there."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    return list(HydraConfig.get().overrides.task)


def varied_words() -> list[str]:
    """Those of the words that differ from point to point of a sweep; none outside of one."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return []
    fixed = {key_of(str(key)) for key in HydraConfig.get().job.config.override_dirname.exclude_keys}
    return [word for word in words_asked() if key_of(word) not in fixed]


def raw_name(composed: Any) -> str:
    """The name of a run as it was asked for, interpolations left as they are."""
    from omegaconf import OmegaConf

    return str(OmegaConf.to_container(composed, resolve=False)["name"])  # type: ignore[index,call-overload]
