"""What an attempt of a fuzzer must not do, noticed by an audit hook: write elsewhere, run code, take memory."""

from __future__ import annotations

import contextlib
import inspect
import os
import resource
import site
import sys
import sysconfig
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    **dict.fromkeys(("os.chmod", "os.chown", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.utime"), slice(1)),
    **dict.fromkeys(("os.link", "os.rename"), slice(2)), "os.symlink": slice(1, 2), "shutil.rmtree": slice(1),
}  # fmt: skip
"""Audit events that change the file system, and which of their arguments are paths that change."""
ENTRIES = ("os.link", "os.remove", "os.rename", "os.symlink")
"""Of these, the ones that change a folder's entry: a link there is not followed."""
RUNS = (
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.kill",
    "pickle.find_class", "socket.connect", "socket.bind", "socket.sendto", "ctypes.dlopen", "ctypes.call_function",
    "webbrowser.open", "builtins.input", "os.chdir",
)  # fmt: skip
"""Audit events that mean that what was read has become code, or reaches out of the process."""
GB = 2**30


class Watch:
    """Of one process: notes what is done between :meth:`around`'s begin and end that should not be.

    An audit hook cannot be taken out again; beside attempts it does nothing.

    Parameters
    ----------
    trusted : folders whose files may be executed, beside Python's own and installed packages.
    """

    def __init__(self, trusted: Path) -> None:
        self._folder: str | None = None
        self._found: list[tuple[str, str]] = []
        places = {*sysconfig.get_paths().values(), *site.getsitepackages(), sys.prefix, sys.base_prefix}
        self._libraries = tuple(os.path.join(os.path.realpath(each), "") for each in (*places, trusted))
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def around(self, folder: Path) -> Iterator[list[tuple[str, str]]]:
        """Watch what is done meanwhile; yields (kind, what) of all that should not be, filled as it happens.

        Parameters
        ----------
        folder : below which files may be written.
        """
        self._found = []
        self._folder = os.path.realpath(folder)
        try:
            yield self._found
        finally:
            self._folder = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING:
                self._written(event, path)
        elif event in CHANGES:
            for path in arguments[CHANGES[event]]:
                self._written(event, path)
        elif event in RUNS and not (event == "ctypes.dlopen" and _importing()):  # torch loads its own libraries so
            self._found.append(("code", f"{event}{_short(arguments)}"))
        elif event == "exec":
            self._executed(getattr(arguments[0], "co_filename", "?"))

    def _written(self, event: str, path: Any) -> None:
        if isinstance(path, int) or self._folder is None:
            return
        path = os.fsdecode(path)
        if event in ENTRIES:
            place = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        else:
            place = os.path.realpath(path)
        if place != "/dev/null" and not f"{place}{os.sep}".startswith(f"{self._folder}{os.sep}"):
            self._found.append(("files", f"{event} {_short(place)}"))

    def _executed(self, file: str) -> None:
        """Code of a library, or made by one while it is imported (a dataclass, say), is none of the data's."""
        if file.startswith("<"):
            known = file.startswith("<frozen ") or _importing()
        else:
            known = _below(file, self._libraries, self._folder)
        if not known:
            self._found.append(("code", f"exec of {_short(file)}"))


def _below(file: str, libraries: tuple[str, ...], folder: str | None) -> bool:
    place = os.path.realpath(file)
    return place.startswith(libraries) and not place.startswith(f"{folder}{os.sep}")


def _importing() -> bool:
    """Whether a module is being imported, or an annotation of one evaluated."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename in ("<frozen importlib._bootstrap>", typing.__file__, inspect.__file__):
            return True
        frame = frame.f_back
    return False


def _short(value: Any) -> str:
    return repr(value)[:200]


def grown() -> int:
    """Most memory that this process has held so far, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise OSError("the fuzzers need Linux: they read /proc/self/status")


def cpu_s(process: int | None) -> float:
    """CPU seconds that a process has spent, all threads; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bound_memory(more: int) -> None:
    """Let requests for ``more`` bytes of address space than are taken now fail, before they take the machine down."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, resource.RLIM_INFINITY))
