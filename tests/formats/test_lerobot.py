"""What LeRobot would read, read back by a reader that shares no code with the writer."""

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import workbench as wb
from workbench.config.named import names
from workbench.errors import ConfigError, StoreError
from workbench.formats import export, lerobot, video
from workbench.store import StoreHeader
from workbench.types import EPISODE_COLUMNS, MODES, Array, Episode, Record, new_record

LENGTHS = (5, 7, 4)
HEADER = StoreHeader(task="lift", control_hz=20, deadline=9, config={}, versions={}, seed=0)


class Listed:
    """Episodes of a list, as a store holds them."""

    path = Path("mine.zarr")
    header = HEADER

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self.listed = episodes

    def __len__(self) -> int:
        return len(self.listed)

    def episode(self, number: int, steps: Sequence[str] | None = None, calls: Sequence[str] | None = None) -> Episode:
        return self.listed[number]


def exported(episodes: Sequence[Episode], folder: Path, **settings: Any) -> Path:
    return export(Listed(episodes), lerobot.LeRobot(**settings), folder)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What was read back.

    Attributes
    ----------
    info : ``meta/info.json``.
    stats : ``meta/stats.json``.
    tasks : instructions, by task index.
    episodes : column -> values, one row an episode.
    frames : feature -> (T, ...), one row a frame; images as PNG bytes.
    """

    info: Record
    stats: Record
    tasks: list[str]
    episodes: dict[str, list[Any]]
    frames: dict[str, Array]


def read_back(folder: Path) -> Dataset:
    """Read a LeRobotDataset v3.0 from its files; StoreError if it is missing or of another version."""
    if not (folder / "meta/info.json").is_file():
        raise StoreError(f"{folder} holds no LeRobotDataset (meta/info.json is missing)")
    info = json.loads((folder / "meta/info.json").read_text(encoding="utf-8"))
    if info["codebase_version"] != "v3.0":
        raise StoreError(f"{folder} is of version {info['codebase_version']}; only v3.0 is read")
    tables = [pq.read_table(path) for path in sorted(folder.glob("data/*/*.parquet"))]
    episodes = [pq.read_table(path) for path in sorted(folder.glob("meta/episodes/*/*.parquet"))]
    tasks = pd.read_parquet(folder / "meta/tasks.parquet").sort_values("task_index")
    frames = pa.concat_tables(tables)
    return Dataset(
        info=info,
        stats=json.loads((folder / "meta/stats.json").read_text(encoding="utf-8")),
        tasks=[str(name) for name in tasks.index],
        episodes=pa.concat_tables(episodes).to_pydict(),
        frames={name: from_arrow(frames.column(name), info["features"][name]) for name in frames.column_names},
    )


def from_arrow(column: Any, feature: Record) -> Array:
    column = column.combine_chunks()
    if feature["dtype"] == "image":
        return np.array([row["bytes"] for row in column.to_pylist()], dtype=object)
    if feature["shape"] == [1]:
        scalars: Array = column.to_numpy(zero_copy_only=False)
        return scalars
    rows: Array = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), *feature["shape"])
    return rows


def episode(number: int, length: int, *, cameras: bool = True, **record: object) -> Episode:
    rng = np.random.default_rng(number)
    steps = {
        "obs/eef_pos": rng.random((length, 3)),
        "obs/block_pos": rng.random((length, 2)),
        "action": rng.random((length, 4)),
        "applied": rng.random((length, 4)),
        "reward": np.arange(length, dtype=np.float64),
        "stage": np.arange(length) // 3,
        "modes": np.arange(length).astype(np.uint16) % 4,
    }
    if cameras:
        steps["images/front"] = rng.integers(0, 255, (length, 6, 8, 3), dtype=np.uint8)
    row = new_record(
        uid=f"0:{number}:x", index=number, seed=0, split="test", task="lift", model="m",
        instruction="stack" if number == 1 else "lift", policy="flow", perturbation="slip",
        perturbations=json.dumps([{"name": "slip"}]), cell="", execute=4, length=length, success=False,
        outcome="partial", failure_mode="slip", modes="[]",
    )  # fmt: skip
    return Episode(row | record, steps, {}, np.zeros((length, 0)))


@pytest.fixture
def episodes() -> list[Episode]:
    marks = [{"success": True, "outcome": "success"}, {"t_inj": 1, "t_on": 3, "t_pnr": 5}, {"t_inj": 0}]
    return [episode(i, n, **mark) for i, (n, mark) in enumerate(zip(LENGTHS, marks, strict=True))]


def test_a_round_trip_keeps_every_number(tmp_path: Path, episodes: list[Episode]) -> None:
    read = read_back(exported(episodes, tmp_path / "set"))

    def joined(*names: str) -> np.ndarray:
        parts = [np.concatenate([e.steps[name] for name in names], axis=1) for e in episodes]
        return np.concatenate(parts).astype(np.float32)

    np.testing.assert_array_equal(read.frames["observation.state"], joined("obs/eef_pos"))
    np.testing.assert_array_equal(read.frames["observation.environment_state"], joined("obs/block_pos"))
    np.testing.assert_array_equal(read.frames["action"], joined("action"))
    features = read.info["features"]
    assert features["observation.state"]["names"] == ["eef_pos_0", "eef_pos_1", "eef_pos_2"]
    assert features["observation.environment_state"]["names"] == ["block_pos_0", "block_pos_1"]
    images = [np.asarray(Image.open(io.BytesIO(png))) for png in read.frames["observation.images.front"]]
    np.testing.assert_array_equal(images, np.concatenate([e.steps["images/front"] for e in episodes]))


def test_indices_tie_frames_episodes_and_tasks_together(tmp_path: Path, episodes: list[Episode]) -> None:
    read = read_back(exported(episodes, tmp_path / "set"))
    frames, ends = read.frames, np.cumsum(LENGTHS)

    assert (read.info["total_episodes"], read.info["total_frames"], read.info["total_tasks"]) == (3, 16, 2)
    np.testing.assert_array_equal(frames["index"], np.arange(16))
    np.testing.assert_array_equal(frames["episode_index"], np.repeat([0, 1, 2], LENGTHS))
    np.testing.assert_array_equal(frames["frame_index"], np.concatenate([np.arange(n) for n in LENGTHS]))
    np.testing.assert_allclose(frames["timestamp"], frames["frame_index"] / 20, rtol=1e-6)
    assert read.episodes["dataset_to_index"] == ends.tolist()
    assert read.episodes["dataset_from_index"] == [0, *ends[:-1].tolist()]
    assert [read.tasks[frames["task_index"][start]] for start in (0, 5, 12)] == ["lift", "stack", "lift"]
    assert set(frames) == set(read.info["features"]) == set(read.stats)
    for name in ("index", "episode_index", "frame_index", "task_index", "failure.stage"):
        assert frames[name].dtype == np.int64, name
    assert frames["timestamp"].dtype == np.float32


def test_failure_columns_switch_on_at_their_steps(tmp_path: Path, episodes: list[Episode]) -> None:
    read = read_back(exported(episodes, tmp_path / "set"))
    second = read.frames["episode_index"] == 1

    def steps(name: str) -> list[int]:
        return np.flatnonzero(read.frames[name][second]).tolist()

    assert steps("failure.injected") == [1, 2, 3, 4, 5, 6]
    assert steps("failure.after_onset") == [3, 4, 5, 6]
    assert steps("failure.after_pnr") == [5, 6]
    assert not read.frames["failure.after_onset"][~second].any(), "an onset that was not measured"
    np.testing.assert_array_equal(np.flatnonzero(read.frames["next.done"]), np.cumsum(LENGTHS) - 1)
    np.testing.assert_array_equal(np.flatnonzero(read.frames["next.success"]), [LENGTHS[0] - 1])
    assert read.episodes["failure.t_on"] == [-1, 3, -1]
    assert read.episodes["failure.outcome"] == ["success", "partial", "partial"]
    assert json.loads(read.episodes["failure.perturbations"][0]) == [{"name": "slip"}]


def test_every_column_of_an_episode_comes_back(tmp_path: Path, episodes: list[Episode]) -> None:
    read = read_back(exported(episodes, tmp_path / "set"))
    own = {"instruction": [name for (name,) in read.episodes["tasks"]], "length": read.episodes["length"]}
    for name in EPISODE_COLUMNS:
        assert own.get(name, read.episodes.get(f"failure.{name}")) == [e.record[name] for e in episodes], name


def test_policies_see_nothing_of_the_failures(tmp_path: Path, episodes: list[Episode]) -> None:
    features = read_back(exported(episodes, tmp_path / "set")).info["features"]
    taken = {name for name in features if name.startswith(("observation", "action"))}
    seen = {"observation.state", "observation.environment_state", "observation.images.front"}
    assert taken == {*seen, "action"}


ROBOT = frozenset({"eef_pos", "eef_quat", "gripper_qpos", "pusher_pos", "wrench"})


@pytest.mark.parametrize("name", names("task"))
def test_no_state_holds_where_an_object_is(tmp_path: Path, name: str) -> None:
    """Of every task here: a policy that sees would not need its eyes."""
    task = wb.task(name)
    read = read_back(exported([observing(task.observation_sizes)], tmp_path / "set"))
    features = {feature: each["names"] for feature, each in read.info["features"].items()}
    own = {column.rpartition("_")[0] for column in features["observation.state"]}
    others = {column.rpartition("_")[0] for column in features["observation.environment_state"]}
    assert own == set(task.observation_sizes) & ROBOT
    assert others == set(task.observation_sizes) - ROBOT


def observing(sizes: Mapping[str, int]) -> Episode:
    made = episode(0, 4)
    kept = {name: values for name, values in made.steps.items() if not name.startswith("obs/")}
    return dataclasses.replace(made, steps=kept | {f"obs/{key}": np.ones((4, size)) for key, size in sizes.items()})


def test_what_is_the_robots_own_can_be_said_and_the_rest_left_out(tmp_path: Path) -> None:
    sizes = {"joint_angle": 7, "cup_pos": 3}
    read = read_back(exported([observing(sizes)], tmp_path / "set", state=["joint_angle"], environment=False))
    assert read.info["features"]["observation.state"]["shape"] == [7]
    assert "observation.environment_state" not in read.frames
    read = read_back(exported([observing(sizes)], tmp_path / "other"))
    assert "observation.state" not in read.frames, "an unknown key may be where an object is"
    assert read.info["features"]["observation.environment_state"]["shape"] == [10]
    with pytest.raises(ConfigError, match=r"a list of keys, such as \['joint_angle'\]"):
        lerobot.LeRobot(state="joint_angle")


@pytest.mark.parametrize(("task", "robot"), [("lift", "panda"), ("push_t", "disc"), ("of nobody here", "unknown")])
def test_the_robot_is_that_of_the_task(tmp_path: Path, episodes: list[Episode], task: str, robot: str) -> None:
    source = Listed(episodes)
    source.header = dataclasses.replace(HEADER, task=task)
    folder = export(source, lerobot.LeRobot(), tmp_path / "set")
    assert read_back(folder).info["robot_type"] == robot
    assert read_back(exported(episodes, tmp_path / "said", robot_type="so100")).info["robot_type"] == "so100"


def test_failure_modes_have_names(tmp_path: Path, episodes: list[Episode]) -> None:
    read = read_back(exported(episodes, tmp_path / "set"))
    feature, seen = read.info["features"]["failure.modes"], read.frames["failure.modes"]
    bits = np.concatenate([e.steps["modes"] for e in episodes])
    assert feature["names"] == list(MODES)
    assert seen.dtype == np.bool_
    for number, mode in enumerate(MODES):
        np.testing.assert_array_equal(seen[:, number], (bits >> number & 1).astype(bool), mode)


def test_every_episode_has_statistics_of_its_own(tmp_path: Path, episodes: list[Episode]) -> None:
    read = read_back(exported(episodes, tmp_path / "set"))
    for name in read.info["features"]:
        for stat in ("min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"):
            assert len(read.episodes[f"stats/{name}/{stat}"]) == len(LENGTHS), (name, stat)
    ends = np.cumsum([0, *LENGTHS])
    for number in range(len(LENGTHS)):
        action = read.frames["action"][ends[number] : ends[number + 1]].astype(float)
        np.testing.assert_allclose(read.episodes["stats/action/mean"][number], action.mean(axis=0))
        np.testing.assert_allclose(read.episodes["stats/action/max"][number], action.max(axis=0))
        assert read.episodes["stats/action/count"][number] == [LENGTHS[number]]
        image = np.array(read.episodes["stats/observation.images.front/mean"][number])
        assert image.shape == (3, 1, 1)
        pixels = episodes[number].steps["images/front"] / 255
        np.testing.assert_allclose(image.ravel(), pixels.mean(axis=(0, 1, 2)))


# -- video -------------------------------------------------------------------------------------------------------------


def smooth(number: int, length: int, size: tuple[int, int] = (64, 48)) -> Episode:
    """An episode whose images move slowly, as codecs expect."""
    made = episode(number, length)
    across, down = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    waves = [np.sin((across + down) / 20 + 0.2 * t + number) for t in range(length)]
    images = np.stack([127 + 100 * np.stack([w, -w, 0.5 * w], axis=-1) for w in waves]).astype(np.uint8)
    return dataclasses.replace(made, steps=made.steps | {"images/front": images})


def test_video_without_its_library_is_refused_in_one_line(
    tmp_path: Path, episodes: list[Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install 'failure-workbench\[video\]'"):
        exported(episodes, tmp_path / "set", video=True)
    assert not list(tmp_path.iterdir())


def test_frames_of_a_video_are_those_of_the_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    made = [smooth(number, length) for number, length in enumerate(LENGTHS)]
    for most in (lerobot.VIDEO_BYTES, 1):
        monkeypatch.setattr(video, "VIDEO_BYTES", most)
        folder = exported(made, tmp_path / str(most), video=True)
        read = read_back(folder)
        key = "observation.images.front"
        assert key not in read.frames
        assert read.info["features"][key]["dtype"] == "video"
        assert f"stats/{key}/mean" in read.episodes
        for number, each in enumerate(made):
            place = {name: read.episodes[f"videos/{key}/{name}"][number] for name in ("chunk_index", "file_index")}
            start, end = (read.episodes[f"videos/{key}/{name}_timestamp"][number] for name in ("from", "to"))
            assert end - start == pytest.approx(LENGTHS[number] / 20)
            with av.open(folder / read.info["video_path"].format(video_key=key, **place)) as film:
                frames = {float(frame.time): frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)}
            for t, image in enumerate(each.steps["images/front"]):
                (frame,) = [frame for at, frame in frames.items() if abs(at - start - t / 20) < 1e-4]
                assert np.abs(frame.astype(int) - image).mean() < 4, (number, t)


def test_video_of_odd_sizes_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with pytest.raises(StoreError, match=r"63 x 48 pixels, and video needs even numbers"):
        exported([smooth(0, 3, (63, 48))], tmp_path / "set", video=True)
    assert not list(tmp_path.iterdir())


def test_statistics_are_those_of_all_frames(tmp_path: Path, episodes: list[Episode]) -> None:
    read = read_back(exported(episodes, tmp_path / "set"))
    stats, action = read.stats["action"], read.frames["action"].astype(np.float64)

    np.testing.assert_allclose(stats["mean"], action.mean(axis=0))
    np.testing.assert_allclose(stats["std"], action.std(axis=0))
    np.testing.assert_allclose(stats["q90"], np.quantile(action, 0.9, axis=0))
    assert stats["count"] == [16]
    pixels = np.concatenate([e.steps["images/front"] for e in episodes]) / 255
    image = {name: np.array(value) for name, value in read.stats["observation.images.front"].items()}
    assert image["mean"].shape == (3, 1, 1)
    np.testing.assert_allclose(image["mean"].ravel(), pixels.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(image["std"].ravel(), pixels.std(axis=(0, 1, 2)))
    np.testing.assert_allclose(image["q50"].ravel(), np.median(pixels, axis=(0, 1, 2)), atol=1 / 255)
    assert image["count"].tolist() == [16]


def test_full_files_are_followed_by_new_ones(
    tmp_path: Path, episodes: list[Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lerobot, "FILE_BYTES", 1)
    monkeypatch.setattr(lerobot, "FILES_PER_CHUNK", 2)
    folder = exported(episodes, tmp_path / "set")
    read = read_back(folder)

    where = list(zip(read.episodes["data/chunk_index"], read.episodes["data/file_index"], strict=True))
    assert where == [(0, 0), (0, 1), (1, 0)]
    for number, (chunk, file) in enumerate(where):
        path = folder / read.info["data_path"].format(chunk_index=chunk, file_index=file)
        assert pq.read_table(path).column("episode_index").to_pylist() == [number] * LENGTHS[number]
    np.testing.assert_array_equal(read.frames["index"], np.arange(16))


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path, episodes: list[Episode]) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("kept")
    with pytest.raises(StoreError, match="exists already"):
        exported(episodes, tmp_path / "set")
    assert (tmp_path / "set" / "mine").read_text() == "kept"


def test_a_failed_export_leaves_nothing(tmp_path: Path, episodes: list[Episode]) -> None:
    other = episode(9, 3, cameras=False)
    with pytest.raises(StoreError, match=r"0:9:x has other columns.*observation\.images\.front"):
        exported([*episodes, other], tmp_path / "set")
    with pytest.raises(StoreError, match="no episode"):
        exported([], tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_a_stranger_is_not_read(tmp_path: Path, episodes: list[Episode]) -> None:
    with pytest.raises(StoreError, match=r"info\.json is missing"):
        read_back(tmp_path)
    folder = exported(episodes, tmp_path / "set")
    info = json.loads((folder / "meta/info.json").read_text()) | {"codebase_version": "v2.1"}
    (folder / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(StoreError, match=r"v2\.1"):
        read_back(folder)


PEER = """
import sys, torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
data = LeRobotDataset("local/set", root=sys.argv[1], delta_timestamps={"action": [0.0, 0.05]})
first = data[5]
assert len(data) == 16 and data.num_episodes == 3 and data.fps == 20
assert first["action"].shape == (2, 4) and first["observation.state"].shape == (3,)
assert first["observation.environment_state"].shape == (2,) and first["failure.modes"].shape == (13,)
assert data.meta.robot_type == "panda"
assert first["observation.images.front"].shape == (3, 6, 8)
assert first["task"] == "stack" and bool(data[8]["failure.after_onset"])
assert not bool(data[7]["failure.after_onset"])
print("loaded")
"""


@pytest.mark.skipif("LEROBOT_PYTHON" not in os.environ, reason="LEROBOT_PYTHON names no Python with lerobot 0.4")
def test_lerobot_itself_loads_it(tmp_path: Path, episodes: list[Episode]) -> None:
    folder = exported(episodes, tmp_path / "set")
    command = [os.environ["LEROBOT_PYTHON"], "-c", PEER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={"HF_HUB_OFFLINE": "1", "PATH": ""})
    assert done.stdout.strip() == "loaded", done.stderr
