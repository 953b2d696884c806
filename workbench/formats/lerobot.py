"""LeRobotDataset v3.0 (Hugging Face, ``lerobot`` 0.4), written without lerobot itself.

Policies of LeRobot take ``observation.*`` and ``action``; everything else rides along untouched, so what the simulator
knows about failures stands under ``next.*`` and ``failure.*``.  Per frame t, as in the store: observation before the
action of t; reward, stage and success after it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import StoreError
from workbench.formats.format import Header
from workbench.types import COLUMNS, Array, Episode, Record

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "v3.0"
FILE_BYTES = 100_000_000
"""A data file is closed once it holds this much; LeRobot's own default of 100 MB."""
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
EPISODE_COLUMNS = tuple(column.name for column in COLUMNS if column.name not in ("instruction", "length"))
"""Columns of the store's ``episodes/`` that go to ``meta/episodes`` as ``failure.<column>``: but for what LeRobot has
columns of its own for."""


class LeRobot:
    """LeRobotDataset v3.0.

    Parameters
    ----------
    robot_type : name of the robot, as LeRobot shows it.
    """

    name = "lerobot"
    about = "LeRobotDataset v3.0 of Hugging Face, on which policies of LeRobot train"
    loses = (
        "state and memory, so that nothing can be replayed or branched",
        "policy calls",
        "actions as executed",
        "predicates",
        "depth and segmentation",
        "digits beyond float32",
    )
    calls = False

    def __init__(self, robot_type: str = "panda") -> None:
        self.robot_type = robot_type

    def write(self, episodes: Iterable[Episode], folder: Path, header: Header) -> None:
        """Write episodes with ``obs/<key>``, ``action``, ``reward``, ``stage``, ``modes``, perhaps ``images/<camera>``.

        One episode is held in memory at a time.
        """
        writer = _Writer(folder, header.control_hz)
        for episode in episodes:
            writer.add(episode)
        writer.finish(self.robot_type)


class _Writer:
    """The files of one data set, filled episode by episode."""

    def __init__(self, folder: Path, fps: float) -> None:
        (folder / "meta").mkdir(parents=True)
        self.folder = folder
        self.fps = fps
        self.features: dict[str, Record] = {}
        self.rows: list[Record] = []
        self.tasks: dict[str, int] = {}
        self.frames = 0
        self._stats: dict[str, _Stats] = {}
        self._parquet: Any = None
        self._file = -1
        self._bytes = 0

    def add(self, episode: Episode) -> None:
        """Append one episode."""
        import pyarrow as pa

        columns, features = _columns(episode)
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
        for name, values in columns.items():
            self._stats.setdefault(name, _Stats()).add(values)
        arrays = [_to_arrow(columns[name], self.features[name]) for name in self.features]
        chunk, file = self._write(pa.table(arrays, names=list(self.features)))
        self.rows.append(self._row(episode, length, chunk, file))
        self.frames += length

    def finish(self, robot_type: str) -> None:
        """Write everything but the frames."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._parquet is None:
            raise StoreError("there is no episode to export; roll some out first")
        self._parquet.close()
        path = self.folder / EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.rows), path, compression="snappy")
        tasks = pd.DataFrame({"task_index": range(len(self.tasks))}, index=pd.Index(list(self.tasks), name="task"))
        tasks.to_parquet(self.folder / "meta/tasks.parquet")
        stats = {name: self._stats[name].record(self.features[name]) for name in self.features}
        _write_json(self.folder / "meta/stats.json", stats)
        _write_json(self.folder / "meta/info.json", self._info(robot_type))

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

    def _row(self, episode: Episode, length: int, chunk: int, file: int) -> Record:
        row: Record = {
            "episode_index": len(self.rows),
            "tasks": [str(episode.record["instruction"])],
            "length": length,
            "data/chunk_index": chunk,
            "data/file_index": file,
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
            "video_files_size_in_mb": 200,
            "fps": int(self.fps) if float(self.fps).is_integer() else self.fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": DATA_PATH,
            "video_path": None,
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

    def record(self, feature: Record) -> Record:
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


def _columns(episode: Episode) -> tuple[dict[str, Array], dict[str, Record]]:
    """Feature -> values and feature -> description, without LeRobot's own indices."""
    steps = episode.steps
    observed = {name.removeprefix("obs/"): steps[name] for name in sorted(steps) if name.startswith("obs/")}
    flat = {name: np.asarray(values, np.float32).reshape(len(values), -1) for name, values in observed.items()}
    state = np.concatenate(list(flat.values()), axis=1)
    action = np.asarray(steps["action"], np.float32)
    columns: dict[str, Array] = {"observation.state": state, "action": action}
    features = {
        "observation.state": _vector(state, [f"{n}_{i}" for n, v in flat.items() for i in range(v.shape[1])]),
        "action": _vector(action, [f"action_{index}" for index in range(action.shape[1])]),
    }
    for name in sorted(steps):
        if name.startswith("images/"):
            feature = f"observation.images.{name.removeprefix('images/')}"
            columns[feature] = steps[name]
            shape = list(steps[name].shape[1:])
            features[feature] = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
    for name, values in _outcomes(episode).items():
        columns[name] = values
        features[name] = {"dtype": str(values.dtype), "shape": [1], "names": None}
    return columns, features


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
        "failure.modes": np.asarray(episode.steps["modes"], np.int64),
        **{f"failure.{name}": _since(int(record[event]), length) for name, event in flags.items()},
    }


def _since(step: int, length: int) -> Array:
    """(T,) whether an event has happened by each frame."""
    happened: Array = np.arange(length) >= step if step >= 0 else np.zeros(length, np.bool_)
    return happened


def _to_arrow(values: Array, feature: Record) -> Any:
    import pyarrow as pa

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
