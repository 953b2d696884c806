"""A store as a data set in somebody else's format; an earlier one is replaced once its successor is whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from workbench.errors import StoreError
from workbench.formats.format import Format, Header, format_named
from workbench.types import Episode

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
    advance: Callable[[int], None] | None = None,
) -> Path:
    """Write all episodes of a store as a data set of its own; returns its folder.

    Parameters
    ----------
    store : with the episodes.
    format : a format, or its name.
    folder : of the data set.
    overwrite : whether an earlier export there is replaced; it stays until the new one is whole.
    advance : called with 1 after every episode.

    Raises
    ------
    UnknownNameError
        if there is no such format.
    StoreError
        if the folder exists and ``overwrite`` is not given or it is no export; if the episodes do not fit together.
    """
    wanted, folder = format_named(format) if isinstance(format, str) else format, Path(folder)
    if folder.exists():
        _refuse(folder, overwrite)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        wanted.write(_episodes(store, wanted, advance), unfinished, store.header)
        (unfinished / MARK).write_text(json.dumps(_mark(store, wanted), indent=2), encoding="utf-8")
        _put(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _refuse(folder: Path, overwrite: bool) -> None:
    if not overwrite:
        raise StoreError(f"{folder} exists already; overwrite=true replaces it, or move it away")
    if not (folder / MARK).is_file():
        raise StoreError(f"{folder} holds no {MARK}, so no export of ours is replaced there; move it away")


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
        "licence": header.licence,
    }


def _put(new: Path, place: Path) -> None:
    """Rename a whole folder into its place; what is there is removed after that."""
    old = place.with_name(f".{place.name}.replaced")
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
    try:
        new.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)
