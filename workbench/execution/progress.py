"""Progress bars and the short tables that a job ends with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 110)
"""Where results are printed (stdout); wide enough for the tables where it is not a terminal."""

_COLUMNS = (
    TextColumn("{task.description:<28}"),
    BarColumn(bar_width=30),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


SHOWN_BARS = 12
"""How many bars of things at work are shown below that of the whole: a screen holds no hundreds."""


@contextlib.contextmanager
def bars(label: str, totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """A bar for the whole and one for each of the first unfinished parts; yields the function that advances a part."""
    with Progress(*_COLUMNS, console=Console(stderr=True)) as shown:
        whole = shown.add_task(label, total=sum(totals.values()))
        parts = {name: shown.add_task(f"  {name}", total=total, visible=False) for name, total in totals.items()}

        def show() -> None:
            unfinished = [task for task in shown.tasks if task.id != whole and not task.finished]
            begun = sorted(unfinished, key=lambda task: task.completed == 0)
            for place, task in enumerate(begun):
                shown.update(task.id, visible=place < SHOWN_BARS)

        def advance(name: str, done: int) -> None:
            shown.advance(whole, done)
            shown.advance(parts[name], done)
            if shown.tasks[parts[name]].finished:
                shown.update(parts[name], visible=False)
            show()

        show()
        yield advance


def say(line: str) -> None:
    """A line for people on stderr, as it stands."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(line, markup=False)


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; yields the function that advances it."""
    with Progress(*_COLUMNS, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.advance(task, done)
