"""The layout on disk: groups, names and the files that they are made of, and who may write.

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
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import io
import json
import os
import re
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import StoreError
from workbench.types import COLUMNS, EPISODE_COLUMNS, Column, Record

SCHEMA = 4
LOCK_WAIT_S = 2.0
"""How long to wait for a part that another process holds: annotating takes less, a writer more."""
OWN_COLUMNS = (
    Column("step_end", int, "one past the episode's last row of steps/"),
    Column("call_end", int, "one past its last row of calls/"),
    Column("memory_end", int, "one past its last value of memory/values"),
    Column("content", str, "digest of the episode's steps, calls (without seconds) and memory"),
)
"""What the store adds to the columns of an episode."""
STORED_COLUMNS: Mapping[str, type] = {column.name: column.kind for column in (*COLUMNS, *OWN_COLUMNS)}
"""Column of ``episodes/`` -> type of its values."""
ENDS = {"steps": "step_end", "calls": "call_end", "memory": "memory_end"}
"""Group -> column that says where an episode ends in it."""
PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""What can name a part."""
KEY = re.compile(rf"{PART.pattern}(/{PART.pattern})*")
"""What can name an array."""


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


def read_header(path: Path) -> StoreHeader:
    """The header of a store; StoreError if there is none, or one of another schema."""
    if not path.exists():
        raise StoreError(f"there is no store at {path}; make one with `workbench rollout` or `workbench collect`")
    if not (path / "zarr.json").is_file():
        raise StoreError(f"{path} exists and is no store; choose another name or move it away")
    attributes = attributes_of(path)
    if "schema" not in attributes or "task" not in attributes:
        raise StoreError(f"{path} is a zarr group but no store of this workbench; choose another name")
    if attributes["schema"] != SCHEMA:
        raise StoreError(
            f"{path} has schema {attributes['schema']}, this version knows {SCHEMA}; use the one that made it"
        )
    try:
        return StoreHeader(**attributes)
    except TypeError as error:
        raise damaged(path / "zarr.json", str(error)) from error


def refuse_other(path: Path, found: StoreHeader, asked: StoreHeader) -> None:
    """Refuse to put episodes into a store that holds others."""
    for name in ("schema", "task", "control_hz", "deadline"):
        have, want = getattr(found, name), getattr(asked, name)
        if have != want:
            raise StoreError(f"{path} was made with {name} {have!r}, not {want!r}; write to another store")


def parts_of(path: Path) -> list[Path]:
    """Folders of a store's parts, in order."""
    return sorted(folder for folder in (path / "parts").iterdir() if folder.is_dir())


def committed_rows(part: Path) -> int:
    """How many episodes of a part exist."""
    rows = attributes_of(part / "episodes").get("rows")
    if not isinstance(rows, int):
        raise damaged(part / "episodes" / "zarr.json", "it has no attribute 'rows'")
    return rows


def keys_of(group: Path) -> list[str]:
    """Names of all arrays of a group, nested ones with slashes."""
    keys = []
    for place, _, files in os.walk(group):
        folder = Path(place)
        if "zarr.json" not in files:
            raise damaged(folder / "zarr.json", "it is missing")
        if read_json(folder / "zarr.json").get("node_type") == "array":
            keys.append(folder.relative_to(group).as_posix())
    return sorted(keys)


def checked_value(column: str, value: Any) -> Any:
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


def write_group(folder: Path, attributes: Record) -> None:
    """Put a group with its attributes in place."""
    try:
        text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{folder}: these attributes are no plain data and cannot be stored ({error})") from error
    folder.mkdir(exist_ok=True)
    write_file(folder / "zarr.json", text.encode())


def write_file(file: Path, content: bytes) -> None:
    """Put a whole file in place: whoever is killed when, it holds its old bytes or its new ones."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_json(file: Path) -> Record:
    """A JSON object; StoreError if the file is damaged."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(file, str(error)) from error
    if not isinstance(content, dict):
        raise damaged(file, "it holds no JSON object")
    return content


def attributes_of(folder: Path) -> Record:
    """Attributes of a group; StoreError if its file is damaged."""
    attributes = read_json(folder / "zarr.json").get("attributes")
    if not isinstance(attributes, dict):
        raise damaged(folder / "zarr.json", "it has no attributes")
    return attributes


def damaged(file: Path, why: str) -> StoreError:
    """The error that names a damaged file."""
    return StoreError(f"{file} is damaged: {why}")


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what the operating system refuses into one clear line."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = f"the disk is full ({error.strerror}); free some space and run it again" if full else str(error)
        raise StoreError(f"{what}: {reason}") from error


_HELD: weakref.WeakSet[io.FileIO] = weakref.WeakSet()


def _close_inherited_locks() -> None:
    for lock in list(_HELD):
        lock.close()


os.register_at_fork(after_in_child=_close_inherited_locks)  # else a forked child keeps a dead writer's part locked


def take_lock(folder: Path) -> io.FileIO:
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
    return f"the writer with process id {attributes_of(folder / 'episodes').get('writer_pid')}"
