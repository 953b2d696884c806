"""A command line, held against the configuration before anything is made; what is wrong is said in one line."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from workbench.config.build import check_arguments, job_of
from workbench.config.compose import chosen, composed, hydra_words, options_of, plain
from workbench.config.run import Run
from workbench.config.words import points_of, read
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Record

MOST_POINTS = 50
"""Points of a word that are composed; of more, as many at equal distances, the first and last among them."""


def checked(words: Sequence[str], sweep: bool = False, run: bool = True) -> list[str]:
    """Words as typed in Hydra's grammar, after every one of them was held against the configuration.

    Parameters
    ----------
    sweep : whether commas separate the points of a sweep; then each point of each word is composed.
    run : whether the job is to be run, and not only shown: then its arguments are checked as well.

    Raises
    ------
    ConfigError
        for a word that is unknown or of the wrong kind, with the nearest right one.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    typed = hydra_words(words, sweep)
    try:
        for point in points(typed) if sweep else [typed]:
            config = plain(composed(point))
            if run:
                Run(config)
                _check_parts(config, point)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, words)) from None
    return typed


def points(words: Sequence[str]) -> Iterator[list[str]]:
    """Points of a sweep: the first one, and then each word's others with the first ones of all other words."""
    each = [points_of(word) for word in words]
    first = [found[0] for found in each if found]
    yield first
    for place, found in enumerate(each):
        before = sum(bool(other) for other in each[:place])
        for other in _spread(found[1:]):
            yield [*first[:before], other, *first[before + 1 :]]


def _spread(found: list[str]) -> list[str]:
    if len(found) <= MOST_POINTS:
        return found
    return [found[round(place * (len(found) - 1) / (MOST_POINTS - 1))] for place in range(MOST_POINTS)]


def _check_parts(config: Record, words: Sequence[str]) -> None:
    """Hold the job against its signature, and the parts of which the words change something against theirs."""
    job_of(config["job"])
    for path in dict.fromkeys(read(word).key.rpartition(".")[0] for word in words):
        node: Any = config
        for place, name in enumerate(path.split(".")):
            node = node.get(name) if isinstance(node, Mapping) else None
            if isinstance(node, Mapping) and "_target_" in node and not path.startswith("job"):
                check_arguments(node, ".".join(path.split(".")[: place + 1]))


def explain(error: Exception, words: Sequence[str]) -> str:
    """One line out of Hydra's several, with the nearest right key or option where there is one."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MissingConfigException) and link.missing_cfg_file:
            return _unknown_option(link.missing_cfg_file, link.options or ())
        if isinstance(link, (ConfigAttributeError, ConfigKeyError)) and link.full_key:
            return f"unknown key {link.full_key!r}.{near_key(link.full_key, words)}"
        if isinstance(link, ValidationError) and link.full_key:
            return f"{link.full_key}: {str(link.msg or link).splitlines()[0]}"
        link = link.__cause__ or link.__context__
    return " ".join(str(error).split())


def _unknown_option(path: str, options: Iterable[str]) -> str:
    """What to say of a file that a group of the configuration does not have, ``group/name``."""
    group, _, asked = path.rpartition("/")
    with contextlib.suppress(FileNotFoundError):  # there is no such group: Hydra's options are those of the one above
        options = options_of(group)
    return str(UnknownNameError(group, asked, options))


def near_key(asked: str, words: Sequence[str]) -> str:
    """A hint with the nearest keys of the configuration that some words choose."""
    known = [key for key in keys_of(chosen(words)) if not asked.startswith(f"{key}.")]
    asked_last = asked.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.6) or [
        key for key in known if difflib.SequenceMatcher(None, key.rsplit(".", 1)[-1], asked_last).ratio() > 0.7
    ]
    if near:
        return f" Did you mean {near[0]!r}?"
    scope = asked.rsplit(".", 1)[0] + "." if "." in asked else ""
    level = [key for key in known if key.startswith(scope) and "." not in key.removeprefix(scope)]
    return f" Known: {', '.join(level)}." if level else ""


def keys_of(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of nested dictionaries."""
    if isinstance(node, dict):
        for key, value in node.items():
            if not str(key).startswith("_"):
                yield f"{prefix}{key}"
                yield from keys_of(value, f"{prefix}{key}.")
