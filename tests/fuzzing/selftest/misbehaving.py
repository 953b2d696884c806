"""A subject that does all that is forbidden, each thing about as often: what the runner must notice."""

from __future__ import annotations

import ctypes
import os
import pickle  # noqa: TID251
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import ConfigError, WorkbenchError

ELSEWHERE = Path("/tmp")


def prepare(folder: Path) -> Path:
    return folder


def attempt(prepared: Path, random: np.random.Generator, folder: Path) -> None:
    KINDS[which(random)](prepared, folder)


def which(random: np.random.Generator) -> str:
    """Name of what an attempt does."""
    return list(KINDS)[int(random.integers(len(KINDS)))]


def _write(prepared: Path, folder: Path) -> None:
    (folder / "inside").mkdir()
    (folder / "inside" / "file").write_text("allowed")


def _refuse(prepared: Path, folder: Path) -> None:
    raise WorkbenchError("no")


def _raise(prepared: Path, folder: Path) -> None:
    raise KeyError("no")


def _exit(prepared: Path, folder: Path) -> None:
    raise SystemExit(0)


def _deep(prepared: Path, folder: Path) -> None:
    _deep(prepared, folder)


def _ask(prepared: Path, folder: Path) -> None:
    try:
        np.zeros(2**40)
    except MemoryError:
        raise ConfigError("too large") from None


def _say(text: str) -> Any:
    def said(prepared: Path, folder: Path) -> None:
        error = WorkbenchError()
        error.args = (text,)  # past the bound of messages
        raise error

    return said


def _unpickle(prepared: Path, folder: Path) -> None:
    pickle.loads(b"cbuiltins\nlen\n.")


def _connect(prepared: Path, folder: Path) -> None:
    with socket.socket() as one:
        one.settimeout(0.1)
        one.connect_ex(("127.0.0.1", 9))


def _open_elsewhere(prepared: Path, folder: Path) -> None:
    with open(prepared / "file", "w"):
        pass


def _climb(prepared: Path, folder: Path) -> None:
    (folder / ".." / "climbed").mkdir(exist_ok=True)


def _rename(prepared: Path, folder: Path) -> None:
    (folder / "moved").touch()
    os.rename(folder / "moved", prepared / "moved")


def _remove(prepared: Path, folder: Path) -> None:
    (prepared / "file").unlink(missing_ok=True)


KINDS: dict[str, Any] = {
    "returned": lambda *_: None,
    "returned: writes inside": _write,
    "refused": _refuse,
    "traceback": _raise,
    "traceback: leaves": _exit,
    "traceback: recursion": _deep,
    "hang: sleeps": lambda *_: time.sleep(600),
    "hang: in C": lambda *_: 3 ** (3**20),
    "memory: held": lambda *_: np.ones(1_150_000_000, np.uint8),
    "memory: asked for": _ask,
    "died": lambda *_: os._exit(0),
    "died: signal": lambda *_: signal.raise_signal(signal.SIGSEGV),
    "words: lines": _say("one\ntwo"),
    "words: unprintable": _say("\ud800"),
    "words: long": _say("x" * 10_000),
    "files: open": _open_elsewhere,
    "files: above": _climb,
    "files: rename": _rename,
    "files: remove": _remove,
    "code: os.system": lambda *_: os.system("true"),
    "code: subprocess": lambda *_: subprocess.run(["true"], check=False),
    "code: pickle": _unpickle,
    "code: exec": lambda *_: exec("1"),
    "code: eval": lambda *_: eval("1"),
    "code: socket": _connect,
    "code: ctypes": lambda *_: ctypes.CDLL(None),
}
"""What it does, named by how it must be counted."""
