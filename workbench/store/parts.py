"""One part of a store as it was committed: its arrays, its columns, and which episodes they hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from workbench.store.arrays import StoredArray, chunk_rows_of_column, column_array, new_column
from workbench.store.chunks import checksums
from workbench.store.layout import (
    ENDS,
    STORED_COLUMNS,
    Commit,
    Manifest,
    damaged,
    keys_of,
    parts_of,
    read_commit,
    refuse_missing,
    write_commit,
)
from workbench.types import ABORTED, LABELS, Array, Record


class Part:
    """The committed rows of one part; what is not in order raises a StoreError where it is read.

    Parameters
    ----------
    sealed : whether the store's header says that parts are sealed.
    """

    def __init__(self, folder: Path, sealed: bool) -> None:
        self.folder, self.sealed = folder, sealed
        self.commit: Commit = read_commit(folder, sealed)

    @property
    def rows(self) -> int:
        """How many episodes it has."""
        return self.commit.rows

    def names(self, group: str) -> list[str]:
        """Names of the arrays of a group, as they were committed; in stores of schema 4 as the disk has them."""
        if self.commit.arrays is None:
            return keys_of(self.folder / group)
        return sorted(name.partition("/")[2] for name in self.commit.arrays if name.startswith(f"{group}/"))

    def lacks(self, column: str) -> bool:
        """Whether an earlier version wrote it without a column, which holds its default then."""
        return STORED_COLUMNS[column].later and column not in self.names("episodes")

    def array(self, name: str) -> StoredArray:
        """One array, its group in front of its name."""
        seal = None if self.commit.arrays is None else self.commit.arrays.get(name)
        return StoredArray(self.folder, name, self.sealed, seal)

    def columns(self, manifest: Manifest, names: Iterable[str] = STORED_COLUMNS) -> dict[str, Array]:
        """Column -> values of its episodes, with the labels that are pending."""
        on_their_way = manifest.sealed.get(self.folder.name, {})
        found = {name: self.column(name, checked=name not in on_their_way) for name in names}
        if manifest.pending:
            self._lay_over(found, manifest.pending)
        for name, sums in on_their_way.items():
            if name in found and self.checksums({name: found[name]})[name] != sums:
                raise damaged(self.folder / "episodes" / name, "these are not the labels that were written")
        return found

    def column(self, name: str, checked: bool = True) -> Array:
        """Values of one column; unchecked where labels may be on their way into it."""
        if self.lacks(name):
            return column_array(name, [STORED_COLUMNS[name].default] * self.rows)
        array = self.array(f"episodes/{name}")
        return array.read(0, self.rows) if checked else array.read_unchecked(self.rows)

    def uids(self) -> dict[int, str]:
        """Row -> uid of its episodes, but for aborted ones."""
        uids, outcomes = self.column("uid"), self.column("outcome", checked=False)
        return {row: str(uids[row]) for row in range(self.rows) if outcomes[row] != ABORTED}

    def labelled(self, labels: Mapping[str, Record], manifest: Manifest) -> dict[str, Array]:
        """Label column -> its values with some labels (uid -> column -> value), where they change any."""
        changed = {column for uid in self.uids().values() for column in labels.get(uid, ())}
        found = self.columns(manifest, [name for name in LABELS if name in changed])
        self._lay_over(found, labels)
        return found

    def checksums(self, columns: Mapping[str, Array]) -> dict[str, list[int]]:
        """Column -> checksums of its chunks, once it holds some values."""
        rows = {name: chunk_rows_of_column(name) for name in columns if self.lacks(name)}
        return {
            name: checksums(values, rows.get(name) or self.array(f"episodes/{name}").chunk_rows)
            for name, values in columns.items()
        }

    def rewrite(self, columns: Mapping[str, Array]) -> None:
        """Put new values into columns, and then into the commit that they are the right ones."""
        arrays = dict(self.commit.arrays or {})
        for column, values in columns.items():
            if self.lacks(column):
                array = new_column(self.folder, column, values, self.sealed)
            else:
                array = self.array(f"episodes/{column}")
                array.overwrite(values)
            arrays[f"episodes/{column}"] = dataclasses.replace(array.seal(), rows=self.rows)
        if self.sealed and columns:
            self.commit = dataclasses.replace(self.commit, arrays=arrays)
            write_commit(self.folder, self.commit)

    def refuse_missing(self) -> None:
        """Refuse a part without an array that was committed."""
        for name in self.commit.arrays or ():
            if not (self.folder / name / "zarr.json").exists():
                raise damaged(self.folder / name / "zarr.json", "the array is missing")
        there = self.names("episodes") if self.sealed else STORED_COLUMNS
        if missing := [name for name, column in STORED_COLUMNS.items() if name not in there and not column.later]:
            raise damaged(self.folder / "episodes" / "zarr.json", f"it lacks the column {missing[0]}")

    def end(self, group: str) -> int:
        """Where its last episode ends in a group."""
        column = f"episodes/{ENDS[group]}"
        return int(self.array(column).read(self.rows - 1, self.rows)[0]) if self.rows else 0

    def _lay_over(self, columns: Mapping[str, Array], labels: Mapping[str, Record]) -> None:
        for row, uid in self.uids().items():
            for column, value in labels.get(uid, {}).items():
                if column in columns:
                    columns[column][row] = value


def refuse_columns(folder: Path, columns: Mapping[str, Array]) -> None:
    """Refuse values that no writer would have written, and episodes that do not lie end to end."""
    if not len(columns["uid"]):
        return
    for name, values in columns.items():
        column = STORED_COLUMNS[name]
        given = list(values) if column.kind is str else [] if column.kind is bool else [values.min(), values.max()]
        if column.kind is not bool and (why := column.refused(given)):
            raise damaged(folder / "episodes" / name, f"it holds {why}")
    sizes = {group: np.diff(columns[column], prepend=0) for group, column in ENDS.items()}
    for group, size in sizes.items():
        if size.min() < 0:
            raise damaged(folder / "episodes" / ENDS[group], "an episode ends before it begins")
    if (sizes["steps"] != columns["length"]).any() or (sizes["memory"] % columns["length"]).any():
        raise damaged(folder / "episodes" / "step_end", "an episode's rows are not as many as its length says")


def open_parts(path: Path, manifest: Manifest, sealed: bool) -> list[Part]:
    """The parts of a store, in order; StoreError where one is missing, or has fewer episodes than it had."""
    refuse_missing(path, manifest.parts)
    parts = [Part(folder, sealed) for folder in parts_of(path)]
    for part in parts:
        refuse_fewer(part, manifest)
        part.refuse_missing()
    return parts


def refuse_fewer(part: Part, manifest: Manifest) -> None:
    """Refuse a part with fewer episodes than it had."""
    if part.rows < (had := manifest.parts.get(part.folder.name, 0)):
        raise damaged(part.folder / "episodes" / "zarr.json", f"it counts {part.rows} episodes and had {had}")
