"""Exact scoring: what is right as a whole counts, and nobody scores who has not looked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import workbench as wb
from tests.answerers import answered, answerers, robofac_scorer
from tests.asked import Tried, ask, write_toys
from workbench.attribution.grading import ALL, Grades, is_right, normalised, score_answers
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.stats.proportions import clopper_pearson
from workbench.types.questions import YES_NO, Question, QuestionSet, read_answers


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> QuestionSet:
    store = write_toys(tmp_path_factory.mktemp("grading") / "toys.zarr", cameras=())
    rows = store.episodes
    failed = [(str(uid), 4) for uid, success in zip(rows["uid"], rows["success"], strict=True) if not success]
    with pytest.MonkeyPatch.context() as patch:
        return ask(store, patch, corrections=Tried(failed))


def question(number: int, **said: object) -> Question:
    whole = {"choices": ("slip", "jam", "drop", "missed grasp"), "answer": "missed grasp", "kind": "mode"}
    plain = {
        "uid": "0:1:x",
        "task": "toy",
        "subject": "",
        "text": "Which?",
        "text_in_frames": "Which?",
        **whole,
        **said,
    }
    return Question(id=f"{number:012x}", **plain)  # type: ignore[arg-type]


CHOICE = question(0)
TIME = question(1, kind="when_seen", choices=(), answer="31", low=26, high=36, possible=100, unit="control step")
BOOLEAN = question(2, kind="success", choices=YES_NO, answer="no")


@pytest.mark.parametrize(
    ("one", "right"),
    [
        (CHOICE, ["missed grasp", "Missed  Grasp.", " D ", "d)", "(D)", '"missed grasp"', "**D**", "\uff24"]),
        (TIME, ["31", "26", "36", " 30. ", "26.5", "031"]),
        (BOOLEAN, ["no", "No.", "NO!", "'no'"]),
    ],
)
def test_what_is_right_as_a_whole_is_right(one: Question, right: list[str]) -> None:
    for answer in right:
        assert is_right(one, answer), answer


@pytest.mark.parametrize(
    ("one", "wrong"),
    [
        (CHOICE, ["", " ", "e", "grasp", "missed", "missed grasp or slip", "D, A", "ABCD", "slip", "A", "missedgrasp"]),
        (TIME, ["", "25", "37", "-31", "3e1", "31 32", "26-36", "inf", "nan", "thirty one", "1" * 400, "\u0663\u0661"]),
        (BOOLEAN, ["", "n", "o", "yes", "no yes", "no, the robot failed", "not", "B", "."]),
    ],
)
def test_parts_and_more_than_one_answer_are_wrong(one: Question, wrong: list[str]) -> None:
    for answer in wrong:
        assert not is_right(one, answer), answer


def test_nobody_who_has_not_looked_is_above_chance(asked: QuestionSet) -> None:
    who, half = answerers(asked), QuestionSet(asked.questions[1::2])
    grades = {name: score_answers(half, answered(half, answer)) for name, answer in who.items()}
    looks = len(who) * len(grades["''"].kinds)
    for name, grade in grades.items():
        for each in grade.kinds[:-1]:
            low, _ = clopper_pearson(each.right, each.questions, 1 - 2 * 0.05 / looks)
            assert low <= each.chance, (name, each)
    for name in ("''", "'e'", "echo", "all choices"):
        assert grades[name].of(ALL).right == 0, name
    for name in ("always yes", "always no"):
        assert grades[name].of("success").share <= grades[name].of("success").chance
    assert score_answers(half, answered(half, lambda each: each.reply)).of(ALL).share == 1.0
    assert score_answers(half, answered(half, lambda each: each.answer)).of(ALL).share == 1.0


def test_robofacs_scorer_takes_nothing_and_e_for_right_and_ours_does_not(asked: QuestionSet) -> None:
    group = [each for each in asked.questions if each.kind in ("mode", "stage", "why")]
    assert all(robofac_scorer(each.answer, "") == 1 for each in group)
    with_e = [each for each in group if "e" in each.answer]
    assert with_e
    assert all(robofac_scorer(each.answer, "e") == 1 for each in with_e)
    assert not any(is_right(each, answer) for each in group for answer in ("", "e"))


def test_chance_is_that_of_the_best_who_has_not_looked() -> None:
    """Worked out by hand: answers A, A, B of lists of 2, 2 and 4; times 0..3, 2..5 and 8..9 of 10."""
    choices = [
        question(0, choices=("slip", "jam"), answer="slip"), question(1, choices=("drop", "jam"), answer="drop"),
        question(2, choices=("slip", "jam", "drop", "x"), answer="jam"),
    ]  # fmt: skip
    times = [
        question(3 + n, kind="when_seen", choices=(), answer=str(low), low=low, high=high, possible=10, unit="frame")
        for n, (low, high) in enumerate(((0, 3), (2, 5), (8, 9)))
    ]
    found = score_answers(QuestionSet((*choices, *times)), {})
    assert found.of("mode").by_random == pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3)
    assert found.of("mode").by_constant == pytest.approx(2 / 3)  # the letter A
    assert found.of("when_seen").by_random == pytest.approx((4 + 4 + 2) / 30)
    assert found.of("when_seen").by_constant == pytest.approx(2 / 3)  # 2 or 3
    assert found.of(ALL).chance == pytest.approx(2 / 3)
    assert (found.of(ALL).answered, found.of(ALL).right) == (0, 0)


def test_no_constant_beats_the_constant_of_the_table(asked: QuestionSet) -> None:
    said = (
        {each.answer for each in asked.questions} | {each.reply for each in asked.questions} | set(map(str, range(41)))
    )
    best: dict[str, float] = {}
    for answer in said:
        for each in score_answers(asked, answered(asked, lambda _, answer=answer: answer)).kinds[:-1]:  # type: ignore[misc]
            best[each.kind] = max(best.get(each.kind, 0.0), each.share)
    assert best == pytest.approx({each.kind: each.by_constant for each in score_answers(asked, {}).kinds[:-1]})


def test_what_is_not_answered_is_wrong_and_counted(asked: QuestionSet) -> None:
    some = asked.questions[:10]
    found = score_answers(asked, {each.id: each.reply for each in some}).of(ALL)
    assert (found.answered, found.right, found.questions) == (10, 10, len(asked))
    assert (found.low, found.high) == clopper_pearson(10, len(asked))


def test_answers_come_from_a_file_of_lines(asked: QuestionSet, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("\n\n".join(json.dumps({"id": each.id, "answer": each.reply}) for each in asked.questions))
    found = wb.score_answers(asked.save(tmp_path / "q.jsonl"), path)
    assert isinstance(found, Grades)
    assert found.of(ALL).share == 1.0
    assert "chance" in str(found)


def test_a_file_of_answers_that_is_none_is_refused_in_a_line(asked: QuestionSet, tmp_path: Path) -> None:
    path, id = tmp_path / "answers.jsonl", asked.questions[0].id
    good = {"id": id, "answer": "yes"}
    for wrong in (
        "{", "[]", '"yes"', json.dumps(good | {"more": 1}), json.dumps({"id": id}), json.dumps(good | {"answer": 1}),
        json.dumps(good | {"answer": None}), json.dumps(good | {"id": "xx"}),
        json.dumps(good) + "\n" + json.dumps(good),
        json.dumps(good | {"answer": "y" * 20_000}), '{"id": "' + id + '", "answer": "a", "answer": "b"}',
    ):  # fmt: skip
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(StoreError) as refused:
            read_answers(path)
        assert "\n" not in str(refused.value), wrong
    with pytest.raises(StoreError, match="cannot be read"):
        score_answers(asked, tmp_path / "none.jsonl")
    with pytest.raises(UnknownNameError, match="question"):
        score_answers(asked, {"0" * 12: "yes"})
    with pytest.raises(ConfigError, match="at most 10,000 characters"):
        score_answers(asked, {id: "y" * 20_000})
    with pytest.raises(StoreError, match="no question"):
        score_answers(QuestionSet(()), {})
    with pytest.raises(UnknownNameError, match="kind"):
        score_answers(asked, {}).of("moods")


def test_normalising_twice_is_normalising_once() -> None:
    for text in ("  Yes!! ", "“no”", "(B)", "D) missed  grasp.", "", "''", "A\tB", "\uff24\uff0e"):
        assert normalised(normalised(text)) == normalised(text)


def test_a_letter_beyond_the_list_is_wrong() -> None:
    two = dataclasses.replace(CHOICE, choices=("slip", "missed grasp"))
    assert is_right(two, "B")
    assert not any(is_right(two, letter) for letter in "ACDE")
