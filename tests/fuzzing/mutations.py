"""Mutations that know what they change: values of JSON by their type and place, files by their bytes and text."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Random = np.random.Generator

UNTOUCHED = 0.05
"""Share of attempts that leave the valid input as it is."""
NUMBERS = (
    0, 1, -1, 2, 3, -7, 0.5, -0.0, 1e-300, 1e300, -1e300, 2**31, 2**53 + 1, -(2**63), 2**63, 2**64, 10**30, 10**400,
    float("nan"), float("inf"), -float("inf"), True, False,
)  # fmt: skip
STRINGS = (
    "", " ", "a", "0", "1e9", "nan", "None", "null", "true", "../../../t/x", "/tmp/elsewhere", "C:\\x", "[/b]",
    "[red]x[/red]", "${oc.env:HOME}", "${job}", "%s%n", "{0}", "{x.__class__}", "line\nline", "\r", "\x00", "\x1b[2J",
    "\ud800", "\udcff", "é", "日本語", "\u202e", "a" * 300, "x" * 100_000, "9" * 5000, "os.system", "builtins.eval",
    "workbench.cli.os.system", "workbench.config.files.os.remove", "workbench.errors.WorkbenchError", "slip.slip",
)  # fmt: skip
DEEPEST = 5000


def anything(random: Random) -> Any:
    """A value that nobody expects."""
    kind = random.integers(8)
    if kind < 2:
        return one_of(random, NUMBERS)
    if kind < 4:
        return one_of(random, STRINGS)
    if kind == 4:
        return None
    if kind == 5:
        return [anything(random) for _ in range(random.integers(4))]
    if kind == 6:
        return {one_of(random, STRINGS): anything(random) for _ in range(random.integers(3))}
    return nested(random)


def nested(random: Random) -> Any:
    """A value within values: lists or objects, few or far too many."""
    depth, value = int(one_of(random, (1, 2, 5, 40, 900))), None
    for _ in range(depth):
        value = [value] if random.integers(2) else {"a": value}
    return value


def mutated(random: Random, value: Any, times: int = 3) -> Any:
    """A copy of a JSON value with up to so many changes somewhere within; now and then none."""
    changed = copy.deepcopy(value)
    if random.random() < UNTOUCHED:
        return changed
    for _ in range(random.integers(1, times + 1)):
        changed = _changed(random, changed)
    return changed


def _changed(random: Random, value: Any) -> Any:
    places = list(_places(value))
    if not places or random.random() < 0.02:
        return anything(random)
    holder, key = places[random.integers(len(places))]
    change = CHANGES[random.integers(len(CHANGES))]
    change(random, holder, key)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of every value within."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


def _replace(random: Random, holder: Any, key: Any) -> None:
    holder[key] = anything(random)


def _retype(random: Random, holder: Any, key: Any) -> None:
    value = holder[key]
    try:
        text = value if isinstance(value, str) else repr(value)[:1000]
    except RecursionError:  # an earlier mutation nested it deeper than Python shows
        text = "deep"
    choices = [text, [value], {"value": value}, [value, value], None, bool(value)]
    if isinstance(value, (int, float)) and abs(value) < 1e300:
        choices += [float(value), value + 1, -value, value * 1e9]
    holder[key] = choices[random.integers(len(choices))]


def _remove(random: Random, holder: Any, key: Any) -> None:
    del holder[key]


def _rename(random: Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[one_of(random, (*STRINGS, f"{key}_", key.upper()))] = holder.pop(key)


def _add(random: Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[one_of(random, STRINGS)] = anything(random)
    else:
        holder.insert(key, anything(random))


def _repeat(random: Random, holder: Any, key: Any) -> None:
    value = holder[key]
    if isinstance(holder, list):
        holder[key:key] = [value] * int(one_of(random, (1, 2, 1000)))
    elif isinstance(value, (list, str)):
        holder[key] = value * int(one_of(random, (2, 1000)))


def _swap(random: Random, holder: Any, key: Any) -> None:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    other = one_of(random, keys)
    holder[key], holder[other] = holder[other], holder[key]


def _wrap(random: Random, holder: Any, key: Any) -> None:
    for _ in range(int(one_of(random, (1, 3, 60, 900)))):
        holder[key] = [holder[key]] if random.integers(2) else {"a": holder[key]}


CHANGES: tuple[Callable[[Random, Any, Any], None], ...] = (
    _replace, _replace, _retype, _retype, _remove, _rename, _add, _repeat, _swap, _wrap,
)  # fmt: skip


def encoded(random: Random, value: Any) -> bytes:
    """A JSON value as the bytes of a file, which now and then are no longer that."""
    try:
        text = json.dumps(value, ensure_ascii=bool(random.integers(2)))
    except RecursionError:
        text = "[" * DEEPEST + "]" * DEEPEST
    content = text.encode("utf-8", "surrogatepass")
    return _odd(random, content) if random.random() < 0.15 else content


def _odd(random: Random, content: bytes) -> bytes:
    kind = random.integers(10)
    if kind == 0:
        return damaged(random, content)
    if kind == 1:
        return content.decode("utf-8", "replace").encode("utf-16")
    if kind == 2:
        return b"\xef\xbb\xbf" + content
    if kind == 3:
        return content + content
    if kind == 4:
        depth = int(one_of(random, (100, 1000, 100_000)))
        return b"[" * depth + b"]" * depth
    if kind == 5:
        return b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    if kind == 6:
        return content.replace(b": ", one_of(random, (b": 1e999, ", b": -1e999", b": NaN ", b": 1" + b"0" * 5000)), 1)
    if kind == 7:  # the same key again
        return content.replace(b"{", b"{" + content[1 : content.find(b",") + 1], 1)
    if kind == 8:
        return b" " * 1_000_000 + content
    return b""


def damaged(random: Random, content: bytes) -> bytes:
    """Bytes with a bit turned, a piece cut off, taken out, doubled, or overwritten."""
    if not content:
        return b"\x00"
    data = bytearray(content)
    start = int(random.integers(len(data)))
    end = min(len(data), start + int(random.integers(1, 64)))
    kind = random.integers(6)
    if kind < 2:
        for place in random.integers(len(data), size=random.integers(1, 4)):
            data[place] ^= 1 << int(random.integers(8))
    elif kind == 2:
        del data[start:]
    elif kind == 3:
        del data[start:end]
    elif kind == 4:
        data[start:start] = data[start:end]
    else:
        data[start:end] = random.bytes(end - start)
    return bytes(data)


def one_of(random: Random, choices: Any) -> Any:
    """One of several, as it is (numpy would make an array of them first)."""
    return choices[int(random.integers(len(choices)))]
