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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import StoreError, UnknownNameError
from workbench.types import (
    ABORTED,
    EPISODE_COLUMNS,
    RECENT,
    Array,
    Episode,
    EpisodeCalls,
    EpisodeTruth,
    Record,
    split_of,
)

SCHEMA = 4
BATCH = 16
"""Episodes that are committed at once ..."""
BATCH_BYTES = 2**26
"""... or fewer, if their arrays are larger than this: images."""
LOCK_WAIT_S = 2.0
"""How long to wait for a part that another process holds: annotating takes less, a writer more."""
LABELS = (
    "t_eff", "t_on", "t_on_low", "t_on_high", "t_pnr", "t_pnr_low", "t_pnr_high", "t_dec", "t_dec_end", "t_dec_by",
    "responsibility", "responsibility_low", "responsibility_high", "values", "outcome", "failure_mode", "twin",
)  # fmt: skip
"""Columns that :meth:`Store.annotate` may rewrite."""

SIGNALS, OBSERVATION = "signals/", "observation/"
"""What such needs of a score begin with."""
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
        self._uids = {uid for folder in _parts(path) for uid in _uids(folder).values()}
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
        if not _PART.fullmatch(part):
            raise StoreError(f"{part!r} cannot name a part of a store; use letters, digits, '_', '-' and '.'")
        with _explained(f"{path} cannot be opened for writing"):
            if not path.exists():
                _create_store(path, header)
            _refuse_other(path, _read_header(path), header)
            folder = path / "parts" / part
            if not folder.exists():
                _create_part(path, folder)
            lock = _lock(folder)
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
        with _explained(f"{self._folder} cannot take more episodes ({state})"):
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
        self._rows = _committed_rows(self._folder)
        self._uids.update(_uids(self._folder).values())
        self._waiting = [waiting for waiting in self._waiting if waiting.record["uid"] not in self._uids]
        self._ends = {group: _end(self._folder, column, self._rows) for group, column in _ENDS.items()}
        self._arrays: dict[str, _StoredArray] = {}
        for partial in self._folder.rglob("*.partial"):
            partial.unlink()
        for group in _CHUNK_ROWS:
            rows = self._ends.get(group, self._rows)
            if rows == 0 and group in ("steps", "calls"):  # what is left of a first commit may have another layout
                _remove_arrays(self._folder / group)
            for key in _keys(self._folder / group):
                self._arrays[f"{group}/{key}"] = array = _StoredArray(self._folder / group / key)
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
        return ends

    def _append_rows(self, name: str, values: Array) -> None:
        if name not in self._arrays:
            _create_array(self._folder, name, str(values.dtype), values.shape[1:])
            self._arrays[name] = _StoredArray(self._folder / name)
        self._arrays[name].append(values)

    def _write_rows(self, rows: int) -> None:
        """The commit itself: one rename."""
        _write_group(self._folder / "episodes", {"rows": rows, "writer_pid": os.getpid()})


class Store:
    """All committed episodes of a store, of all parts, as they were when it was opened.

    Their order is by (index, perturbation, uid), so it does not depend on who wrote what.  Of episodes with the same
    uid in several parts, the first part's is taken.

    Aborted episodes, whose policy was lost on the way, tell nothing of how the policy does: they are left out, unless
    they are asked for, and then come last.  One that was rolled anew since is gone.

    Attributes
    ----------
    aborted : how many episodes were aborted and not rolled anew.
    """

    def __init__(self, path: Path, aborted: bool = False) -> None:
        self.path = path
        self._with_aborted = aborted
        with _explained(f"{path} cannot be read"):
            self.header = _read_header(path)
            self._load()
        self._chunk = functools.lru_cache(maxsize=_CACHED_CHUNKS)(_StoredArray.chunk)
        self._array = functools.cache(_StoredArray)
        self._keys = functools.cache(_keys)

    @classmethod
    def open(cls, path: Path, aborted: bool = False) -> Store:
        """Open for reading; raises StoreError if it is missing, no store, damaged, or of another schema.

        ``aborted`` says whether aborted episodes are among its episodes.
        """
        return cls(path, aborted)

    def __len__(self) -> int:
        return len(self._place)

    @property
    def episodes(self) -> dict[str, Array]:
        """Column -> (N,) values, read-only: int64, float64, bool, or str objects; the columns are EPISODE_COLUMNS."""
        return {name: self._columns[name] for name in EPISODE_COLUMNS}

    @property
    def uids(self) -> tuple[str, ...]:
        """Uids, in order."""
        return tuple(self._columns["uid"])

    def number_of(self, episode: int | str) -> int:
        """Number of an episode that is given by number or by uid; UnknownNameError if there is none."""
        text = str(episode)
        if text.isdigit() and int(text) < len(self):
            return int(text)
        if text in self.uids:
            return self.uids.index(text)
        raise UnknownNameError(f"episode (or number in 0..{len(self) - 1})", text, self.uids[:5])

    def episode(self, number: int, steps: Sequence[str] | None = None, calls: Sequence[str] | None = None) -> Episode:
        """The ``number``-th episode, equal to the one that was appended, with the labels of today.

        ``steps`` and ``calls`` are names or patterns (``"obs/*"``) of the arrays to read: None for all, () for none.
        The memory is read along with ``state``, as only both together are a snapshot; without it it is (T, 0).
        """
        part, row = self._place[number]
        record = {name: kind(self._columns[name][number]) for name, kind in EPISODE_COLUMNS.items()}
        arrays = self._read_group(part, row, "steps", steps)
        memory = np.zeros((record["length"], 0))
        if "state" in arrays:
            values = self._read_rows(part.folder / "memory" / "values", *part.span("memory", row))
            memory = values.reshape(record["length"], -1)
        return Episode(record=record, steps=arrays, calls=self._read_group(part, row, "calls", calls), memory=memory)

    def step_names(self, number: int) -> list[str]:
        """Names of the arrays that are kept of every control step of an episode."""
        part, _ = self._place[number]
        return list(self._keys(part.folder / "steps"))

    def calls(self, number: int, needs: Collection[str] | None = None) -> EpisodeCalls:
        """The policy calls of one episode, as a detector may see them.

        ``needs`` are what is read beyond steps and chunks, in the words of :class:`workbench.types.Scorer`; None for
        all that calls hold, and no observation.  Raises StoreError if the episode has no calls.
        """
        part, row = self._place[number]
        uid = self._columns["uid"][number]
        first, last = part.span("calls", row)
        if first == last:
            raise StoreError(f"episode {uid} of {self.path} holds no policy calls; no detector can be run on it")
        kept = set(self._keys(part.folder / "calls")) - {"seconds"}
        arrays = self._read_group(
            part, row, "calls", sorted(kept if needs is None else kept & {"step", "chunk", *needs})
        )
        return EpisodeCalls(
            uid=uid,
            split=split_of(int(self._columns["index"][number])),
            step=arrays["step"],
            chunk=arrays["chunk"],
            samples=arrays.get("samples"),
            embedding=arrays.get("embedding"),
            execute=int(self._columns["execute"][number]),
            instruction=str(self._columns["instruction"][number]),
            signals={key.removeprefix(SIGNALS): rows for key, rows in arrays.items() if key.startswith(SIGNALS)},
            observation=self._recently(part, row, arrays["step"], needs or ()),
        )

    def _recently(self, part: _Part, row: int, called: Array, needs: Collection[str]) -> dict[str, Array]:
        """What the robot saw at the last control steps before every call, of those keys that are needed and kept."""
        wanted = [f"obs/{need.removeprefix(OBSERVATION)}" for need in needs if need.startswith(OBSERVATION)]
        kept = self._keys(part.folder / "steps")
        steps = self._read_group(part, row, "steps", [key for key in wanted if key in kept])
        at = np.maximum(called[:, None] + np.arange(1 - RECENT, 1), 0)
        return {key.removeprefix("obs/"): rows[np.minimum(at, len(rows) - 1)] for key, rows in steps.items()}

    def truth(self, number: int) -> EpisodeTruth:
        """What the simulator knows of one episode, with the labels of today."""
        row = {name: self._columns[name][number] for name in EPISODE_COLUMNS}
        episode = self.episode(number, steps=("stage",), calls=("step",))
        called, stage = episode.calls["step"], episode.steps["stage"]
        return EpisodeTruth(
            uid=str(row["uid"]),
            success=bool(row["success"]),
            family="+".join(sorted({record["channel"] for record in json.loads(row["perturbations"])})),
            perturbation=str(row["perturbation"]),
            length=int(row["length"]),
            deadline=self.header.deadline,
            t_on=int(row["t_on"]),
            t_pnr=int(row["t_pnr"]),
            # A row's stage is that after its action, so a call's is that of the row before.
            stage=np.where(called > 0, stage[np.maximum(called - 1, 0)], 0),
            values=np.array(json.loads(row["values"]), dtype=np.int64).reshape(-1, 3),
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

    def digest(self, labels: bool = True) -> str:
        """Digest of all episodes, their content and, unless they play no part, their labels, for caches.

        Neither parts nor chunks nor ``calls/seconds`` (wall-clock time) play a part: the same run by more workers has
        the same digest.
        """
        header = [self.header.task, self.header.control_hz, self.header.deadline]
        columns = {name: self._columns[name].tolist() for name in (*EPISODE_COLUMNS, "content")}
        columns = {name: values for name, values in columns.items() if labels or name not in LABELS}
        return hashlib.sha256(json.dumps([header, columns], sort_keys=True).encode()).hexdigest()

    def _load(self) -> None:
        """Read all columns, again if somebody annotates meanwhile."""
        while True:
            journal = _attributes(self.path / "parts")
            parts = [_Part(folder) for folder in _parts(self.path)]
            if _attributes(self.path / "parts")["revision"] == journal["revision"]:
                break
        columns = {
            name: np.concatenate([_column(name, []), *(part.columns[name] for part in parts)]) for name in _COLUMNS
        }
        place = [(part, row) for part in parts for row in range(len(part.columns["uid"]))]
        lost = columns["outcome"] == ABORTED
        first: dict[str, int] = {}
        for at in (*np.flatnonzero(~lost), *np.flatnonzero(lost)):
            first.setdefault(columns["uid"][at], int(at))
        self.aborted = sum(bool(lost[at]) for at in first.values())
        keys = [lost, *(columns[name] for name in ("index", "perturbation", "uid"))]
        order = sorted(first.values(), key=lambda at: tuple(key[at] for key in keys))
        order = order if self._with_aborted else order[: len(order) - self.aborted]
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
        if uid not in self._number or self._columns["outcome"][self._number[uid]] == ABORTED:
            raise StoreError(f"{self.path} holds no episode {uid!r} that can be labelled; see Store.uids")
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
        return self._array(folder).read(first, last, self._chunk)


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
        record = {name: _checked(name, episode.record[name]) for name in EPISODE_COLUMNS}
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
        if not file.exists():  # zarr would read a missing chunk as zeros
            raise _damaged(file, "it is missing")
        try:
            rows: Array = self._zarr[first : min(first + self.chunk_rows, self.rows)]
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise _damaged(file, str(error)) from error
        return rows.astype(object) if self.dtype == "string" else rows

    def read(self, first: int, last: int, chunk: Callable[[_StoredArray, int], Array] | None = None) -> Array:
        """Rows ``first`` up to ``last``, as a copy; ``chunk`` may stand in for :meth:`chunk` and remember."""
        if last > self.rows:
            raise _damaged(self.folder / "zarr.json", f"{last} rows are committed and only {self.rows} are left")
        size = self.chunk_rows
        get = chunk or _StoredArray.chunk
        pieces = [
            get(self, k)[max(first - k * size, 0) : last - k * size] for k in range(first // size, -(-last // size))
        ]
        empty = np.zeros((0, *self.trailing), dtype=object if self.dtype == "string" else self.dtype)
        return np.concatenate(pieces) if pieces else empty

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
        _write_file(self.folder / "zarr.json", json.dumps(self._metadata).encode())
        self.rows = rows

    def _file(self, number: int) -> Path:
        return self.folder / ".".join(["c", str(number), *("0" for _ in self.trailing)])

    @functools.cached_property
    def _zarr(self) -> Any:
        import zarr

        return zarr.open_array(self.folder, mode="r")


def _create_store(path: Path, header: StoreHeader) -> None:
    """Make an empty store beside its place and rename it there; whoever is first wins."""
    with _built_beside(path, path) as folder:
        _write_group(folder, dataclasses.asdict(header))
        _write_group(folder / "parts", {"revision": 0, "pending": {}})


def _create_part(path: Path, folder: Path) -> None:
    with _built_beside(path, folder) as new:
        _write_group(new, {})
        for group in ("steps", "calls", "memory"):
            _write_group(new / group, {})
        _write_group(new / "episodes", {"rows": 0, "writer_pid": os.getpid()})
        _create_array(new, "memory/values", "float64", ())
        for name in _COLUMNS:
            _create_array(new, f"episodes/{name}", _column_dtype(name), ())


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


def _create_array(part: Path, name: str, dtype: str, trailing: tuple[int, ...]) -> None:
    """Make an empty array, and the groups that its name asks for."""
    folder = part / name
    for parent in reversed(folder.relative_to(part).parents[:-1]):
        if not (part / parent / "zarr.json").exists():
            _write_group(part / parent, {})
    folder.mkdir(exist_ok=True)
    row_bytes = int(np.prod(trailing, dtype=np.int64)) * (1 if dtype == "string" else np.dtype(dtype).itemsize)
    chunk_rows = max(1, min(_CHUNK_ROWS[name.partition("/")[0]], _CHUNK_BYTES // row_bytes))
    _write_file(folder / "zarr.json", _array_metadata(dtype, trailing, chunk_rows))


@functools.cache
def _array_metadata(dtype: str, trailing: tuple[int, ...], chunk_rows: int) -> bytes:
    """Metadata of an empty array, as zarr writes them."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec
    from zarr.storage import MemoryStore

    if dtype == "string":
        blosc = BloscCodec(typesize=1, cname="zstd", clevel=1, shuffle="noshuffle")
    else:
        blosc = BloscCodec(typesize=np.dtype(dtype).itemsize, cname="zstd", clevel=1, shuffle="shuffle")
    written: dict[str, Any] = {}
    zarr.create_array(
        MemoryStore(written),
        shape=(0, *trailing),
        chunks=(chunk_rows, *trailing),
        dtype=dtype,
        compressors=[blosc, Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},  # one flat folder an array
    )
    metadata: bytes = written["zarr.json"].to_bytes()
    return metadata


def _encode(values: Array, rows: int) -> bytes:
    """One chunk: rows padded to the chunk's size, vlen-utf8 for strings, blosc, crc32c."""
    import google_crc32c
    import numcodecs  # type: ignore[import-untyped]

    padded = np.full((rows, *values.shape[1:]), "" if values.dtype == object else 0, dtype=values.dtype)
    padded[: len(values)] = values
    if values.dtype == object:
        packed = numcodecs.blosc.compress(numcodecs.VLenUTF8().encode(padded), b"zstd", 1, numcodecs.blosc.NOSHUFFLE)
    else:
        packed = numcodecs.blosc.compress(padded, b"zstd", 1, numcodecs.blosc.SHUFFLE)
    return bytes(packed) + int(google_crc32c.value(packed)).to_bytes(4, "little")


def _write_group(folder: Path, attributes: Record) -> None:
    try:
        text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{folder}: these attributes are no plain data and cannot be stored ({error})") from error
    folder.mkdir(exist_ok=True)
    _write_file(folder / "zarr.json", text.encode())


def _write_file(file: Path, content: bytes) -> None:
    """Put a whole file in place: whoever is killed when, it holds its old bytes or its new ones."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _read_json(file: Path) -> Record:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(content, dict):
        raise _damaged(file, "it holds no JSON object")
    return content


def _attributes(folder: Path) -> Record:
    attributes = _read_json(folder / "zarr.json").get("attributes")
    if not isinstance(attributes, dict):
        raise _damaged(folder / "zarr.json", "it has no attributes")
    return attributes


def _read_header(path: Path) -> StoreHeader:
    if not path.exists():
        raise StoreError(f"there is no store at {path}; make one with `workbench rollout` or `workbench collect`")
    if not (path / "zarr.json").is_file():
        raise StoreError(f"{path} exists and is no store; choose another name or move it away")
    attributes = _attributes(path)
    if "schema" not in attributes or "task" not in attributes:
        raise StoreError(f"{path} is a zarr group but no store of this workbench; choose another name")
    if attributes["schema"] != SCHEMA:
        raise StoreError(
            f"{path} has schema {attributes['schema']}, this version knows {SCHEMA}; use the one that made it"
        )
    try:
        return StoreHeader(**attributes)
    except TypeError as error:
        raise _damaged(path / "zarr.json", str(error)) from error


def _refuse_other(path: Path, found: StoreHeader, asked: StoreHeader) -> None:
    for name in ("schema", "task", "control_hz", "deadline"):
        have, want = getattr(found, name), getattr(asked, name)
        if have != want:
            raise StoreError(f"{path} was made with {name} {have!r}, not {want!r}; write to another store")


def _damaged(file: Path, why: str) -> StoreError:
    return StoreError(f"{file} is damaged: {why}")


def _parts(path: Path) -> list[Path]:
    return sorted(folder for folder in (path / "parts").iterdir() if folder.is_dir())


def _committed_rows(part: Path) -> int:
    rows = _attributes(part / "episodes").get("rows")
    if not isinstance(rows, int):
        raise _damaged(part / "episodes" / "zarr.json", "it has no attribute 'rows'")
    return rows


def _uids(part: Path) -> dict[int, str]:
    """Row -> uid of a part's committed episodes, but for aborted ones."""
    rows = _committed_rows(part)
    uids, outcomes = (_StoredArray(part / "episodes" / name).read(0, rows) for name in ("uid", "outcome"))
    return {row: str(uids[row]) for row in range(rows) if outcomes[row] != ABORTED}


def _end(part: Path, column: str, rows: int) -> int:
    """Where the last committed episode of a part ends in a group."""
    return int(_StoredArray(part / "episodes" / column).read(rows - 1, rows)[0]) if rows else 0


def _keys(group: Path) -> list[str]:
    """Names of all arrays of a group, nested ones with slashes."""
    keys = []
    for place, _, files in os.walk(group):
        folder = Path(place)
        if "zarr.json" not in files:
            raise _damaged(folder / "zarr.json", "it is missing")
        if _read_json(folder / "zarr.json").get("node_type") == "array":
            keys.append(folder.relative_to(group).as_posix())
    return sorted(keys)


def _remove_arrays(group: Path) -> None:
    for child in group.iterdir():
        if child.is_dir():
            shutil.rmtree(child)


def _rows_of(part: Path, labels: Mapping[str, object]) -> dict[int, str]:
    """Row -> uid of those episodes of a part that have new labels."""
    return {row: uid for row, uid in _uids(part).items() if uid in labels}


def _rewrite_labels(part: Path, rows: Mapping[int, str], labels: Mapping[str, Record]) -> None:
    """Write new labels into a part's columns; doing it twice changes nothing."""
    for column in LABELS:
        new = {row: labels[uid][column] for row, uid in rows.items() if column in labels[uid]}
        if new:
            array = _StoredArray(part / "episodes" / column)
            values = array.read(0, _committed_rows(part))
            values[list(new)] = _column(column, list(new.values()))
            array.overwrite(values)


def _column_dtype(name: str) -> str:
    return {str: "string", int: "int64", bool: "bool", float: "float64"}[_COLUMNS[name]]


def _column(name: str, values: list[Any]) -> Array:
    dtype = _column_dtype(name)
    return np.array(values, dtype=object if dtype == "string" else dtype)


def _frozen(values: Array) -> Array:
    values.flags.writeable = False
    return values


def _checked(column: str, value: Any) -> Any:
    """Value of a column as the builtin that it is; numpy's scalars are taken, other types refused."""
    kind = EPISODE_COLUMNS[column]
    plain: Any = value.item() if isinstance(value, np.generic) else value
    fits = type(plain) is kind
    if fits and kind is int:
        fits = -(2**63) <= plain < 2**63
    elif fits and kind is float:
        fits = bool(np.isfinite(plain))
    elif fits and kind is str:
        fits = plain.encode(errors="ignore").decode() == plain  # a lone surrogate has no UTF-8
    if not fits:
        raise StoreError(f"column {column!r} takes {kind.__name__}, not {value!r}")
    return plain


def _copied(name: str, rows: Array) -> Array:
    """A copy in native order and C layout."""
    if not _KEY.fullmatch(name):
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


_HELD: weakref.WeakSet[io.FileIO] = weakref.WeakSet()


def _close_inherited_locks() -> None:
    for lock in list(_HELD):
        lock.close()


os.register_at_fork(after_in_child=_close_inherited_locks)  # else a forked child keeps a dead writer's part locked


def _lock(folder: Path) -> io.FileIO:
    """Exclusive lock on a folder's never rewritten zarr.json; the kernel frees it when its process dies."""
    file = io.FileIO(folder / "zarr.json", "r+")
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                file.close()
                raise StoreError(
                    f"{folder} is in use by {_holder(folder)}; wait for it or write another part"
                ) from None
            time.sleep(0.02)
        else:
            _HELD.add(file)
            return file


def _holder(folder: Path) -> str:
    if not (folder / "episodes").is_dir():
        return "a process that annotates it"
    return f"the writer with process id {_attributes(folder / 'episodes').get('writer_pid')}"


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what the operating system refuses into one clear line."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = f"the disk is full ({error.strerror}); free some space and run it again" if full else str(error)
        raise StoreError(f"{what}: {reason}") from error
