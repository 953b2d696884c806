"""What a job says: tables and lines on stdout, bars on a terminal, and everything with its time in the run's log.

Where nobody looks at a terminal, lines take the place of bars: one at the start of each stage, and one every half
minute.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from workbench.types.text import visible

WIDTH = 110
"""Wide enough for the tables, where there is no terminal that has a width."""
EVERY_S = 30.0
"""Time between two lines that say how far a stage is."""
SHOWN_BARS = 12
"""How many bars of things at work are shown below that of the whole: a screen holds no hundreds."""
LOG = "log.txt"
"""File of a run that keeps what its jobs said."""

_COLUMNS = (
    TextColumn("{task.description:<28}", markup=False),
    BarColumn(bar_width=30),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


class Log:
    """The lines of a job in the log of its run, each with its time and process.

    Nothing is written before the job has something to say: one that is refused leaves no log.  Lines are appended in
    one write, so that those of several processes stay apart.  A log that cannot be written is no reason to stop.
    """

    def __init__(self, path: Path, words: str) -> None:
        self.path, self.began = path, False
        self._words = words

    def add(self, text: str) -> None:
        """Append the lines of a text; before the first one the words of the job."""
        if not self.began:
            text, self.began = f"{self._words}\n{text}", True
        stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {os.getpid()}"
        lines = [f"{stamp}  {visible(line.rstrip())}\n" for line in text.split("\n") if line.strip()]
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                file.write("".join(lines).encode())


class _Plain(Console):
    """A console that prints strings as they stand: no markup, no names of emoji, nothing that a terminal obeys."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


class JobConsole(_Plain):
    """Where a job prints its results.

    Attributes
    ----------
    kept : log of the job that runs; None outside of jobs.
    stage : what the job is at, in front of the lines that say how far it is.
    held : whether results go into the log alone.
    """

    def __init__(self) -> None:
        super().__init__(width=None if _is_terminal(sys.stdout) else WIDTH)
        self.kept: Log | None = None
        self.stage = ""
        self.held = False

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, and keep the same in the log."""
        if not self.held:
            super().print(*objects, **options)
        if self.kept is not None:
            written = io.StringIO()
            _Plain(file=written, width=WIDTH).print(*objects, **options)
            self.kept.add(written.getvalue())

    def say(self, line: str, shown: bool = True) -> None:
        """One line about the work itself, held or not; ``shown`` says whether beside the log it is printed too."""
        if shown:
            super().print(line)
        if self.kept is not None:
            self.kept.add(line)


def _is_terminal(stream: Any) -> bool:
    """Whether somebody looks at a stream as it moves."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


console = JobConsole()
"""Where results are printed."""


@contextlib.contextmanager
def logged(folder: Path, job: str, words: str) -> Iterator[None]:
    """Keep what a job says in the log of a run's folder, and how it ended if that is not well."""
    console.kept, console.stage = Log(folder / LOG, words), job
    try:
        yield
    except BaseException as error:
        if console.kept.began:
            console.kept.add(f"{job} ended: {str(error) or type(error).__name__}")
        raise
    finally:
        console.kept, console.stage = None, ""


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """How much of ``total`` things, called ``label``, is done; yields the function that advances it."""
    with bars(label, {label: total}) as advance:
        yield lambda done: advance(label, done)


@contextlib.contextmanager
def bars(label: str, totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """The same for several parts; on a terminal the whole and each of the first unfinished parts has a bar.

    Yields the function that advances a part.
    """
    with _lines(label, sum(totals.values())) as count, _bars(label, totals) as draw:

        def advance(name: str, done: int) -> None:
            count(done)
            draw(name, done)

        yield advance


@contextlib.contextmanager
def _lines(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A line at the start and one every half minute, into the log and to whoever does not see bars."""
    done, began, ended = 0, time.monotonic(), threading.Event()
    where = f"{console.stage}, " if console.stage else ""

    def advance(more: int) -> None:
        nonlocal done
        done += more

    def tell() -> None:
        while not ended.wait(EVERY_S):
            spent = time.monotonic() - began
            left = f", about {_minutes(spent / done * (total - done))} left" if 0 < done < total else ""
            _say(f"{where}{done} of {total} {label} after {_minutes(spent)}{left}")

    _say(f"{where}{total} {label}")
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield advance
    finally:
        ended.set()
        teller.join()


def _say(line: str) -> None:
    """Of a job on stdout and in its log; of a program that calls the library on stderr; only where no bar is seen."""
    if console.kept is not None:
        console.say(line, shown=not _is_terminal(sys.stdout))
    elif sys.stderr is not None and not _sees_bars():
        with contextlib.suppress(OSError, ValueError):  # nobody reads it
            print(visible(line), file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _sees_bars() -> bool:
    return _is_terminal(sys.stderr) or _is_terminal(sys.stdout) or Console().is_jupyter


@contextlib.contextmanager
def _bars(label: str, totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Bars where somebody sees them; of a whole that has one part alone, one."""
    if not _sees_bars():
        yield lambda name, done: None
        return
    with Progress(*_COLUMNS, console=Console(stderr=_is_terminal(sys.stderr) or not _is_terminal(sys.stdout))) as shown:
        whole = shown.add_task(visible(label), total=sum(totals.values()))
        parts = {
            name: shown.add_task(f"  {visible(name)}", total=total, visible=False) for name, total in totals.items()
        }

        def show() -> None:
            unfinished = [task for task in shown.tasks if task.id != whole and not task.finished]
            begun = sorted(unfinished, key=lambda task: task.completed == 0)
            for place, task in enumerate(begun):
                shown.update(task.id, visible=len(parts) > 1 and place < SHOWN_BARS)

        def advance(name: str, done: int) -> None:
            shown.advance(whole, done)
            shown.advance(parts[name], done)
            if shown.tasks[parts[name]].finished:
                shown.update(parts[name], visible=False)
            show()

        show()
        yield advance
