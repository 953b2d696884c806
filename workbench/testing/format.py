"""Does a format keep the contract?  The laws, one function each, and the episodes that they are tried on."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import digest
from workbench.errors import ContractError, WorkbenchError
from workbench.formats.format import AsksQuestions, Format, Header
from workbench.testing.contract import blaming, name_of, refusing, require
from workbench.types import Array, Episode, new_record
from workbench.types.questions import YES_NO, Question, QuestionSet

IN_MEMORY = 3
"""How many episodes may be held at a time."""


@dataclasses.dataclass(frozen=True)
class MadeUpHeader:
    """What holds for the episodes that are made up here."""

    task: str = "made-up"
    control_hz: float = 20.0
    deadline: int = 30
    licence: str = "CC-BY-4.0"


def check_format(
    format: Format, episodes: Sequence[Episode] | None = None, header: Header | None = None
) -> tuple[str, ...]:
    """Raise at the first law that a format breaks; returns the laws that it keeps.

    Parameters
    ----------
    episodes, header : to write; by default made up, with images.

    Raises
    ------
    ContractError
        What is wrong, and what is probably the cause.
    """
    shown = episodes or [made_up(number) for number in range(2 * IN_MEMORY)]
    if isinstance(format, AsksQuestions) and format.asks:
        format = format.asking(QuestionSet(tuple(asked_of(episode) for episode in shown)))
    case = FormatCase(format, shown, header or MadeUpHeader())
    for law in LAWS:
        law(case)
    return tuple(law.__name__ for law in LAWS)


@dataclasses.dataclass(frozen=True)
class FormatCase:
    """A format and what is written in it; see :func:`check_format`."""

    format: Format
    episodes: Sequence[Episode]
    header: Header

    @property
    def who(self) -> str:
        """How messages call the format."""
        return name_of(self.format, "format")

    def given(self) -> Iterator[Episode]:
        """Copies of the episodes one after the other, with their calls where it keeps them, as an export hands them."""
        for episode in self.episodes:
            calls = episode.calls if self.format.calls else {}
            yield Episode(dict(episode.record), copy.deepcopy(episode.steps), dict(calls), episode.memory.copy())

    def write(self, folder: Path, episodes: Iterable[Episode] | None = None) -> None:
        """Write below a folder that is not there yet."""
        with blaming(self.who, "write"):
            self.format.write(self.given() if episodes is None else episodes, folder, self.header)


def says_what_it_is(case: FormatCase) -> None:
    """It has a name, says in a line what it is, and names what of an episode it loses."""
    format = case.format
    for key in ("name", "about"):
        said = getattr(format, key, None)
        require(
            isinstance(said, str) and bool(said.strip()) and "\n" not in said,
            case.who,
            f"{key}={said!r} must be a line",
        )
    lost = getattr(format, "loses", None)
    named = isinstance(lost, tuple) and all(isinstance(what, str) and what.strip() for what in lost)
    require(named, case.who, f"loses={lost!r} must be a tuple of what does not fit into it, in words")
    require(
        bool(lost) or hasattr(format, "read"),
        case.who,
        "it loses nothing and cannot be read back; what does it leave out?",
    )
    require(
        isinstance(getattr(format, "calls", None), bool), case.who, "calls must be True or False: whether it keeps them"
    )


def it_writes_below_its_folder(case: FormatCase) -> None:
    """All that it writes stands below the folder that it is given, and there is something."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "deeper" / "export"
        folder.parent.mkdir()
        case.write(folder)
        written = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        require(bool(written), case.who, "it writes no file below the folder that it is given")
        beside = [path.name for path in (*folder.parent.iterdir(), *Path(place).iterdir())]
        require(sorted(beside) == ["deeper", "export"], case.who, f"it writes beside its folder: {sorted(beside)}")


def it_holds_few_episodes(case: FormatCase) -> None:
    """Episodes are taken one after the other, each once; a data set may be larger than the memory."""
    alive: list[weakref.ref[Episode]] = []
    most = taken = 0

    def counted() -> Iterator[Episode]:
        nonlocal most, taken
        for episode in case.given():
            alive.append(weakref.ref(episode))
            taken += 1
            most = max(most, sum(ref() is not None for ref in alive))
            yield episode

    with tempfile.TemporaryDirectory() as place:
        case.write(Path(place) / "export", counted())
    require(taken == len(case.episodes), case.who, f"it takes {taken} of {len(case.episodes)} episodes")
    require(
        most <= IN_MEMORY or len(case.episodes) <= IN_MEMORY,
        case.who,
        f"it holds {most} of {len(case.episodes)} episodes at a time; write each as it comes, and let go of it",
    )


def episodes_stay_as_they_are(case: FormatCase) -> None:
    """Writing changes nothing in the episodes."""
    given = list(case.given())
    with tempfile.TemporaryDirectory() as place:
        case.write(Path(place) / "export", iter(given))
    for episode, before in zip(given, case.given(), strict=True):
        same = episode.record == before.record and episode.steps.keys() == before.steps.keys()
        same = same and all(np.array_equal(episode.steps[key], before.steps[key]) for key in before.steps)
        require(same, case.who, f"writing changes episode {before.record['uid']}; work on a copy")


def what_it_cannot_say_is_refused(case: FormatCase) -> None:
    """No episode at all is refused; episodes that do not fit together are, or are written whole."""
    with tempfile.TemporaryDirectory() as place:
        with refusing(case.who, "a data set without an episode"):
            case.format.write(iter(()), Path(place) / "none", case.header)
        odd = next(case.given())
        odd.steps["action"] = np.concatenate([odd.steps["action"]] * 2, axis=1)
        try:
            case.format.write(iter([next(case.given()), odd]), Path(place) / "odd", case.header)
        except WorkbenchError:
            return
        except Exception as error:
            raise ContractError(
                f"{case.who}: a second episode with other actions raises {type(error).__name__} ({error}); refuse what "
                "does not fit together by a StoreError"
            ) from error


def what_is_read_back_is_what_was_written(case: FormatCase) -> None:
    """Actions, observations, outcome and instruction come back, to single precision; for a format that reads."""
    read: Callable[[Path], Iterable[Episode]] | None = getattr(case.format, "read", None)
    if read is None:
        return
    with tempfile.TemporaryDirectory() as place:
        case.write(Path(place) / "export")
        with blaming(case.who, "read"):
            found = list(read(Path(place) / "export"))
    require(len(found) == len(case.episodes), case.who, f"of {len(case.episodes)} episodes {len(found)} are read back")
    for there, here in zip(found, case.episodes, strict=True):
        keys = ["action", *(key for key in here.steps if key.startswith("obs/"))]
        lost = [key for key in keys if not _alike(there.steps.get(key), here.steps[key])]
        lost += [key for key in ("success", "instruction") if there.record.get(key) != here.record[key]]
        require(
            not lost, case.who, f"{lost} of episode {here.record['uid']} are read back otherwise than they were written"
        )


def _alike(found: Any, wanted: Any) -> bool:
    return np.shape(found) == np.shape(wanted) and np.allclose(found, wanted, rtol=1e-6, atol=1e-7)


LAWS: tuple[Callable[[FormatCase], None], ...] = (
    says_what_it_is,
    it_writes_below_its_folder,
    it_holds_few_episodes,
    episodes_stay_as_they_are,
    what_it_cannot_say_is_refused,
    what_is_read_back_is_what_was_written,
)


def asked_of(episode: Episode) -> Question:
    """A question about an episode, for formats that are made of them."""
    record = episode.record
    return Question(
        id=digest(record["uid"]), uid=record["uid"], task=record["task"], kind="success", subject="",
        text="Did it do the task?", text_in_frames="Did it do the task?", choices=YES_NO,
        answer=YES_NO[not record["success"]], until=int(record["length"]),
    )  # fmt: skip


def made_up(number: int) -> Episode:
    """An episode with two observations, a camera and policy calls; every second one fails."""
    rng = np.random.default_rng(number)
    length, failed = int(rng.integers(8, 13)), bool(number % 2)
    called = np.arange(0, length, 4)
    record = new_record(
        uid=f"0:{number}:made-up", index=number, seed=0, split="test", task="made-up", model="m", policy="MadeUp",
        instruction="put the made-up thing away", perturbation="", perturbations="[]", cell="", execute=4,
        length=length, success=not failed, outcome="failure" if failed else "success", modes="[]",
        failure_mode="timeout" if failed else "",
    )  # fmt: skip
    steps: dict[str, Array] = {
        "obs/hand": rng.normal(size=(length, 3)),
        "obs/thing": rng.normal(size=(length, 2)),
        "images/agentview": rng.integers(0, 256, size=(length, 8, 8, 3)).astype(np.uint8),
        "action": rng.uniform(-1, 1, size=(length, 7)),
        "applied": rng.uniform(-1, 1, size=(length, 7)),
        "reward": np.zeros(length),
        "stage": np.minimum(np.arange(length) // 4, 2),
        "modes": np.zeros(length, np.uint16),
        "state": rng.normal(size=(length, 5)),
        "predicates/success": np.zeros(length),
    }
    calls: dict[str, Array] = {"step": called, "chunk": rng.normal(size=(len(called), 8, 7)).astype(np.float32)}
    return Episode(record, steps, calls, np.zeros((length, 2)))
