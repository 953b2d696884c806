"""Standard streams that never end the work: closed, full, without a reader, or unable to show a letter."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from typing import Any

ERRORS = "workbench.nearest"
"""Name under which :func:`nearest` is known to codecs."""
NEAREST = {"–": "-", "—": "-", "·": "|", "▲": "^", "…": "..."}  # noqa: RUF001
"""What stands for our own signs where they cannot be shown."""


def nearest(error: UnicodeError) -> tuple[str, int]:
    """What stands for letters that a stream cannot show: the nearest sign of ours, or the letter's number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(NEAREST.get(one) or one.encode("unicode_escape").decode() for one in letters), error.end


class Sink(io.RawIOBase):
    """An open descriptor; once it cannot be written, what comes is dropped and the work goes on.

    A reader that left, as ``head`` does, wanted no more; of everything else one line on stderr tells.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lost = descriptor, False

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def write(self, content: bytes | memoryview, /) -> int:  # type: ignore[override]
        while not self._lost:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:  # somebody else made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._lost = True
                if self._descriptor == 1 and error.errno != errno.EPIPE:
                    print(f"workbench: what is printed from here on is lost ({error.strerror})", file=sys.stderr)
        return len(memoryview(content))


def keep_open() -> None:
    """Make the streams of this process safe to print on, and take the place of those that are closed.

    A file that is opened while a descriptor of a stream is free would get it, and everything that is printed.
    """
    codecs.register_error(ERRORS, nearest)
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _safe(sys.stdout, 1), _safe(sys.stderr, 2)


def _safe(stream: Any, descriptor: int) -> Any:
    """A text stream on a descriptor; one that is not on it, such as a test's, stays as it is."""
    if stream is not None:
        try:
            if stream.fileno() != descriptor:
                return stream
            stream.flush()
        except (OSError, ValueError):
            return stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(Sink(descriptor)), encoding, ERRORS, line_buffering=True)
