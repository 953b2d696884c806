"""Verifying: everything that a store holds is read once, and held against what its writers said of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import StoreError
from workbench.store.arrays import StoredArray, column_array
from workbench.store.chunks import TEXT
from workbench.store.layout import (
    ENDS,
    SCHEMA,
    SEALED,
    STORED_COLUMNS,
    Manifest,
    attributes_of,
    damaged,
    explained,
    parts_of,
    read_header,
    read_manifest,
    refuse_missing,
)
from workbench.store.parts import Part, refuse_columns, refuse_fewer
from workbench.store.tables import read_table, table_names
from workbench.store.writer import StoreWriter, content_of
from workbench.types import ABORTED, EPISODE_COLUMNS, Array, Episode

_CACHED_CHUNKS = 256


@dataclasses.dataclass
class Verified:
    """What was found in a store.

    Attributes
    ----------
    damages : one line each, the file first; none where all is well.
    parts : name of every part that is there -> its whole episodes, and all.
    lost : uids of episodes that cannot be read, or are not what was written, as far as uids can be read.
    """

    path: Path
    damages: list[str] = dataclasses.field(default_factory=list)
    parts: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    lost: list[str] = dataclasses.field(default_factory=list)

    @property
    def whole(self) -> int:
        """Episodes that can be read and are what was written."""
        return sum(whole for whole, _ in self.parts.values())

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is damaged, each file once, and go on behind it."""
        try:
            with explained(f"{self.path} cannot be read"):
                yield
        except StoreError as error:
            words = " ".join(str(error).split())
            if words not in self.damages:
                self.damages.append(words)


def verify_store(path: Path, keep: Callable[[Episode], None] = lambda episode: None) -> Verified:
    """Read all of a store and say what is damaged.

    That is header, manifest and commits; groups; presence and metadata of arrays and parts; the checksums of every
    chunk; columns, and labels on their way; every episode's ``content``; and tables.  Zarr reads every array of a part
    as well, and must read the same.

    Parameters
    ----------
    keep : called with every whole episode; labels that cannot be read are missing in it.

    Raises
    ------
    StoreError
        if there is no store at all.
    """
    if not (path / "parts").is_dir():
        read_header(path)
    found, manifest, sealed = Verified(path), Manifest(), True
    with found.noting():
        sealed = read_header(path).schema >= SEALED
    with found.noting():
        manifest = read_manifest(path, sealed)
    for name, rows in manifest.parts.items():
        with found.noting():
            refuse_missing(path, {name: rows})
    for folder in parts_of(path):
        found.parts[folder.name] = (0, manifest.parts.get(folder.name, 0))
        with found.noting():
            _verify_part(found, Part(folder, sealed), manifest, keep)
    for name in table_names(path):
        with found.noting():
            read_table(path, name)
    return found


def _verify_part(found: Verified, part: Part, manifest: Manifest, keep: Callable[[Episode], None]) -> None:
    found.parts[part.folder.name] = (0, part.rows)
    with found.noting():
        refuse_fewer(part, manifest)
    with found.noting():
        part.refuse_missing()
    names = [f"{group}/{key}" for group in ENDS for key in part.names(group)]
    _verify_groups(found, part, names)
    columns = _columns(found, part, manifest)
    fit = False
    if columns.keys() == STORED_COLUMNS.keys():
        with found.noting():
            refuse_columns(part.folder, columns)
            fit = True
    arrays = _arrays(found, part, names)
    readable = fit and arrays.keys() == set(names)
    chunk = functools.lru_cache(_CACHED_CHUNKS)(StoredArray.chunk)
    whole = 0
    for row in range(part.rows):
        episode = None
        if readable:
            with found.noting():
                episode = _episode(part, columns, arrays, row, chunk)
        if episode is None:
            found.lost.append(str(columns["uid"][row]) if "uid" in columns else f"{part.folder.name}, row {row}")
        else:
            whole += 1
            keep(episode)
    found.parts[part.folder.name] = (whole, part.rows)


def _verify_groups(found: Verified, part: Part, names: list[str]) -> None:
    """Groups have no attributes; other clients read them, even if nothing here does."""
    groups = {part.folder, *(part.folder / group for group in ENDS)}
    groups |= {part.folder / parent for name in names for parent in Path(name).parents[:-1]}
    for group in sorted(groups):
        with found.noting():
            if attributes_of(group):
                raise damaged(group / "zarr.json", "it has attributes that nobody wrote")


def _columns(found: Verified, part: Part, manifest: Manifest) -> dict[str, Array]:
    """The columns that can be read; labels that cannot say that nothing was measured."""
    columns = {}
    for name, column in STORED_COLUMNS.items():
        with found.noting():
            columns[name] = part.columns(manifest, [name])[name]
            if name not in manifest.sealed.get(part.folder.name, {}) and not part.lacks(name):
                _compare_with_zarr(part.array(f"episodes/{name}"), part.rows)
        if name not in columns and column.label:
            columns[name] = column_array(name, [column.default or column.kind()] * part.rows)
    return columns


def _arrays(found: Verified, part: Part, names: list[str]) -> dict[str, StoredArray]:
    """The arrays of steps, calls and memory whose metadata are those that were written."""
    arrays = {}
    for name in names:
        with found.noting():
            arrays[name] = part.array(name)
            _compare_with_zarr(arrays[name], part.end(name.partition("/")[0]))
    return arrays


def _compare_with_zarr(array: StoredArray, rows: int) -> None:
    """Refuse an array whose rows other clients read differently; reads every chunk that counts."""
    import zarr

    client = zarr.open_array(array.folder, mode="r")
    for number, first in enumerate(range(0, rows, array.chunk_rows)):
        last = min(first + array.chunk_rows, rows)
        ours = array.whole_chunk(number)[: last - first]
        try:
            theirs = np.asarray(client[first:last])
        except (ValueError, RuntimeError, TypeError, OSError, KeyError) as error:
            raise damaged(array.folder, f"zarr cannot read it ({error})") from error
        same = ours.tolist() == theirs.tolist() if array.dtype == TEXT else ours.tobytes() == theirs.tobytes()
        if not same:
            raise damaged(array.folder, "zarr reads other rows than this workbench")


def _episode(
    part: Part,
    columns: Mapping[str, Array],
    arrays: Mapping[str, StoredArray],
    row: int,
    chunk: Callable[[StoredArray, int], Array],
) -> Episode:
    """One episode; StoreError unless it is the one that was written."""
    rows: dict[str, dict[str, Array]] = {}
    for group, column in ENDS.items():
        first, last = (int(columns[column][row - 1]) if row else 0), int(columns[column][row])
        mine = {name: array for name, array in arrays.items() if name.startswith(f"{group}/") and last > first}
        rows[group] = {name.partition("/")[2]: array.read(first, last, chunk) for name, array in mine.items()}
    rows["memory"] = {"values": rows["memory"].get("values", np.zeros(0))}
    if content_of(rows) != columns["content"][row]:
        raise damaged(part.folder, f"episode {columns['uid'][row]} is not the one that was written")
    record: dict[str, Any] = {name: kind(columns[name][row]) for name, kind in EPISODE_COLUMNS.items()}
    memory = rows["memory"]["values"].reshape(record["length"], -1)
    return Episode(record, rows["steps"], rows["calls"], memory)


def save_whole(path: Path, into: Path) -> Verified:
    """Verify a store and write its whole episodes, each once, into a new one; what is damaged stays where it is.

    Raises
    ------
    StoreError
        if the header cannot be read, or there is something at the new place.
    """
    if into.exists():
        raise StoreError(f"{into} exists; what can be saved needs a new place")
    header = dataclasses.replace(read_header(path), schema=SCHEMA)
    with StoreWriter.open(into, header, "saved") as writer:
        seen: set[str] = set()

        def keep(episode: Episode) -> None:
            uid = episode.record["uid"]
            if uid not in seen and episode.record["outcome"] != ABORTED:
                seen.add(uid)
                writer.append(episode)

        return verify_store(path, keep)
