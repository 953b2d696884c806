"""Where work is done: what every executor can do, and how items become batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Does the same to many items; one file an executor, named by ``conf/runner``.

    Callers hand over importable functions and plain items, and know nothing of where the work is done.
    """

    @property
    def workers(self) -> int:
        """How many items are worked at side by side; with 1, nothing leaves this process."""
        ...

    @property
    def scenes(self) -> int:
        """Scenes that step together in each worker."""
        ...

    def map_unordered(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results as they come; the first error ends it, and what was finished is kept where it was written."""
        ...


def batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Consecutive batches of at most ``size`` items."""
    return [list(items[first : first + size]) for first in range(0, len(items), size)]
