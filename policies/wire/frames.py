"""Bytes on the way to a policy behind a server: msgpack frames (openpi) and arrays in JSON (OpenVLA).

Strict: what is truncated, has bytes behind its end, nests too deeply, holds too much or claims more than it holds is
refused with one error before anything large is made.  Nothing that is read can execute code.

Sources: msgpack by the library of that name; the extension for numpy arrays is openpi's (Physical Intelligence,
``openpi_client/msgpack_numpy``), whose keys are bytes; arrays in JSON are ``json_numpy``'s.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgpack
import numpy as np

from workbench.errors import WireError
from workbench.policies.wire.limits import DEPTH, DIMENSIONS, ITEMS
from workbench.policies.wire.shown import shortened, shown
from workbench.types import Array

NDARRAY, GENERIC, DATA, DTYPE, SHAPE = b"__ndarray__", b"__npgeneric__", b"data", b"dtype", b"shape"
_KINDS, _DOUBLE = "biufSU", 8
"""Kinds of numpy types that have a form on the wire, floats up to doubles.  openpi refuses objects, records and complex
numbers; strings of any length are pointers, times and long doubles differ by machine."""
_SIMPLE = re.compile(r"[<>|=]?[?b-zA-Z]\d{0,8}")
"""What numpy may be asked about: no lists of types, and no alias that it warns of."""
_SCALARS: Mapping[str, tuple[type, ...]] = {
    "b": (bool,),
    "i": (int,),
    "u": (int,),
    "f": (int, float),
    "U": (str,),
    "S": (bytes,),
}
"""Kind of a numpy scalar -> what its data are."""
_HIGHEST_LETTER = 0x10FFFF
_SEQUENCES, _MAPS = {*range(0x90, 0xA0), 0xDC, 0xDD}, {*range(0x80, 0x90), 0xDE, 0xDF}
"""First bytes of arrays and of maps (msgpack specification, spec.md)."""
_NO_TYPE = {0xC1, 0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)}
"""The byte that begins no value, and those of extension types, of which neither protocol has any."""


def encode(value: Any) -> bytes:
    """Msgpack bytes of None, bool, int, float, str, bytes, list, tuple, mappings, and numpy arrays and scalars.

    Raises
    ------
    WireError
        For anything else, an integer beyond 64 bits, or what nests in itself.
    """
    try:
        # Strict, or numpy's doubles, which are floats to Python, would lose their type.
        frame: bytes = msgpack.packb(value, default=_packable, strict_types=True)
    except WireError:
        raise
    except UnicodeEncodeError:
        raise WireError("a text holds half of a letter (a lone surrogate), which cannot be sent") from None
    except (ValueError, OverflowError) as error:
        raise WireError(f"the value is larger, or nests deeper, than a frame can hold: {error}") from None
    return frame


def _packable(value: Any) -> Any:
    """What stands in a frame for a value that msgpack does not know."""
    if isinstance(value, np.ndarray):
        _refuse_type(value.dtype)
        return {NDARRAY: True, DATA: value.tobytes(), DTYPE: value.dtype.str, SHAPE: value.shape}
    if isinstance(value, np.generic):
        _refuse_type(value.dtype)
        return {GENERIC: True, DATA: value.item(), DTYPE: value.dtype.str}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, int):
        raise WireError(f"the integer {shown(value)} has more than 64 bits and cannot be sent")
    raise WireError(f"a {type(value).__name__} cannot be sent")


def _refuse_type(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in _KINDS or (dtype.kind == "f" and dtype.itemsize > _DOUBLE):
        raise WireError(f"numpy values of type {dtype} have no form on the wire; send numbers, strings or booleans")


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
    if (left := len(frame) - reader.tell()) > 0:
        raise WireError(f"{left} bytes follow the end of the message")
    return value


class _Reader:
    """A place in a frame.

    ``msgpack.unpackb`` makes a list of the length that a frame claims before it has seen its items, at up to 1024
    levels, and has no limit to their number; so arrays and maps are walked here, and the library reads what is in them.
    """

    def __init__(self, frame: bytes) -> None:
        self.frame, self.size, self.items = frame, len(frame), 0
        self.unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(frame)))
        self.unpacker.feed(frame)
        self.tell: Callable[[], int] = self.unpacker.tell
        """How many bytes were read."""

    def value(self, depth: int) -> Any:
        self.items += 1
        if depth > DEPTH:
            raise WireError(f"the message nests deeper than {DEPTH} levels")
        if self.items > ITEMS:
            raise WireError(f"the message holds more than {ITEMS} values")
        at = self.tell()
        first = self.frame[at] if at < self.size else None
        if first in _NO_TYPE:
            raise WireError(f"byte {at} of the message, 0x{first:02x}, is no type that is accepted")
        try:
            if first in _MAPS:
                return self.mapping(self.unpacker.read_map_header(), depth)
            if first in _SEQUENCES:
                return self.sequence(self.unpacker.read_array_header(), depth)
            return self.unpacker.unpack()
        except msgpack.OutOfData:
            raise WireError(f"the message is truncated: the value at byte {at} goes beyond its end") from None
        except UnicodeDecodeError as error:
            raise WireError(f"a string of the message is not UTF-8 ({error.reason})") from None

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
                raise WireError(f"a map has the key {shown(key)} twice")
            made[key] = self.value(depth + 1)
        return _from_record(made)

    def refuse_count(self, count: int) -> None:
        """A value takes a byte at least, so that a claimed count is checked before anything is made of it."""
        if count > self.size - self.tell():
            raise WireError(f"the message is truncated: it claims {count} more values than it has bytes for")


def _from_record(record: dict[Any, Any]) -> Any:
    """A map, or what openpi writes as one."""
    if NDARRAY in record:
        if record.keys() != {NDARRAY, DATA, DTYPE, SHAPE}:
            raise WireError(f"an ndarray has the keys {shown(list(record))}, must have data, dtype and shape")
        return _array(record[DATA], record[DTYPE], record[SHAPE])
    if GENERIC in record:
        if record.keys() != {GENERIC, DATA, DTYPE}:
            raise WireError(f"a numpy scalar has the keys {shown(list(record))}, must have data and dtype")
        return _scalar(record[DATA], _dtype(record[DTYPE]))
    return record


def _scalar(data: Any, dtype: np.dtype[Any]) -> Any:
    if type(data) not in _SCALARS[dtype.kind]:
        raise WireError(f"a numpy scalar of type {dtype} cannot be {shown(data)}")
    try:
        return dtype.type(data)
    except (ValueError, OverflowError) as error:
        raise WireError(f"a numpy scalar of type {dtype} cannot be {shown(data)}: {error}") from None


def _dtype(text: Any) -> np.dtype[Any]:
    if not isinstance(text, str):
        raise WireError(f"an array's dtype is {shown(text)}, must be a string such as '<f4'")
    return _type_of(text)


@functools.lru_cache(maxsize=256)
def _type_of(text: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(text) if _SIMPLE.fullmatch(text) else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None:
        raise WireError(f"there is no numpy type {shown(text)}")
    _refuse_type(dtype)
    if dtype.itemsize == 0:
        raise WireError(f"values of the numpy type {shown(text)} hold nothing")
    return dtype


def _array(data: Any, dtype: Any, shape: Any) -> Array:
    """Read-only array of bytes in C order, as far as they are that many."""
    kind = _dtype(dtype)
    sizes = shape if isinstance(shape, list) else None
    if sizes is None or len(sizes) > DIMENSIONS or not all(type(size) is int and size >= 0 for size in sizes):
        raise WireError(f"an array's shape is {shown(shape)}, must be up to {DIMENSIONS} whole numbers")
    if not isinstance(data, bytes) or len(data) != kind.itemsize * math.prod(sizes):
        held = f"{len(data)} bytes" if isinstance(data, bytes) else f"a {type(data).__name__}"
        raise WireError(f"an array of shape {tuple(sizes)} and type {kind} holds {held}")
    try:
        array = np.frombuffer(data, dtype=kind).reshape(sizes)
    except ValueError:  # nothing along one axis, and along another more than numpy can count
        raise WireError(f"an array's shape is {tuple(sizes)}, which no array can have") from None
    if kind.kind == "U" and np.frombuffer(data, dtype=f"{kind.str[0]}u4").max(initial=0) > _HIGHEST_LETTER:
        raise WireError("an array of strings holds what is no letter")
    return array


def to_json(value: Any) -> str:
    """JSON in which numpy arrays are ``{"__numpy__": base64 of C-order bytes, "dtype": "<f4", "shape": [..]}``."""
    return json.dumps(value, default=_json_record)


def _json_record(value: Any) -> dict[str, Any]:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise WireError(f"a {type(value).__name__} cannot be sent")
    array = np.asarray(value)
    _refuse_type(array.dtype)
    data = base64.b64encode(array.tobytes()).decode()
    return {"__numpy__": data, "dtype": array.dtype.str, "shape": list(array.shape)}


def from_json(text: str | bytes) -> Any:
    """The inverse of :func:`to_json`, arrays read-only; WireError for anything that is not valid."""
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    # At least as many as there are values, and counted before any of them is made.
    if sum(raw.count(opening) for opening in (b",", b"[", b"{")) > ITEMS:
        raise WireError(f"the message holds more than {ITEMS} values")
    try:
        value = json.loads(text, object_pairs_hook=_from_json_record)
    except (ValueError, RecursionError) as error:
        if isinstance(error, WireError):
            raise
        raise WireError(f"the message is no JSON: {shortened(str(error))}") from None
    _refuse_depth(value)
    return value


def _refuse_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > DEPTH:
            raise WireError(f"the message nests deeper than {DEPTH} levels")
        level, depth = [inner for outer in level for inner in _within(outer)], depth + 1


def _within(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _from_json_record(pairs: list[tuple[str, Any]]) -> Any:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise WireError("a map has a key twice")
    if "__numpy__" not in record:
        return record
    if record.keys() != {"__numpy__", "dtype", "shape"}:
        raise WireError(f"an array has the keys {shown(list(record))}, must have __numpy__, dtype and shape")
    try:
        data = base64.b64decode(record["__numpy__"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise WireError(f"an array is not base64: {error}") from None
    return _array(data, record["dtype"], record["shape"])
