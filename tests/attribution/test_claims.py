"""Claims of any text are true, false or unsupported; what cannot be read is never true."""

from __future__ import annotations

import dataclasses

import pytest

import workbench as wb
from tests.attribution.test_explanation import TOLD, store  # noqa: F401
from tests.toy import ToyTask
from workbench.attribution.claims import claims_of, sentences_of
from workbench.attribution.explanation import Dated, Explanation, Lucky, Reached
from workbench.attribution.facts import Facts, compared
from workbench.attribution.wording import FORMS, words_of
from workbench.errors import ConfigError
from workbench.store import Store
from workbench.types import Record
from workbench.viewing.notes import events_of


def verdicts(text: str, told: Explanation = TOLD) -> list[str]:
    return [claim.verdict for claim in claims_of(text, Facts(told))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changed", [
    {}, {"luck": None}, {"onset": None, "no_return": None}, {"decided": None},
    {"decided": None, "decided_sought": False},
    {"decided": None, "decided_sought": None}, {"faults": (), "injected": None}, {"injected": None}, {"lost": 60},
    {"no_return": Dated(0, 0, 0)}, {"no_return": Dated(22, 22, 22)}, {"no_return": Dated(100, 100, 100)},
    {"stages": (Reached("reach", None), Reached("grasp", None))},
    {"luck": Lucky(0.0, 0.0, 0.07, 64, "law")}, {"modes": (), "failure_mode": ""},
    {"success": True, "failure_mode": "", "outcome": "success"},
])  # fmt: skip
def test_our_own_words_are_read_whole_and_are_true(changed: Record, form: str) -> None:
    told = dataclasses.replace(TOLD, **changed)
    found = claims_of(words_of(told, form), Facts(told))
    assert found
    assert {claim.verdict for claim in found} == {"true"}, [claim for claim in found if claim.verdict != "true"]


TRUE = [
    "The fault struck at step 20.",
    "At step 20 the fault struck.",
    "The onset came at 1.35 s.",
    "The onset was at about step 30.",
    "The fault was injected before the onset.",
    "The point of no return came after the onset.",
    "The failure mode slip began before the failure mode missed grasp.",
    "The first failure mode was a slip.",
    "It failed by missed grasp.",
    "The missed grasp was seen twice.",
    "It failed at the lift stage.",
    "It never reached the stage lift.",
    "The force_n was [3, 4].",
    "A push of 5 N.",
    "Under the fault push it failed.",
    "2 of 64 reruns succeeded.",
    "The twin's actions raised success by 81 %.",
    "The red cube.",
    "It was a recoverable failure.",
    "The episode lasted 100 steps.",
]
FALSE = [
    "The fault struck at step 21.",
    "At step 19 the fault struck.",
    "The onset came at 1.5 s.",
    "The onset was at about step 40.",
    "The fault was injected after the onset.",
    "The onset came after the point of no return.",
    "The failure mode missed grasp began before the failure mode slip.",
    "The first failure mode was a missed grasp.",
    "It failed by slip.",
    "The missed grasp was seen three times.",
    "It failed at the grasp stage.",
    "It never reached the stage grasp.",
    "It reached the stage lift.",
    "The force_n was [3, 5].",
    "A push of 6 N.",
    "Under the fault latency it failed.",
    "5 of 64 reruns succeeded.",
    "The expert's actions raised success by 81 %.",
    "The green cube.",
    "It was a catastrophic failure.",
    "The episode lasted 90 steps.",
    "It succeeded.",
    "The onset was not measured.",
    "No fault was injected.",
    "The point of no return was at step 48: from there on not even the expert succeeds in time, though the policy did "
    "until the onset.",
    "No failure mode was seen.",
    "The onset was at step 27 (95 % interval 20 to 31).",
    "The drop was seen.",
    "The failure was law.",
    "The fault push (channel observation).",
]


@pytest.mark.parametrize("text", TRUE)
def test_other_words_that_are_true(text: str) -> None:
    found = verdicts(text)
    assert "true" in found
    assert "false" not in found


@pytest.mark.parametrize("text", FALSE)
def test_other_words_that_are_false(text: str) -> None:
    assert "false" in verdicts(text)


@pytest.mark.parametrize(
    "text",
    [
        "The camera was dirty.",
        "The slip was caused by oil on the fingers.",
        "It was not the push.",
        "There was no slip.",
        "The onset may have been at step 27.",
        "If the push had been weaker it would have won.",
        "The onset was not at step 27.",
        "Something happened at step 27.",
        "The slip happened first.",
        "42",
        "It failed after the slip.",
        "The effect came at step 21, probably.",
        "It was hardly a slip.",
        "The fault push reduced the force by 12 percent.",
    ],
)
def test_what_cannot_be_read_is_never_wholly_true(text: str) -> None:
    found = verdicts(text)
    assert "unsupported" in found


@pytest.mark.parametrize("text", ["It was not the push.", "There was no slip.", "The onset may have been at step 27."])
def test_a_negation_or_a_doubt_takes_the_truth_of_its_sentence(text: str) -> None:
    assert set(verdicts(text)) == {"unsupported"}
    assert "true" in verdicts(f"It failed. {text}"), "and of no other"


def test_what_was_not_measured_supports_nothing() -> None:
    bare = dataclasses.replace(TOLD, onset=None, no_return=None, luck=None, decided=None, decided_sought=False)
    for text in (
        "The onset was at step 27.",
        "The point of no return came after the onset.",
        "2 of 64 reruns succeeded.",
        "The twin's actions raised success by 0.81.",
        "No decisive actions were found.",
    ):
        assert set(verdicts(text, bare)) == {"unsupported"}, text
    assert verdicts("The failure was law.", bare) == ["true", "unsupported"], "that it failed is known"
    assert verdicts("The onset was not measured.", bare) == ["true"]


def test_sentences_end_at_stops_and_not_in_numbers() -> None:
    assert sentences_of("It rose by 0.81. Then; it fell\n- at step 3!") == [
        "It rose by 0.81",
        "Then",
        "it fell",
        "- at step 3",
    ]
    assert sentences_of("  \n . ") == []


@pytest.mark.parametrize(("said", "held", "same"), [
    ("0.81", 0.8125, True), ("0.82", 0.8125, False), ("1", 0.8125, True), ("0.8125", 0.8125, True),
    ("3e-2", 0.03, True),
    ("0.0300", 0.03004, True), ("0.0300", 0.0302, False), ("-1.5", -1.46, True),
])  # fmt: skip
def test_numbers_are_compared_to_the_digits_that_are_said(said: str, held: float, same: bool) -> None:
    assert compared(said, held) == same


def test_records_and_marks_are_checked_field_by_field(store: Store) -> None:  # noqa: F811
    task = ToyTask()
    told = wb.explain(store, 1, task=task)
    whole = wb.check_explanation(told, store, 1, task=task)
    assert {claim.verdict for claim in whole.claims} == {"true"}
    record = told.record()
    record["onset"]["step"], record["colour"], record["success"] = 6, "red", 0
    found = {claim.about: claim.verdict for claim in wb.check_explanation(record, store, 1, task=task).claims}
    assert found["onset.step"] == "false"
    assert found["colour"] == "unsupported"
    assert found["success"] == "false", "0 is not false"
    assert sorted(found.values()).count("false") == 2
    marks = events_of(store.episode(1).record)
    assert {claim.verdict for claim in wb.check_explanation(marks, store, 1).claims} == {"true"}, (
        "text and recording agree"
    )
    wrong = wb.check_explanation({**marks, "onset": 9, "lunch": 3}, store, 1)
    assert {claim.about: claim.verdict for claim in wrong.claims if claim.verdict != "true"} == {
        "onset": "false", "lunch": "unsupported",
    }  # fmt: skip
    assert wb.check_explanation({"success": 39}, store, 1).count("false") == 1
    assert len(wrong.table()) == len(wrong.claims)


def test_what_cannot_be_checked_is_refused_in_one_line(store: Store) -> None:  # noqa: F811
    for said in ("x" * 100_001, 7, {1: 2}):
        with pytest.raises(ConfigError) as caught:
            wb.check_explanation(said, store, 1)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_hostile_text_takes_no_time(store: Store) -> None:  # noqa: F811
    for text in ("step " * 19_000, "the onset was " * 7_000, "a" * 100_000, "stage reach, " * 7_000, "9" * 100_000):
        assert wb.check_explanation(text, store, 1).count("true") < 10_000


@pytest.mark.parametrize("number", ["1e99999", "0e99999", "0e5", f"1e{'9' * 300}"])
def test_numbers_beyond_all_measure_are_false_and_no_error(number: str) -> None:
    for text in (f"The force_n was [{number}, 4].", f"The magnitude was {number} N."):
        assert "true" not in verdicts(text)
    assert not compared(number, 5.0)
