"""The layout on disk: groups, names and the files that they are made of, and who may write.

::

    <name>.zarr/zarr.json                attributes: the StoreHeader; never rewritten
    <name>.zarr/parts/zarr.json          attributes: the Manifest: labels on their way into the columns, known parts
    <name>.zarr/parts/<part>/zarr.json   locked (flock) by the part's writer; never rewritten
        steps/<key>       (rows, ...)    one row a control step, all episodes end to end
        calls/<key>       (rows, ...)    one row a policy call
        memory/values     (values,)      every episode's (T, M) memory, flat
        episodes/<column> (rows,)        one row an episode; attributes: the Commit: how many count, and their seals
    <name>.zarr/tables/<table>/          what was computed from the episodes; see ``tables``

How it stays whole.  Every file is written beside its place and renamed into it, so it holds old bytes or new ones.  A
part's only truth is the commit in the attributes of ``episodes/``: all arrays are written first (the last chunk of each
is replaced by one that repeats its committed rows) and then, by one rename, the commit.  Rows beyond are an unfinished
tail: readers ignore it, the next writer drops it.  Labels are changed through ``pending``: once it is written they
count, and readers lay it over the columns until these are rewritten.  All this holds for killed processes and full
disks; against a power cut it is as good as the file system, since nothing is fsynced.

How damage is noticed.  A commit names every array of its part with a checksum of the committed rows of every chunk, so
that an array that is gone, and a chunk that is another one's, are seen when they are read.  The manifest names the
parts and how many episodes each had when its writer closed it.  Header, manifest and commits have a digest of their
own.  Stores of schema 4 have none of this, and are read, continued and labelled as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from workbench.errors import StoreError
from workbench.types import COLUMNS, LABELS, Column, Record
from workbench.types.episode import UID, WORD
from workbench.types.reading import (
    Among,
    Between,
    Like,
    Size,
    Source,
    brief,
    checked,
    parsed,
    read_bytes,
    shown,
)

SCHEMA = 5
SEALED = 5
"""First schema whose files say how they can be damaged unseen; see above."""
READABLE = (4, 5)
LARGEST_JSON = 2**26
"""Bytes of the largest zarr.json: a commit of a million chunks has fewer."""
LOCK_WAIT_S = 2.0
"""How long to wait for a part that another process holds: annotating takes less, a writer more."""
OWN_COLUMNS = (
    Column("step_end", int, "one past the episode's last row of steps/", least=0, most=2**40),
    Column("call_end", int, "one past its last row of calls/", least=0, most=2**40),
    Column("memory_end", int, "one past its last value of memory/values", least=0, most=2**40),
    Column("content", str, "digest of the episode's steps, calls (without seconds) and memory"),
)
"""What the store adds to the columns of an episode."""
STORED_COLUMNS: Mapping[str, Column] = {column.name: column for column in (*COLUMNS, *OWN_COLUMNS)}
"""The columns of ``episodes/``, by name."""
ENDS = {"steps": "step_end", "calls": "call_end", "memory": "memory_end"}
"""Group -> column that says where an episode ends in it."""
PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""What can name a part."""
KEY = re.compile(rf"{PART.pattern}(/{PART.pattern})*")
"""What can name an array."""
LONGEST_TEXT = 2**20
"""Letters of the longest word or JSON in a column."""
_PartName = Annotated[str, Size(1, 200), Like(PART.pattern, "letters, digits and '_.-', no dot first")]
_Key = Annotated[str, Size(1, 1000), Like(KEY.pattern, "letters, digits and '_.-', and '/' between groups")]
_Label = Annotated[str, Among(LABELS)]


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

    task: WORD
    control_hz: Annotated[float, Between(1e-6, 1e6)]
    deadline: Annotated[int, Between(1, 2**31)]
    config: dict[str, Any]
    versions: Annotated[dict[str, str], Size(0, 1000)]
    seed: Annotated[int, Between(0, 2**63 - 1)]
    licence: Annotated[str, Size(0, 1000)] = "CC-BY-4.0"
    schema: int = SCHEMA

    @property
    def sealed(self) -> bool:
        """Whether the store's files say how they can be damaged unseen."""
        return self.schema >= SEALED


Whole = Annotated[int, Between(0, 2**40)]


@dataclasses.dataclass(frozen=True)
class Seal:
    """What a commit says of one array.

    Attributes
    ----------
    dtype, trailing, chunk_rows : what its metadata describe.
    rows : that count.
    chunks : CRC-32C of the bytes of the rows that count, chunk by chunk.
    """

    dtype: str
    trailing: Annotated[tuple[Whole, ...], Size(0, 8)]
    chunk_rows: Annotated[int, Between(1, 2**40)]
    rows: Whole
    chunks: Annotated[tuple[Whole, ...], Size(0, 2**22)]


@dataclasses.dataclass(frozen=True)
class Commit:
    """How many episodes of a part count, and the arrays that they are made of; the one truth of a part.

    Attributes
    ----------
    arrays : name, group included -> its seal; None in stores of schema 4.
    """

    rows: Annotated[int, Between(0, 2**31)]
    writer_pid: int
    arrays: Annotated[dict[_Key, Seal], Size(0, 100_000)] | None = None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is written down for all parts of a store.

    Attributes
    ----------
    revision : counts annotations.
    pending : uid -> column -> label that counts but may not be in its column yet; normally empty.
    sealed : part -> column -> checksums of its chunks once the pending labels are in it.
    parts : name of every part -> episodes that it had when its writer last closed it.
    """

    revision: Annotated[int, Between(0, 2**53)] = 0
    pending: dict[UID, dict[_Label, Any]] = dataclasses.field(default_factory=dict)
    sealed: dict[_PartName, dict[_Label, list[int]]] = dataclasses.field(default_factory=dict)
    parts: dict[_PartName, Whole] = dataclasses.field(default_factory=dict)


def read_header(path: Path) -> StoreHeader:
    """The header of a store; StoreError if there is none, or one of another schema."""
    if not path.exists():
        raise StoreError(f"there is no store at {path}; make one with `workbench rollout` or `workbench collect`")
    if not (path / "zarr.json").is_file():
        raise StoreError(f"{path} exists and is no store; choose another name or move it away")
    attributes = attributes_of(path)
    if "schema" not in attributes or "task" not in attributes:
        raise StoreError(f"{path} is a zarr group but no store of this workbench; choose another name")
    schema = attributes["schema"]
    if type(schema) is not int or schema not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise StoreError(f"{path} has schema {shown(schema)}, this version knows {known}; use the one that made it")
    if schema >= SEALED:
        attributes = unsealed(path, attributes)
    header: StoreHeader = checked(StoreHeader, attributes, source_of(path / "zarr.json"))
    return header


def write_header(path: Path, header: StoreHeader) -> None:
    """Put the header of a new store in place; StoreError if none can be like it."""
    source = Source("the header of a new store", StoreError)
    try:
        # Through JSON once, so that what is sealed is what comes back.
        plain = parsed(json.dumps(dataclasses.asdict(header)), source)
    except (TypeError, ValueError, RecursionError) as error:
        raise source.wrong(f"is no plain data and cannot be stored ({error})") from error
    checked(StoreHeader, plain, source)
    write_group(path, plain, header.sealed)


def refuse_other(path: Path, found: StoreHeader, asked: StoreHeader) -> None:
    """Refuse to put episodes into a store that holds others."""
    if asked.schema not in READABLE:
        raise StoreError(f"{path} was made with schema {found.schema}, not {asked.schema}; write to another store")
    for name in ("task", "control_hz", "deadline"):
        have, want = getattr(found, name), getattr(asked, name)
        if have != want:
            raise StoreError(f"{path} was made with {name} {have!r}, not {want!r}; write to another store")


def read_manifest(path: Path, sealed: bool) -> Manifest:
    """The manifest of a store, whose pending labels are as strict as those that are written."""
    source = source_of(path / "parts" / "zarr.json")
    attributes = attributes_of(path / "parts")
    manifest: Manifest = checked(Manifest, unsealed(path / "parts", attributes) if sealed else attributes, source)
    for columns in manifest.pending.values():
        for column, value in columns.items():
            try:
                checked_value(column, value)
            except StoreError as error:
                raise source.wrong(f"holds a label that is none: {error}") from error
    return manifest


def write_manifest(path: Path, manifest: Manifest, sealed: bool) -> None:
    """Put the manifest of a store in place."""
    plain = dataclasses.asdict(manifest)
    if not sealed:
        plain = {key: plain[key] for key in ("revision", "pending")}
    write_group(path / "parts", plain, sealed)


def read_commit(part: Path, sealed: bool) -> Commit:
    """How many episodes of a part exist, and what they are made of."""
    source = source_of(part / "episodes" / "zarr.json")
    attributes = attributes_of(part / "episodes")
    commit: Commit = checked(Commit, unsealed(part / "episodes", attributes) if sealed else attributes, source)
    if sealed == (commit.arrays is None):
        raise source.wrong("lacks what it says of arrays" if sealed else "says of arrays what this schema does not")
    for name, seal in (commit.arrays or {}).items():
        if len(seal.chunks) != -(-seal.rows // seal.chunk_rows):
            raise source.wrong(f"says that {len(seal.chunks)} chunks hold {seal.rows} rows of {name}")
    return commit


def write_commit(part: Path, commit: Commit) -> None:
    """Make episodes count: one rename."""
    plain: Record = {"rows": commit.rows, "writer_pid": commit.writer_pid}
    if commit.arrays is not None:
        plain["arrays"] = {name: vars(seal) for name, seal in commit.arrays.items()}
    write_group(part / "episodes", plain, commit.arrays is not None)


def parts_of(path: Path) -> list[Path]:
    """Folders of a store's parts, in order."""
    return sorted(folder for folder in (path / "parts").iterdir() if folder.is_dir())


def refuse_missing(path: Path, known: Mapping[str, int]) -> None:
    """Refuse a store that lacks parts which it had."""
    for name, rows in known.items():
        if not (path / "parts" / name).is_dir():
            raise damaged(path / "parts" / name, f"the part is missing, and with it {rows} episodes")


def keys_of(group: Path) -> list[str]:
    """Names of all arrays below a group, as the disk has them; nested ones with slashes."""
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
    if column not in STORED_COLUMNS:
        raise StoreError(f"there is no column {column[:60]!r}")
    kind = STORED_COLUMNS[column].kind
    plain: Any = value.item() if isinstance(value, np.generic) else value
    fits = type(plain) is kind
    if fits and kind is str:
        fits = plain.encode(errors="ignore").decode() == plain  # a lone surrogate has no UTF-8
        fits = fits and len(plain) <= LONGEST_TEXT
    if not fits:
        raise StoreError(f"column {column!r} takes {kind.__name__}, not {shown(value)}")
    if why := STORED_COLUMNS[column].refused([plain]):
        raise StoreError(f"column {column!r} cannot hold {why}")
    return plain


def write_group(folder: Path, attributes: Record, sealed: bool = False) -> None:
    """Put a group with its attributes, plain data, in place; ``sealed`` adds their digest."""
    plain = {**attributes, "digest": _digest(attributes)} if sealed else attributes
    content = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": plain}).encode()
    if len(content) > LARGEST_JSON:
        raise StoreError(f"{folder}: attributes of {len(content)} bytes are too large; write to another part")
    folder.mkdir(exist_ok=True)
    write_file(folder / "zarr.json", content)


def _digest(attributes: Record) -> str:
    return hashlib.blake2b(json.dumps(attributes, sort_keys=True).encode(), digest_size=16).hexdigest()


def remove_partials(folder: Path, deep: bool = True) -> None:
    """Remove what killed processes were writing; whoever calls it holds the lock of those who write there.

    ``deep`` says whether below the folder, too.
    """
    for partial in (folder.rglob if deep else folder.glob)("*.partial"):
        partial.unlink(missing_ok=True)


def write_file(file: Path, content: bytes) -> None:
    """Put a whole file in place: whoever is killed when, it holds its old bytes or its new ones."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def source_of(file: Path) -> Source:
    """Of errors that say that a file is damaged."""
    return Source(f"{file} is damaged: it", StoreError)


def read_json(file: Path) -> Record:
    """A JSON object; StoreError if the file is damaged."""
    found = parsed(read_file(file, LARGEST_JSON), source_of(file))
    if not isinstance(found, dict):
        raise damaged(file, "it holds no JSON object")
    return found


def read_file(file: Path, largest: int) -> bytes:
    """Bytes of a plain file of at most ``largest`` bytes; StoreError if it is missing, or anything else."""
    return read_bytes(file, source_of(file), largest)


def attributes_of(folder: Path) -> Record:
    """Attributes of a group; StoreError if its file is damaged."""
    group = read_json(folder / "zarr.json")
    attributes = group.pop("attributes", None)
    if not isinstance(attributes, dict):
        raise damaged(folder / "zarr.json", "it has no attributes")
    if group != {"zarr_format": 3, "node_type": "group"}:
        raise damaged(folder / "zarr.json", "it is no group of Zarr format 3")
    return attributes


def unsealed(folder: Path, attributes: Record) -> Record:
    """Attributes without their digest, which must be theirs."""
    rest = {key: value for key, value in attributes.items() if key != "digest"}
    if attributes.get("digest") != _digest(rest):
        raise damaged(folder / "zarr.json", "its attributes are not those that were written")
    return rest


def damaged(file: Path, why: str) -> StoreError:
    """The error that names a damaged file."""
    return StoreError(f"{file} is damaged: {brief(why)}")


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


def take_lock(folder: Path, wait_s: float | None = None) -> io.FileIO:
    """Exclusive lock on a folder's never rewritten zarr.json; the kernel frees it when its process dies."""
    file = io.FileIO(folder / "zarr.json", "r+")
    end = time.monotonic() + (LOCK_WAIT_S if wait_s is None else wait_s)
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                file.close()
                raise InUseError(
                    f"{folder} is in use by {_holder(folder)}; wait for it or write another part"
                ) from None
            time.sleep(0.02)
        else:
            _HELD.add(file)
            return file


class InUseError(StoreError):
    """Somebody else is writing there."""


def _holder(folder: Path) -> str:
    if not (folder / "episodes").is_dir():
        return "a process that annotates it"
    return f"the writer with process id {attributes_of(folder / 'episodes').get('writer_pid')}"
