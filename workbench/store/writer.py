"""Writing: episodes are appended to a part of a store, and exist once their batch is committed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import StoreError
from workbench.store.arrays import StoredArray, column_array, column_dtype, create_array, end_of, uids_of
from workbench.store.layout import (
    ENDS,
    KEY,
    PART,
    STORED_COLUMNS,
    StoreHeader,
    checked_value,
    committed_rows,
    explained,
    keys_of,
    parts_of,
    read_header,
    refuse_other,
    take_lock,
    write_group,
)
from workbench.types import ABORTED, EPISODE_COLUMNS, Array, Episode, Record

BATCH = 16
"""Episodes that are committed at once ..."""
BATCH_BYTES = 2**26
"""... or fewer, if their arrays are larger than this: images."""


class StoreWriter:
    """Appends episodes to one part of a store; made by :meth:`open`.

    A part belongs to one writer process at a time, until that closes it or dies.  Several processes write several
    parts.
    """

    def __init__(self, path: Path, part: str, lock: io.FileIO) -> None:
        self.path = path
        self._folder = path / "parts" / part
        self._lock = lock
        self._uids = {uid for folder in parts_of(path) for uid in uids_of(folder).values()}
        self._waiting: list[_Waiting] = []
        self._interrupted = False
        self._take_up()
        self._layouts = self._layouts_on_disk()
        self._write_rows(self._rows)

    @classmethod
    def open(cls, path: Path, header: StoreHeader, part: str = "main") -> StoreWriter:
        """Open a part for writing and drop what a killed writer left unfinished; store and part are made if absent.

        Raises StoreError if the path holds something else, if the store has another task, rate, deadline or schema, or
        if another process is writing the part.
        """
        if not PART.fullmatch(part):
            raise StoreError(f"{part!r} cannot name a part of a store; use letters, digits, '_', '-' and '.'")
        with explained(f"{path} cannot be opened for writing"):
            if not path.exists():
                _create_store(path, header)
            refuse_other(path, read_header(path), header)
            folder = path / "parts" / part
            if not folder.exists():
                _create_part(path, folder)
            lock = take_lock(folder)
            try:
                return cls(path, part, lock)
            except BaseException:
                lock.close()
                raise

    @property
    def committed_uids(self) -> frozenset[str]:
        """Uids of the committed episodes that were not aborted: of all parts at opening, and of this writer since."""
        return frozenset(self._uids)

    def append(self, episode: Episode) -> None:
        """Take an episode (its arrays are copied); it exists once its batch is committed.

        Raises StoreError if its uid is known, its columns are not EPISODE_COLUMNS, or its arrays fit neither together
        nor to the part's earlier ones.
        """
        if self._lock.closed:
            raise StoreError(f"{self._folder} is closed; open a new StoreWriter")
        waiting = _Waiting.of(episode)
        uid = waiting.record["uid"]
        if uid in self._uids or any(uid == other.record["uid"] for other in self._waiting):
            raise StoreError(f"{self.path} already holds episode {uid}; skip those in StoreWriter.committed_uids")
        for group in ("steps", "calls"):
            self._refuse_other_layout(group, uid, waiting.arrays[group])
        self._waiting.append(waiting)
        if len(self._waiting) >= BATCH or sum(waiting.bytes for waiting in self._waiting) > BATCH_BYTES:
            self.commit()

    def commit(self) -> None:
        """Make the buffered episodes exist.

        Raises StoreError if the disk refuses: what is committed is untouched, what is buffered stays buffered, and a
        later commit tries again.
        """
        if not self._waiting:
            return
        state = f"{self._rows} episodes are committed and safe, {len(self._waiting)} more wait in memory"
        with explained(f"{self._folder} cannot take more episodes ({state})"):
            if self._interrupted:
                self._take_up()
            self._interrupted = True
            ends = self._write_arrays()
            self._write_rows(self._rows + len(self._waiting))
        self._ends, self._interrupted = ends, False
        self._rows += len(self._waiting)
        self._uids.update(each.record["uid"] for each in self._waiting if each.record["outcome"] != ABORTED)
        self._waiting = []

    def close(self) -> None:
        """Commit and give the part free; closing twice is no error."""
        if self._lock.closed:
            return
        try:
            self.commit()
        finally:
            self._lock.close()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # While an exception is on its way finished episodes are still kept, but a second error would hide the first.
        with contextlib.suppress(StoreError) if kind else contextlib.nullcontext():
            self.close()

    def _refuse_other_layout(self, group: str, uid: str, arrays: Mapping[str, Array]) -> None:
        """Refuse arrays that differ in name, type or shape from the part's earlier ones."""
        new = {key: f"{rows.dtype}{list(rows.shape[1:])}" for key, rows in arrays.items()}
        known = self._layouts.setdefault(group, new) if new else new
        if new != known:
            keys = sorted(key for key in new.keys() | known.keys() if new.get(key) != known.get(key))
            shown = ", ".join(f"{key}: {new.get(key, 'missing')} instead of {known.get(key, 'none')}" for key in keys)
            raise StoreError(f"episode {uid} does not fit {self._folder / group} ({shown}); write it to another part")

    def _take_up(self) -> None:
        """Take the part as the disk has it and cut every array back to the committed rows."""
        self._rows = committed_rows(self._folder)
        self._uids.update(uids_of(self._folder).values())
        self._waiting = [waiting for waiting in self._waiting if waiting.record["uid"] not in self._uids]
        self._ends = {group: end_of(self._folder, column, self._rows) for group, column in ENDS.items()}
        self._arrays: dict[str, StoredArray] = {}
        for partial in self._folder.rglob("*.partial"):
            partial.unlink()
        for group in (*ENDS, "episodes"):
            rows = self._ends.get(group, self._rows)
            if rows == 0 and group in ("steps", "calls"):  # what is left of a first commit may have another layout
                _remove_arrays(self._folder / group)
            for key in keys_of(self._folder / group):
                self._arrays[f"{group}/{key}"] = array = StoredArray(self._folder / group / key)
                array.cut(rows)
        self._interrupted = False

    def _layouts_on_disk(self) -> dict[str, dict[str, str]]:
        layouts: dict[str, dict[str, str]] = {}
        for name, array in self._arrays.items():
            group, _, key = name.partition("/")
            if group in ("steps", "calls"):
                layouts.setdefault(group, {})[key] = f"{array.dtype}{list(array.trailing)}"
        return layouts

    def _write_arrays(self) -> dict[str, int]:
        """Append the buffered episodes to all arrays and columns; returns the new ends of the groups."""
        columns: dict[str, list[Any]] = {name: [] for name in STORED_COLUMNS}
        ends = dict(self._ends)
        for waiting in self._waiting:
            for group, size in waiting.sizes.items():
                ends[group] += size
            row = waiting.record | {column: ends[group] for group, column in ENDS.items()}
            for name, values in columns.items():
                values.append(row[name])
        for group in ENDS:
            for key in sorted({key for waiting in self._waiting for key in waiting.arrays[group]}):
                parts = [waiting.arrays[group][key] for waiting in self._waiting if key in waiting.arrays[group]]
                self._append_rows(f"{group}/{key}", np.concatenate(parts))
        for name, values in columns.items():
            self._append_rows(f"episodes/{name}", column_array(name, values))
        return ends

    def _append_rows(self, name: str, values: Array) -> None:
        if name not in self._arrays:
            create_array(self._folder, name, str(values.dtype), values.shape[1:])
            self._arrays[name] = StoredArray(self._folder / name)
        self._arrays[name].append(values)

    def _write_rows(self, rows: int) -> None:
        """The commit itself: one rename."""
        write_group(self._folder / "episodes", {"rows": rows, "writer_pid": os.getpid()})


@dataclasses.dataclass(frozen=True)
class _Waiting:
    """An episode checked and copied, not yet committed."""

    record: Record
    arrays: dict[str, dict[str, Array]]
    sizes: dict[str, int]

    @property
    def bytes(self) -> int:
        return sum(rows.nbytes for group in self.arrays.values() for rows in group.values())

    @classmethod
    def of(cls, episode: Episode) -> _Waiting:
        if episode.record.keys() != EPISODE_COLUMNS.keys():
            differing = ", ".join(sorted(episode.record.keys() ^ EPISODE_COLUMNS.keys()))
            raise StoreError(
                f"an episode's record must have exactly the columns EPISODE_COLUMNS; differing: {differing}"
            )
        record = {name: checked_value(name, episode.record[name]) for name in EPISODE_COLUMNS}
        calls = {key: _copied(f"calls/{key}", rows) for key, rows in sorted(episode.calls.items())}
        arrays = {"steps": {key: _copied(f"steps/{key}", rows) for key, rows in sorted(episode.steps.items())}}
        memory = np.array(episode.memory, dtype=np.float64)
        lengths = {f"steps/{key}": len(rows) for key, rows in arrays["steps"].items()} | {"memory": len(memory)}
        if (
            set(lengths.values()) != {record["length"]}
            or record["length"] < 1
            or not arrays["steps"]
            or memory.ndim != 2
        ):
            raise StoreError(
                f"episode {record['uid']} has length {record['length']} but rows {lengths}; one row a step"
            )
        count = {len(rows) for rows in calls.values()}
        if len(count) > 1:
            raise StoreError(f"episode {record['uid']} has call arrays of different lengths {sorted(count)}")
        called = max(count, default=0)
        arrays |= {"calls": calls if called else {}, "memory": {"values": memory.reshape(-1)}}
        record["content"] = _content(arrays)
        return cls(record, arrays, {"steps": record["length"], "calls": called, "memory": memory.size})


def _copied(name: str, rows: Array) -> Array:
    """A copy in native order and C layout."""
    if not KEY.fullmatch(name):
        raise StoreError(f"{name!r} cannot name an array; use letters, digits, '_', '-', '.', and '/' between groups")
    if rows.ndim < 1 or rows.dtype.kind not in "biuf" or 0 in rows.shape[1:]:
        raise StoreError(f"array {name} is {rows.dtype}{list(rows.shape)}; one row of numbers a step or call is needed")
    return np.array(rows, dtype=rows.dtype.newbyteorder("="), order="C")


def _content(arrays: Mapping[str, Mapping[str, Array]]) -> str:
    """Digest of an episode's arrays, without the wall-clock time of its calls."""
    digest = hashlib.blake2b(digest_size=16)
    for group, members in arrays.items():
        for key, rows in members.items():
            if (group, key) != ("calls", "seconds"):
                digest.update(f"{group}/{key} {rows.dtype.str} {rows.shape} ".encode())
                digest.update(rows.data if rows.size else b"")
    return digest.hexdigest()


def _create_store(path: Path, header: StoreHeader) -> None:
    """Make an empty store beside its place and rename it there; whoever is first wins."""
    with _built_beside(path, path) as folder:
        write_group(folder, dataclasses.asdict(header))
        write_group(folder / "parts", {"revision": 0, "pending": {}})


def _create_part(path: Path, folder: Path) -> None:
    with _built_beside(path, folder) as new:
        write_group(new, {})
        for group in ("steps", "calls", "memory"):
            write_group(new / group, {})
        write_group(new / "episodes", {"rows": 0, "writer_pid": os.getpid()})
        create_array(new, "memory/values", "float64", ())
        for name in STORED_COLUMNS:
            create_array(new, f"episodes/{name}", column_dtype(name), ())


@contextlib.contextmanager
def _built_beside(store: Path, place: Path) -> Iterator[Path]:
    """A folder next to the store that is renamed into ``place`` once it is complete, unless there is one by then."""
    new = store.with_name(f".{store.name}.{uuid.uuid4().hex}")
    try:
        new.mkdir(parents=True)
        yield new
        try:
            new.rename(place)
        except OSError:
            if not place.exists():
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _remove_arrays(group: Path) -> None:
    for child in group.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
