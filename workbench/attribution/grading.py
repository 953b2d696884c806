"""Answers to questions, scored exactly, beside what those score who have not looked.

An answer is right if it is one of the question's own after :func:`normalised`, as a whole: yes or no; a letter or the
text of a choice; a number within the interval.  So an empty answer is wrong, and so is part of one.  (RoboFAC's
released scorer asks whether the answer is part of the reference, by which '' and 'e' are nearly always right.)
"""

from __future__ import annotations

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.stats.proportions import clopper_pearson
from workbench.types import Record
from workbench.types.questions import MOST_ANSWER, Question, QuestionSet, read_answers
from workbench.types.results import Tabular

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
ALL = "all"
"""Name of the row of all kinds together."""


@dataclasses.dataclass(frozen=True)
class Grade:
    """Answers to the questions of one kind.

    Attributes
    ----------
    questions, answered, right : counts; what was not answered is wrong.
    low, high : exact 95 % interval of the share that is right (Clopper and Pearson).
    by_random : share that is right of an answer drawn evenly from all that can be answered.
    by_constant : share that is right of the best answer that is the same for all questions of the kind, chosen with
        these answers at hand: a letter, a text, a number.
    """

    kind: str
    questions: int
    answered: int
    right: int
    low: float
    high: float
    by_random: float
    by_constant: float

    @property
    def share(self) -> float:
        """Share that is right."""
        return self.right / self.questions

    @property
    def chance(self) -> float:
        """What somebody scores at most who has not looked: the better of the two."""
        return max(self.by_random, self.by_constant)


@dataclasses.dataclass(frozen=True)
class Grades(Tabular):
    """Answers, scored by kind, and last all together."""

    kinds: tuple[Grade, ...]

    def of(self, kind: str) -> Grade:
        """That of one kind, or of all together."""
        for each in self.kinds:
            if each.kind == kind:
                return each
        raise UnknownNameError("kind of questions", kind, [each.kind for each in self.kinds])

    def rows_of_table(self) -> Sequence[Record]:
        """One row a kind."""
        return [{**dataclasses.asdict(each), "share": each.share, "chance": each.chance} for each in self.kinds]


def score_answers(questions: QuestionSet | str | Path, answers: Mapping[str, str] | str | Path) -> Grades:
    """How many answers are right, by kind, beside chance.

    Parameters
    ----------
    questions : as they were put: of an export ``questions.jsonl``, where times count in frames.
    answers : id -> answer, or a file of JSON lines ``{"id": ..., "answer": ...}``.  What is missing is wrong.

    Raises
    ------
    StoreError
        if a file is not what it should be.
    UnknownNameError
        if an answer is to no question of these.
    """
    asked = questions if isinstance(questions, QuestionSet) else QuestionSet.load(questions)
    if not len(asked):
        raise StoreError("there is no question to score answers by")
    given = answers if isinstance(answers, Mapping) else read_answers(answers)
    known = {each.id for each in asked.questions}
    for id, answer in given.items():
        if id not in known:
            raise UnknownNameError("question", str(id), sorted(known)[:5])
        if not isinstance(answer, str) or len(answer) > MOST_ANSWER:
            raise ConfigError(f"the answer to question {id} must be a text of at most {MOST_ANSWER:,} characters")
    groups: dict[str, list[Question]] = collections.defaultdict(list)
    for each in asked.questions:
        groups[each.kind].append(each)
    grades = [_grade(kind, group, given) for kind, group in sorted(groups.items())]
    return Grades((*grades, _together(grades)))


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer is right, as a whole."""
    said = normalised(answer)
    if question.choices:
        return said in {normalised(question.answer), normalised(question.reply)}
    return bool(_NUMBER.fullmatch(said)) and question.low <= float(said) <= question.high


def normalised(text: str) -> str:
    """Text as NFKC, case folded, white space single, without quotes, brackets and end marks around it."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip("\"'`*()[] ").rstrip(".,;:!) ").strip("\"'`*()[] ")


def _grade(kind: str, group: Sequence[Question], answers: Mapping[str, str]) -> Grade:
    right = sum(is_right(each, answers.get(each.id, "")) for each in group)
    low, high = clopper_pearson(right, len(group))
    answered = sum(each.id in answers for each in group)
    return Grade(kind, len(group), answered, right, low, high, _by_random(group), _by_constant(group))


def _by_random(group: Sequence[Question]) -> float:
    shares = [1 / len(each.choices) if each.choices else (each.high - each.low + 1) / each.possible for each in group]
    return sum(shares) / len(group)


def _by_constant(group: Sequence[Question]) -> float:
    """By trying every letter, text and number that is right anywhere."""
    said: collections.Counter[str] = collections.Counter()
    begins: collections.Counter[int] = collections.Counter()
    for each in group:
        if each.choices:
            said.update({normalised(each.answer), normalised(each.reply)})
        else:
            begins[each.low] += 1
            begins[each.high + 1] -= 1
    most = open_now = 0
    for number in sorted(begins):
        open_now += begins[number]
        most = max(most, open_now)
    return max(most, *said.values(), 0) / len(group) if said else most / len(group)


def _together(grades: Sequence[Grade]) -> Grade:
    """All kinds, each with the answers that are the best ones for it."""
    total, right = sum(each.questions for each in grades), sum(each.right for each in grades)
    low, high = clopper_pearson(right, total)
    by = [sum(each.questions * getattr(each, name) for each in grades) / total for name in ("by_random", "by_constant")]
    return Grade(ALL, total, sum(each.answered for each in grades), right, low, high, *by)
