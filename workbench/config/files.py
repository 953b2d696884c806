"""Files and folders that are written whole or not at all, and digests of what stands in them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import glob
import hashlib
import itertools
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def digest(value: Any, length: int = 12) -> str:
    """Short content digest of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:length]


def root_folder() -> Path:
    """Folder below which ``runs/`` and ``datasets/`` lie: the environment's WORKBENCH_ROOT, or the current one."""
    return Path(os.environ.get("WORKBENCH_ROOT") or Path.cwd()).absolute()


def shown(path: Path) -> str:
    """A path as people read it: relative to the root folder where it lies below."""
    root = root_folder()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all; halves of characters, which no file can hold, by their numbers."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    with replacing(path) as new:
        new.write_bytes(content)


@contextlib.contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """A path beside a file or folder, at which its successor is built; it takes the place once the block has ended.

    Whatever ends the process, the place holds all of the old or all of the new.  After an exception it holds the old.
    """
    with building(place) as new:
        yield new
        put(new, place)


@contextlib.contextmanager
def building(place: Path) -> Iterator[Path]:
    """A path beside a place, at which a file or folder is built; what is left at it is removed in the end.

    What processes of this host that were ended left beside the place is removed first.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _take_up(place)
    new = place.with_name(f".{place.name}.{_HOST}.{os.getpid()}-{next(_NUMBERS)}{UNFINISHED}")
    try:
        yield new
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(new)):
            error.filename = str(place)  # what people know of
        raise
    finally:
        remove(new)


def put(new: Path, place: Path) -> None:
    """Rename what is whole into its place; a folder that it takes the place of stands at ``new`` afterwards."""
    if not (new.is_dir() and place.is_dir()):
        new.replace(place)
    elif not _exchanged(new, place):
        old = _set_by(place)
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        remove(old)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


UNFINISHED = ".unfinished"
"""End of the name of what is being built."""
_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32]
_NUMBERS = itertools.count()
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _set_by(place: Path) -> Path:
    return place.with_name(f".{place.name}.replaced")


def _take_up(place: Path) -> None:
    """Put back what was set by in the middle of an exchange, and remove what ended processes were building."""
    if (old := _set_by(place)).exists():
        remove(old) if place.exists() else old.rename(place)
    for left in place.parent.glob(f".{glob.escape(place.name)}.{_HOST}.*{UNFINISHED}"):
        number = left.name.removesuffix(UNFINISHED).rpartition(".")[2].partition("-")[0]
        if number.isdigit() and not _runs(int(number)):
            remove(left)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two paths at once; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = os.fsencode(one), os.fsencode(other)
    return rename is not None and rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process has the lock of a folder, and hold it; whoever dies gives it back."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def data_path(store: str | Path) -> Path:
    """Path of a store: itself, or for a plain name ``datasets/<name>.zarr`` below the root folder."""
    if isinstance(store, Path) or "/" in store or store.endswith(".zarr"):
        return Path(store)
    return root_folder() / "datasets" / f"{store}.zarr"
