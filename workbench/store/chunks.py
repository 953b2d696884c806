"""Chunks: rows as the bytes of one file, by the codecs that the arrays' metadata name (blosc, crc32c, vlen-utf8).

Both ways are written out here, because zarr's own interface takes 3 ms an array and commit, measured, and a part has
some 80 arrays; and because reading must say how large a chunk can be *before* memory is taken, which neither zarr nor
the codecs do: a file of 100 bytes may claim gigabytes, and vlen-utf8 trusts every length that it reads.  That any
client of Zarr reads the same is what ``tests/store`` and :mod:`workbench.store.verifying` hold it to.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from workbench.types import Array

TEXT = "string"
DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    TEXT,
)  # fmt: skip
"""Data types of arrays, in zarr's words."""
CHUNK_BYTES = 2**20
"""Bytes of a chunk of more than one row, decoded."""
ROW_BYTES = 2**26
"""Bytes of the largest row; an image of 4096 x 4096 pixels has fewer."""
TEXT_BYTES = 2**26
"""Bytes of the largest chunk of strings, decoded."""
_BLOSC = struct.Struct("<BBBBIII")
_OVERHEAD = 2 * _BLOSC.size + 4
"""Bytes that a file may have beyond its rows: blosc's header where it cannot compress, crc32c."""


class Chunk(NamedTuple):
    """Rows, and the bytes that they are encoded by, before compression; of strings, without their count."""

    rows: Array
    content: memoryview
    ends: list[int]
    """Where the rows end in the bytes, of strings; else empty, as all rows are of one size."""

    def checksum(self, rows: int) -> int:
        """CRC-32C of the bytes of the first rows."""
        size = (self.ends[rows - 1] if rows else 0) if self.ends else self.content.nbytes // len(self.rows) * rows
        return crc32c(self.content[:size])


def crc32c(content: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli) of bytes."""
    import google_crc32c

    return int(google_crc32c.value(content if isinstance(content, bytes) else np.frombuffer(content, np.uint8)))


def row_bytes(dtype: str, trailing: tuple[int, ...]) -> int:
    """Bytes of one row of numbers; of a string, one."""
    size = 1 if dtype == TEXT else np.dtype(dtype).itemsize
    for each in trailing:
        size *= each
    return size


def encode(values: Array, rows: int) -> tuple[bytes, int]:
    """One file: values padded to ``rows`` rows, compressed, with its checksum; and CRC-32C of the values alone."""
    import numcodecs  # type: ignore[import-untyped]

    padded = np.full((rows, *values.shape[1:]), "" if values.dtype == object else 0, dtype=values.dtype)
    padded[: len(values)] = values
    if values.dtype == object:
        content = bytes(numcodecs.VLenUTF8().encode(padded))
        if len(content) > TEXT_BYTES:
            raise ValueError(f"{len(content)} bytes of text do not fit into one chunk; write to another part")
        own = content[4 : len(content) - 4 * (rows - len(values))]
        packed = numcodecs.blosc.compress(content, b"zstd", 1, numcodecs.blosc.NOSHUFFLE)
    else:
        own = padded.data.cast("B")[: values.nbytes]
        packed = numcodecs.blosc.compress(padded, b"zstd", 1, numcodecs.blosc.SHUFFLE)
    return packed + crc32c(packed).to_bytes(4, "little"), crc32c(own)


def largest_file(dtype: str, trailing: tuple[int, ...], rows: int) -> int:
    """Bytes that the file of a chunk can have at most."""
    return _OVERHEAD + (TEXT_BYTES if dtype == TEXT else rows * row_bytes(dtype, trailing))


def decode(file: bytes, dtype: str, trailing: tuple[int, ...], rows: int, wanted: int) -> Chunk:
    """The first ``wanted`` rows of a chunk of ``rows``; ValueError where it is not what :func:`encode` gives."""
    import numcodecs

    packed, said = file[:-4], file[-4:]
    if len(packed) < _BLOSC.size or crc32c(packed) != int.from_bytes(said, "little"):
        raise ValueError("its checksum is another one")
    *_, size, block, packed_size = _BLOSC.unpack_from(packed)
    right = size <= TEXT_BYTES if dtype == TEXT else size == rows * row_bytes(dtype, trailing)
    if not right or packed_size != len(packed) or not 0 < block <= max(size, 1):
        raise ValueError(f"it claims {size} bytes of contents")
    try:
        content = memoryview(numcodecs.blosc.decompress(packed))
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if dtype == TEXT:
        return _texts(content, rows, wanted)
    found = np.frombuffer(content, "u1" if dtype == "bool" else dtype)
    if dtype == "bool":
        if found.max(initial=0) > 1:
            raise ValueError("it holds other values than true and false")
        found = found.view(np.bool_)
    return Chunk(found.reshape(rows, *trailing)[:wanted], content[: wanted * row_bytes(dtype, trailing)], [])


def _texts(content: memoryview, rows: int, wanted: int) -> Chunk:
    """Strings out of vlen-utf8: how many there are, and each with its length before it."""
    if len(content) < 4 or int.from_bytes(content[:4], "little") != rows:
        raise ValueError(f"it does not hold {rows} strings")
    content = content[4:]
    texts, ends, at = [], [], 0
    for _ in range(wanted):
        start = at + 4
        at = start + int.from_bytes(content[at:start], "little")
        if at > len(content) or start > len(content):
            raise ValueError("its strings are longer than it is")
        texts.append(str(content[start:at], "utf-8"))
        ends.append(at)
    found = np.empty(wanted, dtype=object)
    found[:] = texts
    return Chunk(found, content, ends)


def checksums(values: Array, rows: int) -> list[int]:
    """CRC-32C of the values of every chunk of ``rows`` rows."""
    return [_checksum(values[first : first + rows]) for first in range(0, len(values), rows)]


def _checksum(values: Array) -> int:
    if values.dtype != object:
        return crc32c(np.ascontiguousarray(values).tobytes())
    texts = [str(value).encode() for value in values]
    return crc32c(b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text)))
