"""A command line, held against the configuration before anything is made; what is wrong is said in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workbench.config.build import check_arguments, job_of
from workbench.config.compose import chosen, composed, hydra_words, plain
from workbench.config.explaining import explained
from workbench.config.run import Run
from workbench.config.words import points_of, read
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
    typed = hydra_words(words, sweep)
    with explained(lambda: chosen(words)):
        for point in points(typed) if sweep else [typed]:
            config = plain(composed(point))
            if run:
                Run(config)
                _check_parts(config, point)
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
                # Whose weights a policy has is no argument of it.
                check_arguments(
                    {key: node[key] for key in node if key != "zoo"}, ".".join(path.split(".")[: place + 1])
                )
