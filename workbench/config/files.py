"""Files that are written whole or not at all, and digests of what stands in them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
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
    """Write a text file completely or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


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
