"""A store as a data set in somebody else's format; an earlier one is replaced once its successor is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from workbench.config import replacing
from workbench.errors import ConfigError, StoreError
from workbench.formats.format import AsksQuestions, Format, Header, asks, format_named
from workbench.types import Episode, reading
from workbench.types.questions import QuestionSet
from workbench.types.reading import read_json

MARK = "workbench.json"
"""File in every export that says what it was made of; no folder without it is ever replaced."""


class Source(Protocol):
    """Episodes in order, as :class:`workbench.store.Store` holds them."""

    @property
    def path(self) -> Path: ...
    @property
    def header(self) -> Header: ...
    def __len__(self) -> int: ...
    def episode(self, number: int, steps: Sequence[str] | None = None, calls: Sequence[str] | None = None) -> Episode:
        """The ``number``-th; ``calls=()`` leaves its policy calls out."""
        ...


def export(
    store: Source,
    format: Format | str,
    folder: str | Path,
    *,
    overwrite: bool = False,
    questions: QuestionSet | None = None,
    advance: Callable[[int], None] | None = None,
) -> Path:
    """Write all episodes of a store as a data set of its own; returns its folder.

    A whole export of these very episodes is kept as it is.

    Parameters
    ----------
    store : with the episodes.
    format : a format, or its name.
    folder : of the data set.
    overwrite : whether an earlier export there is replaced; it stays until the new one is whole.
    questions : with their answers, of ``wb.ask_questions``, for formats that are made of them.
    advance : called with 1 after every episode.

    Raises
    ------
    UnknownNameError
        if there is no such format.
    ConfigError
        if questions are needed and there are none, or they have no place in the format.
    StoreError
        if the folder holds something else, unless it is an export and ``overwrite`` is given; if the episodes do not
        fit together.
    """
    wanted, folder = format_named(format) if isinstance(format, str) else format, Path(folder)
    mark = _mark(store, wanted)
    if questions is not None or asks(wanted):
        wanted = _asking(wanted, questions)
        mark["questions"] = questions.digest() if questions else ""
    if folder.exists() and not overwrite:
        if mark["content"] and _mark_of(folder) == {**mark, "files": _files(folder)}:
            return folder
        raise StoreError(f"{folder} exists already; overwrite=true replaces it, or move it away")
    if folder.exists() and not (folder / MARK).is_file():
        raise StoreError(f"{folder} holds no {MARK}, so no export of ours is replaced there; move it away")
    with replacing(folder) as new:
        wanted.write(_episodes(store, wanted, advance), new, store.header)
        (new / MARK).write_text(json.dumps({**mark, "files": _files(new)}, indent=2), encoding="utf-8")
    return folder


def _asking(format: Format, questions: QuestionSet | None) -> Format:
    """The format with questions, which go together."""
    if not isinstance(format, AsksQuestions) or not format.asks:
        raise ConfigError(f"format {format.name} has no place for questions; export without them, or to format=aha")
    if questions is None:
        raise ConfigError(
            f"format {format.name} is made of questions, and none were given: questions=wb.ask_questions(store, task)"
        )
    return format.asking(questions)


def _mark_of(folder: Path) -> object:
    """What a folder says that it was made of; None where it does not say."""
    try:
        return read_json(folder / MARK, reading.Source(str(folder / MARK), StoreError))
    except StoreError:
        return None


def verify(folder: Path) -> None:
    """StoreError unless an export has the files that it was written with, each as long as it was."""
    mark = _mark_of(folder)
    said = mark.get("files") if isinstance(mark, dict) else None
    if not isinstance(said, dict):
        raise StoreError(f"{folder} does not say in {MARK} which files it has")
    found = _files(folder)
    if wrong := sorted(name for name in {*said, *found} if said.get(name) != found.get(name)):
        raise StoreError(f"{folder} is damaged: {wrong[0]} is not as it was written; write the export again")


def _files(folder: Path) -> dict[str, int]:
    """Path -> bytes of every file of an export but its mark."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MARK]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _episodes(store: Source, format: Format, advance: Callable[[int], None] | None) -> Iterator[Episode]:
    for number in range(len(store)):
        yield store.episode(number, calls=None if format.calls else ())
        if advance is not None:
            advance(1)


def _mark(store: Source, format: Format) -> dict[str, object]:
    header = store.header
    return {
        "format": format.name,
        "about": format.about,
        "without": list(format.loses),
        "store": store.path.name,
        "task": header.task,
        "episodes": len(store),
        "content": digest() if (digest := getattr(store, "digest", None)) else None,
        "licence": header.licence,
    }
