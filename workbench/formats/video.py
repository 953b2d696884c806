"""The frames of a camera as H.264 in MP4 files, episode after episode; by PyAV, of the extra "video"."""

from __future__ import annotations

import fractions
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import ConfigError, StoreError
from workbench.types import Array, Record

VIDEO_BYTES = 200_000_000
"""A file is closed once it holds this much; LeRobot's own default of 200 MB."""
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
ENCODER, CODEC, PIXELS = "libx264", "h264", "yuv420p"
OPTIONS = {"g": "2", "crf": "18"}
"""Every second frame stands by itself, so that one in the middle is found at once, as in LeRobot's own; and a quality
at which a loss is hard to see."""


class Video:
    """The files of one camera.

    Parameters
    ----------
    folder : of the data set.
    key : name of the feature.
    fps : frames a second.
    files_per_chunk : how many files a folder holds.
    """

    def __init__(self, folder: Path, key: str, fps: float, files_per_chunk: int) -> None:
        self.folder, self.key, self.files_per_chunk = folder, key, files_per_chunk
        self.fps = fractions.Fraction(fps).limit_denominator(1000)
        self._container: Any = None
        self._stream: Any = None
        self._path = Path()
        self._file = -1
        self._frames = 0

    @staticmethod
    def about(images: Array, fps: float) -> Record:
        """What LeRobot keeps of a video in ``info.json``."""
        return {
            "video.height": images.shape[1],
            "video.width": images.shape[2],
            "video.codec": CODEC,
            "video.pix_fmt": PIXELS,
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": images.shape[3],
            "has_audio": False,
        }

    def add(self, images: Array) -> Record:
        """Append images (T, H, W, 3) uint8; returns chunk and file, and the seconds of their beginning and end there.

        Raises
        ------
        StoreError
            if a side of the images is odd, which the codec does not take.
        """
        av = pyav()
        refuse_odd(self.key, images.shape[1:])
        if self._container is None or self._path.stat().st_size >= VIDEO_BYTES:
            self._open(av, images)
        first = self._frames
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = self._frames, 1 / self.fps
            self._container.mux(self._stream.encode(frame))
            self._frames += 1
        chunk, file = divmod(self._file, self.files_per_chunk)
        bounds = {"from_timestamp": float(first / self.fps), "to_timestamp": float(self._frames / self.fps)}
        return {"chunk_index": chunk, "file_index": file, **bounds}

    def _open(self, av: Any, images: Array) -> None:
        self.close()
        self._file, self._frames = self._file + 1, 0
        chunk, file = divmod(self._file, self.files_per_chunk)
        path = self.folder / VIDEO_PATH.format(video_key=self.key, chunk_index=chunk, file_index=file)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._container = path, av.open(str(path), "w")
        self._stream = _stream(self._container, self.fps, images.shape[1:3])

    def close(self) -> None:
        """Finish the open file."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None


def write_video(path: Path, images: Iterable[Array], fps: float, otherwise: str = "") -> None:
    """Write images (H, W, 3) uint8 as one MP4 file of its own.

    Parameters
    ----------
    otherwise : what to do where PyAV is not installed, for the error that says so.

    Raises
    ------
    StoreError
        if a side of the images is odd, which the codec does not take.
    """
    av, rate = pyav(otherwise), fractions.Fraction(fps).limit_denominator(1000)
    with av.open(str(path), "w", format="mp4") as container:
        stream = None
        for number, image in enumerate(images):
            if stream is None:
                refuse_odd(path.stem, image.shape)
                stream = _stream(container, rate, image.shape[:2])
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())


def _stream(container: Any, fps: fractions.Fraction, size: Sequence[int]) -> Any:
    stream = container.add_stream(ENCODER, rate=fps, options=OPTIONS)
    stream.height, stream.width, stream.pix_fmt = *size, PIXELS
    return stream


def refuse_odd(name: str, size: Sequence[int]) -> None:
    """StoreError for images (H, W, ...) that the codec does not take."""
    if size[0] % 2 or size[1] % 2:
        raise StoreError(
            f"{name} has {size[0]} x {size[1]} pixels, and video needs even numbers: export with images instead"
        )


def pyav(otherwise: str = "") -> Any:
    """PyAV; a ConfigError with the way to get it, or what to do ``otherwise``, where it is not installed."""
    try:
        import av
    except ImportError:
        other = otherwise or "export with format=lerobot or robofac, which keep images"
        raise ConfigError(
            f"video needs PyAV, which is not installed: pip install 'failure-workbench[video]', or {other}"
        ) from None
    return av
