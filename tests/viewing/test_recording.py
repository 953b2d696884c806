"""From a stored episode to a recording: chosen, restored, read by monitors, written, and read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rerun.chunk import RrdReader

from tests.toy import ToyPolicy, ToyScene, ToyTask, broken
from workbench.errors import StoreError, UnknownNameError
from workbench.monitoring.example import Example
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.rollouts.loop import Launch, Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Array, PolicyCall, Shape, Stream, Threshold, episode_index
from workbench.viewing.choice import most_telling
from workbench.viewing.recording import view
from workbench.viewing.session import entities_of

BREAKS, LOST = 6, 30


class Elapsed:
    """Scores a call by its control step."""

    needs: frozenset[str] = frozenset()

    def begin(self) -> dict[str, Any]:
        return {}

    def update(self, memories: Any, call: PolicyCall) -> Array:
        return np.asarray(call.step, float)


SCORE = FittedScore("elapsed", Elapsed(), frozenset(), 0)


class SeenScene(ToyScene):
    """Has one ball, which is as large as the episode's number and stands where the episode is."""

    def shapes(self) -> Sequence[Shape]:
        nothing = {"vertices_m": np.zeros((0, 3)), "faces": np.zeros((0, 3), np.int32)}
        size_m = np.array([float(self._stream.episode), 0.0, 0.0])
        turn = np.array([1.0, 0.0, 0.0, 0.0])
        return [Shape("ball", "body", "sphere", np.zeros(3), turn, size_m, np.ones(4), **nothing)]

    def body_poses(self) -> Mapping[str, tuple[Array, Array]]:
        return {"body": (np.array([self._place, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0]))}


@dataclasses.dataclass
class SeenTask(ToyTask):
    trails: tuple[str, ...] = ("body",)

    def scene(self) -> ToyScene:
        return SeenScene(self)


def monitor(name: str, after: float) -> Monitor:
    """Alarms at the first call behind a control step."""
    threshold = Threshold(np.array([after]), np.array([2.0]), 0.1, 9, "nothing")
    return Monitor(name, SCORE, Window(), "fixed", 0.1, threshold)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A nominal test episode, a fault from the start, and two in mid-episode, of which one is of another split."""
    path = tmp_path_factory.mktemp("view") / "toy.zarr"
    faults = [("test", 0, ()), ("test", 1, (broken(0, 0),)), ("test", 2, (broken(BREAKS, 0),)),
              ("fit", 3, (broken(BREAKS, 0),))]  # fmt: skip
    launches = [Launch(Stream(0, episode_index(split, number)), drawn) for split, number, drawn in faults]
    with StoreWriter.open(path, StoreHeader("toy", 10.0, 40, {}, {}, 0)) as writer:
        for episode in Lockstep(SeenTask(), ToyPolicy(), 4).record(launches):
            writer.append(episode)
    made = Store.open(path)
    for number in range(len(made)):
        if not made.episodes["success"][number]:
            made.annotate(number, t_pnr=LOST, t_on=BREAKS)
    return made


def rows(path: Path, entity: str, component: str) -> list[Any]:
    found = []
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        names = [name for name in batch.schema.names if name.endswith(component)]
        if chunk.entity_path == entity and names:
            found += batch.column(names[0]).to_pylist()
    return found


def number_of_fault(store: Store, t_inj: int, split: str = "test") -> int:
    columns = store.episodes
    return next(n for n in range(len(store)) if columns["t_inj"][n] == t_inj and columns["split"][n] == split)


def test_the_most_telling_episode_is_shown_where_none_is_named(store: Store, tmp_path: Path) -> None:
    telling = number_of_fault(store, BREAKS)
    recording = view(store, "auto", SeenTask(), [monitor("timely", 10.0)], into=tmp_path)
    assert recording.uid == store.uids[telling]
    assert recording.path == tmp_path / f"{recording.uid.replace(':', '-')}.rrd"
    assert most_telling(store, []) == telling, "without monitors too"


def test_without_a_failure_the_first_episode_is_shown_and_without_any_that_is_said(tmp_path: Path) -> None:
    header = StoreHeader("toy", 10.0, 40, {}, {}, 0)
    with StoreWriter.open(tmp_path / "toy.zarr", header):
        pass
    with pytest.raises(StoreError, match="is empty; roll some episodes first"):
        view(Store.open(tmp_path / "toy.zarr"), "auto", SeenTask(), into=tmp_path)
    with StoreWriter.open(tmp_path / "toy.zarr", header) as writer:
        writer.append(next(iter(Lockstep(SeenTask(), ToyPolicy(), 1).record([Launch(Stream(0, 0))]))))
    assert view(Store.open(tmp_path / "toy.zarr"), "auto", SeenTask(), into=tmp_path).uid == "0:0:nominal"


def test_an_episode_is_named_by_number_or_uid(store: Store, tmp_path: Path) -> None:
    for named in (1, "1", store.uids[1]):
        assert view(store, named, SeenTask(), into=tmp_path).uid == store.uids[1]
    for wrong in ("99", 99, -1, "nothing"):
        with pytest.raises(UnknownNameError, match=rf"episode \(or number in 0\.\.3\) '{wrong}'"):
            view(store, wrong, SeenTask(), into=tmp_path)


def test_the_example_is_what_the_monitors_said(store: Store, tmp_path: Path) -> None:
    number = number_of_fault(store, BREAKS)
    monitors = [monitor("timely", 10.0), monitor("late", 36.0)]
    recording = view(store, number, SeenTask(), monitors, into=tmp_path)
    example, calls = recording.example, store.calls(number)
    assert (example.uid, example.title) == (recording.uid, "toy: break, failure")
    expected = {"injected": BREAKS, "onset": BREAKS, "decisive": -1, "point of no return": LOST, "failure": 39}
    assert example.events == expected
    assert list(example.monitors) == ["timely", "late"]
    for name, after in (("timely", 10.0), ("late", 36.0)):
        assert example.monitors[name].step == calls.step.tolist()
        np.testing.assert_allclose(example.monitors[name].margin, (calls.step - after) / 2.0)
    assert Example.of(example.record()) == example
    assert rows(recording.path, "/log", "text") == [["injected"], ["onset"], ["alarm: timely"],
                                                    ["point of no return"], ["failure"]]  # fmt: skip


def test_a_scene_is_drawn_as_it_was_in_the_episode(store: Store, tmp_path: Path) -> None:
    number = number_of_fault(store, BREAKS)
    recording = view(store, number, SeenTask(), into=tmp_path)
    ((size,),) = rows(recording.path, "/scene/body/ball", "half_sizes")
    assert size[0] == store.episodes["index"][number], "as restored, not as a new scene has it"
    poses = [pose[0][0] for pose in rows(recording.path, "/scene/body", "translation")]
    assert poses == store.episode(number).steps["state"][:, 0].tolist()
    assert len(set(poses)) > 5


def test_what_was_written_is_read_back(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = view(store, 0, SeenTask(), into=tmp_path)
    assert "/states/stage" in entities_of(recording.path)

    def half(path: Path, shown: object) -> Path:
        path.write_bytes(recording.path.read_bytes()[:200])
        return path

    monkeypatch.setattr("workbench.viewing.recording.record_episode", half)
    with pytest.raises(StoreError, match=r"cannot be read as a Rerun recording|holds no layout"):
        view(store, 1, SeenTask(), into=tmp_path)
