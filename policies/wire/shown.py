"""What the other side said, as it is shown to people: one line of bounded length, in letters that can be printed."""

from __future__ import annotations

import reprlib
from typing import Any

LETTERS = 300
"""How many letters of what the other side says are shown."""
_TAIL = 16 * LETTERS
"""How much of a traceback's end is looked at."""


class _Bounded(reprlib.Repr):
    """Python's short form, longer, and for bytes and arrays too: theirs is made whole before it is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, 80, 80
        self.maxdict = self.maxlist = self.maxtuple = 24

    def repr_bytes(self, value: bytes, level: int) -> str:
        """As of text."""
        return repr(value) if len(value) <= self.maxstring else f"{value[: self.maxstring]!r}..."

    def repr_ndarray(self, value: Any, level: int) -> str:
        """The array where it is short, else its type and shape."""
        if value.size <= 32 and value.dtype.kind in "biuf":
            return repr(value)
        return f"array of {value.dtype} {list(value.shape)}"


_BOUNDED = _Bounded()


def shown(value: Any) -> str:
    """A value as Python writes it, in one line of bounded length."""
    return shortened(_BOUNDED.repr(value))


def shortened(value: Any) -> str:
    """What was said, in one line of bounded length; text as it is, anything else as Python writes it."""
    said = value[: 4 * LETTERS] if isinstance(value, str) else _BOUNDED.repr(value)
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(said.split()))
    longer = len(line) > LETTERS or (isinstance(value, str) and len(value) > len(said))
    return f"{line[:LETTERS]}..." if longer else line


def last_line(text: str) -> str:
    """The last line of a traceback that says anything."""
    lines = [line for line in text[-_TAIL:].splitlines() if line.strip()]
    return shortened(lines[-1].strip() if lines else "it does not say why")
