"""Episodes on disk: one directory a data set, Zarr format 3, safe against a writer killed at any moment.

::

    <name>.zarr/zarr.json                attributes: the StoreHeader; never rewritten
    <name>.zarr/parts/zarr.json          attributes: revision, pending (labels on their way into the columns)
    <name>.zarr/parts/<part>/zarr.json   locked (flock) by the part's writer; never rewritten
        steps/<key>       (rows, ...)    one row a control step, all episodes end to end
        calls/<key>       (rows, ...)    one row a policy call
        memory/values     (values,)      every episode's (T, M) memory, flat
        episodes/<column> (rows,)        one row an episode; attributes: rows, writer_pid

How it stays whole.  Every file is written beside its place and renamed into it, so it holds old bytes or new ones.  A
part's only truth is the attribute ``rows`` of ``episodes/``: a commit writes all arrays first (the last chunk of each
is replaced by one that repeats its committed rows) and then, by one rename, ``rows``.  Rows beyond are an unfinished
tail: readers ignore it, the next writer drops it.  Labels are changed through ``pending``: once it is written they
count, and readers lay it over the columns until these are rewritten.  All this holds for killed processes and full
disks; against a power cut it is as good as the file system, since nothing is fsynced.

Chunks are encoded here, by the codecs that the arrays' metadata name (blosc, crc32c, vlen-utf8), because zarr's own
interface takes 3 ms an array and commit, and a part has some 80 arrays.  Reading goes through zarr.  The checksum of
every chunk turns a damaged file into an error.  Strings are zarr's variable-length ``string``: it raises no warning
about an unstable specification (fixed-length UTF-32 does), and pads nothing, as the JSON of ``perturbations`` is long.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import fnmatch
import functools
import hashlib
import io
import json
import os
import re
import shutil
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import StoreError, UnknownNameError
from workbench.types import EPISODE_COLUMNS, Array, Episode, EpisodeCalls, Record, split_of

SCHEMA = 1
BATCH = 16
"""Episodes that are committed at once."""
LOCK_WAIT_S = 2.0
"""How long to wait for a part that another process holds: annotating takes less, a writer more."""
LABELS = ("t_eff", "t_on", "t_on_low", "t_on_high", "t_pnr", "outcome", "failure_mode", "twin")
"""Columns that :meth:`Store.annotate` may rewrite."""

_ENDS = {"steps": "step_end", "calls": "call_end", "memory": "memory_end"}
_COLUMNS: Mapping[str, type] = {**EPISODE_COLUMNS, **dict.fromkeys(_ENDS.values(), int), "content": str}
_CHUNK_BYTES = 2**20
_CHUNK_ROWS = {"steps": 8192, "calls": 8192, "memory": _CHUNK_BYTES // 8, "episodes": 512}
_CACHED_CHUNKS = 512
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_KEY = re.compile(rf"{_PART.pattern}(/{_PART.pattern})*")


@dataclasses.dataclass(frozen=True)
class StoreHeader:
    """What holds for every episode of a store.

    Attributes
    ----------
    task : name of the task.
    control_hz : control steps a second.
    deadline : control steps after which the task counts as failed.
    config : composed configuration of the job that made the store.
    versions : package name -> version.
    seed : seed of the run.
    licence : SPDX identifier.
    schema : version of the layout described above.
    """

    task: str
    control_hz: float
    deadline: int
    config: Record
    versions: dict[str, str]
    seed: int
    licence: str = "CC-BY-4.0"
    schema: int = SCHEMA


class StoreWriter:
    """Appends episodes to one part of a store; made by :meth:`open`.

    A part belongs to one writer process at a time, until that closes it or dies.  Several processes write several
    parts.
    """

    def __init__(self, path: Path, part: str, lock: io.FileIO) -> None:
        self.path = path
        self._folder = path / "parts" / part
        self._lock = lock
        self._rows = _committed_rows(self._folder)
        self._uids = {uid for folder in _parts(path) for uid in _uids(folder)}
        self._waiting: list[_Waiting] = []
        self._drop_tail()
        self._write_rows()

    @classmethod
    def open(cls, path: Path, header: StoreHeader, part: str = "main") -> StoreWriter:
        """Open a part for writing and drop what a killed writer left unfinished; store and part are made if absent.

        Raises StoreError if the path holds something else, if the store has another task, rate, deadline or schema, or
        if another process is writing the part.
        """
        if not _PART.fullmatch(part):
            raise StoreError(f"{part!r} cannot name a part of a store; use letters, digits, '_', '-' and '.'")
        with _explained(f"{path} cannot be opened for writing"):
            if not path.exists():
                _create_store(path, header)
            _refuse_other(path, _read_header(path), header)
            folder = path / "parts" / part
            if not folder.exists():
                _create_part(path, folder)
            return cls(path, part, _lock(folder))

    @property
    def committed_uids(self) -> frozenset[str]:
        """Uids of the committed episodes: of all parts as they were at opening, and of this writer's own since."""
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
        if len(self._waiting) >= BATCH:
            self.commit()

    def commit(self) -> None:
        """Make the buffered episodes exist.

        Raises StoreError if the disk refuses: what is committed is untouched, what is buffered stays buffered, and a
        later commit tries again.
        """
        if not self._waiting:
            return
        state = f"{self._rows} episodes are committed and safe, {len(self._waiting)} more wait in memory"
        with _explained(f"{self._folder} cannot take more episodes ({state})"):
            if self._interrupted:
                self._drop_tail()
            self._interrupted = True
            self._write_arrays()
            self._rows += len(self._waiting)
            try:
                self._write_rows()
            except OSError:
                self._rows -= len(self._waiting)
                raise
            self._interrupted = False
        self._uids.update(waiting.record["uid"] for waiting in self._waiting)
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

    def _drop_tail(self) -> None:
        """Cut every array back to the committed rows; steps and calls without any are removed."""
        for partial in self._folder.rglob("*.partial"):
            partial.unlink()
        self._ends = {group: _end(self._folder, column, self._rows) for group, column in _ENDS.items()}
        self._arrays: dict[str, _StoredArray] = {}
        for group in _CHUNK_ROWS:
            rows = self._ends.get(group, self._rows)
            if rows == 0 and group in ("steps", "calls"):
                shutil.rmtree(self._folder / group)
                _create_group(self._folder / group)
            for key in _keys(self._folder / group):
                self._arrays[f"{group}/{key}"] = array = _StoredArray(self._folder / group / key)
                array.cut(rows)
        waiting = getattr(self, "_layouts", {})
        self._layouts: dict[str, dict[str, str]] = waiting or self._layouts_on_disk()
        self._interrupted = False

    def _layouts_on_disk(self) -> dict[str, dict[str, str]]:
        layouts: dict[str, dict[str, str]] = {}
        for name, array in self._arrays.items():
            group, _, key = name.partition("/")
            if group in ("steps", "calls"):
                layouts.setdefault(group, {})[key] = f"{array.dtype}{list(array.trailing)}"
        return layouts

    def _write_arrays(self) -> None:
        """Append the buffered episodes to every array, and their rows to the columns."""
        columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        ends = dict(self._ends)
        for waiting in self._waiting:
            for group, size in waiting.sizes.items():
                ends[group] += size
            row = waiting.record | {column: ends[group] for group, column in _ENDS.items()}
            for name, values in columns.items():
                values.append(row[name])
        for group in _ENDS:
            for key in sorted({key for waiting in self._waiting for key in waiting.arrays[group]}):
                parts = [waiting.arrays[group][key] for waiting in self._waiting if key in waiting.arrays[group]]
                self._append_rows(f"{group}/{key}", np.concatenate(parts))
        for name, values in columns.items():
            self._append_rows(f"episodes/{name}", _column(name, values))
        self._ends = ends

    def _append_rows(self, name: str, values: Array) -> None:
        if name not in self._arrays:
            _create_array(self._folder, name, str(values.dtype), values.shape[1:])
            self._arrays[name] = _StoredArray(self._folder / name)
        self._arrays[name].append(values)

    def _write_rows(self) -> None:
        """The commit itself: one rename."""
        _write_group(self._folder / "episodes", {"rows": self._rows, "writer_pid": os.getpid()})


class Store:
    """All committed episodes of a store, of all parts, as they were when it was opened.

    Their order is by (index, perturbation, uid), so it does not depend on who wrote what.  Of episodes with the same
    uid in several parts, the first part's is taken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(f"{path} cannot be read"):
            self.header = _read_header(path)
            self._load()
        self._number = {uid: number for number, uid in enumerate(self.uids)}
        self._chunk = functools.lru_cache(maxsize=_CACHED_CHUNKS)(_StoredArray.chunk)
        self._array = functools.cache(_StoredArray)
        self._keys = functools.cache(_keys)
        self._execute = functools.cache(self._longest_gap)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open for reading; raises StoreError if it is missing, no store, damaged, or of another schema."""
        return cls(path)

    def __len__(self) -> int:
        return len(self._place)

    @property
    def episodes(self) -> dict[str, Array]:
        """Column -> (N,) values, read-only: int64, bool, or str objects; the columns are EPISODE_COLUMNS."""
        return {name: self._columns[name] for name in EPISODE_COLUMNS}

    @property
    def uids(self) -> tuple[str, ...]:
        """Uids, in order."""
        return tuple(self._columns["uid"])

    def episode(self, number: int, steps: Sequence[str] | None = None, calls: Sequence[str] | None = None) -> Episode:
        """One episode, equal to the one that was appended, with the labels of today.

        Parameters
        ----------
        number : which one, in the store's order.
        steps, calls : names or patterns (``"obs/*"``) of the arrays to read; None for all, () for none.  The memory is
            read along with ``state``, as only both together are a snapshot; without it the memory is (T, 0).
        """
        part, row = self._place[number]
        record = {name: kind(self._columns[name][number]) for name, kind in EPISODE_COLUMNS.items()}
        arrays = self._read_group(part, row, "steps", steps)
        memory = np.zeros((record["length"], 0))
        if "state" in arrays:
            values = self._read_rows(part.folder / "memory" / "values", *part.span("memory", row))
            memory = values.reshape(record["length"], -1)
        return Episode(record=record, steps=arrays, calls=self._read_group(part, row, "calls", calls), memory=memory)

    def calls(self, number: int) -> EpisodeCalls:
        """The policy calls of one episode, as a detector may see them; raises StoreError if it has none.

        ``execute`` is the longest gap between two calls of the same policy in the same part: an alarm makes a gap
        shorter, never longer.
        """
        part, row = self._place[number]
        uid, policy = self._columns["uid"][number], self._columns["policy"][number]
        first, last = part.span("calls", row)
        if first == last:
            raise StoreError(f"episode {uid} of {self.path} holds no policy calls; no detector can be run on it")
        needed = {"step", "chunk", "samples", "embedding"} & set(self._keys(part.folder / "calls"))
        arrays = self._read_group(part, row, "calls", sorted(needed))
        return EpisodeCalls(
            uid=uid,
            split=split_of(int(self._columns["index"][number])),
            step=arrays["step"],
            chunk=arrays["chunk"],
            samples=arrays.get("samples"),
            embedding=arrays.get("embedding"),
            execute=self._execute(part, policy) or arrays["chunk"].shape[1],
        )

    def annotate(self, which: int | str, **columns: Any) -> None:
        """Rewrite labels of one episode, given by number or uid; see :meth:`annotate_many`."""
        self.annotate_many({which if isinstance(which, str) else self.uids[which]: columns})

    def annotate_many(self, labels: Mapping[str, Mapping[str, Any]]) -> None:
        """Rewrite labels (uid -> column -> value): whatever happens, either all of them count afterwards or none.

        Raises StoreError for an unknown uid, a column that is none of LABELS, or a part that is being written.
        """
        checked = {uid: self._checked(uid, columns) for uid, columns in labels.items()}
        with _explained(f"labels of {self.path} cannot be written"), contextlib.ExitStack() as locks:
            locks.enter_context(_lock(self.path))
            journal = _attributes(self.path / "parts")
            pending: dict[str, Record] = {uid: dict(columns) for uid, columns in journal["pending"].items()}
            for uid, columns in checked.items():
                pending.setdefault(uid, {}).update(columns)
            rows_of = {folder: _rows_of(folder, pending) for folder in _parts(self.path)}
            for folder, rows in rows_of.items():
                if rows:
                    locks.enter_context(_lock(folder))
            revision = journal["revision"] + 1
            _write_group(self.path / "parts", {"revision": revision, "pending": pending})
            self._lay_over(checked)
            with _explained(f"labels of {self.path} count from now on but wait in parts/zarr.json for their columns"):
                for folder, rows in rows_of.items():
                    _rewrite_labels(folder, rows, pending)
                _write_group(self.path / "parts", {"revision": revision, "pending": {}})

    def digest(self) -> str:
        """Digest of all episodes, their content and labels, for caches.

        Neither parts nor chunks nor ``calls/seconds`` (wall-clock time) play a part: the same run by more workers has
        the same digest.
        """
        header = [self.header.task, self.header.control_hz, self.header.deadline]
        columns = {name: self._columns[name].tolist() for name in (*EPISODE_COLUMNS, "content")}
        return hashlib.sha256(json.dumps([header, columns], sort_keys=True).encode()).hexdigest()

    def _load(self) -> None:
        """Read all columns, again if somebody annotates meanwhile."""
        while True:
            journal = _attributes(self.path / "parts")
            parts = [_Part(folder) for folder in _parts(self.path)]
            if _attributes(self.path / "parts")["revision"] == journal["revision"]:
                break
        columns = {name: np.concatenate([_column(name, []), *(part.columns[name] for part in parts)]) for name in _COLUMNS}
        place = [(part, row) for part in parts for row in range(len(part.columns["uid"]))]
        first: dict[str, int] = {}
        for at, uid in enumerate(columns["uid"]):
            first.setdefault(uid, at)
        keys = [columns[name] for name in ("index", "perturbation", "uid")]
        order = sorted(first.values(), key=lambda at: tuple(key[at] for key in keys))
        self._place = [place[at] for at in order]
        self._columns = {name: _frozen(values[order]) for name, values in columns.items()}
        self._number = {uid: number for number, uid in enumerate(self.uids)}
        self._lay_over(journal["pending"])

    def _lay_over(self, labels: Mapping[str, Mapping[str, Any]]) -> None:
        for column in sorted({column for columns in labels.values() for column in columns}):
            values = self._columns[column].copy()
            for uid, columns in labels.items():
                if uid in self._number and column in columns:
                    values[self._number[uid]] = columns[column]
            self._columns[column] = _frozen(values)

    def _checked(self, uid: str, columns: Mapping[str, Any]) -> Record:
        if uid not in self._number:
            raise StoreError(f"{self.path} holds no episode {uid!r}; see Store.uids")
        for column in columns:
            if column not in LABELS:
                raise StoreError(f"column {column!r} is no label and cannot be rewritten; labels: {', '.join(LABELS)}")
        return {column: _checked(column, value) for column, value in columns.items()}

    def _read_group(self, part: _Part, row: int, group: str, patterns: Sequence[str] | None) -> dict[str, Array]:
        """Arrays of one episode whose names match; an episode without rows has none."""
        first, last = part.span(group, row)
        if first == last:
            return {}
        known = self._keys(part.folder / group)
        for pattern in patterns or ():
            if not fnmatch.filter(known, pattern):
                raise UnknownNameError(f"array of {self.path}/{group}", pattern, known)
        wanted = [key for key in known if patterns is None or any(fnmatch.fnmatchcase(key, p) for p in patterns)]
        return {key: self._read_rows(part.folder / group / key, first, last) for key in wanted}

    def _read_rows(self, folder: Path, first: int, last: int) -> Array:
        array = self._array(folder)
        size = array.chunk_rows
        chunks = range(first // size, -(-last // size))
        return np.concatenate(
            [self._chunk(array, k)[max(first - k * size, 0) : last - k * size] for k in chunks] or [array.read(0, 0)]
        )

    def _longest_gap(self, part: _Part, policy: str) -> int:
        """Most control steps between two calls of a policy; 0 if every episode has only one."""
        gaps = [0]
        for row in np.flatnonzero(part.columns["policy"] == policy):
            step = self._read_rows(part.folder / "calls" / "step", *part.span("calls", int(row)))
            gaps.extend(np.diff(step).tolist())
        return int(max(gaps))


class _Part:
    """The committed rows of one part, without pending labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = _committed_rows(folder)
        self.columns = {name: _StoredArray(folder / "episodes" / name).read(0, rows) for name in _COLUMNS}

    def span(self, group: str, row: int) -> tuple[int, int]:
        """First row and one past the last row of an episode in a group."""
        ends = self.columns[_ENDS[group]]
        return int(ends[row - 1]) if row else 0, int(ends[row])


@dataclasses.dataclass(frozen=True)
class _Waiting:
    """An episode checked and copied, not yet committed."""

    record: Record
    arrays: dict[str, dict[str, Array]]
    sizes: dict[str, int]

    @classmethod
    def of(cls, episode: Episode) -> _Waiting:
        if episode.record.keys() != EPISODE_COLUMNS.keys():
            differing = ", ".join(sorted(episode.record.keys() ^ EPISODE_COLUMNS.keys()))
            raise StoreError(f"an episode's record must have exactly the columns EPISODE_COLUMNS; differing: {differing}")
        record = {name: _checked(name, episode.record[name]) for name in EPISODE_COLUMNS}
        calls = {key: _copied(f"calls/{key}", rows) for key, rows in sorted(episode.calls.items())}
        arrays = {"steps": {key: _copied(f"steps/{key}", rows) for key, rows in sorted(episode.steps.items())}}
        memory = np.array(episode.memory, dtype=np.float64)
        lengths = {f"steps/{key}": len(rows) for key, rows in arrays["steps"].items()} | {"memory": len(memory)}
        if set(lengths.values()) != {record["length"]} or record["length"] < 1 or not arrays["steps"] or memory.ndim != 2:
            raise StoreError(f"episode {record['uid']} has length {record['length']} but rows {lengths}; one row a step")
        count = {len(rows) for rows in calls.values()}
        if len(count) > 1:
            raise StoreError(f"episode {record['uid']} has call arrays of different lengths {sorted(count)}")
        called = max(count, default=0)
        arrays |= {"calls": calls if called else {}, "memory": {"values": memory.reshape(-1)}}
        record["content"] = _content(arrays)
        return cls(record, arrays, {"steps": record["length"], "calls": called, "memory": memory.size})


class _StoredArray:
    """One array of a part, whose rows are only ever appended or, after an interruption, cut."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metadata = _read_json(folder / "zarr.json")
        try:
            self.rows, *trailing = (int(size) for size in self._metadata["shape"])
            self.chunk_rows = int(self._metadata["chunk_grid"]["configuration"]["chunk_shape"][0])
            self.dtype = str(self._metadata["data_type"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _damaged(folder / "zarr.json", f"it describes no array ({error!r})") from error
        self.trailing = tuple(trailing)
        self._tail: Array | None = None

    def chunk(self, number: int) -> Array:
        """Rows of one chunk, of the last one as far as they go."""
        file = self._file(number)
        first = number * self.chunk_rows
        if first >= self.rows:
            raise _damaged(self.folder / "zarr.json", f"only {self.rows} rows are left")
        if not file.exists():  # zarr would read a missing chunk as zeros
            raise _damaged(file, "it is missing")
        try:
            rows: Array = self._open()[first : min(first + self.chunk_rows, self.rows)]
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise _damaged(file, str(error)) from error
        return rows.astype(object) if self.dtype == "string" else rows

    def read(self, first: int, last: int) -> Array:
        """Rows ``first`` up to ``last``."""
        if last > self.rows:
            raise _damaged(self.folder / "zarr.json", f"{last} rows are committed and only {self.rows} are left")
        size = self.chunk_rows
        empty = np.zeros((0, *self.trailing), dtype=object if self.dtype == "string" else self.dtype)
        chunks = [self.chunk(k)[max(first - k * size, 0) : last - k * size] for k in range(first // size, -(-last // size))]
        return np.concatenate([empty, *chunks])

    def append(self, values: Array) -> None:
        """Put rows behind the last: full chunks, then the new length."""
        start = self.rows - self.rows % self.chunk_rows
        tail = self.read(start, self.rows) if self._tail is None else self._tail
        values = np.concatenate([tail, values])
        self._tail = None
        self._write_chunks(start, values)
        self._write_length(start + len(values))
        self._tail = values[len(values) - len(values) % self.chunk_rows :].copy()

    def overwrite(self, values: Array) -> None:
        """Rewrite the rows from the first on."""
        self._write_chunks(0, values)

    def cut(self, rows: int) -> None:
        """Forget all rows beyond ``rows``."""
        if self.rows < rows:
            raise _damaged(self.folder / "zarr.json", f"{rows} rows are committed and only {self.rows} are left")
        if self.rows > rows:
            self._write_length(rows)
        for file in self.folder.glob("c.*"):
            if int(file.name.split(".")[1]) * self.chunk_rows >= rows:
                file.unlink()

    def _write_chunks(self, start: int, values: Array) -> None:
        for first in range(0, len(values), self.chunk_rows):
            file = self._file((start + first) // self.chunk_rows)
            _write_file(file, _encode(values[first : first + self.chunk_rows], self.chunk_rows))

    def _write_length(self, rows: int) -> None:
        self._metadata["shape"][0] = rows
        _write_file(self.folder / "zarr.json", json.dumps(self._metadata, indent=2).encode())
        self.rows = rows

    def _file(self, number: int) -> Path:
        return self.folder / ".".join(["c", str(number), *("0" for _ in self.trailing)])

    @functools.cached_property
    def _open(self) -> Any:
        import zarr

        return zarr.open_array(self.folder, mode="r")
