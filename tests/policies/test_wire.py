"""Bytes on the wire: as the specifications say, there and back, and strict."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from workbench.errors import WireError
from workbench.policies.wire import frames as wire

SPECIFIED: list[tuple[Any, bytes]] = [
    (None, b"\xc0"),
    (False, b"\xc2"),
    (True, b"\xc3"),
    (0, b"\x00"),
    (127, b"\x7f"),
    (128, b"\xcc\x80"),
    (256, b"\xcd\x01\x00"),
    (65536, b"\xce\x00\x01\x00\x00"),
    (2**32, b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
    (2**64 - 1, b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
    (-1, b"\xff"),
    (-32, b"\xe0"),
    (-33, b"\xd0\xdf"),
    (-129, b"\xd1\xff\x7f"),
    (-32769, b"\xd2\xff\xff\x7f\xff"),
    (-(2**31) - 1, b"\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),
    (1.5, b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"),
    ("", b"\xa0"),
    ("pick", b"\xa4pick"),
    ("ü", b"\xa2\xc3\xbc"),
    ("a" * 32, b"\xd9\x20" + b"a" * 32),
    ("a" * 256, b"\xda\x01\x00" + b"a" * 256),
    ("a" * 65536, b"\xdb\x00\x01\x00\x00" + b"a" * 65536),
    (b"", b"\xc4\x00"),
    (b"\x01\x02", b"\xc4\x02\x01\x02"),
    (b"a" * 256, b"\xc5\x01\x00" + b"a" * 256),
    (b"a" * 65536, b"\xc6\x00\x01\x00\x00" + b"a" * 65536),
    ([], b"\x90"),
    ([1, [2]], b"\x92\x01\x91\x02"),
    ([0] * 16, b"\xdc\x00\x10" + b"\x00" * 16),
    ({}, b"\x80"),
    ({"a": 1, b"b": None}, b"\x82\xa1a\x01\xc4\x01b\xc0"),
    ({f"{n:02d}": 0 for n in range(16)}, b"\xde\x00\x10" + b"".join(b"\xa2%02d\x00" % n for n in range(16))),
]

NDARRAY_BYTES = (
    b"\x84"
    b"\xc4\x0b__ndarray__\xc3"
    b"\xc4\x04data\xc4\x08\x00\x00\x80\x3f\x00\x00\x00\x40"
    b"\xc4\x05dtype\xa3<f4"
    b"\xc4\x05shape\x92\x01\x02"
)
"""[[1.0, 2.0]] in float32, by openpi's extension: a map with keys of bytes, the shape an array."""
GENERIC_BYTES = b"\x83\xc4\x0d__npgeneric__\xc3\xc4\x04data\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\xc4\x05dtype\xa3<f8"


@pytest.mark.parametrize(("value", "expected"), SPECIFIED, ids=lambda one: repr(one)[:24])
def test_values_have_the_bytes_of_the_specification(value: Any, expected: bytes) -> None:
    assert wire.encode(value) == expected
    assert wire.decode(expected) == value
    assert type(wire.decode(expected)) is type(value)


def test_longer_forms_of_other_writers_are_read() -> None:
    assert wire.decode(b"\xcd\x00\x01") == 1
    assert wire.decode(b"\xca\x3f\xc0\x00\x00") == 1.5
    assert wire.decode(b"\xdb\x00\x00\x00\x01a") == "a"
    assert wire.decode(b"\xdd\x00\x00\x00\x01\xc0") == [None]
    assert wire.decode(b"\xdf\x00\x00\x00\x01\xa1a\xc0") == {"a": None}
    assert wire.encode((1, 2)) == b"\x92\x01\x02"


def test_arrays_have_the_bytes_of_openpis_extension() -> None:
    array = np.array([[1.0, 2.0]], np.float32)
    assert wire.encode(array) == NDARRAY_BYTES
    back = wire.decode(NDARRAY_BYTES)
    np.testing.assert_array_equal(back, array)
    assert (back.dtype, back.shape, back.flags.writeable) == (np.float32, (1, 2), False)
    assert wire.encode(np.float64(0.5)) == GENERIC_BYTES
    scalar = wire.decode(GENERIC_BYTES)
    assert (scalar, type(scalar)) == (0.5, np.float64)
    fortran = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    np.testing.assert_array_equal(wire.decode(wire.encode(fortran)), fortran)


def test_a_libero_request_has_the_length_that_was_measured() -> None:
    """The 301,344 bytes of openpi-client's own request: two images, a state of 8 in float64 and a prompt."""
    image = np.zeros((224, 224, 3), np.uint8)
    request = {"observation/image": image, "observation/wrist_image": image, "observation/state": np.zeros(8)}
    rest = len(wire.encode({**request, "prompt": ""}))
    # Each array: map 1, __ndarray__ 13 + 1, data 6 + head + bytes, dtype 7 + 4, shape 7 + 1 + sizes.
    images = 2 * (1 + 14 + 6 + 5 + 224 * 224 * 3 + 11 + 7 + 1 + 2 * 2 + 1)
    state = 1 + 14 + 6 + 2 + 64 + 11 + 7 + 1 + 1
    assert rest == 1 + (1 + 17) + (1 + 23) + (1 + 17) + images + state + (1 + 6) + 1
    assert 0 < 301_344 - rest < 200


plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
keys = st.text(max_size=5) | st.binary(max_size=5)  # too short for the two keys that mean something
values = st.recursive(
    plain | st.binary(),
    lambda inner: st.lists(inner, max_size=17) | st.dictionaries(keys, inner, max_size=17),
    max_leaves=20,
)
arrays = npst.arrays(
    st.one_of(npst.integer_dtypes(), npst.unsigned_integer_dtypes(), npst.floating_dtypes(), npst.boolean_dtypes()),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@settings(max_examples=60, deadline=None)
@given(values)
def test_values_come_back(value: Any) -> None:
    assert wire.decode(wire.encode(value)) == value


@settings(max_examples=40, deadline=None)
@given(arrays)
def test_arrays_come_back_bit_for_bit(array: np.ndarray) -> None:
    for back in (wire.decode(wire.encode({"x": array}))["x"], wire.from_json(wire.to_json([array]))[0]):
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@settings(max_examples=40, deadline=None)
@given(values, st.data())
def test_every_truncation_and_every_longer_frame_is_refused(value: Any, data: st.DataObject) -> None:
    frame = wire.encode(value)
    with pytest.raises(WireError, match="truncated"):
        wire.decode(frame[: data.draw(st.integers(0, len(frame) - 1))])
    with pytest.raises(WireError, match="1 bytes follow"):
        wire.decode(frame + b"\xc0")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda tail: NDARRAY_BYTES[:-12] + tail))
def test_whatever_comes_is_a_value_or_one_error(frame: bytes) -> None:
    with contextlib.suppress(WireError):
        wire.decode(frame)


def array_of(**changes: Any) -> bytes:
    record = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [2]}
    record |= {key.encode(): value for key, value in changes.items()}
    return wire.encode({key: value for key, value in record.items() if value != "absent"})


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "truncated"),
        (b"\xc1", "0xc1"),
        (b"\xd4\x01\x00", "0xd4"),  # an extension type
        (b"\xdd\xff\xff\xff\xff", "claims 4294967295"),
        (b"\xdf\xff\xff\xff\xff\x00", "claims"),
        (b"\xc6\xff\xff\xff\xff\x00", "4294967295 bytes are to follow"),
        (b"\x91" * 5000 + b"\xc0", "deeper"),
        (b"\xdd\x00\x03\x0d\x40" + b"\xc0" * 200_000, "more than 100000 values"),
        (b"\x81\x01\x01", "key of a map is a int"),
        (b"\x81\x90\x01", "key of a map is a list"),
        (b"\x82\xa1a\x01\xa1a\x02", "twice"),
        (b"\xa2\xff\xff", "UTF-8"),
        (array_of(dtype="|O"), "object"),
        (array_of(dtype="<c8"), "complex64"),
        (array_of(dtype="|V4"), "V4"),
        (array_of(dtype="f4,f4"), "no form|no numpy type"),
        (array_of(dtype="nonsense"), "no numpy type"),
        (array_of(dtype=4), "dtype is 4"),
        (array_of(dtype="<U0", data=b"", shape=[1]), "hold nothing"),
        (array_of(shape=[3]), "shape \\(3,\\).*8 bytes"),
        (array_of(shape=[2**62]), "8 bytes"),
        (array_of(shape=[-2]), "shape is"),
        (array_of(shape=[2.0]), "shape is"),
        (array_of(shape=2), "shape is"),
        (array_of(shape=[1] * 9 + [2]), "shape is"),
        (array_of(data=[0] * 8), "holds a list"),
        (array_of(data="absent"), "must have data"),
        (array_of(more=1), "must have data"),
        (wire.encode({b"__npgeneric__": True, b"data": "x", b"dtype": "<f8"}), "scalar"),
        (wire.encode({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}), "scalar"),
        (wire.encode({b"__npgeneric__": True}), "scalar has the keys"),
    ],
)
def test_bad_frames_are_refused(frame: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason) as caught:
        wire.decode(frame)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.zeros(2, complex),
        np.zeros(2, "f4,f4"),
        np.complex64(1),
        2**64,
        -(2**63) - 1,
        {1, 2},
        print,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_is_not_sent(value: Any) -> None:
    with pytest.raises(WireError):
        wire.encode(value)


def test_what_nests_in_itself_is_not_sent() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(WireError, match="deeper"):
        wire.encode(endless)


def test_arrays_in_json_are_those_of_json_numpy() -> None:
    array = np.array([1.0, -2.0], np.float32)
    written = '{"__numpy__": "AACAPwAAAMA=", "dtype": "<f4", "shape": [2]}'
    assert wire.to_json(array) == written
    np.testing.assert_array_equal(wire.from_json(written), array)
    assert wire.from_json('{"a": [1, null, "x"]}') == {"a": [1, None, "x"]}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        b"\xff\xff",
        '{"__numpy__": "AACAPw==", "dtype": "<f4", "shape": [2]}',
        '{"__numpy__": "!!", "dtype": "<f4", "shape": [0]}',
        '{"__numpy__": 3, "dtype": "<f4", "shape": [0]}',
        '{"__numpy__": "", "dtype": "|O", "shape": [0]}',
        '{"__numpy__": ""}',
        "[" * 100_000,
    ],
    ids=repr,
)
def test_bad_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(WireError):
        wire.from_json(text)


def test_doubles_are_big_endian() -> None:
    assert wire.encode(0.1) == b"\xcb" + struct.pack(">d", 0.1)
    assert json.loads(wire.to_json({"x": 0.1})) == {"x": 0.1}
