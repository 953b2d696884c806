"""Writing: episodes are appended to a part of a store, and exist once their batch is committed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import itertools
import multiprocessing
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config.files import building
from workbench.errors import StoreError
from workbench.store.arrays import StoredArray, column_array, column_dtype, create_array, new_column
from workbench.store.chunks import ROW_BYTES
from workbench.store.labels import register
from workbench.store.layout import (
    ENDS,
    KEY,
    PART,
    STORED_COLUMNS,
    Commit,
    InUseError,
    Manifest,
    StoreHeader,
    checked_value,
    explained,
    parts_of,
    read_header,
    refuse_other,
    remove_partials,
    take_lock,
    write_commit,
    write_group,
    write_header,
    write_manifest,
)
from workbench.store.parts import Part
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

    def __init__(self, path: Path, part: str, lock: io.FileIO, sealed: bool) -> None:
        self.path = path
        self._folder = path / "parts" / part
        self._lock, self._sealed = lock, sealed
        register(path, self._folder, sealed)
        self._uids = {uid for folder in parts_of(path) for uid in Part(folder, sealed).uids().values()}
        self._waiting: list[_Waiting] = []
        self._interrupted = False
        self._take_up()
        self._layouts = self._layouts_on_disk()
        self._write_rows(self._rows)

    @classmethod
    def open(cls, path: Path, header: StoreHeader, part: str = "main", wait_s: float | None = None) -> StoreWriter:
        """Open a part for writing and drop what a killed writer left unfinished; store and part are made if absent.

        ``wait_s`` is how long to wait for another process that has the part; None for a moment.

        Raises StoreError if the path holds something else, if the store has another task, rate, deadline or schema, or
        if another process is writing the part.
        """
        if not PART.fullmatch(part):
            raise StoreError(f"{part!r} cannot name a part of a store; use letters, digits, '_', '-' and '.'")
        with explained(f"{path} cannot be opened for writing"):
            if not path.exists():
                _create_store(path, header)
            found = read_header(path)
            refuse_other(path, found, header)
            folder = path / "parts" / part
            if not folder.exists():
                _create_part(path, folder, found.sealed)
            lock = take_lock(folder, wait_s)
            try:
                return cls(path, part, lock, found.sealed)
            except BaseException:
                lock.close()
                raise

    @classmethod
    def open_own(cls, path: Path, header: StoreHeader) -> StoreWriter:
        """Open a part of this process's own, as :meth:`open`; the one that it, or one of its name, wrote before."""
        for number in itertools.count(1):
            part = own_part() if number == 1 else f"{own_part()}-{number}"
            with contextlib.suppress(InUseError):
                return cls.open(path, header, part, wait_s=0.0)
        raise AssertionError

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
            with contextlib.suppress(OSError):  # what is committed counts without it
                register(self.path, self._folder, self._sealed)
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
        part = Part(self._folder, self._sealed)
        self._rows = part.rows
        self._uids.update(part.uids().values())
        self._waiting = [waiting for waiting in self._waiting if waiting.record["uid"] not in self._uids]
        self._ends = {group: part.end(group) for group in ENDS}
        self._arrays: dict[str, StoredArray] = {}
        remove_partials(self._folder)
        for group in (*ENDS, "episodes"):
            rows = self._ends.get(group, self._rows)
            if rows == 0 and group in ("steps", "calls"):  # what is left of a first commit may have another layout
                _remove_arrays(self._folder / group)
            for key in part.names(group) if rows or group in ("memory", "episodes") else ():
                self._arrays[f"{group}/{key}"] = array = part.array(f"{group}/{key}")
                array.cut(rows)
        self._interrupted = False

    def _layouts_on_disk(self) -> dict[str, dict[str, str]]:
        layouts: dict[str, dict[str, str]] = {}
        for name, array in self._arrays.items():
            group, _, key = name.partition("/")
            if group in ("steps", "calls"):
                layouts.setdefault(group, {})[key] = array.layout
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
            if f"episodes/{name}" not in self._arrays:  # an earlier version did not write it
                known = column_array(name, [STORED_COLUMNS[name].default] * self._rows)
                self._arrays[f"episodes/{name}"] = new_column(self._folder, name, known, self._sealed)
            self._append_rows(f"episodes/{name}", column_array(name, values))
        return ends

    def _append_rows(self, name: str, values: Array) -> None:
        if name not in self._arrays:
            create_array(self._folder, name, str(values.dtype), values.shape[1:], self._sealed)
            self._arrays[name] = StoredArray(self._folder, name, self._sealed)
        self._arrays[name].append(values)

    def _write_rows(self, rows: int) -> None:
        """The commit itself: one rename."""
        seals = {name: array.seal() for name, array in self._arrays.items()} if self._sealed else None
        write_commit(self._folder, Commit(rows, os.getpid(), seals))


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
        record["content"] = content_of(arrays)
        return cls(record, arrays, {"steps": record["length"], "calls": called, "memory": memory.size})


def _copied(name: str, rows: Array) -> Array:
    """A copy in native order and C layout."""
    if not KEY.fullmatch(name):
        raise StoreError(f"{name!r} cannot name an array; use letters, digits, '_', '-', '.', and '/' between groups")
    if rows.ndim < 1 or rows.dtype.kind not in "biuf" or rows.dtype.itemsize > 8 or 0 in rows.shape[1:]:
        raise StoreError(f"array {name} is {rows.dtype}{list(rows.shape)}; one row of numbers a step or call is needed")
    if rows.nbytes > ROW_BYTES * len(rows):
        raise StoreError(f"array {name} has rows of {rows[0].nbytes} bytes; at most {ROW_BYTES} can be stored")
    return np.array(rows, dtype=rows.dtype.newbyteorder("="), order="C")


def content_of(arrays: Mapping[str, Mapping[str, Array]]) -> str:
    """Digest of an episode's arrays, without the wall-clock time of its calls."""
    digest = hashlib.blake2b(digest_size=16)
    for group, members in arrays.items():
        for key, rows in members.items():
            if (group, key) != ("calls", "seconds"):
                digest.update(f"{group}/{key} {rows.dtype.str} {rows.shape} ".encode())
                digest.update(rows.data if rows.size else b"")
    return digest.hexdigest()


def own_part() -> str:
    """Name of a part that no other host, job of a scheduler or process writes."""
    job = "-".join(
        os.environ[name]
        for name in ("SLURM_JOB_ID", "SLURM_PROCID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
        if os.environ.get(name)
    )
    words = [socket.gethostname(), job, multiprocessing.current_process().name]
    return re.sub(r"[^A-Za-z0-9_-]", "_", "-".join(word for word in words if word))[:150]


def _create_store(path: Path, header: StoreHeader) -> None:
    """Make an empty store beside its place and rename it there; whoever is first wins."""
    with _built_beside(path, path) as folder:
        write_header(folder, header)
        (folder / "parts").mkdir()
        write_manifest(folder, Manifest(), header.sealed)


def _create_part(path: Path, folder: Path, sealed: bool) -> None:
    with _built_beside(path, folder) as new:
        write_group(new, {})
        for group in ("steps", "calls", "memory", "episodes"):
            write_group(new / group, {})
        arrays = {"memory/values": "float64", **{f"episodes/{name}": column_dtype(name) for name in STORED_COLUMNS}}
        seals = {name: create_array(new, name, dtype, (), sealed) for name, dtype in arrays.items()}
        write_commit(new, Commit(0, os.getpid(), seals if sealed else None))


@contextlib.contextmanager
def _built_beside(store: Path, place: Path) -> Iterator[Path]:
    """A folder next to the store that is renamed into ``place`` once it is complete, unless there is one by then."""
    with building(store) as new:
        new.mkdir()
        yield new
        try:
            new.rename(place)
        except OSError:
            if not place.exists():
                raise


def _remove_arrays(group: Path) -> None:
    for child in group.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
