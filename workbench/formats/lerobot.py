"""LeRobotDataset v3.0 (Hugging Face, ``lerobot`` 0.4), written without lerobot itself.

Policies of LeRobot take ``observation.*`` and ``action``; everything else rides along untouched, so what the simulator
knows about failures stands under ``next.*`` and ``failure.*``.  Per frame t, as in the store: observation before the
action of t; reward, stage and success after it.

``observation.state`` is what a robot knows of itself.  Where the objects are stands in
``observation.environment_state``, which is where policies of LeRobot that have no camera expect it.  There is no column
``intervention``, since no stored episode has any: recoveries are judged in branches that are not kept.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.config import named
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.formats.format import Header
from workbench.formats.video import VIDEO_BYTES, VIDEO_PATH, Video
from workbench.types import COLUMNS, MODES, Array, Episode, HasRobot, Record
from workbench.types.questions import Question, QuestionSet
from workbench.types.robot import OWN_READINGS

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "v3.0"
FILE_BYTES = 100_000_000
"""A data file is closed once it holds this much; LeRobot's own default of 100 MB."""
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EVENTS, LANGUAGE, VQA = "language_events", "language", "vqa"
"""A column of LeRobot, its dtype, and the style of the rows that are questions and answers."""
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
EPISODE_COLUMNS = tuple(column.name for column in COLUMNS if column.name not in ("instruction", "length"))
"""Columns of the store's ``episodes/`` that go to ``meta/episodes`` as ``failure.<column>``: but for what LeRobot has
columns of its own for."""


LOSES = (
    "state and memory, so that nothing can be replayed or branched",
    "policy calls",
    "actions as executed",
    "predicates",
    "depth and segmentation",
    "digits beyond float32",
)


class LeRobot:
    """LeRobotDataset v3.0.

    Parameters
    ----------
    robot_type : name of the robot, as LeRobot shows it; None for that of the task.
    state : keys of the observation that are of the robot itself; all others are of its environment.
    environment : whether those are written, too: LeRobot gives them to every policy unless it is told what to take.
    video : whether cameras are written as H.264 in MP4, for which PyAV is needed, and not losslessly as PNG.
    questions : whether questions and answers stand on their frames, in a column ``language_events``, which LeRobot
        reads from 0.6 on.
    """

    about = "LeRobotDataset v3.0 of Hugging Face, on which policies of LeRobot train"
    calls = False

    def __init__(
        self,
        robot_type: str | None = None,
        state: Sequence[str] = OWN_READINGS,
        environment: bool = True,
        video: bool = False,
        questions: bool = False,
    ) -> None:
        if isinstance(state, str):
            raise ConfigError(f"state of format lerobot must be a list of keys, such as [{state!r}], not {state!r}")
        self.robot_type = robot_type
        self.state = frozenset(state)
        self.environment = environment
        self.video = video
        self.asks = questions
        self.name = "lerobot" + ("_video" if video else "") + ("_questions" if questions else "")
        self.questions: QuestionSet | None = None
        self.loses = LOSES + (("pixels as they were drawn",) if video else ())

    def asking(self, questions: QuestionSet) -> LeRobot:
        """The same with these questions."""
        made = copy.copy(self)
        made.questions = questions
        return made

    def write(self, episodes: Iterable[Episode], folder: Path, header: Header) -> None:
        """Write episodes with ``obs/<key>``, ``action``, ``reward``, ``stage``, ``modes``, perhaps ``images/<camera>``.

        One episode is held in memory at a time.
        """
        writer = _Writer(folder, header.control_hz, self)
        try:
            for episode in episodes:
                writer.add(episode)
        finally:
            writer.close()
        writer.finish(robot_of(header.task) if self.robot_type is None else self.robot_type)


def robot_of(task: str) -> str:
    """Name of the robot of a task, by the task's name; "unknown" of a task that is not installed or names none."""
    try:
        found = named.task(task)
    except UnknownNameError:
        return "unknown"
    return found.robot.name if isinstance(found, HasRobot) else "unknown"


class _Writer:
    """The files of one data set, filled episode by episode."""

    def __init__(self, folder: Path, fps: float, wanted: LeRobot) -> None:
        (folder / "meta").mkdir(parents=True)
        self.folder = folder
        self.fps = fps
        self.wanted = wanted
        self.features: dict[str, Record] = {}
        self.rows: list[Record] = []
        self.tasks: dict[str, int] = {}
        self.frames = 0
        self._stats: dict[str, _Stats] = {}
        self._videos: dict[str, Video] = {}
        self._parquet: Any = None
        self._file = -1
        self._bytes = 0

    def add(self, episode: Episode) -> None:
        """Append one episode."""
        import pyarrow as pa

        columns, features = self._columns(episode)
        length = len(columns["action"])
        task = self.tasks.setdefault(str(episode.record["instruction"]), len(self.tasks))
        frame = np.arange(length)
        indices = {"frame_index": frame, "episode_index": len(self.rows), "index": self.frames + frame}
        columns["timestamp"] = (frame / self.fps).astype(np.float32)
        for name, values in {**indices, "task_index": task}.items():
            columns[name] = np.broadcast_to(np.asarray(values, np.int64), length).copy()
        for name in ("timestamp", *indices, "task_index"):
            features[name] = {"dtype": str(columns[name].dtype), "shape": [1], "names": None}
        self._check(features, episode)
        row = self._row(episode, length)
        for name, feature in self.features.items():
            if feature["dtype"] == LANGUAGE:
                continue
            row |= {f"stats/{name}/{key}": value for key, value in self._statistics(name, columns[name]).items()}
            if feature["dtype"] == "video":
                row |= self._film(name, columns[name])
        kept = [name for name, feature in self.features.items() if feature["dtype"] != "video"]
        arrays = [_to_arrow(columns[name], self.features[name]) for name in kept]
        row["data/chunk_index"], row["data/file_index"] = self._write(pa.table(arrays, names=kept))
        self.rows.append(row)
        self.frames += length

    def _statistics(self, name: str, values: Array) -> Record:
        """Those of one episode, which are taken into those of all."""
        of_episode = _Stats()
        for stats in (of_episode, self._stats.setdefault(name, _Stats())):
            stats.add(values)
        return of_episode.record()

    def _film(self, name: str, images: Array) -> Record:
        """Append the images of an episode to the video of a camera; returns where they are."""
        video = self._videos.setdefault(name, Video(self.folder, name, self.fps, FILES_PER_CHUNK))
        return {f"videos/{name}/{key}": value for key, value in video.add(images).items()}

    def close(self) -> None:
        """Close the open files."""
        for open_file in (self._parquet, *self._videos.values()):
            if open_file is not None:
                open_file.close()

    def finish(self, robot_type: str) -> None:
        """Write everything but the frames."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._parquet is None:
            raise StoreError("there is no episode to export; roll some out first")
        path = self.folder / EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.rows), path, compression="snappy")
        tasks = pd.DataFrame({"task_index": range(len(self.tasks))}, index=pd.Index(list(self.tasks), name="task"))
        tasks.to_parquet(self.folder / "meta/tasks.parquet")
        stats = {name: stats.record() for name, stats in self._stats.items()}
        _write_json(self.folder / "meta/stats.json", stats)
        _write_json(self.folder / "meta/info.json", self._info(robot_type))

    def _columns(self, episode: Episode) -> tuple[dict[str, Array], dict[str, Record]]:
        """Feature -> values and feature -> description, without LeRobot's own indices."""
        steps = episode.steps
        columns: dict[str, Array] = {}
        features: dict[str, Record] = {}
        for feature, names in self._observed(steps).items():
            flat = {name: np.asarray(steps[name], np.float32).reshape(len(steps[name]), -1) for name in names}
            columns[feature] = np.concatenate(list(flat.values()), axis=1)
            numbers = [f"{name.removeprefix('obs/')}_{i}" for name in names for i in range(flat[name].shape[1])]
            features[feature] = _vector(columns[feature], numbers)
        columns["action"] = np.asarray(steps["action"], np.float32)
        features["action"] = _vector(columns["action"], [f"action_{i}" for i in range(columns["action"].shape[1])])
        for name in sorted(steps):
            if name.startswith("images/"):
                feature = f"observation.images.{name.removeprefix('images/')}"
                columns[feature], features[feature] = steps[name], self._camera(steps[name])
        for name, values in _outcomes(episode).items():
            columns[name], features[name] = values, {"dtype": str(values.dtype), "shape": [1], "names": None}
        seen = np.asarray(steps["modes"], np.int64)[:, None] >> np.arange(len(MODES)) & 1
        columns["failure.modes"] = seen.astype(np.bool_)
        features["failure.modes"] = {"dtype": "bool", "shape": [len(MODES)], "names": list(MODES)}
        if (asked := self.wanted.questions) is not None:
            columns[EVENTS] = _events(asked.about(str(episode.record["uid"])), features, len(columns["action"]))
            features[EVENTS] = {"dtype": LANGUAGE, "shape": [1], "names": None}
        return columns, features

    def _observed(self, steps: Mapping[str, Array]) -> dict[str, list[str]]:
        """Feature -> columns of the store that it is made of."""
        keys = sorted(name for name in steps if name.startswith("obs/"))
        own = [name for name in keys if name.removeprefix("obs/") in self.wanted.state]
        others = [name for name in keys if name not in own] if self.wanted.environment else []
        parts = {"observation.state": own, "observation.environment_state": others}
        return {feature: names for feature, names in parts.items() if names}

    def _camera(self, images: Array) -> Record:
        """Description of the images (T, H, W, 3) of a camera."""
        dtype = "video" if self.wanted.video else "image"
        made: Record = {"dtype": dtype, "shape": list(images.shape[1:]), "names": ["height", "width", "channels"]}
        return made | ({"info": Video.about(images, self.fps)} if self.wanted.video else {})

    def _check(self, features: dict[str, Record], episode: Episode) -> None:
        if not self.features:
            self.features = features
        elif features != self.features:
            named = sorted(
                name for name in {*features, *self.features} if features.get(name) != self.features.get(name)
            )
            raise StoreError(
                f"episode {episode.record['uid']} has other columns than the first one: {', '.join(named)}; "
                "one data set holds episodes of one task, robot and set of cameras"
            )

    def _write(self, table: pa.Table) -> tuple[int, int]:
        """Append a table to the open file, or to a new one if that is full; returns where it went."""
        import pyarrow.parquet as pq

        if self._parquet is None or self._bytes >= FILE_BYTES:
            if self._parquet is not None:
                self._parquet.close()
            self._file, self._bytes = self._file + 1, 0
            chunk, file = divmod(self._file, FILES_PER_CHUNK)
            path = self.folder / DATA_PATH.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._parquet = pq.ParquetWriter(path, table.schema, compression="snappy")
        self._parquet.write_table(table)
        self._bytes += table.nbytes
        return divmod(self._file, FILES_PER_CHUNK)

    def _row(self, episode: Episode, length: int) -> Record:
        row: Record = {
            "episode_index": len(self.rows),
            "tasks": [str(episode.record["instruction"])],
            "length": length,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        return row | {f"failure.{name}": episode.record[name] for name in EPISODE_COLUMNS}

    def _info(self, robot_type: str) -> Record:
        return {
            "codebase_version": VERSION,
            "robot_type": robot_type,
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": FILE_BYTES // 1_000_000,
            "video_files_size_in_mb": VIDEO_BYTES // 1_000_000,
            "fps": int(self.fps) if float(self.fps).is_integer() else self.fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._videos else None,
            "features": self.features,
        }


class _Stats:
    """Extremes, moments and quantiles of one feature.

    Quantiles need all values, so they are kept; images keep their pixels' histogram instead.
    """

    def __init__(self) -> None:
        self._parts: list[Array] = []
        self._pixels: Array | None = None
        self._images = 0

    def add(self, values: Array) -> None:
        """Take the frames of one episode in."""
        if values.dtype == np.uint8:
            counts = [np.bincount(values[..., c].reshape(-1), minlength=256) for c in range(values.shape[-1])]
            self._pixels = np.stack(counts) + (0 if self._pixels is None else self._pixels)
            self._images += len(values)
        else:
            self._parts.append(values.reshape(len(values), -1).astype(np.float64))

    def record(self) -> Record:
        """The ten numbers that LeRobot keeps of a feature; those of images in 0..1 and of shape (3, 1, 1)."""
        if self._pixels is None:
            return _statistics(np.concatenate(self._parts), None) | {"count": [sum(map(len, self._parts))]}
        levels = np.arange(256)[:, None] / 255
        channels = [_statistics(levels, counts) for counts in self._pixels]
        names = channels[0]
        return {name: [[channel[name]] for channel in channels] for name in names} | {"count": [self._images]}


def _statistics(values: Array, weights: Array | None) -> Record:
    """Statistics of the columns of (N, D), each row counted ``weights`` times."""
    if weights is not None:
        values = values[weights > 0]
        weights = weights[weights > 0]
        mean = np.average(values, axis=0, weights=weights)
        std = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
        quantiles = np.quantile(values, list(QUANTILES.values()), axis=0, weights=weights, method="inverted_cdf")
    else:
        mean, std = values.mean(axis=0), values.std(axis=0)
        quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    record = {"min": values.min(axis=0), "max": values.max(axis=0), "mean": mean, "std": std}
    record |= dict(zip(QUANTILES, quantiles, strict=True))
    return {name: value.tolist() for name, value in record.items()}


def _vector(values: Array, names: list[str]) -> Record:
    return {"dtype": "float32", "shape": [values.shape[1]], "names": names}


def _outcomes(episode: Episode) -> Mapping[str, Array]:
    """What is known of each frame's fate; the flags are false where an event did not happen or was not measured."""
    record, length = episode.record, len(episode.steps["action"])
    last = np.arange(length) == length - 1
    flags = {"injected": "t_inj", "after_onset": "t_on", "after_pnr": "t_pnr"}
    return {
        "next.reward": np.asarray(episode.steps["reward"], np.float32),
        "next.done": last,
        "next.success": last & bool(record["success"]),
        "failure.stage": np.asarray(episode.steps["stage"], np.int64),
        **{f"failure.{name}": _since(int(record[event]), length) for name, event in flags.items()},
    }


def _since(step: int, length: int) -> Array:
    """(T,) whether an event has happened by each frame."""
    happened: Array = np.arange(length) >= step if step >= 0 else np.zeros(length, np.bool_)
    return happened


def _events(questions: Sequence[Question], features: Mapping[str, Record], length: int) -> Array:
    """(T,) lists of rows of each frame: every question with its answer on the last frame that may be seen for it.

    Rows of style vqa must name a camera (``lerobot.datasets.language``), and an answer holds for each.

    Raises
    ------
    StoreError
        if there is no camera.
    """
    cameras = [name for name in features if name.startswith("observation.images.")]
    if questions and not cameras:
        raise StoreError("questions of style vqa stand beside a camera, and there is none; export draws images where "
                         "the task has cameras")  # fmt: skip
    rows: Array = np.empty(length, dtype=object)
    rows[:] = [[] for _ in range(length)]
    for question in questions:
        said = ("user", question.prompt()), ("assistant", question.reply)
        for camera in cameras:
            for role, content in said:
                row = {"role": role, "content": content, "style": VQA, "camera": camera, "tool_calls": None}
                rows[min(question.until, length) - 1].append(row)
    return rows


def _events_type() -> Any:
    """Arrow's type of a frame's events; tool calls are JSON in text, of which there are none here."""
    import pyarrow as pa

    fields = [pa.field("role", pa.string(), nullable=False)]
    fields += [pa.field(name, pa.string()) for name in ("content", "style", "camera")]
    return pa.list_(pa.struct([*fields, pa.field("tool_calls", pa.list_(pa.string()))]))


def _to_arrow(values: Array, feature: Record) -> Any:
    import pyarrow as pa

    if feature["dtype"] == LANGUAGE:
        return pa.array(list(values), _events_type())
    if feature["dtype"] == "image":
        rows = [{"bytes": _png(image), "path": f"frame-{number:06d}.png"} for number, image in enumerate(values)]
        return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    if values.ndim == 2 and values.shape[1] > 1:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    return pa.array(values.reshape(-1))


def _png(image: Array) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _write_json(path: Path, content: Record) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
