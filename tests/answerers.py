"""Those who answer questions without having looked: each has the questions as they are put, and nothing else."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from workbench.types.questions import LETTERS, YES_NO, Question, QuestionSet


def constant(answer: str) -> Callable[[Question], str]:
    """The same answer to everything."""
    return lambda _: answer


def longest(question: Question) -> str:
    """The longest choice; of a time the largest number."""
    return max(question.choices, key=len) if question.choices else str(question.possible - 1)


def shortest(question: Question) -> str:
    """The shortest choice."""
    return min(question.choices, key=len) if question.choices else "0"


def everything(question: Question) -> str:
    """All choices at once."""
    return ", ".join(question.choices) or " ".join(map(str, range(question.possible)))[:10_000]


def drawn(seed: int) -> Callable[[Question], str]:
    """Any answer."""
    rng = np.random.default_rng(seed)

    def answer(question: Question) -> str:
        return str(rng.choice(question.choices)) if question.choices else str(rng.integers(question.possible))

    return answer


def most_frequent(questions: Sequence[Question]) -> Callable[[Question], str]:
    """The answer that is right most often of a kind, as it is in other questions."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for each in questions:
        counts[each.kind][each.answer] += 1
    best = {kind: found.most_common(1)[0][0] for kind, found in counts.items()}
    return lambda question: best.get(question.kind, "")


def likeliest_offered(questions: Sequence[Question]) -> Callable[[Question], str]:
    """Of the choices that are offered the one that was right most often where it was offered, in other questions."""
    right: collections.Counter[tuple[str, str]] = collections.Counter()
    offered: collections.Counter[tuple[str, str]] = collections.Counter()
    for each in questions:
        right[each.kind, each.answer] += 1
        offered.update((each.kind, choice) for choice in each.choices)

    def answer(question: Question) -> str:
        known = {
            choice: right[question.kind, choice] / max(offered[question.kind, choice], 1) for choice in question.choices
        }
        return max(known, key=lambda choice: known[choice]) if known else "0"

    return answer


def answerers(questions: QuestionSet, seed: int = 0) -> Mapping[str, Callable[[Question], str]]:
    """All of them by name; those that learn have seen every second question."""
    seen = questions.questions[::2]
    return {
        "''": constant(""),
        "'e'": constant("e"),
        "always yes": constant(YES_NO[0]),
        "always no": constant(YES_NO[1]),
        "always A": constant(LETTERS[0]),
        "always 0": constant("0"),
        "echo": lambda question: question.prompt(),
        "all choices": everything,
        "longest choice": longest,
        "shortest choice": shortest,
        "random": drawn(seed),
        "most frequent": most_frequent(seen),
        "likeliest offered": likeliest_offered(seen),
    }


def answered(questions: QuestionSet, answer: Callable[[Question], str]) -> dict[str, str]:
    """What somebody answers to all of them."""
    return {each.id: answer(each) for each in questions.questions}


def robofac_scorer(reference: str, answer: str) -> int:
    """RoboFAC's own for its choice questions, ``evaluation/eval.py``: whether the answer is part of the reference."""
    return int(answer.lower() in reference.lower())
