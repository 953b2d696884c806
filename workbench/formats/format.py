"""What a format is, and how one is found by its name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from workbench.config import build, compose, options_of
from workbench.errors import UnknownNameError
from workbench.types import Episode
from workbench.types.questions import QuestionSet


class Header(Protocol):
    """What holds for every episode of a data set; a :class:`workbench.store.StoreHeader` is one."""

    @property
    def task(self) -> str: ...
    @property
    def control_hz(self) -> float: ...
    @property
    def deadline(self) -> int:
        """Control steps after which the task counts as failed."""
        ...

    @property
    def licence(self) -> str:
        """SPDX identifier."""
        ...


class Format(Protocol):
    """Somebody else's way of keeping episodes.

    One of your own is a class in a package of yours, and a ``conf/format/<name>.yaml`` there that names it.
    """

    @property
    def name(self) -> str:
        """As in ``conf/format/<name>.yaml``."""
        ...

    @property
    def about(self) -> str:
        """What it is and who reads it, in one sentence."""
        ...

    @property
    def loses(self) -> tuple[str, ...]:
        """What of an episode does not fit into it."""
        ...

    @property
    def calls(self) -> bool:
        """Whether it keeps policy calls; if not, episodes come without them, which is quicker."""
        ...

    def write(self, episodes: Iterable[Episode], folder: Path, header: Header) -> None:
        """Write all episodes below ``folder``, which does not exist yet; hold few of them in memory at a time.

        Raises StoreError for episodes that do not fit together, and where there are none.
        """
        ...


@runtime_checkable
class AsksQuestions(Protocol):
    """A format that also holds questions about the episodes, with their answers."""

    @property
    def asks(self) -> bool:
        """Whether it is written with questions; then it must be."""
        ...

    def asking(self, questions: QuestionSet) -> Format:
        """The same format with these questions; episodes then come with images."""
        ...


def asks(format: Format) -> bool:
    """Whether a format is made of questions."""
    return isinstance(format, AsksQuestions) and format.asks


def format_named(name: str) -> Format:
    """The format of ``conf/format/<name>.yaml``, of the workbench or of an installed package."""
    known = options_of("format")
    if name not in known:
        raise UnknownNameError("format", name, known)
    # Below the job, since a run has no key of its own for formats.
    found: Format = build(compose([f"+format@job.format={name}"])["job"]["format"])
    return found
