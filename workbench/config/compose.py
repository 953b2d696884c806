"""From words on the command line to a configuration as plain data; with the command line the only user of Hydra."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
import typing
from collections.abc import Callable, Sequence
from typing import Any

from workbench.config.build import parameters_of
from workbench.config.explaining import explained
from workbench.config.hints import inside
from workbench.config.options import groups
from workbench.config.plugins import conf_folders, given_folders, refuse_strangers
from workbench.config.schema import Schema, hints
from workbench.config.sweep import key_of
from workbench.config.words import hydra_word, points_of, read, refuse_no_option, unquoted
from workbench.errors import ConfigError
from workbench.types import Record

CONFIG = "workbench.conf"
"""Package of the yaml files."""
OPTIONS = str | list[str]
"""What a group of the configuration takes."""


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


def compose(words: Sequence[str]) -> Record:
    """Compose a configuration from words as they are typed, without running anything.

    Raises
    ------
    ConfigError
        for a word that is none, cannot be read, or names what there is not.
    """
    with explained(lambda: chosen(words)):
        return plain(composed(hydra_words(words)))


def composed(words: Sequence[str]) -> Any:
    """What Hydra composes from words in its own grammar; its errors pass through."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    prepare_hydra()
    if GlobalHydra.instance().is_initialized():
        return hydra.compose("workbench", overrides=list(words))
    with hydra.initialize_config_module(config_module=CONFIG, version_base="1.3"):
        return hydra.compose("workbench", overrides=list(words))


def hydra_words(words: Sequence[str], sweep: bool = False) -> list[str]:
    """Words as they are typed in Hydra's grammar, each read as its key takes it; see :mod:`workbench.config.words`.

    Parameters
    ----------
    sweep : whether commas separate the points of a sweep.

    Raises
    ------
    ConfigError
        for a word that is none, or cannot be read.
    """
    typed = [read(word) for word in words]
    for word in typed:
        if word.prefix == "~" and word.value is not None and word.key.partition("@")[0] in groups():
            refuse_no_option(word)
    return [hydra_word(word, functools.partial(hint_of, words=words), sweep) for word in typed]


def hint_of(key: str, words: Sequence[str]) -> Any:
    """Annotation of what a key takes, in the configuration that some words choose; Any where nothing says so."""
    head, *rest = key.split(".")
    if key.partition("@")[0] in groups() or "/" in key:
        return OPTIONS
    if head == "hydra":
        return Any
    found = hints().get(head, Any)
    if dataclasses.is_dataclass(found):
        fields = typing.get_type_hints(found)
        return inside(fields.get(rest[0], Any), rest[1:]) if rest else Any
    return found if not rest else _hint_of_part(head, rest, chosen(words))


def _hint_of_part(head: str, rest: list[str], config: Record) -> Any:
    """Annotation of what the constructor behind the deepest target on the way to a key takes."""
    node, target, behind = config.get(head), "", list(rest)
    for place in range(len(rest) + 1):
        if not isinstance(node, dict):
            break
        if "_target_" in node:
            target, behind = str(node["_target_"]), rest[place:]
        node = node.get(rest[place]) if place < len(rest) else None
    if not target or not behind:
        return Any
    try:
        return inside(parameters_of(target).get(behind[0], Any), behind[1:])
    except (ConfigError, NameError):  # what is wrong with the target is said where it is built
        return Any


def chosen(words: Sequence[str]) -> Record:
    """The configuration of the words that choose parts alone, of a sweep its first point; {} if they are wrong.

    Which keys there are depends on them, and they compose where others are wrong.
    """
    found = [word for word in words if word.partition("=")[0].strip("+~").partition("@")[0] in groups()]
    return _chosen(tuple(found), groups())


@functools.lru_cache(maxsize=64)
def _chosen(words: tuple[str, ...], known: frozenset[str]) -> Record:
    try:
        typed = [hydra_word(read(word), lambda _: OPTIONS, sweep=True) for word in words]
        first = [next(iter(points_of(word)), "") for word in typed]
        return plain(composed([word for word in first if word]))
    except Exception:  # whatever is wrong with them is said where everything is composed
        return {}


def words_asked() -> list[str]:
    """The words that Hydra was given on the command line, of a sweep those of this point, in its own grammar; none
    where it was not started from there.
    """
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


def command_line(job: str, words: Sequence[str]) -> str:
    """A line that does in a shell what a job does with some words in Hydra's grammar."""
    hint = functools.partial(hint_of, words=[f"job={job}", *words])
    typed = [_as_typed(word, hint) for word in words]
    folders = [f"--config-dir={folder}" for folder in given_folders()]
    return shlex.join(["workbench", job, *typed, *folders])


def _as_typed(word: str, hint: Callable[[str], Any]) -> str:
    """A word without the quotes of Hydra's grammar, where they are put there again when it is read."""
    with contextlib.suppress(ConfigError):
        if hydra_word(read(bare := unquoted(word)), hint) == word:
            return bare
    return word
