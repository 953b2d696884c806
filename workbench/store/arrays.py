"""Arrays of a part: rows in chunks of one file each, appended, cut and read.

Chunks are encoded here, by the codecs that the arrays' metadata name (blosc, crc32c, vlen-utf8), because zarr's own
interface takes 3 ms an array and commit, measured, and a part has some 80 arrays.  Icechunk would give transactions,
but only icechunk reads what it writes, and a store is to be read by any client of Zarr.  Reading goes through zarr.

The checksum of every chunk turns a damaged file into an error.  Strings are zarr's variable-length ``string``: it
raises no warning about an unstable specification (fixed-length UTF-32 does), and pads nothing, as the JSON of
``perturbations`` is long.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workbench.store.layout import STORED_COLUMNS, committed_rows, damaged, read_json, write_file, write_group
from workbench.types import ABORTED, Array

CHUNK_BYTES = 2**20
CHUNK_ROWS = {"steps": 8192, "calls": 8192, "memory": CHUNK_BYTES // 8, "episodes": 512}


class StoredArray:
    """One array of a part, whose rows are only ever appended or, after an interruption, cut."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metadata = read_json(folder / "zarr.json")
        try:
            self.rows, *trailing = (int(size) for size in self._metadata["shape"])
            self.chunk_rows = int(self._metadata["chunk_grid"]["configuration"]["chunk_shape"][0])
            self.dtype = str(self._metadata["data_type"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise damaged(folder / "zarr.json", f"it describes no array ({error!r})") from error
        self.trailing = tuple(trailing)
        self._tail: Array | None = None

    def chunk(self, number: int) -> Array:
        """Rows of one chunk, of the last one as far as they go."""
        file = self._file(number)
        first = number * self.chunk_rows
        if not file.exists():  # zarr would read a missing chunk as zeros
            raise damaged(file, "it is missing")
        try:
            rows: Array = self._zarr[first : min(first + self.chunk_rows, self.rows)]
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise damaged(file, str(error)) from error
        return rows.astype(object) if self.dtype == "string" else rows

    def read(self, first: int, last: int, chunk: Callable[[StoredArray, int], Array] | None = None) -> Array:
        """Rows ``first`` up to ``last``, as a copy; ``chunk`` may stand in for :meth:`chunk` and remember."""
        if last > self.rows:
            raise damaged(self.folder / "zarr.json", f"{last} rows are committed and only {self.rows} are left")
        size = self.chunk_rows
        get = chunk or StoredArray.chunk
        pieces = [
            get(self, k)[max(first - k * size, 0) : last - k * size] for k in range(first // size, -(-last // size))
        ]
        empty = np.zeros((0, *self.trailing), dtype=object if self.dtype == "string" else self.dtype)
        return np.concatenate(pieces) if pieces else empty

    def append(self, values: Array) -> None:
        """Put rows behind the last: full chunks, then the new length."""
        start = self.rows - self.rows % self.chunk_rows
        tail = self.read(start, self.rows) if self._tail is None else self._tail
        values = np.concatenate([tail, values])
        self._tail = None
        self._write_chunks(start, values)
        self._write_length(start + len(values))
        self._tail = values[len(values) - len(values) % self.chunk_rows :].copy()

    def overwrite(self, values: Array) -> None:
        """Rewrite the rows from the first on."""
        self._write_chunks(0, values)

    def cut(self, rows: int) -> None:
        """Forget all rows beyond ``rows``."""
        if self.rows < rows:
            raise damaged(self.folder / "zarr.json", f"{rows} rows are committed and only {self.rows} are left")
        if self.rows > rows:
            self._write_length(rows)
        for file in self.folder.glob("c.*"):
            if int(file.name.split(".")[1]) * self.chunk_rows >= rows:
                file.unlink()

    def _write_chunks(self, start: int, values: Array) -> None:
        for first in range(0, len(values), self.chunk_rows):
            file = self._file((start + first) // self.chunk_rows)
            write_file(file, _encode(values[first : first + self.chunk_rows], self.chunk_rows))

    def _write_length(self, rows: int) -> None:
        self._metadata["shape"][0] = rows
        write_file(self.folder / "zarr.json", json.dumps(self._metadata).encode())
        self.rows = rows

    def _file(self, number: int) -> Path:
        return self.folder / ".".join(["c", str(number), *("0" for _ in self.trailing)])

    @functools.cached_property
    def _zarr(self) -> Any:
        import zarr

        return zarr.open_array(self.folder, mode="r")


def create_array(part: Path, name: str, dtype: str, trailing: tuple[int, ...]) -> None:
    """Make an empty array, and the groups that its name asks for."""
    folder = part / name
    for parent in reversed(folder.relative_to(part).parents[:-1]):
        if not (part / parent / "zarr.json").exists():
            write_group(part / parent, {})
    folder.mkdir(exist_ok=True)
    row_bytes = int(np.prod(trailing, dtype=np.int64)) * (1 if dtype == "string" else np.dtype(dtype).itemsize)
    chunk_rows = max(1, min(CHUNK_ROWS[name.partition("/")[0]], CHUNK_BYTES // row_bytes))
    write_file(folder / "zarr.json", _array_metadata(dtype, trailing, chunk_rows))


@functools.cache
def _array_metadata(dtype: str, trailing: tuple[int, ...], chunk_rows: int) -> bytes:
    """Metadata of an empty array, as zarr writes them."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec
    from zarr.storage import MemoryStore

    if dtype == "string":
        blosc = BloscCodec(typesize=1, cname="zstd", clevel=1, shuffle="noshuffle")
    else:
        blosc = BloscCodec(typesize=np.dtype(dtype).itemsize, cname="zstd", clevel=1, shuffle="shuffle")
    written: dict[str, Any] = {}
    zarr.create_array(
        MemoryStore(written),
        shape=(0, *trailing),
        chunks=(chunk_rows, *trailing),
        dtype=dtype,
        compressors=[blosc, Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},  # one flat folder an array
    )
    metadata: bytes = written["zarr.json"].to_bytes()
    return metadata


def _encode(values: Array, rows: int) -> bytes:
    """One chunk: rows padded to the chunk's size, vlen-utf8 for strings, blosc, crc32c."""
    import google_crc32c
    import numcodecs  # type: ignore[import-untyped]

    padded = np.full((rows, *values.shape[1:]), "" if values.dtype == object else 0, dtype=values.dtype)
    padded[: len(values)] = values
    if values.dtype == object:
        packed = numcodecs.blosc.compress(numcodecs.VLenUTF8().encode(padded), b"zstd", 1, numcodecs.blosc.NOSHUFFLE)
    else:
        packed = numcodecs.blosc.compress(padded, b"zstd", 1, numcodecs.blosc.SHUFFLE)
    return bytes(packed) + int(google_crc32c.value(packed)).to_bytes(4, "little")


def column_dtype(name: str) -> str:
    """Data type of a column of ``episodes/``, in zarr's word."""
    return {str: "string", int: "int64", bool: "bool", float: "float64"}[STORED_COLUMNS[name]]


def column_array(name: str, values: list[Any]) -> Array:
    """Values of a column as an array (N,); words as objects."""
    dtype = column_dtype(name)
    return np.array(values, dtype=object if dtype == "string" else dtype)


def uids_of(part: Path) -> dict[int, str]:
    """Row -> uid of a part's committed episodes, but for aborted ones."""
    rows = committed_rows(part)
    uids, outcomes = (StoredArray(part / "episodes" / name).read(0, rows) for name in ("uid", "outcome"))
    return {row: str(uids[row]) for row in range(rows) if outcomes[row] != ABORTED}


def end_of(part: Path, column: str, rows: int) -> int:
    """Where the last committed episode of a part ends in a group."""
    return int(StoredArray(part / "episodes" / column).read(rows - 1, rows)[0]) if rows else 0
