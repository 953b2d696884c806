"""Errors for people: what was asked, what is allowed, what to do.

Every error that a person can cause inherits :class:`WorkbenchError`, so the command line prints its message as one
line and exits non-zero; a traceback is left for our own mistakes.  Named errors also inherit the builtin they are.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

MOST_LETTERS = 2000
"""Of a message: what it repeats of an input may be as long as that input."""


class WorkbenchError(Exception):
    """Something that a person asked for cannot be done; the message says why and what to do.

    It is one line that can be printed, whatever it repeats of an input; one that is longer than :data:`MOST_LETTERS` is
    cut in its middle.
    """

    def __init__(self, *said: Any) -> None:
        super().__init__(*(_line(each) if isinstance(each, str) else each for each in said))

    def __reduce__(self) -> tuple[Any, ...]:
        """By its message, not by its constructor's arguments, so that it also reaches us from a worker process."""
        return _again, (type(self), self.args, self.__dict__)


def _line(message: str) -> str:
    if not message.isprintable():
        message = re.sub(r"\s*[\r\n]\s*", " ", message)
        message = re.sub(r"[^ ]", lambda found: found[0] if found[0].isprintable() else _written_out(found[0]), message)
    end = MOST_LETTERS // 4
    return message if len(message) <= MOST_LETTERS else f"{message[: MOST_LETTERS - end - 5]} ... {message[-end:]}"


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _again(kind: type[WorkbenchError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> WorkbenchError:
    error = kind.__new__(kind)
    error.args, error.__dict__ = arguments, attributes
    return error


class ConfigError(WorkbenchError, ValueError):
    """A configuration value is unknown, of the wrong type or out of its bounds."""


LONGEST = 80
"""Characters of a name that an error repeats."""


class UnknownNameError(ConfigError, KeyError):
    """A name that does not exist was asked for."""

    def __init__(self, what: str, asked: str, known: Iterable[str]) -> None:
        names = sorted(known)
        asked = asked if len(asked) <= LONGEST else f"{asked[:LONGEST]} ..."
        near = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {what} {asked!r}.{hint} Known: {', '.join(names) or 'none'}.")

    def __str__(self) -> str:
        """The message itself; ``KeyError`` would print its repr."""
        return str(self.args[0])


class StoreError(WorkbenchError, OSError):
    """A store is missing, damaged, of another schema, or would be overwritten."""


class OtherSettingsError(StoreError, ConfigError):
    """What is to be added to, or taken for done, was made with other settings."""


class CheckpointError(WorkbenchError, ValueError):
    """A checkpoint is missing, damaged, or belongs to another task or observation layout."""


class SnapshotError(WorkbenchError, ValueError):
    """A snapshot belongs to another task, model or version."""


class ActionError(WorkbenchError, ValueError):
    """An action has the wrong shape, holds NaN, or is out of range where that is not allowed."""


class ObservationError(WorkbenchError, ValueError):
    """An observation holds NaN or infinity."""


class DivergedError(WorkbenchError, ArithmeticError):
    """The physics diverged.

    Attributes
    ----------
    applied : (A,) the action that was being executed.
    """

    def __init__(self, message: str, applied: Any) -> None:
        super().__init__(message)
        self.applied = applied


class RenderError(WorkbenchError, RuntimeError):
    """Images were asked for where there is no GL library to draw them with."""


class WireError(WorkbenchError, ValueError):
    """Bytes to or from a server are not what the protocol says."""


class PolicyServerError(WorkbenchError, ConnectionError):
    """A policy behind a server cannot be asked: it is gone, too slow, or does not answer what the protocol says."""


class WorkerError(WorkbenchError, RuntimeError):
    """A worker process was ended, cannot start, or has no memory."""


class ScoreError(WorkbenchError, ValueError):
    """A score is not finite, or lacks the policy output that it needs."""


class CalibrationError(WorkbenchError, ValueError):
    """A threshold cannot be computed with the guarantee that its calibrator states."""


class SplitError(CalibrationError):
    """Episodes of one split were used where only another split is allowed."""


class ContractError(WorkbenchError, AssertionError):
    """A part breaks a law of its contract; the message says which, and what is probably the cause."""
