"""Questions: the answers hold, what was not measured is not asked, and nothing beside the question tells the answer."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.asked import COUNT, FAULTS, MODES, ROTS, Tried, ask, breaks, write_toys
from tests.toy import ToyTask
from workbench.attribution.questions import QuestionSettings, _Asker, motion_words
from workbench.errors import ConfigError, OtherSettingsError, StoreError, UnknownNameError
from workbench.store import Store
from workbench.types.questions import KINDS, LETTERS, YES_NO, Question, QuestionSet


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_toys(tmp_path_factory.mktemp("questions") / "toys.zarr")


@pytest.fixture
def asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> QuestionSet:
    return ask(store, monkeypatch, corrections=Tried(calls(store)))


def calls(store: Store) -> list[tuple[str, int]]:
    rows = store.episodes
    return [(str(uid), 4) for uid, success in zip(rows["uid"], rows["success"], strict=True) if not success]


def of(asked: QuestionSet, kind: str) -> list[Question]:
    return [each for each in asked.questions if each.kind == kind]


def index_of(question: Question) -> int:
    return int(question.uid.split(":")[1])


def test_every_kind_that_was_measured_is_asked(asked: QuestionSet) -> None:
    assert {each.kind for each in asked.questions} == set(KINDS) - {"luck"}
    assert asked.left_out["luck"] == {"luck was not measured": 2 * COUNT}
    assert len({each.id for each in asked.questions}) == len(asked)


def test_the_answers_are_what_counting_says(asked: QuestionSet) -> None:
    for each in asked.questions:
        index, nominal = index_of(each), each.uid.endswith("nominal")
        if each.kind == "success":
            assert each.answer == YES_NO[not nominal]
        if each.kind == "subtask":
            assert each.answer == YES_NO[not (nominal or (each.subject == "half" and breaks(index) >= 10))]
        if each.kind == "stage":
            assert each.answer == ("done" if breaks(index) >= 10 else "half")
        if each.kind == "mode":
            assert each.answer == MODES[index % 3]
        if each.kind == "why":
            assert each.answer == FAULTS[index % 3]
        if each.kind == "when_seen":
            assert (int(each.answer), each.low) == (breaks(index), max(breaks(index) - 5, 0))
        if each.kind == "when_onset":
            assert (each.low, each.high) == (max(breaks(index) - 5, 0), breaks(index) + 1 + 5)
        if each.kind == "helped":
            assert each.answer == YES_NO[each.until - 1 >= ROTS]


def test_whether_it_helped_is_executed_and_no_label(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A label that is wrong changes no answer."""
    other = write_toys(tmp_path / "wrong.zarr")
    other.annotate_many(
        {uid: {"t_pnr": 3} for uid, at in zip(other.uids, other.episodes["t_pnr"], strict=True) if at >= 0}
    )
    only = QuestionSettings(kinds=("helped",))
    found = ask(other, monkeypatch, settings=only)
    assert found.questions == ask(store, monkeypatch, settings=only).questions
    assert {each.known for each in found.questions} == {"executed"}


def test_yes_and_no_are_even_within_every_subject(asked: QuestionSet) -> None:
    counts: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for each in asked.questions:
        if each.choices == YES_NO:
            counts[each.kind, each.subject][each.answer] += 1
    assert counts
    assert all(found["yes"] == found["no"] for found in counts.values())
    assert {kind for kind, _ in counts} == {"success", "subtask", "helped"}


def test_wrong_choices_are_false_of_the_episode(asked: QuestionSet, store: Store) -> None:
    for each in of(asked, "mode"):
        record = store.episode(store.number_of(each.uid), (), ()).record
        begun = {one["mode"] for one in json.loads(record["modes"])}
        assert begun & set(each.choices) == {each.answer}
        assert len(each.choices) == 3  # slip, jam and drop: timeout is true of all, and calls none
    for each in of(asked, "correction"):
        assert motion_words([0.05, 0, 0, 0, 0, 0.1, 1.0]) not in each.choices  # it wins in one of four
        assert sorted(each.motions)[1:] == [[0.02, 0, 0, 0, 0, 0.1, 1], [0.111, 0, 0, 0, 0, 0.1, 1]]
        assert each.motions[each.choices.index(each.answer)][0] == 0.02
        assert "3 of 4 with it, 0 of 2 without" in each.evidence


def test_texts_and_places_are_right_as_often_as_they_are_offered(asked: QuestionSet) -> None:
    for kind in ("mode", "why"):
        group = of(asked, kind)
        right = collections.Counter(each.answer for each in group)
        offered = collections.Counter(choice for each in group for choice in each.choices)
        assert all(right[text] * 3 == offered[text] for text in offered)
        places = collections.Counter(each.reply for each in group)
        assert set(places.values()) == {COUNT // 3}


def test_a_mode_of_nearly_all_failures_is_cut_to_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_toys(tmp_path / "toys.zarr")
    store.annotate_many({uid: {"failure_mode": "slip"} for uid, _ in calls(store)[:-2]})
    group = of(ask(store, monkeypatch, settings=QuestionSettings(kinds=("mode",))), "mode")
    assert collections.Counter(each.answer == "slip" for each in group) == {True: 2, False: 2}


def test_the_same_seed_asks_the_same(asked: QuestionSet, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    again = ask(store, monkeypatch, corrections=Tried(calls(store)))
    assert again == asked
    assert again.digest() == asked.digest()
    other = ask(store, monkeypatch, corrections=Tried(calls(store)), seed=1)
    assert {each.id for each in other.questions}.isdisjoint(each.id for each in asked.questions)


def test_ids_and_so_names_and_order_do_not_depend_on_answers(store: Store) -> None:
    """The same questions about episodes that ended otherwise have the same ids."""
    ids = []
    for turned in (False, True):
        asker = _Asker(store, ToyTask(), QuestionSettings(), ("train",), 0)
        for episode in asker.episodes.values():
            episode.record["success"] ^= turned
        asker.ask_success()
        ids.append({each.uid: (each.id, each.answer) for each in asker.found})
    assert ids[0].keys() == ids[1].keys()
    assert all(one[0] == ids[1][uid][0] and one[1] != ids[1][uid][1] for uid, one in ids[0].items())


@pytest.mark.parametrize(
    ("success", "low", "high", "answer"),
    [(False, 0.0, 0.3, "yes"), (False, 0.6, 0.9, "no"), (True, 0.6, 1.0, "yes"), (True, 0.1, 0.4, "no"),
     (False, 0.3, 0.7, None), (False, -1.0, -1.0, None)],
)  # fmt: skip
def test_luck_is_asked_where_its_interval_clears_one_half(
    store: Store, success: bool, low: float, high: float, answer: str | None
) -> None:
    asker = _Asker(store, ToyTask(), QuestionSettings(), ("train",), 0)
    for number, episode in enumerate(asker.episodes.values()):
        # The other half is asked the other way round, so that yes and no are even.
        turned = number % 2 == 1
        episode.record |= {"success": success, "luck_low": low, "luck_high": high}
        if turned and low >= 0:
            episode.record |= {"luck_low": 1 - high, "luck_high": 1 - low}
    asker.ask_luck()
    first = [each.answer for each in asker.found if list(asker.episodes).index(each.uid) % 2 == 0]
    assert set(first) == (set() if answer is None else {answer})


def test_the_cause_is_asked_where_the_twin_succeeds(store: Store) -> None:
    asker = _Asker(store, ToyTask(), QuestionSettings(), ("train",), 0)
    asker._twin_of = lambda episode: None if index_of_record(episode) % 2 else {"success": index_of_record(episode) > 5}  # type: ignore[method-assign]

    def index_of_record(episode: object) -> int:
        return int(episode.record["index"])  # type: ignore[attr-defined]

    asker.ask_why()
    assert {index_of(each) for each in asker.found} == {n for n in range(COUNT) if n % 2 == 0 and n > 5}
    assert asker.left_out["why"] == {"no nominal twin is stored": COUNT // 2, "the nominal twin fails, too": 3}


def test_without_labels_nothing_is_asked_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(write_toys(tmp_path / "bare.zarr", labels=False), monkeypatch)
    assert {each.kind for each in found.questions} == {"success", "subtask", "stage", "mode", "when_seen", "why"}


def test_a_store_without_failures_and_successes_has_nothing_to_ask(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="nothing to ask about in split test"):
        ask(store, monkeypatch, splits=("test",))


def test_bad_settings_are_refused(store: Store) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'success'"):
        QuestionSettings(kinds=("sucess",))
    with pytest.raises(ConfigError, match=r"choices=1 must be 2 \.\. 8"):
        QuestionSettings(choices=1)
    with pytest.raises(ConfigError, match="moments=0"):
        QuestionSettings(moments=0)
    with pytest.raises(UnknownNameError, match="split"):
        wb.ask_questions(store, ToyTask(), splits=("tset",))  # type: ignore[arg-type]
    with pytest.raises(OtherSettingsError):
        wb.ask_questions(store, wb.task("push_t"))


def test_a_time_is_seen_in_frames_as_an_interval_of_frames(asked: QuestionSet) -> None:
    one = dataclasses.replace(of(asked, "when_seen")[0], answer="10", low=8, high=12, possible=40, until=40)
    seen = one.seen_in([0, 5, 10, 15, 20, 25, 30, 39])
    assert (seen.answer, seen.low, seen.high, seen.possible, seen.unit) == ("2", 1, 3, 8, "frame")
    assert "Frames count from 0" in seen.prompt()
    assert "ontrol step" not in seen.prompt()
    assert "ontrol step" not in of(asked, "helped")[0].seen_in([0, 1]).prompt()


def test_questions_are_saved_and_read_back(asked: QuestionSet, tmp_path: Path) -> None:
    path = asked.save(tmp_path / "q.jsonl")
    assert QuestionSet.load(path).questions == asked.questions
    assert asked.table()["kind"].nunique() == len(KINDS) - 1
    with pytest.raises(StoreError, match="twice"):
        asked + asked
    assert len(QuestionSet(asked.questions[::2]) + QuestionSet(asked.questions[1::2])) == len(asked)


def spoilt(line: dict[str, object], **other: object) -> str:
    return json.dumps(line | other)


def test_a_damaged_file_of_questions_is_refused_in_a_line(asked: QuestionSet, tmp_path: Path) -> None:
    choice = dataclasses.asdict(of(asked, "mode")[0])
    time = dataclasses.asdict(of(asked, "when_seen")[0])
    without = {key: value for key, value in choice.items() if key != "answer"}
    for wrong in (
        spoilt(choice, answer="sing"), spoilt(choice, choices=["slip"]), spoilt(choice, kind="who"),
        json.dumps(without),
        spoilt(choice, id="../../etc/pw"), spoilt(choice, more=1), spoilt(time, low=39), spoilt(time, answer="1.5"),
        spoilt(time, answer="²"), spoilt(time, high=10**12), spoilt(choice, text="two\nlines"), "{", "[]", "NaN", "",
        spoilt(choice, motions=[[1.0] * 7]), spoilt(choice, choices=["slip", "slip", choice["answer"]]),
        spoilt(choice, choices=[*LETTERS, "i", choice["answer"]]), spoilt(choice) + "\n" + spoilt(choice),
    ):  # fmt: skip
        (tmp_path / "q.jsonl").write_text(wrong, encoding="utf-8")
        with pytest.raises(StoreError) as refused:
            QuestionSet.load(tmp_path / "q.jsonl")
        assert "\n" not in str(refused.value), wrong
    with pytest.raises(StoreError, match="cannot be read"):
        QuestionSet.load(tmp_path / "none.jsonl")


def test_motions_are_said_in_words_and_numbers() -> None:
    words = motion_words([0.0213, -0.0, -0.00004, 0.0, 0.0, np.pi / 2, -1.0])
    assert words == "move (+2.13, +0.00, +0.00) cm, turn (+0.0, +0.0, +90.0) degrees, fingers open"
