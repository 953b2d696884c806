"""Film strips and films: the right moments, the right words, and lines where the hand was and was to go."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tests.toy import ToyPolicy, ToyScene, broken
from tests.viewing.test_recording import SeenScene, SeenTask, monitor, rows
from workbench.attribution.explanation import explain
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.rollouts.loop import Launch, Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Array, Picture, Stream, episode_index
from workbench.viewing.choice import failure_to_tell
from workbench.viewing.colours import PATH_COLOUR, PLAN_COLOUR
from workbench.viewing.film import END_MS, EVERY, film
from workbench.viewing.notes import moments_of, phrase_of, sentences_of
from workbench.viewing.pictures import DRAWN_PX, Pictures, part_around, projected
from workbench.viewing.recording import view
from workbench.viewing.session import entities_of
from workbench.viewing.strip import film_strip, font, wrapped

BREAKS, LOST, HZ = 6, 30, 10.0
ACROSS_PX = 30.0
"""Pixels a unit of place, of the widest picture."""


class DrawnScene(SeenScene):
    """Drawn as a grey sheet; a place x lies at column 40 + 30 x of the middle row, 2 m away."""

    def picture(self, camera: str, width_px: int, height_px: int) -> Picture:
        if camera != "agentview":
            raise UnknownNameError("camera of this task", camera, ["agentview"])
        small = width_px / DRAWN_PX[0]
        lens = np.array([[ACROSS_PX, 0, 0, 40], [0, 0, 0, DRAWN_PX[1] / 2], [0, 0, 0, 1.0]])
        scaled = 2 * np.diag([small, small, 1.0]) @ lens
        return Picture(np.full((height_px, width_px, 3), 128, np.uint8), scaled)


@dataclasses.dataclass
class DrawnTask(SeenTask):
    def scene(self) -> ToyScene:
        return DrawnScene(self)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A nominal episode, and one that breaks in mid-episode."""
    path = tmp_path_factory.mktemp("strip") / "toy.zarr"
    faults = [(), (broken(BREAKS, 0),)]
    launches = [Launch(Stream(0, episode_index("test", number)), drawn) for number, drawn in enumerate(faults)]
    with StoreWriter.open(path, StoreHeader("toy", HZ, 40, {}, {}, 0)) as writer:
        for episode in Lockstep(DrawnTask(), ToyPolicy(), 2).record(launches):
            writer.append(episode)
    return Store.open(path)


@pytest.fixture
def labelled(store: Store) -> Store:
    number = failed(store)
    store.annotate(number, t_on=BREAKS, t_on_low=5, t_on_high=7, t_pnr=LOST, t_dec=8, t_dec_end=12, t_dec_by="expert",
                   responsibility=0.75, responsibility_low=0.5, responsibility_high=0.9)  # fmt: skip
    return store


def failed(store: Store) -> int:
    return int(np.flatnonzero(~store.episodes["success"])[0])


def coloured(pixels: Array, colour: Sequence[int]) -> Array:
    """(H, W) where a picture has about a colour."""
    return np.abs(pixels.astype(int) - np.array(colour)).max(axis=2) < 60


def test_every_measured_event_has_a_picture_and_those_of_one_step_share_it(labelled: Store) -> None:
    strip = film_strip(labelled, failed(labelled), DrawnTask())
    assert [(frame.moment.step, frame.moment.events) for frame in strip.frames] == [
        (0, ("start",)), (BREAKS, ("injected", "onset")), (8, ("decisive",)), (LOST, ("point of no return",)),
        (39, ("failure",)),
    ]  # fmt: skip
    assert [frame.moment.time for frame in strip.frames][1] == "step 6, 0.60 s"
    assert strip.frames[2].moment.words == ("the expert's actions up to step 11 instead raise success by 0.75",)
    nominal = film_strip(labelled, 1 - failed(labelled), DrawnTask())
    assert [frame.moment.events for frame in nominal.frames] == [("start",), ("success",)]


def test_what_was_not_measured_is_left_out_and_what_lies_behind_the_end_is_drawn_at_it(labelled: Store) -> None:
    record = labelled.episode(failed(labelled)).record
    unlabelled = {**record, "t_on": -1, "t_pnr": -1, "t_dec": -1}
    assert [moment.events for moment in moments_of(unlabelled, HZ)] == [("start",), ("injected",), ("failure",)]
    late = moments_of({**record, "t_pnr": 40}, HZ)[-1]
    assert (late.step, late.events) == (39, ("point of no return", "failure"))


def test_four_sentences_say_what_the_labels_say(labelled: Store) -> None:
    told = sentences_of(explain(labelled, failed(labelled), task=DrawnTask()))
    assert told[0].startswith("Task toy: it failed by ")
    assert told[0].endswith("onset at step 6; point of no return at step 30.")
    assert told[1].endswith("The fault was injected at step 6.")
    assert told[2] == "The onset was at step 6 (95 % interval 5 to 7): success became unlikely."
    assert told[3].startswith("The decisive actions were those of steps 8 to 11: the expert's in their place raise")
    assert len(told) == 4


def test_a_fault_is_told_in_its_own_words_and_a_strange_record_by_its_numbers() -> None:
    record = {"name": "push", "channel": "physics", "target": "workbench.envs.perturbations.push.PushEffect"}
    drawn = {**record, "force_n": [3.0, 4.0]}
    assert phrase_of(drawn).startswith(("push (a push of 5 N", "push (channel physics), force_n"))
    assert phrase_of(record) == "push (channel physics)"


def test_the_path_ends_at_the_hand_and_the_plan_goes_on_from_its_call_without_the_fault(store: Store) -> None:
    """The episode breaks at step 6 and stands at 6 from then on; the call at 4 planned to go from 4 to 10."""
    pictures = Pictures(store, failed(store), DrawnTask(), "agentview", DRAWN_PX[0])
    left, top, width, _ = pictures._box
    scale = DRAWN_PX[0] / width
    seen = pictures.at(BREAKS)
    assert seen.shape == (DRAWN_PX[1], DRAWN_PX[0], 3)

    def column(place: float) -> int:
        return round((40 + ACROSS_PX * place - left) * scale)

    row = round((DRAWN_PX[1] / 2 - top) * scale)
    path, plan = coloured(seen, PATH_COLOUR)[row], coloured(seen, PLAN_COLOUR)[row]
    assert path[column(2.5)], "where it has been"
    assert path[column(6)], "where the hand is"
    assert not path[column(7.5)], "where it has not been"
    assert [place for place in range(1, 12) if plan[column(place)]] == [5, 7, 8, 9, 10], (
        "six steps from 4, and 6 is the hand"
    )
    later = pictures.at(20)
    assert not coloured(later, PLAN_COLOUR)[row][column(8)], "planned at 20, when it is broken: it goes nowhere"


def test_all_pictures_show_the_same_part_and_no_closer_than_is_good() -> None:
    left, top, width, height = part_around(np.array([[470.0, 350.0], [490.0, 370.0]]), (960.0, 720.0))
    assert width / height == pytest.approx(960 / 720)
    assert width == pytest.approx(0.42 * 960)
    assert (left + width / 2, top + height / 2) == (pytest.approx(480), pytest.approx(360))
    left, top, width, height = part_around(np.array([[5.0, 5.0], [300.0, 100.0]]), (960.0, 720.0))
    assert (left, top) == (0.0, 0.0), "at the border it stays inside"
    assert width >= 300 + 0.3 * 295
    whole = part_around(np.array([[0.0, 0.0], [959.0, 719.0]]), (960.0, 720.0))
    assert whole == (0.0, 0.0, 960.0, 720.0)


def test_what_lies_behind_the_camera_is_nowhere() -> None:
    lens = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    picture = Picture(np.zeros((2, 2, 3), np.uint8), lens)
    found = projected(picture, np.array([[2.0, 4.0, 2.0], [1.0, 1.0, -1.0], [1.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(found[0], [1.0, 2.0])
    assert np.isnan(found[1:]).all()


def test_the_sheet_is_a_picture_and_no_word_is_cut_off(labelled: Store, tmp_path: Path) -> None:
    strip = film_strip(labelled, failed(labelled), DrawnTask(), width_px=200)
    path = strip.save(tmp_path / "deep" / "strip.png")
    sheet = Image.open(path)
    assert sheet.width > 3 * 200
    assert np.asarray(sheet)[:, -4:].min() == 255, "nothing runs out of the sheet"
    assert Image.open(io.BytesIO(strip.frames[0].jpeg())).size == (200, 150)
    assert strip._repr_png_()[:4] == b"\x89PNG"
    text = "observation_freeze+" * 12 + " and a few words more"
    lines = wrapped(text, 150, 14)
    assert max(font(14).getlength(line) for line in lines) <= 150
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_what_cannot_be_drawn_is_refused_in_one_line(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a picture needs a scene that can be photographed, and task toy has none"):
        film_strip(store, 0, SeenTask())
    with pytest.raises(ConfigError, match="task toy names no body of a hand"):
        film_strip(store, 0, DrawnTask(trails=()))
    with pytest.raises(UnknownNameError, match="unknown camera of this task 'x'"):
        film_strip(store, 0, DrawnTask(), camera="x")
    for width in (10, 5000):
        with pytest.raises(ConfigError, match=f"64 to 960 pixels wide, not {width}"):
            film_strip(store, 0, DrawnTask(), width_px=width)
    with pytest.raises(UnknownNameError, match="kind of film 'avi'"):
        film(store, 0, DrawnTask(), into=tmp_path, kind="avi")
    path = tmp_path / "stateless.zarr"
    with StoreWriter.open(path, StoreHeader("toy", HZ, 40, {}, {}, 0)) as writer:
        episode = store.episode(0)
        del episode.steps["state"]
        writer.append(dataclasses.replace(episode, memory=np.zeros((len(episode.memory), 0))))
    with pytest.raises(StoreError, match="holds no state, so nothing of it can be drawn") as caught:
        film_strip(Store.open(path), 0, DrawnTask())
    assert "\n" not in str(caught.value)


def test_a_film_has_every_second_step_and_the_end(labelled: Store, tmp_path: Path) -> None:
    path = film(labelled, failed(labelled), DrawnTask(), monitor("timely", 10.0), into=tmp_path, width_px=240)
    assert path == tmp_path / f"{labelled.uids[failed(labelled)].replace(':', '-')}.gif"
    stands = [frame.info["duration"] for frame in ImageSequence.Iterator(Image.open(path))]
    assert sum(stands) == 20 * 1000 * EVERY / HZ + END_MS, "pictures that are alike may be one that stands longer"
    assert Image.open(path).width == 240
    plain = film(labelled, failed(labelled), DrawnTask(), into=tmp_path / "plain", width_px=240)
    assert Image.open(plain).height < Image.open(path).height, "without a monitor there is no curve"


def test_without_pyav_a_film_says_what_to_install(
    labelled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install 'failure-workbench\[video\]', or take job.kind=gif"):
        film(labelled, 0, DrawnTask(), into=tmp_path, kind="mp4", width_px=64)
    assert not list(tmp_path.iterdir())


def test_an_mp4_has_the_same_pictures(labelled: Store, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = film(labelled, failed(labelled), DrawnTask(), into=tmp_path, kind="mp4", width_px=240)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == HZ / EVERY
    assert len(frames) == 21
    assert frames[0].shape[1] == 240


def test_a_recording_holds_the_strip_beside_its_notes(labelled: Store, tmp_path: Path) -> None:
    drawn = view(labelled, failed(labelled), DrawnTask(), into=tmp_path / "drawn")
    ((blob,),) = rows(drawn.path, "/strip", "blob")
    strip = film_strip(labelled, failed(labelled), DrawnTask())
    assert bytes(blob) == strip.png()
    plain = view(labelled, failed(labelled), SeenTask(), into=tmp_path / "plain")
    assert "/strip" not in entities_of(plain.path), "a scene that cannot be drawn is recorded all the same"
    log = [text for (text,) in rows(drawn.path, "/log", "text")]
    assert log == ["injected", "onset", "decisive", "point of no return", "failure"]


def test_a_report_opens_with_a_failure_and_with_none_where_nothing_failed(labelled: Store) -> None:
    assert failure_to_tell(labelled, "") == failed(labelled)
    assert failure_to_tell(labelled, labelled.uids[failed(labelled)]) == failed(labelled)
    assert failure_to_tell(labelled, labelled.uids[1 - failed(labelled)]) == failed(labelled), "a success is no failure"
