"""Questions about episodes, each with the answer that was executed or read from the exact state, and the answers given.

A file of questions is JSON lines, one question each; a file of answers is JSON lines of ``{"id": ..., "answer": ...}``.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from workbench.errors import StoreError
from workbench.types.data import Record
from workbench.types.episode import UID, WORD
from workbench.types.pose import CORRECTION_SIZE
from workbench.types.reading import TEXT, Among, Between, Like, Size, Source, checked, parsed, read_bytes
from workbench.types.results import Tabular

KINDS: Mapping[str, str] = {
    "success": "whether the episode did the task",
    "subtask": "whether it came past a stage of the task",
    "stage": "which stage a failed episode did not come past",
    "mode": "by which failure mode a failed episode is called",
    "when_seen": "when that mode began",
    "when_onset": "when failing became likelier than succeeding",
    "why": "what was injected into an episode that fails, and whose nominal twin succeeds",
    "correction": "which motion brings the episode back",
    "luck": "whether it would end alike under other noise",
    "helped": "whether the expert, taking over at a step, still succeeds",
}
"""Kind of a question -> what it asks."""
YES_NO = ("yes", "no")
LETTERS = "ABCDEFGH"
"""By which the choices of a question are called, in their order."""
UNITS = ("control step", "frame")
"""In which the answer of a question about time counts, from 0 on."""
MOST_ANSWER = 10_000
"""Characters of an answer."""
MOST_QUESTIONS = 1_000_000
ID = Annotated[str, Size(12, 12), Like(r"[0-9a-f]*", "hexadecimal digits")]
"""Type of what names a question: a digest that says nothing of the answer, and so of files and their order, too."""
_Step = Annotated[int, Between(-1, 2**31)]


@dataclasses.dataclass(frozen=True)
class Question:
    """One question with its answer.

    Attributes
    ----------
    id : names it; see :data:`ID`.
    uid : of the episode.  It says whether there was a fault, so it is for those who check, not for those who answer.
    task : its name.
    kind : one of :data:`KINDS`.
    subject : what questions that are balanced together have in common beside their kind: a stage, a part of the time.
    text : the question, with times in control steps.
    text_in_frames : the same to somebody who sees frames and no control steps.
    choices : of which one is right; empty for a time, where it is a number.
    answer : one of the choices, or a number in digits.
    low, high : of a time, first and last number that count as right; -1 otherwise.
    possible : numbers that can be answered, from 0 on; 0 where there are choices.
    unit : in which a time counts, one of :data:`UNITS`; "" where there are choices.
    until : control steps that may be seen by whoever answers: rows 0 .. until - 1 of the episode.
    whole : whether that is the whole episode; if not, the last row is the moment that is asked about.
    known : ``state`` for an answer that is read from the state or the record, ``executed`` for one of branches.
    evidence : what was measured, in words.
    motions : of a question about corrections, the seven numbers of every choice, in their order.
    """

    id: ID
    uid: UID
    task: WORD
    kind: Annotated[str, Among(tuple(KINDS))]
    subject: WORD
    text: TEXT
    text_in_frames: TEXT
    choices: Annotated[tuple[Annotated[str, Size(1, 400)], ...], Size(0, len(LETTERS))]
    answer: Annotated[str, Size(1, 400)]
    low: _Step = -1
    high: _Step = -1
    possible: Annotated[int, Between(0, 2**31)] = 0
    unit: Annotated[str, Among(("", *UNITS))] = ""
    until: Annotated[int, Between(1, 2**31)] = 1
    whole: bool = True
    known: Literal["state", "executed"] = "state"
    evidence: TEXT = ""
    motions: Annotated[
        tuple[Annotated[list[float], Size(CORRECTION_SIZE, CORRECTION_SIZE)], ...], Size(0, len(LETTERS))
    ] = ()

    def prompt(self, in_frames: bool = False) -> str:
        """The question with its choices, as it is put to somebody."""
        text = self.text_in_frames if in_frames else self.text
        if not self.choices:
            return f"{text} Answer with a whole number."
        if self.choices == YES_NO:
            return f"{text} Answer yes or no."
        named = "; ".join(f"{letter}) {choice}" for letter, choice in zip(LETTERS, self.choices, strict=False))
        return f"{text} {named}. Answer with one letter."

    @property
    def reply(self) -> str:
        """The right answer as it is asked for: yes, no, a letter, or a number."""
        lettered = self.choices and self.choices != YES_NO
        return LETTERS[self.choices.index(self.answer)] if lettered else self.answer

    def seen_in(self, steps: Sequence[int]) -> Question:
        """The same, put to somebody who sees the frames of these control steps, counted from 0.

        A time becomes the last frame not behind it; right are the frames from the last one not behind the interval's
        begin to the first one not before its end.
        """
        if not self.unit:
            return dataclasses.replace(self, text=self.text_in_frames)
        last = len(steps) - 1
        first, at = (max(int(np.searchsorted(steps, one, "right")) - 1, 0) for one in (self.low, int(self.answer)))
        end = min(int(np.searchsorted(steps, self.high, "left")), last)
        return dataclasses.replace(
            self, text=self.text_in_frames, answer=str(at), low=first, high=end, possible=len(steps), unit="frame"
        )


@dataclasses.dataclass(frozen=True)
class QuestionSet(Tabular):
    """Questions about the episodes of stores, in the order of their ids, which says nothing.

    Attributes
    ----------
    questions : each with another id.
    left_out : kind -> why something was not asked -> how many times; not kept in files.
    """

    questions: tuple[Question, ...]
    left_out: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "questions", tuple(sorted(self.questions, key=lambda each: each.id)))
        source = Source("a set of questions", StoreError)
        for one, other in zip(self.questions, self.questions[1:], strict=False):
            if one.id == other.id:
                raise source.wrong(f"holds question {one.id} twice")

    def __len__(self) -> int:
        return len(self.questions)

    def __add__(self, other: QuestionSet) -> QuestionSet:
        """Questions of both, of two tasks for example."""
        kinds = {*self.left_out, *other.left_out}
        left = {kind: {**self.left_out.get(kind, {})} for kind in sorted(kinds)}
        for kind, reasons in other.left_out.items():
            for why, count in reasons.items():
                left[kind][why] = left[kind].get(why, 0) + count
        return QuestionSet((*self.questions, *other.questions), left)

    def about(self, uid: str) -> tuple[Question, ...]:
        """Those about one episode."""
        return self._by_uid.get(uid, ())

    @functools.cached_property
    def _by_uid(self) -> Mapping[str, tuple[Question, ...]]:
        found: dict[str, tuple[Question, ...]] = {}
        for each in self.questions:
            found[each.uid] = (*found.get(each.uid, ()), each)
        return found

    def digest(self) -> str:
        """Digest of all that they say."""
        return hashlib.sha256("".join(map(_line, self.questions)).encode()).hexdigest()

    def rows_of_table(self) -> Sequence[Record]:
        """One row a question, but for its motions."""
        return [
            {key: value for key, value in dataclasses.asdict(each).items() if key != "motions"}
            for each in self.questions
        ]

    def counts(self) -> Sequence[Record]:
        """Questions of every task and kind, of yes or no how many are yes, and how many were executed."""
        found = []
        for task, kind in sorted({(each.task, each.kind) for each in self.questions}):
            mine = [each for each in self.questions if (each.task, each.kind) == (task, kind)]
            yes = [each.answer == YES_NO[0] for each in mine if each.choices == YES_NO]
            executed = sum(each.known == "executed" for each in mine)
            found.append({"task": task, "kind": kind, "questions": len(mine), "yes": sum(yes) if yes else None,
                          "answers": len({each.answer for each in mine}), "executed": executed})  # fmt: skip
        return found

    def save(self, path: str | Path) -> Path:
        """Write them as JSON lines."""
        path = Path(path)
        path.write_text("".join(map(_line, self.questions)), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> QuestionSet:
        """Those of a file; StoreError for anything that :meth:`save` would not have written."""
        source = Source(str(path), StoreError, "workbench export job.format=aha writes such a file")
        lines = json_lines(Path(path), source, MOST_QUESTIONS)
        found = []
        for number, value in enumerate(lines, 1):
            question: Question = checked(Question, value, source, f"line {number}")
            _refuse_odd(question, source, number)
            found.append(question)
        if not found:
            raise source.wrong("holds no question")
        return cls(tuple(found))


def _line(question: Question) -> str:
    return json.dumps(dataclasses.asdict(question)) + "\n"


def _refuse_odd(question: Question, source: Source, number: int) -> None:
    """Refuse a question whose answer is none of what can be answered."""
    if question.choices:
        fits = len(set(question.choices)) == len(question.choices) > 1 and question.answer in question.choices
        fits = fits and not question.unit and not question.possible
    else:
        digits = question.answer.isascii() and question.answer.isdigit() and len(question.answer) < 11
        fits = digits and 0 <= question.low <= int(question.answer) <= question.high < question.possible
        fits = fits and question.unit != ""
    if not fits or (question.motions and len(question.motions) != len(question.choices)):
        raise source.wrong(f"line {number} has an answer that is none of its choices, or no time of its interval")


@dataclasses.dataclass(frozen=True)
class _Answered:
    """A line of a file of answers."""

    id: ID
    answer: Annotated[str, Size(0, MOST_ANSWER)]


def read_answers(path: str | Path) -> dict[str, str]:
    """Answers by id of a file of answers; StoreError for lines of another kind, and for an id that comes twice."""
    source = Source(str(path), StoreError, 'a line of answers is {"id": "0123456789ab", "answer": "yes"}')
    found: dict[str, str] = {}
    for number, value in enumerate(json_lines(Path(path), source, MOST_QUESTIONS), 1):
        line: _Answered = checked(_Answered, value, source, f"line {number}")
        if line.id in found:
            raise source.wrong(f"answers question {line.id} twice, the second time in line {number}")
        found[line.id] = line.answer
    return found


def json_lines(path: Path, source: Source, most: int) -> Iterable[object]:
    """The values of a file of JSON lines, at most so many; empty lines are none."""
    lines = [line for line in read_bytes(path, source).split(b"\n") if line.strip()]
    if len(lines) > most:
        raise source.wrong(f"has {len(lines):,} lines, and may have {most:,}")
    return (
        parsed(line, Source(f"{source.name} line {n}", source.error, source.advice)) for n, line in enumerate(lines, 1)
    )
