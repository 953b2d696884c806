"""Arrays of a part: rows in chunks of one file each, appended, cut and read.

An array's metadata are not obeyed but compared: they must be what the store itself writes for some data type, shape and
number of rows in a chunk.  So no file can ask for another codec, and none says how much memory is taken.

Icechunk would give transactions, but only icechunk reads what it writes, and a store is to be read by other clients of
Zarr.  Strings are zarr's variable-length ``string``: it raises no warning about an unstable specification
(fixed-length UTF-32 does), and pads nothing, as the JSON of ``perturbations`` is long.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import StoreError
from workbench.store.chunks import (
    CHUNK_BYTES,
    DTYPES,
    ROW_BYTES,
    TEXT,
    Chunk,
    decode,
    encode,
    largest_file,
    row_bytes,
)
from workbench.store.layout import STORED_COLUMNS, Seal, damaged, read_file, read_json, write_file, write_group
from workbench.types import Array, Record

CHUNK_ROWS = {"steps": 8192, "calls": 8192, "memory": CHUNK_BYTES // 8, "episodes": 512, "cells": 8192}
ROW_NAMES = {"steps": "step", "calls": "call", "memory": "value", "episodes": "episode", "cells": "cell"}
"""Group -> what its rows are, in the arrays' dimension names."""
MOST_ROWS = 2**40
BESIDE = "column-to-be"
"""Folder of a part in which a column is made that the part lacks."""


class StoredArray:
    """One array of a part, whose rows are only ever appended or, after an interruption, cut.

    Parameters
    ----------
    part : folder of the part.
    name : of the array, its group included.
    sealed : whether the store's arrays are sealed, that is of schema 5 or later.
    seal : what the part's commit says of the array; None where no commit knows it.
    """

    def __init__(self, part: Path, name: str, sealed: bool, seal: Seal | None = None) -> None:
        self.folder, self.name = part / name, name
        file = self.folder / "zarr.json"
        self._metadata = read_json(file)
        try:
            self.rows, self.trailing, self.chunk_rows, self.dtype = _described(self._metadata)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise damaged(file, f"it describes no array of a store ({error!r})") from error
        if why := _refused(name, self.dtype, self.trailing, self.chunk_rows):
            raise damaged(file, why)
        if not _same(self._metadata, array_metadata(name, self.dtype, self.trailing, self.chunk_rows, sealed)):
            raise damaged(file, "it is not what a store writes")
        if seal and (seal.dtype, seal.trailing, seal.chunk_rows) != (self.dtype, self.trailing, self.chunk_rows):
            raise damaged(file, f"it describes {self.dtype}{list(self.trailing)}, not what was committed")
        if seal and seal.rows > self.rows:
            raise damaged(file, f"{seal.rows} rows are committed and only {self.rows} are left")
        self._seal = seal
        self._checksums = list(seal.chunks) if seal else []
        self._tail: Array | None = None

    @property
    def layout(self) -> str:
        """Data type and shape of a row, in words."""
        return f"{self.dtype}{list(self.trailing)}"

    def seal(self) -> Seal:
        """What a commit is to say of it."""
        return Seal(self.dtype, self.trailing, self.chunk_rows, self.rows, tuple(self._checksums))

    def chunk(self, number: int) -> Array:
        """Rows of one chunk, of the last one as far as they go."""
        chunk = self._decoded(number)
        first = number * self.chunk_rows
        if self._seal and first < self._seal.rows:
            committed = min(self.chunk_rows, self._seal.rows - first)
            if chunk.checksum(committed) != self._seal.chunks[number]:
                raise damaged(self._file(number), "these are not the rows that were committed")
        return chunk.rows

    def whole_chunk(self, number: int) -> Array:
        """Rows of one chunk as :meth:`chunk`; StoreError if what pads them is not what a store writes either."""
        if self.dtype == TEXT:  # other clients decode it, and may trust every length in it
            self._decoded(number, padded=True)
        return self.chunk(number)

    def read(self, first: int, last: int, chunk: Callable[[StoredArray, int], Array] | None = None) -> Array:
        """Rows ``first`` up to ``last``, as a copy; ``chunk`` may stand in for :meth:`chunk` and remember."""
        if not 0 <= first <= last <= self.rows:
            raise damaged(self.folder / "zarr.json", f"{last} rows are committed and only {self.rows} are left")
        size = self.chunk_rows
        get = chunk or StoredArray.chunk
        pieces = [
            get(self, k)[max(first - k * size, 0) : last - k * size] for k in range(first // size, -(-last // size))
        ]
        empty = np.zeros((0, *self.trailing), dtype=object if self.dtype == TEXT else self.dtype)
        return np.concatenate(pieces) if pieces else empty

    def read_unchecked(self, last: int) -> Array:
        """The first rows, whatever was committed: a column whose labels are on their way."""
        return self.read(0, last, lambda array, number: array._decoded(number).rows)

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
            number = file.name.split(".")[1]
            if number.isdigit() and int(number) * self.chunk_rows >= rows:
                file.unlink()

    def _decoded(self, number: int, padded: bool = False) -> Chunk:
        file = self._file(number)
        content = read_file(file, largest_file(self.dtype, self.trailing, self.chunk_rows))
        wanted = self.chunk_rows if padded else min(self.chunk_rows, self.rows - number * self.chunk_rows)
        try:
            return decode(content, self.dtype, self.trailing, self.chunk_rows, wanted)
        except ValueError as error:
            raise damaged(file, str(error)) from error

    def _write_chunks(self, start: int, values: Array) -> None:
        numbers = range(start // self.chunk_rows, (start + len(values) - 1) // self.chunk_rows + 1)
        written = []
        for number, first in zip(numbers, range(0, len(values), self.chunk_rows), strict=True):
            try:
                content, checksum = encode(values[first : first + self.chunk_rows], self.chunk_rows)
            except ValueError as error:
                raise StoreError(f"{self.folder} cannot take more rows: {error}") from error
            write_file(self._file(number), content)
            written.append(checksum)
        self._checksums[start // self.chunk_rows :] = written

    def _write_length(self, rows: int) -> None:
        self._metadata["shape"][0] = rows
        write_file(self.folder / "zarr.json", json.dumps(self._metadata).encode())
        self.rows = rows

    def _file(self, number: int) -> Path:
        return self.folder / ".".join(["c", str(number), *("0" for _ in self.trailing)])


def create_array(part: Path, name: str, dtype: str, trailing: tuple[int, ...], sealed: bool) -> Seal:
    """Make an empty array, and the groups that its name asks for."""
    folder = part / name
    for parent in reversed(folder.relative_to(part).parents[:-1]):
        if not (part / parent / "zarr.json").exists():
            write_group(part / parent, {})
    folder.mkdir(exist_ok=True)
    chunk_rows = _chunk_rows(name.partition("/")[0], dtype, trailing)
    metadata = array_metadata(name, dtype, trailing, chunk_rows, sealed)
    write_file(folder / "zarr.json", json.dumps(metadata).encode())
    return Seal(dtype, trailing, chunk_rows, 0, ())


def new_column(part: Path, column: str, values: Array, sealed: bool) -> StoredArray:
    """Make the array of a column that a part lacks, beside its place, and put it there whole; no commit knows it yet.

    What a killed writer left of it is replaced.
    """
    name, beside = f"episodes/{column}", part / BESIDE
    for left in (beside, part / name):
        shutil.rmtree(left, ignore_errors=True)
    beside.mkdir()
    create_array(beside, name, column_dtype(column), (), sealed)
    array = StoredArray(beside, name, sealed)
    array.append(values)
    array.folder = array.folder.rename(part / name)
    shutil.rmtree(beside)
    return array


def chunk_rows_of_column(column: str) -> int:
    """Rows of a chunk of a new column."""
    return _chunk_rows("episodes", column_dtype(column), ())


def _chunk_rows(group: str, dtype: str, trailing: tuple[int, ...]) -> int:
    return max(1, min(CHUNK_ROWS[group], CHUNK_BYTES // row_bytes(dtype, trailing)))


def array_metadata(name: str, dtype: str, trailing: tuple[int, ...], chunk_rows: int, named: bool) -> Record:
    """Metadata of an empty array, by the specification of Zarr 3; ``named`` adds the names of its dimensions."""
    if dtype == TEXT:
        fill: Any = ""
        first: Record = {"name": "vlen-utf8", "configuration": {}}
    else:
        fill = {"b": False, "f": 0.0}.get(np.dtype(dtype).kind, 0)
        wide = np.dtype(dtype).itemsize > 1
        first = {"name": "bytes", "configuration": {"endian": "little"}} if wide else {"name": "bytes"}
    blosc = {
        "typesize": 1 if dtype == TEXT else np.dtype(dtype).itemsize,
        "cname": "zstd",
        "clevel": 1,
        "shuffle": "noshuffle" if dtype == TEXT else "shuffle",
        "blocksize": 0,
    }
    group, _, key = name.partition("/")
    leaf = key.rpartition("/")[2]
    dimensions = [ROW_NAMES.get(group, "row"), *(f"{leaf}_{axis}" for axis in range(1, len(trailing) + 1))]
    return {
        "shape": [0, *trailing],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk_rows, *trailing]}},
        # One flat folder an array.
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": fill,
        "codecs": [first, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}],
        "attributes": {},
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
        **({"dimension_names": dimensions} if named else {}),
    }


def _described(metadata: Record) -> tuple[int, tuple[int, ...], int, str]:
    """Rows, shape of a row, rows of a chunk and data type, which must be bounded whole numbers, and known."""
    rows, *trailing = metadata["shape"]
    chunk_rows, *_ = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    dtype = metadata["data_type"]
    if not all(type(size) is int and 0 < size < MOST_ROWS for size in (*trailing, chunk_rows)):
        raise ValueError("sizes must be whole numbers above 0")
    if type(rows) is not int or not 0 <= rows < MOST_ROWS or len(trailing) > 8:
        raise ValueError("its shape cannot be")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError("its data type is none of a store's")
    return rows, tuple(trailing), chunk_rows, dtype


def _refused(name: str, dtype: str, trailing: tuple[int, ...], chunk_rows: int) -> str:
    """Why no store has such an array under this name; "" if one can."""
    group, _, key = name.partition("/")
    size = row_bytes(dtype, trailing)
    if size > ROW_BYTES:
        return f"a row of {size} bytes is larger than {ROW_BYTES}"
    if chunk_rows > max(1, min(max(CHUNK_ROWS.values()), CHUNK_BYTES // size)):
        return f"a chunk of {chunk_rows} rows is larger than a store's"
    if group == "episodes" and key in STORED_COLUMNS:
        wanted = f"{column_dtype(key)}[]"
    elif group == "memory":
        wanted = "float64[]"
    else:
        return "only columns of episodes/ are text" if dtype == TEXT else ""
    return "" if wanted == f"{dtype}{list(trailing)}" else f"it is {dtype}{list(trailing)} instead of {wanted}"


def _same(found: Record, wanted: Record) -> bool:
    """Whether an array's metadata are what the store writes, all but the length."""
    found = {"attributes": {}, "storage_transformers": [], **found}  # both may be left out where they are empty
    found, wanted = copy.copy(found), copy.copy(wanted)
    found["shape"], wanted["shape"] = found["shape"][1:], wanted["shape"][1:]
    # As text: in Python true equals 1, and 8192.0 equals 8192.
    return json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def column_dtype(name: str) -> str:
    """Data type of a column of ``episodes/``, in zarr's word."""
    return {str: TEXT, int: "int64", bool: "bool", float: "float64"}[STORED_COLUMNS[name].kind]


def column_array(name: str, values: list[Any]) -> Array:
    """Values of a column as an array (N,); words as objects."""
    dtype = column_dtype(name)
    return np.array(values, dtype=object if dtype == TEXT else dtype)
