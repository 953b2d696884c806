"""From words on the command line to a configuration as plain data; with the command line the only user of Hydra."""

from __future__ import annotations

import functools
import shlex
from importlib import resources
from typing import Any

from workbench.config.plugins import conf_folders, refuse_strangers
from workbench.config.schema import Schema
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


def command_asked() -> dict[str, str]:
    """The command line that Hydra was started with, by its job; empty where it was not started from there."""
    words = words_asked()
    job = next((word.removeprefix("job=") for word in words if word.startswith("job=")), "")
    rest = [word for word in words if not word.startswith("job=")]
    if rest and rest[0] == f"+experiment={job}":
        rest = rest[1:]  # comes with the job of that name
    return {job: shlex.join(["workbench", job, *rest])} if job else {}
