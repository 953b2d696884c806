"""Attempts of fuzzers in worker processes, which are watched, ended when they hang, and started again when they die.

A subject is a module ``tests/fuzzing/<subject>.py`` with two functions::

    def prepare(folder: Path) -> Any                                               # valid inputs, once a process
    def attempt(prepared: Any, random: np.random.Generator, folder: Path) -> None  # one mutated input, read

``attempt`` lets every exception through and may write below its ``folder`` alone, which is emptied after it.  It may
return or raise a WorkbenchError of one line; all else is a fault.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
import itertools
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing.watch import GB, Watch, bound_memory, grown
from workbench.errors import WorkbenchError

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FAULTS = ("traceback", "hang", "memory", "files", "code", "died", "words")
"""``words``: a refusal that is no line for people, such as one that cannot be printed or says all that was read."""
HANG_S = 10.0
MOST_GROWN = GB
MOST_ASKED = 3 * GB
MOST_WORDS = 2000
KEPT = 5
"""Faults of a subject that are shown."""
PREPARING_S = 1800.0


@dataclasses.dataclass
class Tally:
    """What came of a subject's attempts."""

    attempts: int = 0
    returned: int = 0
    refused: int = 0
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    shown: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def fault(self, kind: str, line: str) -> None:
        self.faults[kind] += 1
        if len(self.shown) < KEPT:
            self.shown.append(line)


@dataclasses.dataclass(frozen=True)
class Span:
    """Attempts of one subject that one process makes: their numbers from ``first`` up to before ``last``."""

    subject: str
    seed: int
    first: int
    last: int


def subjects() -> list[str]:
    """Modules of ``tests/fuzzing`` that make attempts."""
    return sorted(file.stem for file in HERE.glob("*.py") if "\ndef attempt(" in file.read_text(encoding="utf-8"))


def module_of(subject: str) -> Any:
    """The module of a subject: its name in ``tests/fuzzing``, or a dotted path."""
    return importlib.import_module(subject if "." in subject else f"tests.fuzzing.{subject}")


def random_of(subject: str, seed: int, number: int) -> np.random.Generator:
    """What decides one attempt, whoever makes it and whatever was tried before."""
    return np.random.default_rng([seed, zlib.crc32(subject.encode()), number])


def repeat(subject: str, seed: int, number: int) -> None:
    """Make one attempt here, and let its exception through."""
    module = module_of(subject)
    with tempfile.TemporaryDirectory() as folder:
        prepared, place = _prepared(module, Path(folder))
        module.attempt(prepared, random_of(subject, seed, number), place)


def run(names: Sequence[str], attempts: int, seed: int, workers: int = 2, hang_s: float = HANG_S) -> dict[str, Tally]:
    """Make as many attempts of each subject; returns subject -> what came of them."""
    context = multiprocessing.get_context("spawn")
    cuts = np.linspace(0, attempts, workers + 1).astype(int).tolist()
    waiting = [Span(name, seed, *cut) for name in names for cut in itertools.pairwise(cuts)]
    tallies = {name: Tally() for name in names}
    running: list[_Worker] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_Worker(context, waiting.pop(0), hang_s))
            wait([worker.ours for worker in running], timeout=0.2)
            for worker in list(running):
                rest = worker.turn(tallies[worker.span.subject])
                if rest is not None:
                    running.remove(worker)
                    waiting[:0] = [rest] if rest.first < rest.last else []
    finally:
        for worker in running:
            worker.end()
    return tallies


class _Worker:
    """One process, seen from the one that started it."""

    def __init__(self, context: Any, span: Span, hang_s: float) -> None:
        self.span, self._hang_s, self._began = span, hang_s, time.monotonic()
        self.ours, theirs = context.Pipe()
        # Which attempt is under way, since when, and how many returned and were refused: read while it works.
        self._progress = context.RawArray("d", 4)
        self._process = context.Process(target=_work, args=(span, self._progress, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._done = False

    def turn(self, tally: Tally) -> Span | None:
        """Take in what it says; returns what is left to do once it has ended."""
        self._heard(tally)
        number, since, returned, refused = self._progress
        alive = self._process.is_alive()
        late = time.monotonic() - since > self._hang_s if since else time.monotonic() - self._began > PREPARING_S
        if alive and not late:
            return None
        self.end()
        self._heard(tally)
        number, since, returned, refused = self._progress
        if self._done:
            rest = dataclasses.replace(self.span, first=self.span.last)
        elif not since:
            raise RuntimeError(f"the subject {self.span.subject} cannot be prepared")
        elif number < 0:  # it left by itself between two attempts
            rest = dataclasses.replace(self.span, first=int(-number))
        else:
            kind = "hang" if alive else "died"
            said = f"over {self._hang_s:g} s" if alive else f"its process ended with {self._process.exitcode}"
            tally.fault(kind, f"{self.span.subject} {int(number)}: {kind}: {said}")
            rest = dataclasses.replace(self.span, first=int(number) + 1)
        tally.attempts += rest.first - self.span.first
        tally.returned += int(returned)
        tally.refused += int(refused)
        tally.seconds += time.monotonic() - self._began
        return rest

    def _heard(self, tally: Tally) -> None:
        try:
            while self.ours.poll():
                kind, line = self.ours.recv()
                if kind == "done":
                    self._done = True
                else:
                    tally.fault(kind, line)
        except (EOFError, OSError):
            return

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _work(span: Span, progress: Any, parent: Connection) -> None:
    """Make the attempts of a span; leaves early when it has grown, to be started again."""
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(ROOT)]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        os.environ["WORKBENCH_ROOT"] = scratch
        module = module_of(span.subject)
        prepared, place = _prepared(module, Path(scratch))
        watch = Watch(ROOT)
        for number in range(2):  # imports what is imported late; counts for nothing
            _tried(module, prepared, random_of(span.subject, span.seed + 1, number), place, watch)
        most = grown() + MOST_GROWN
        bound_memory(MOST_ASKED)
        for number in range(span.first, span.last):
            progress[0], progress[1] = number, time.monotonic()
            end, found = _tried(module, prepared, random_of(span.subject, span.seed, number), place, watch)
            if (held := grown()) > most:
                found.append(("memory", f"the process has held {held / GB:.1f} GB"))
            for kind, line in found:
                parent.send((kind, f"{span.subject} {number}: {kind}: {line}"))
            if end:
                progress[end] += 1
            progress[0], progress[1] = -(number + 1), time.monotonic()
            if held > most:
                return
        parent.send(("done", ""))


def _prepared(module: Any, scratch: Path) -> tuple[Any, Path]:
    inputs, place = scratch / "inputs", scratch / "attempt"
    inputs.mkdir()
    place.mkdir()
    return module.prepare(inputs), place


def _tried(
    module: Any, prepared: Any, random: np.random.Generator, place: Path, watch: Watch
) -> tuple[int, list[tuple[str, str]]]:
    """One attempt: the field of progress that counts how it ended (0 for none), and what was wrong."""
    end, ended = 0, []
    with watch.around(place) as found:
        try:
            module.attempt(prepared, random, place)
            end = 2
        except WorkbenchError as error:
            end = 3
            ended += [("words", why) for why in [_unreadable(str(error))] if why]
            ended += [("memory", f"{error!r:.200}") for _ in [0] if _for_memory(error)]
        except BaseException as error:
            ended.append(("memory" if _for_memory(error) else "traceback", _line(error)))
    if any(place.iterdir()):
        shutil.rmtree(place)
        place.mkdir()
    once = {kind: line for kind, line in reversed([*ended, *found])}  # the first of each kind
    return end, list(once.items())


def _unreadable(message: str) -> str:
    """What is wrong with the words of a refusal."""
    if len(message) > MOST_WORDS:
        return f"{len(message)} characters: {message[:100]!r} ..."
    odd = [letter for letter in message if not letter.isprintable()]
    return f"{odd[0]!r} in {message[:300]!r}" if odd else ""


def _for_memory(error: BaseException | None) -> bool:
    """Whether memory was asked for in vain, and the error is said in its place."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _line(error: BaseException) -> str:
    """An exception in one line, with the last place of ours that it went through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
    ours = [frame for frame in frames if "/tests/" not in frame.filename] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} " if ours else ""
    return f"{place}{type(error).__name__}: {str(error)[:200]!r}"
