"""What comes out of a file: bounded before it is read, strict as JSON, and held against types in words for people."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from workbench.errors import StoreError, WorkbenchError
from workbench.types.faults import channels_in, faults_in
from workbench.types.reading import (
    DEEPEST,
    NAME,
    Among,
    Between,
    Distinct,
    Length,
    Like,
    Size,
    Source,
    array,
    brief,
    check_record_seal,
    check_seal,
    checked,
    parsed,
    read_bytes,
    read_json,
    sealed,
    sealed_record,
    shown,
    tensors_of,
    words_of,
)

SOURCE = Source("a.json", StoreError, "write it again")


@dataclasses.dataclass(frozen=True)
class Inner:
    count: Annotated[int, Between(1, 10)]


@dataclasses.dataclass(frozen=True)
class Outer:
    name: NAME
    rates: list[Annotated[float, Between(0, 1)]]
    inner: Inner
    kind: Literal["a", "b"] = "a"
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    note: str | None = None
    pairs: tuple[Annotated[list[int], Size(2, 2)], ...] = ()


VALID: dict[str, Any] = {
    "name": "x", "rates": [0, 0.5, 1.0], "inner": {"count": 3}, "kind": "b", "sizes": {"y": 2}, "note": None,
    "pairs": [[1, 2]],
}  # fmt: skip


def test_a_valid_value_becomes_its_dataclass():
    assert checked(Outer, VALID, SOURCE) == Outer("x", [0, 0.5, 1.0], Inner(3), "b", {"y": 2}, None, ([1, 2],))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "a.json says name=3, which must be a text"),
        ({"name": "../x"}, "without slashes"),
        ({"name": "a\nb"}, r"name='a\\nb'"),
        ({"name": ""}, "of 1 .. 200 characters"),
        ({"rates": [0.5, True]}, r"rates\[1\]=true, which must be a number of 0 .. 1"),
        ({"rates": [math.nan]}, r"rates\[0\]=NaN"),
        ({"rates": [2]}, "of 0 .. 1"),
        ({"rates": "0.5"}, "must be a list, each a number"),
        ({"rates": {"0": 0.5}}, "an object of 1 keys, which must be a list"),
        ({"inner": {"count": 3.0}}, "inner.count=3.0, which must be a whole number of 1 .. 10"),
        ({"inner": {"count": 11}}, "inner.count=11"),
        ({"inner": {"count": 10**400}}, "inner.count=a number of more than 64 bits"),
        ({"inner": {}}, "lacks count in inner"),
        ({"inner": None}, "inner=null, which must be an object"),
        ({"inner": {"count": 1, "more": 2}}, "has 'more' in inner, and may have count"),
        ({"kind": "c"}, "'a' or 'b'"),
        ({"kind": None}, "kind=null"),
        ({"sizes": {"y": "2"}}, "sizes.y='2', which must be a whole number"),
        ({"sizes": [1]}, "must be an object"),
        ({"note": 1}, "note=1, which must be a text"),
        ({"pairs": [[1]]}, r"pairs\[0\]=a list of 1, which must be a list of 2 items, each a whole number"),
        ({"extra": 1}, "has 'extra', and may have inner, kind"),
    ],
)
def test_what_is_not_as_declared_is_refused_with_key_value_and_what_is_allowed(change, said):
    with pytest.raises(StoreError, match=said) as refused:
        checked(Outer, VALID | change, SOURCE)
    assert str(refused.value).endswith("; write it again")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[1] [2]", "is not JSON"),
        ('{"a": 1, "a": 2}', "has the key 'a' twice"),
        ('{"b": {"a": 1, "a": 1}}', "has the key 'a' twice"),
        ("NaN", "holds NaN"),
        ("[-Infinity]", "holds -Infinity"),
        ("1e999", "holds the number '1e999'"),
        ("-1e999", "holds the number"),
        ("1" + "0" * 30, "more than 64 bits"),
        ("9" * 5000, "more than 64 bits"),
        ("18446744073709551616", "more than 64 bits"),
        ("[" * 100 + "]" * 100, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ('{"a":' * 100_000, "nested deeper"),
        ('["\\ud800"]', "text that is none"),
        ('{"\\udcff": 1}', "text that is none"),
        (b"\xff\xfe[]", "is not UTF-8"),
        (b"\xef\xbb\xbf[]", "is not JSON"),
        ("[]".encode("utf-16"), "is not UTF-8"),
    ],
)
def test_json_is_strict(text, said):
    with pytest.raises(StoreError, match=said) as refused:
        parsed(text, SOURCE)
    assert str(refused.value).isprintable()


def test_json_may_be_as_deep_and_large_as_bounds_say():
    assert parsed("[" * (DEEPEST - 1) + "]" * (DEEPEST - 1), SOURCE)
    assert parsed("[18446744073709551615, -9223372036854775808, 1e308]", SOURCE) == [2**64 - 1, -(2**63), 1e308]
    assert math.isnan(parsed("[NaN]", SOURCE, infinite=True)[0])


def test_the_size_is_looked_at_before_a_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte of nothing, on no disk
    with pytest.raises(StoreError, match=r"has 1,099,511,627,776 bytes, and may have 1,000"):
        read_bytes(path, SOURCE, most=1000)


def test_a_small_file_takes_little_memory_whatever_it_may_have(tmp_path):
    import tracemalloc

    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    tracemalloc.start()
    try:
        assert read_bytes(path, SOURCE, most=2**33) == b"{}"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "odd name"])
def test_what_is_no_file_is_refused_at_once(kind, tmp_path):
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # with nobody at the other end
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "odd name":
        path = tmp_path / "a\0b"
    with pytest.raises(StoreError, match=r"cannot be read|no regular file"):
        read_json(path, SOURCE)


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        (Between(1, 2), [1, 1.5, 2], [0.99, 2.01, math.nan, math.inf, 10**400]),
        (Size(1, 2), ["a", [1, 2], {"a": 1}], ["", [1, 2, 3], {}]),
        (Length(1, 2), [1, -2, [0.6, 0.8], [0, 0, 2]], [0.5, [0.1, 0.1], [2, 2], math.nan, [10**400]]),
        (Among(("a", 1, None)), ["a", 1, None], [True, 1.0, "b", [], {}]),
        (Distinct(), [[], ["a", "b"]], [["a", "a"]]),
        (Like("[a-z]+", "small letters"), ["abc"], ["", "A", "abc\n"]),
    ],
)
def test_rules(rule, allowed, refused):
    assert all(rule.allows(value) for value in allowed)
    assert not any(rule.allows(value) for value in refused)


def test_unions_mappings_and_sequences():
    assert checked(Mapping[str, float | None], {"a": 1, "b": None}, SOURCE) == {"a": 1, "b": None}
    assert checked(Sequence[int], (1, 2), SOURCE) == [1, 2]
    assert checked(float | list[float], [1.0], SOURCE) == [1.0]
    with pytest.raises(StoreError, match="is 'a', and must be a number or a list, each a number"):
        checked(float | list[float], "a", SOURCE)


def test_values_are_shown_in_one_short_printable_line():
    for value in ("\x1b[2J", "\u202e", "\ud800", "x" * 10**6, [1] * 10**6, {"a": 1}, 10**5000, b"\xff"):
        assert shown(value).isprintable()
        assert len(shown(value)) <= 80
    assert brief("a\n\tb\x00") == "a b\\x00"


def test_a_sealed_record_says_when_it_was_changed():
    record = sealed_record({"level": 0.1, "names": ("a", "b")})
    check_record_seal(json.loads(json.dumps(record)), SOURCE)
    check_record_seal({"level": 0.1}, SOURCE)  # of an earlier version
    for change in ({"level": 0.2}, {"names": ["b", "a"]}, {"more": 1}, {"record_sha256": "0" * 64}):
        with pytest.raises(StoreError, match="was changed since it was written"):
            check_record_seal(record | change, SOURCE)


def test_every_bit_of_a_sealed_file_of_arrays_counts():
    from safetensors.numpy import save

    arrays = {"a": np.arange(5.0), "b": np.array([[1, 2]], np.int16), "none": np.zeros((0, 3), np.float32)}
    content = save(arrays, sealed(arrays, {"said": "something"}))
    found = tensors_of(content, SOURCE)
    check_seal(found, words_of(content, SOURCE), SOURCE)
    unnoticed = []
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = tensors_of(bytes(damaged), SOURCE)
            words = words_of(bytes(damaged), SOURCE)
            check_seal(found, words, SOURCE)
        except StoreError:
            continue
        if "sha256" in words:  # a name that was lost is missed by whoever needs it
            unnoticed.append(bit)
    assert not unnoticed


@pytest.mark.parametrize(
    ("name", "kind", "shape", "said"),
    [
        ("missing", "f", [None], "lacks the array 'missing'"),
        ("a", "i", [None], "as float64 of shape"),
        ("a", "f", [3], r"of shape \(2,\), and it must be of \(3\)"),
        ("a", "f", [None, None], "must be of"),
        ("bad", "f", [None], "holds NaN or infinity"),
    ],
)
def test_arrays_have_a_kind_a_shape_and_finite_numbers(name, kind, shape, said):
    found = {"a": np.zeros(2), "bad": np.array([1.0, math.nan])}
    with pytest.raises(StoreError, match=said):
        array(found, name, SOURCE, kind, shape)


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "{}", "[1]", "[[]]", '[{"name": "x"}]', '[{"channel": "x"}]', '[{"name": 1, "channel": "x"}]',
        '[{"name": "../x", "channel": "x"}]', '[{"name": "x", "channel": "x", "target": 1}]', "[" * 1000,
        '[{"name": "x", "channel": "x"}' * 2, json.dumps([{"name": "x", "channel": "x"}] * 101),
    ],
)  # fmt: skip
def test_columns_of_faults_are_lists_of_named_records(text):
    with pytest.raises(WorkbenchError) as refused:
        faults_in(text, "perturbations of 0:1:slip")
    assert str(refused.value).startswith("perturbations of 0:1:slip ")


def test_faults_and_their_channels():
    text = json.dumps([{"name": "b", "channel": "y", "force": 1}, {"name": "a", "channel": "x"}])
    assert [record["name"] for record in faults_in(text, "here")] == ["b", "a"]
    assert channels_in(text, "here") == "x+y"
    assert channels_in("[]", "here") == ""
