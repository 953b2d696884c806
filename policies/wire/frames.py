"""Bytes on the way to a policy behind a server: msgpack frames (openpi) and arrays in JSON (OpenVLA).

Only what the two protocols need, written from their specifications, and strict: a frame that is truncated, has bytes
behind its end, nests too deeply or claims more than it holds is refused with one error before anything large is made.
Nothing that is read can execute code.

Sources: msgpack specification (S. Furuhashi, github.com/msgpack/msgpack, spec.md); the extension for numpy arrays is
openpi's (Physical Intelligence, ``openpi_client/msgpack_numpy``), whose keys are bytes; arrays in JSON are
``json_numpy``'s.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from workbench.errors import WireError
from workbench.types import Array

DEPTH = 16
"""How deeply arrays and maps may nest."""
ITEMS = 100_000
"""How many values a frame may hold; an ndarray counts as a few, whatever its size."""
DIMENSIONS = 8
"""How many axes an array may have."""

NDARRAY, GENERIC, DATA, DTYPE, SHAPE = b"__ndarray__", b"__npgeneric__", b"data", b"dtype", b"shape"
_REFUSED_KINDS = "VOc"
"""Kinds that openpi refuses, among them complex numbers: ``dtype.kind``."""


def encode(value: Any) -> bytes:
    """Msgpack bytes of None, bool, int, float, str, bytes, list, tuple, dict, and numpy arrays and scalars.

    Raises
    ------
    WireError
        For anything else, or an integer beyond 64 bits.
    """
    out = bytearray()
    _encode(value, out, 0)
    return bytes(out)


def _encode(value: Any, out: bytearray, depth: int) -> None:
    if depth > DEPTH:
        raise WireError(f"a value nests deeper than {DEPTH} levels and is not sent")
    if value is None:
        out += b"\xc0"
    elif isinstance(value, bool):
        out += b"\xc3" if value else b"\xc2"
    elif isinstance(value, np.ndarray):
        _encode(_array_record(value), out, depth)
    elif isinstance(value, np.generic):
        _refuse_kind(value.dtype)
        _encode({GENERIC: True, DATA: value.item(), DTYPE: value.dtype.str}, out, depth)
    elif isinstance(value, int):
        _encode_integer(value, out)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xCB, value)
    elif isinstance(value, str):
        raw = value.encode()
        out += _head(len(raw), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + raw
    elif isinstance(value, (bytes, bytearray)):
        out += _head(len(value), 0, 0, (0xC4, 0xC5, 0xC6)) + value
    elif isinstance(value, (list, tuple)):
        out += _head(len(value), 0x90, 16, (None, 0xDC, 0xDD))
        for item in value:
            _encode(item, out, depth + 1)
    elif isinstance(value, Mapping):
        out += _head(len(value), 0x80, 16, (None, 0xDE, 0xDF))
        for key, item in value.items():
            _encode(key, out, depth + 1)
            _encode(item, out, depth + 1)
    else:
        raise WireError(f"a {type(value).__name__} cannot be sent")


def _array_record(array: Array) -> dict[bytes, Any]:
    _refuse_kind(array.dtype)
    return {NDARRAY: True, DATA: array.tobytes(), DTYPE: array.dtype.str, SHAPE: array.shape}


def _refuse_kind(dtype: np.dtype[Any]) -> None:
    if dtype.kind in _REFUSED_KINDS:
        raise WireError(f"numpy values of type {dtype} have no form on the wire; send numbers, strings or booleans")


def _encode_integer(value: int, out: bytearray) -> None:
    if -32 <= value < 128:
        out += struct.pack(">b" if value < 0 else ">B", value)
        return
    unsigned = ((0xCC, "B", 8), (0xCD, "H", 16), (0xCE, "I", 32), (0xCF, "Q", 64))
    signed = ((0xD0, "b", 7), (0xD1, "h", 15), (0xD2, "i", 31), (0xD3, "q", 63))
    for code, letter, bits in unsigned if value >= 0 else signed:
        if -(1 << bits) <= value < 1 << bits:
            out += struct.pack(f">B{letter}", code, value)
            return
    raise WireError(f"the integer {value} has more than 64 bits and cannot be sent")


def _head(length: int, small: int, below: int, codes: tuple[int | None, int, int]) -> bytes:
    """Code and length of a string, binary, array or map; the first code is absent where the format has none."""
    if length < below:
        return bytes([small | length])
    for code, letter, bits in zip(codes, "BHI", (8, 16, 32), strict=True):
        if code is not None and length < 1 << bits:
            return struct.pack(f">B{letter}", code, length)
    raise WireError(f"{length} bytes or items are more than a frame can hold")


def decode(frame: bytes) -> Any:
    """The value of a msgpack frame: arrays as lists, ndarrays read-only.

    Raises
    ------
    WireError
        If the frame is no msgpack, truncated, followed by other bytes, too deep, too full, or an ndarray in it
        claims another size than it has.
    """
    reader = _Reader(frame)
    value = reader.value(0)
    if reader.at != len(frame):
        raise WireError(f"{len(frame) - reader.at} bytes follow the end of the message")
    return value


class _Reader:
    """A place in a frame."""

    def __init__(self, frame: bytes) -> None:
        self.frame, self.at, self.items = memoryview(frame), 0, 0

    def take(self, size: int) -> memoryview:
        if size > len(self.frame) - self.at:
            raise WireError(
                f"the message is truncated: {size} bytes are to follow byte {self.at}, {len(self.frame) - self.at} do"
            )
        self.at += size
        return self.frame[self.at - size : self.at]

    def number(self, letter: str) -> Any:
        return struct.unpack(f">{letter}", self.take(struct.calcsize(letter)))[0]

    def value(self, depth: int) -> Any:
        self.items += 1
        if depth > DEPTH:
            raise WireError(f"the message nests deeper than {DEPTH} levels")
        if self.items > ITEMS:
            raise WireError(f"the message holds more than {ITEMS} values")
        code = self.number("B")
        if code < 0x80:
            return code
        if code >= 0xE0:
            return code - 0x100
        if code < 0x90:
            return self.mapping(code & 0x0F, depth)
        if code < 0xA0:
            return self.sequence(code & 0x0F, depth)
        if code < 0xC0:
            return self.text(code & 0x1F)
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _NUMBERS:
            return self.number(_NUMBERS[code])
        if code in _SIZED:
            letter, read = _SIZED[code]
            return read(self, self.number(letter), depth)
        raise WireError(f"byte {self.at - 1} of the message, 0x{code:02x}, is no type that is accepted")

    def text(self, size: int, _: int = 0) -> str:
        try:
            return str(self.take(size), "utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"a string of the message is not UTF-8 ({error.reason})") from None

    def binary(self, size: int, _: int = 0) -> bytes:
        return bytes(self.take(size))

    def sequence(self, count: int, depth: int) -> list[Any]:
        self.refuse_count(count)
        return [self.value(depth + 1) for _ in range(count)]

    def mapping(self, count: int, depth: int) -> Any:
        self.refuse_count(2 * count)
        made: dict[Any, Any] = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, (str, bytes)):
                raise WireError(f"a key of a map is a {type(key).__name__}, must be a string or bytes")
            if key in made:
                raise WireError(f"a map has the key {key!r} twice")
            made[key] = self.value(depth + 1)
        return _from_record(made)

    def refuse_count(self, count: int) -> None:
        """A value takes a byte at least, so that a claimed count is checked before anything is made of it."""
        if count > len(self.frame) - self.at:
            raise WireError(f"the message is truncated: it claims {count} more values than it has bytes for")


_CONSTANTS: Mapping[int, bool | None] = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS: Mapping[int, str] = {
    0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q",
}  # fmt: skip
_SIZED: Mapping[int, tuple[str, Callable[[_Reader, int, int], Any]]] = {
    0xC4: ("B", _Reader.binary), 0xC5: ("H", _Reader.binary), 0xC6: ("I", _Reader.binary),
    0xD9: ("B", _Reader.text), 0xDA: ("H", _Reader.text), 0xDB: ("I", _Reader.text),
    0xDC: ("H", _Reader.sequence), 0xDD: ("I", _Reader.sequence),
    0xDE: ("H", _Reader.mapping), 0xDF: ("I", _Reader.mapping),
}  # fmt: skip


def _from_record(record: dict[Any, Any]) -> Any:
    """A map, or what openpi writes as one."""
    if NDARRAY in record:
        if record.keys() != {NDARRAY, DATA, DTYPE, SHAPE}:
            raise WireError(f"an ndarray has the keys {sorted(map(repr, record))}, must have data, dtype and shape")
        return _array(record[DATA], record[DTYPE], record[SHAPE])
    if GENERIC in record:
        if record.keys() != {GENERIC, DATA, DTYPE}:
            raise WireError(f"a numpy scalar has the keys {sorted(map(repr, record))}, must have data and dtype")
        dtype = _dtype(record[DTYPE])
        try:
            return dtype.type(record[DATA])
        except (TypeError, ValueError, OverflowError) as error:
            raise WireError(f"a numpy scalar of type {dtype} cannot be {record[DATA]!r}: {error}") from None
    return record


def _dtype(text: Any) -> np.dtype[Any]:
    if not isinstance(text, str):
        raise WireError(f"an array's dtype is {text!r}, must be a string such as '<f4'")
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        raise WireError(f"there is no numpy type {text!r}") from None
    _refuse_kind(dtype)
    if dtype.itemsize == 0:
        raise WireError(f"values of the numpy type {text!r} hold nothing")
    return dtype


def _array(data: Any, dtype: Any, shape: Any) -> Array:
    """Read-only array of bytes in C order, as far as they are that many."""
    kind = _dtype(dtype)
    sizes = shape if isinstance(shape, list) else None
    if sizes is None or len(sizes) > DIMENSIONS or not all(type(size) is int and size >= 0 for size in sizes):
        raise WireError(f"an array's shape is {str(shape)[:80]}, must be up to {DIMENSIONS} whole numbers")
    if not isinstance(data, bytes) or len(data) != kind.itemsize * math.prod(sizes):
        held = f"{len(data)} bytes" if isinstance(data, bytes) else f"a {type(data).__name__}"
        raise WireError(f"an array of shape {tuple(sizes)} and type {kind} holds {held}")
    return np.frombuffer(data, dtype=kind).reshape(sizes)


def to_json(value: Any) -> str:
    """JSON in which numpy arrays are ``{"__numpy__": base64 of C-order bytes, "dtype": "<f4", "shape": [..]}``."""
    return json.dumps(value, default=_json_record)


def _json_record(value: Any) -> dict[str, Any]:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise WireError(f"a {type(value).__name__} cannot be sent")
    array = np.asarray(value)
    _refuse_kind(array.dtype)
    data = base64.b64encode(array.tobytes()).decode()
    return {"__numpy__": data, "dtype": array.dtype.str, "shape": list(array.shape)}


def from_json(text: str | bytes) -> Any:
    """The inverse of :func:`to_json`, arrays read-only; WireError for anything that is not valid."""
    try:
        return json.loads(text, object_hook=_from_json_record)
    except (ValueError, RecursionError) as error:
        if isinstance(error, WireError):
            raise
        raise WireError(f"the message is no JSON: {' '.join(str(error).split())}") from None


def _from_json_record(record: dict[str, Any]) -> Any:
    if "__numpy__" not in record:
        return record
    if record.keys() != {"__numpy__", "dtype", "shape"}:
        raise WireError(f"an array has the keys {sorted(record)}, must have __numpy__, dtype and shape")
    try:
        data = base64.b64decode(record["__numpy__"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise WireError(f"an array is not base64: {error}") from None
    return _array(data, record["dtype"], record["shape"])
