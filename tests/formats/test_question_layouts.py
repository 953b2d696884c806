"""Questions in other people's layouts, read back by readers that share no code with the writers."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import workbench as wb
from tests.asked import Tried, ask, write_toys
from workbench.errors import ConfigError, StoreError
from workbench.formats import export, lerobot
from workbench.formats.aha import AHA
from workbench.formats.exporting import MARK, verify
from workbench.formats.frames import columns, spread
from workbench.formats.robofac import TYPES, RoboFAC
from workbench.store import Store
from workbench.types.questions import KINDS, LETTERS, Question, QuestionSet

HEIGHT, WIDTH, CAMERAS = 6, 8, 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_toys(tmp_path_factory.mktemp("layouts") / "toys.zarr")


@pytest.fixture(scope="module")
def asked(store: Store) -> QuestionSet:
    rows = store.episodes
    failed = [(str(uid), 4) for uid, success in zip(rows["uid"], rows["success"], strict=True) if not success]
    with pytest.MonkeyPatch.context() as patch:
        return ask(store, patch, corrections=Tried(failed))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def right(question: Question) -> str:
    """The right answer as it must stand in a layout, found otherwise than the writer finds it."""
    if question.choices in ((), ("yes", "no")):
        return question.answer
    return LETTERS[list(question.choices).index(question.answer)]


def shown_steps(pixels: np.ndarray) -> list[int]:
    """Control steps that the columns of a packed image show; see ``tests.asked``."""
    cells = [pixels[:, at * WIDTH : (at + 1) * WIDTH] for at in range(pixels.shape[1] // WIDTH)]
    return [int(cell[0, 0, 0]) for cell in cells if not (cell == 255).all()]


def test_aha(store: Store, asked: QuestionSet, tmp_path: Path) -> None:
    folder = export(store, AHA(frames=5), tmp_path / "aha", questions=asked)
    entries = json.loads((folder / "aha.json").read_text(encoding="utf-8"))
    put = {each.id: each for each in QuestionSet.load(folder / "questions.jsonl").questions}
    assert [entry["id"] for entry in entries] == sorted(each.id for each in asked.questions)
    for entry, original in zip(entries, asked.questions, strict=True):
        assert set(entry) == {"id", "image", "conversations"}
        human, model = entry["conversations"]
        assert (human["from"], model["from"]) == ("human", "gpt")
        assert human["value"].startswith("<image>\n ")
        assert model["value"] == right(put[entry["id"]])
        assert "ontrol step" not in human["value"]
        pixels = np.asarray(Image.open(folder / entry["image"]))
        assert pixels.shape == (CAMERAS * HEIGHT, 5 * WIDTH, 3)
        steps = shown_steps(pixels)
        assert steps == sorted(steps)
        assert steps[-1] == original.until - 1
        assert len(steps) == 5 or not original.whole
    verify(folder)


def test_the_future_of_a_moment_is_white_and_of_a_whole_episode_nothing(asked: QuestionSet) -> None:
    moment = next(each for each in asked.questions if not each.whole)
    for until, wanted in (
        (1, [0]),
        (2, [1]),
        (9, [0, 8]),
        (17, [0, 8, 16]),
        (20, [0, 8, 19]),
        (40, [0, 8, 16, 24, 39]),
    ):
        assert columns(dataclasses.replace(moment, until=until), 5, 40) == wanted
        assert columns(dataclasses.replace(moment, until=until, whole=True), 5, 40) == [
            round(at * (until - 1) / 4) for at in range(5)
        ]


def test_robofac(store: Store, asked: QuestionSet, tmp_path: Path) -> None:
    folder = export(store, RoboFAC(frames=4), tmp_path / "robofac", questions=asked)
    entries = json.loads((folder / "robofac.json").read_text(encoding="utf-8"))
    put = {each.id: each for each in QuestionSet.load(folder / "questions.jsonl").questions}
    assert list(entries) == sorted(put)
    known = {"Failure detection", "Failure identification", "Failure locating", "Failure explanation",
             "High-level correction", "Low-level correction"}  # fmt: skip
    types = set()
    for id, entry in entries.items():
        assert set(entry) == {"video", "task", "annos"}
        assert entry["task"] == "toy"
        ((kind, (human, model)),) = entry["annos"].items()
        types.add(kind)
        assert human["value"].startswith("<video>\n")
        assert model == {"from": "gpt", "value": right(put[id])}
        frames = sorted((folder / entry["video"]).iterdir())
        assert [frame.name for frame in frames] == [f"{n:04d}.png" for n in range(4)]
        assert np.asarray(Image.open(frames[0])).shape == (HEIGHT, CAMERAS * WIDTH, 3)
        assert int(np.asarray(Image.open(frames[-1]))[0, 0, 0]) == put[id].until - 1
    assert types == known


def test_robofac_as_video(store: Store, asked: QuestionSet, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    some = QuestionSet(asked.questions[:6])
    folder = export(store, "robofac_video", tmp_path / "robofac", questions=some)
    for entry in json.loads((folder / "robofac.json").read_text(encoding="utf-8")).values():
        with av.open(str(folder / entry["video"])) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == 16
        assert (frames[0].height, frames[0].width) == (HEIGHT, CAMERAS * WIDTH)


def test_lerobot_holds_pairs_on_their_exact_frames(store: Store, asked: QuestionSet, tmp_path: Path) -> None:
    folder = export(store, "lerobot_questions", tmp_path / "lerobot", questions=asked)
    info = json.loads((folder / "meta/info.json").read_text(encoding="utf-8"))
    assert info["features"]["language_events"] == {"dtype": "language", "shape": [1], "names": None}
    assert "language_events" not in json.loads((folder / "meta/stats.json").read_text(encoding="utf-8"))
    table = pq.read_table(folder / "data")
    kind = table.schema.field("language_events").type
    assert [field.name for field in kind.value_type] == ["role", "content", "style", "camera", "tool_calls"]
    rows = table.select(["episode_index", "frame_index", "language_events"]).to_pylist()
    found: dict[tuple[int, int, str], list[tuple[str, str]]] = {}
    for row in rows:
        events = row["language_events"]
        for user, assistant in zip(events[::2], events[1::2], strict=True):
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            assert {user["style"], assistant["style"]} == {"vqa"}
            assert user["camera"] == assistant["camera"]
            assert user["tool_calls"] is assistant["tool_calls"] is None
            key = (row["episode_index"], row["frame_index"], user["camera"])
            found.setdefault(key, []).append((user["content"], assistant["content"]))
    wanted: dict[tuple[int, int, str], list[tuple[str, str]]] = {}
    for each in asked.questions:
        for camera in ("front", "side"):
            key = (store.number_of(each.uid), each.until - 1, f"observation.images.{camera}")
            wanted.setdefault(key, []).append((each.prompt(), right(each)))
    assert {key: sorted(said) for key, said in found.items()} == {key: sorted(said) for key, said in wanted.items()}


def test_without_questions_a_lerobot_export_is_as_it_was(store: Store, tmp_path: Path) -> None:
    folder = export(store, "lerobot", tmp_path / "lerobot")
    assert "language_events" not in json.loads((folder / "meta/info.json").read_text())["features"]
    assert "questions" not in json.loads((folder / MARK).read_text())


@pytest.mark.parametrize("format", ["aha", "robofac"])
def test_nothing_beside_a_question_tells_its_answer(
    format: str, store: Store, asked: QuestionSet, tmp_path: Path
) -> None:
    """Names are digests, all images are equally large, and what a model is handed holds no uid and no answer."""
    folder = export(store, format, tmp_path / format, questions=asked)
    prompts = lines(folder / "prompts.jsonl")
    assert [set(line) for line in prompts] == [{"id", "prompt", "shown"}] * len(asked)
    assert [line["id"] for line in prompts] == sorted(str(line["id"]) for line in prompts)
    text = (folder / "prompts.jsonl").read_text(encoding="utf-8") + " ".join(
        str(path) for path in folder.rglob("*.png")
    )
    assert not any(uid in text for uid in store.uids)
    counts: Mapping[str, int] = collections.Counter(str(path.parent) for path in folder.rglob("*.png"))
    sizes = {Image.open(path).size for path in folder.rglob("*.png")}
    assert len(sizes) == 1
    assert len(set(counts.values())) == 1
    whole = {each.answer: set() for each in asked.questions if each.kind == "success"}  # type: ignore[var-annotated]
    for each in asked.questions:
        if each.kind == "success":
            whole[each.answer].add(len(spread(each, 8)))
    assert whole == {"yes": {8}, "no": {8}}


def test_times_are_scored_in_frames(store: Store, asked: QuestionSet, tmp_path: Path) -> None:
    folder = export(store, "robofac", tmp_path / "robofac", questions=asked)
    put = QuestionSet.load(folder / "questions.jsonl")
    times = [each for each in put.questions if not each.choices]
    assert times
    for each in times:
        original = next(one for one in asked.questions if one.id == each.id)
        steps = spread(original, 16)
        assert each.possible == 16
        assert steps[each.low] <= original.low or each.low == 0
        assert steps[each.high] >= original.high or each.high == 15
        assert each.low <= int(each.answer) <= each.high
    assert wb.score_answers(put, {each.id: each.reply for each in put.questions}).of("all").share == 1.0


def test_questions_and_formats_go_together_or_not_at_all(store: Store, asked: QuestionSet, tmp_path: Path) -> None:
    for format in ("aha", "robofac", "lerobot_questions"):
        with pytest.raises(ConfigError, match="is made of questions, and none were given"):
            export(store, format, tmp_path / "out")
    with pytest.raises(ConfigError, match="lerobot has no place for questions"):
        export(store, "lerobot", tmp_path / "out", questions=asked)
    with pytest.raises(ConfigError, match=r"frames=1 of format aha must be a whole number of 2 \.\. 1000"):
        AHA(frames=1)
    with pytest.raises(ConfigError, match="frames=True"):
        RoboFAC(frames=True)
    assert not (tmp_path / "out").exists()


def test_a_store_without_images_is_refused_in_a_line(asked: QuestionSet, tmp_path: Path) -> None:
    store = write_toys(tmp_path / "bare.zarr", cameras=())
    for format in ("aha", "robofac"):
        with pytest.raises(StoreError, match="has no images to show"):
            export(store, format, tmp_path / "out", questions=asked)
    with pytest.raises(StoreError, match="stand beside a camera"):
        export(store, "lerobot_questions", tmp_path / "out", questions=asked)


def test_other_questions_are_another_export(store: Store, asked: QuestionSet, tmp_path: Path) -> None:
    some = QuestionSet(asked.questions[:4])
    folder = export(store, "aha", tmp_path / "aha", questions=some)
    assert export(store, "aha", tmp_path / "aha", questions=some) == folder
    with pytest.raises(StoreError, match="overwrite=true replaces it"):
        export(store, "aha", tmp_path / "aha", questions=asked)
    export(store, "aha", tmp_path / "aha", questions=asked, overwrite=True)
    assert len(lines(folder / "questions.jsonl")) == len(asked)


def test_every_kind_has_a_type_of_robofac_and_events_are_lerobots_own() -> None:
    assert TYPES.keys() == KINDS.keys()
    assert (lerobot.EVENTS, lerobot.LANGUAGE, lerobot.VQA) == ("language_events", "language", "vqa")


def test_an_episode_that_comes_twice_is_refused(store: Store, asked: QuestionSet, tmp_path: Path) -> None:
    episode = store.episode(0)
    for made in (AHA(), RoboFAC()):
        with pytest.raises(StoreError, match="comes twice"):
            made.asking(asked).write([episode, episode], tmp_path / made.name, store.header)
