"""What comes out of a file: read within bounds, and held against what it must look like, before anything is made of it.

What a value must look like is said by its type: of a field of a frozen dataclass, or on its own.  ``int``, ``float``,
``str``, ``bool``, ``None``, ``Literal``, unions, ``list``, ``tuple[T, ...]``, ``dict[str, T]``, dataclasses, and
``Annotated`` with :class:`Between`, :class:`Size`, :class:`Length` and :class:`Like`::

    @dataclasses.dataclass(frozen=True)
    class Leaf:
        window: Window
        level: Annotated[float, Between(0, 1)]
        reason: str = ""

    leaf = checked(Leaf, read_json(path, source), source)

A key without default must be there, and a key that is no field is refused; ``true`` is no number, and ``1.0`` no whole
one.  JSON itself is UTF-8, holds no key twice, no NaN and no number beyond those of 64 bits, and is nested no deeper
than :data:`DEEPEST`.  Errors are those of the :class:`Source`: file, key, what was found, what is allowed.

(No library does this here: pydantic and msgspec are not among the dependencies of what is installed, and OmegaConf's
structured configurations turn text into numbers.)
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import re
import stat
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import numpy as np

from workbench.errors import WorkbenchError
from workbench.types.data import Array

DEEPEST = 64
"""Nesting of what is read; the deepest that is written is a configuration, of about 10."""
MOST_BYTES = 64 * 2**20
"""Of a text file."""
MOST_TENSOR_BYTES = 8 * 2**30
"""Of a file of weights."""
SHOWN = 60
"""Characters of a value that an error shows."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where something was read, and which error says what is wrong with it.

    Attributes
    ----------
    name : how errors call it: a path, or words such as ``the perturbations of episode 0:7:slip``.
    error : their class.
    advice : what to do about it.
    """

    name: str
    error: type[WorkbenchError]
    advice: str = ""

    def wrong(self, what: str) -> WorkbenchError:
        """The error of one line that says so."""
        return self.error(f"{self.name} {what}" + (f"; {self.advice}" if self.advice else ""))


@dataclasses.dataclass(frozen=True)
class Between:
    """Bounds of a number, both included."""

    low: float = -math.inf
    high: float = math.inf

    def allows(self, value: float) -> bool:
        """Whether a number lies within."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.high):
            return "" if math.isinf(self.low) else f"of {self.low:g} or more"
        return f"of {self.low:g} .. {self.high:g}"


@dataclasses.dataclass(frozen=True)
class Size:
    """How many characters, items or keys."""

    least: int = 0
    most: int = 10_000

    def allows(self, value: Any) -> bool:
        """Whether there are as many."""
        return self.least <= len(value) <= self.most

    def __str__(self) -> str:
        return f"of {self.least} items" if self.least == self.most else f"of {self.least} .. {self.most} items"


@dataclasses.dataclass(frozen=True)
class Length:
    """Bounds of the Euclidean length of a list of numbers, or of the size of a number of either sign."""

    low: float
    high: float

    def allows(self, value: Any) -> bool:
        """Whether the length lies within, all but rounding."""
        try:
            length = math.hypot(*value) if isinstance(value, list) else abs(value)
        except OverflowError:
            return False
        return self.low * (1 - 1e-9) <= length <= self.high * (1 + 1e-9)

    def __str__(self) -> str:
        return f"whose size is {self.low:g} .. {self.high:g}"


@dataclasses.dataclass(frozen=True)
class Among:
    """The values that there may be; ``true`` is not 1."""

    values: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return any(type(value) is type(each) and value == each for each in self.values)

    def __str__(self) -> str:
        return " or ".join(shown(each) for each in self.values) or "nothing"


@dataclasses.dataclass(frozen=True)
class Distinct:
    """No value of a list twice."""

    def allows(self, value: Sequence[Any]) -> bool:
        """Whether all differ."""
        return len(set(value)) == len(value)

    def __str__(self) -> str:
        return "none twice"


@dataclasses.dataclass(frozen=True)
class Like:
    """What a text looks like: a regular expression, and the same in words."""

    pattern: str
    words: str

    def allows(self, value: str) -> bool:
        """Whether a text does."""
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.words


def typed(**types: Any) -> Mapping[str, Any]:
    """Types by name, for a class to state."""
    return types


def whole(low: float, high: float) -> Any:
    """Type of a whole number between bounds."""
    return Annotated[int, Between(low, high)]


def number(low: float, high: float) -> Any:
    """Type of a number between bounds."""
    return Annotated[float, Between(low, high)]


def many(kind: Any, least: int = 0, most: int = 10_000) -> Any:
    """Type of a list of so many."""
    return Annotated[list[kind], Size(least, most)]


def vector(size: int, low: float = 0.0, high: float = math.inf) -> Any:
    """Type of a list of so many numbers, whose Euclidean length lies between bounds."""
    return Annotated[list[float], Size(size, size), Length(low, high)]


def among(names: Iterable[Any]) -> Any:
    """Type of one of several names."""
    return Annotated[Any, Among(tuple(names))]


NAME = Annotated[str, Size(1, 200), Like(r"[^\x00-\x1f\x7f/\\]+", "without slashes and line breaks")]
"""Type of a name that may be shown, and become one of a file."""
SIZES = Annotated[dict[str, Annotated[int, Between(1, 10_000)]], Size(1, 100)]
"""Type of vectors by name: how many numbers each has."""
TEXT = Annotated[str, Size(0, 2000)]


def read_bytes(path: Path, source: Source, most: int = MOST_BYTES) -> bytes:
    """A regular file of at most so many bytes; its size is looked at before it is read."""
    try:
        with open(path, "rb", opener=_opener) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise source.wrong("is no regular file")
            if found.st_size > most:
                raise source.wrong(f"has {found.st_size:,} bytes, and may have {most:,}")
            return file.read(most)
    except (OSError, ValueError) as error:
        if isinstance(error, WorkbenchError):
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise source.wrong(f"cannot be read ({why})") from None


def _opener(path: str, flags: int) -> int:
    """Without waiting: a pipe with nobody at its other end would."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_json(path: Path, source: Source, most: int = MOST_BYTES, infinite: bool = False) -> Any:
    """The value of a JSON file; see :func:`parsed`."""
    return parsed(read_bytes(path, source, most), source, infinite)


def parsed(content: bytes | str, source: Source, infinite: bool = False) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    infinite : whether numbers may be infinite or NaN.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise source.wrong(f"is not UTF-8 (byte {error.start})") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=None if infinite else _finite,
            parse_constant=None if infinite else _no_number,
        )
        bounded(value)
    except json.JSONDecodeError as error:
        raise source.wrong(f"is not JSON ({error.msg} at line {error.lineno})") from None
    except (ValueError, RecursionError) as error:
        why = f"is nested deeper than {DEEPEST}" if isinstance(error, RecursionError) else str(error)
        raise source.wrong(why) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has the key {shown(next(key for key in keys if keys.count(key) > 1))} twice")
    return made


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"holds the number {shown(text)}, which has more than 64 bits")
    return int(text)


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"holds the number {shown(text)}, which is beyond all that a computer adds")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"holds {text}, which is no number")


def bounded(value: Any) -> None:
    """ValueError for values nested too deep, and for text that no file can hold (a lone half of a letter)."""
    level = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += [*each.keys(), *each.values()]
            elif isinstance(each, (list, tuple)):
                below += each
            elif isinstance(each, str) and not each.isascii():
                _letters(each)
        if not below:
            return
        level = below
    raise ValueError(f"is nested deeper than {DEEPEST}")


def _letters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"holds text that is none: {shown(text)}") from None


def shown(value: Any) -> str:
    """A value as errors show it: short, of one line, printable."""
    text = _brief(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."


def brief(text: str, most: int = 300) -> str:
    """What another library says, as one printable line."""
    line = " ".join(text[: 4 * most].split())
    line = line if line.isprintable() else ascii(line)[1:-1]
    return line if len(line) <= most else f"{line[: most - 4]} ..."


def _brief(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[: SHOWN + 1])
    if isinstance(value, Mapping):
        return f"an object of {len(value)} keys"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) > 2**64:
        return "a number of more than 64 bits"
    return json.dumps(value) if value is None or isinstance(value, (bool, int, float)) else repr(value)


def checked(kind: Any, value: Any, source: Source, key: str = "") -> Any:
    """A value of that type, dataclasses made; the source's error says what is wrong otherwise.

    Parameters
    ----------
    kind : a type as this module's first lines say.
    value : plain data, as JSON gives it.
    key : what the value is called within its source.
    """
    if kind is Any:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        found = checked(arguments[0], value, source, key)
        if not all(rule.allows(value) for rule in arguments[1:]):
            raise _unlike(kind, value, source, key)
        return found
    if origin in (Union, types.UnionType):
        return _one_of(kind, arguments, value, source, key)
    if origin is Literal:
        if not Among(arguments).allows(value):
            raise _unlike(kind, value, source, key)
        return value
    if dataclasses.is_dataclass(kind):
        return _made(kind, value, source, key)
    if origin is dict and isinstance(value, dict):
        for name in value:
            checked(arguments[0], name, source, f"the key of {key}" if key else "a key")
        return {name: checked(arguments[1], each, source, _within(key, name)) for name, each in value.items()}
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        return origin(checked(arguments[0], each, source, f"{key}[{at}]") for at, each in enumerate(value))
    if not _is(kind if origin is None else None, value):
        raise _unlike(kind, value, source, key)
    return value


def _is(kind: Any, value: Any) -> bool:
    """Whether a plain value is of a plain type: ``true`` is no number."""
    if kind in (None, type(None)):
        return value is None and kind is not None
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _one_of(kind: Any, choices: tuple[Any, ...], value: Any, source: Source, key: str) -> Any:
    """Of a union: what is wrong with a value is said by the only choice that is not null, if there is one."""
    if value is None and type(None) in choices:
        return None
    rest = [each for each in choices if each is not type(None)]
    if len(rest) == 1:
        return checked(rest[0], value, source, key)
    for each in rest:
        try:
            return checked(each, value, source, key)
        except source.error:
            continue
    raise _unlike(kind, value, source, key)


def _made(kind: Any, value: Any, source: Source, key: str) -> Any:
    """An object as a dataclass."""
    if not isinstance(value, dict):
        raise _unlike(kind, value, source, key)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = [
        name for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    keys(value, needed, fields, source, key)
    hints = _hints(kind)
    return kind(**{name: checked(hints[name], each, source, _within(key, name)) for name, each in value.items()})


def keys(value: Mapping[str, Any], needed: Any, known: Any, source: Source, key: str = "") -> None:
    """The source's error if an object lacks a key that is needed, or has one that is not known."""
    within = f" in {key}" if key else ""
    if missing := [name for name in needed if name not in value]:
        raise source.wrong(f"lacks {', '.join(missing)}{within}")
    if more := [name for name in value if name not in known]:
        raise source.wrong(f"has {shown(more[0])}{within}, and may have {_listed(known)}")


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _within(key: str, name: str) -> str:
    short = name if len(name) <= SHOWN and name.isprintable() else shown(name)
    return f"{key}.{short}" if key else short


def _unlike(kind: Any, value: Any, source: Source, key: str) -> WorkbenchError:
    subject = f"says {key}={shown(value)}, which" if key else f"is {shown(value)}, and"
    return source.wrong(f"{subject} must be {described(kind)}")


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


def described(kind: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        rules = " ".join(text for rule in arguments[1:] if (text := str(rule)))
        return f"{described(arguments[0])} {rules}".strip().replace("items", _unit(arguments[0]))
    if origin in (Union, types.UnionType):
        return " or ".join(described(each) for each in arguments)
    if origin is Literal:
        return " or ".join(shown(each) for each in arguments)
    if origin in (list, tuple):
        return f"a list, each {described(arguments[0])}"
    if origin is dict or dataclasses.is_dataclass(kind):
        return "an object"
    if kind is Any:
        return ""
    return _WORDS.get(kind, "an object" if kind is dict else "a list")


def _unit(kind: Any) -> str:
    return "characters" if kind is str else "items"


def tensors_of(content: bytes, source: Source, load: Callable[[bytes], dict[str, Any]] | None = None) -> dict[str, Any]:
    """Arrays of a safetensors file: their sizes follow from that of the content, and nothing in it can be code.

    Parameters
    ----------
    load : a framework's; numpy's by default.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as numpys

    try:
        found: dict[str, Any] = (load or numpys)(content)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RuntimeError, MemoryError) as error:
        raise source.wrong(f"is no safetensors file ({brief(str(error))})") from None
    return found


def words_of(content: bytes, source: Source) -> dict[str, str]:
    """What a safetensors file says beside its arrays."""
    size = int.from_bytes(content[:8], "little")
    header = parsed(content[8 : 8 + size], source)
    said = header.get("__metadata__", {}) if isinstance(header, dict) else None
    found: dict[str, str] = checked(dict[str, str], said, source, "__metadata__")
    return found


RECORD_SEAL = "record_sha256"
"""Key of a digest of all that a JSON object says beside it; objects of earlier versions have none."""


def sealed_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data as it comes back from JSON, and with it the digest of all that it says."""
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return {**plain, RECORD_SEAL: _record_digest(plain)}


def check_record_seal(record: Mapping[str, Any], source: Source) -> None:
    """The source's error if an object is not as it was sealed; nothing where it never was."""
    if RECORD_SEAL in record and record[RECORD_SEAL] != _record_digest(record):
        raise source.wrong(f"was changed since it was written: its {RECORD_SEAL} is another")


def _record_digest(record: Mapping[str, Any]) -> str:
    said = {key: value for key, value in record.items() if key != RECORD_SEAL}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


SEAL = "sha256"
"""Key, among what a safetensors file says, of a digest of the rest; files of earlier versions have none."""


def sealed(arrays: Mapping[str, Array], said: Mapping[str, str]) -> dict[str, str]:
    """What a safetensors file is to say, and with it the digest of all that it holds."""
    return {**said, SEAL: _digest(arrays, said)}


def check_seal(arrays: Mapping[str, Array], said: Mapping[str, str], source: Source) -> None:
    """The source's error if a file is not as it was sealed; nothing where it never was."""
    rest = {key: text for key, text in said.items() if key != SEAL}
    if SEAL in said and said[SEAL] != _digest(arrays, rest):
        raise source.wrong("was changed since it was written: its sha256 is another")


def _digest(arrays: Mapping[str, Array], said: Mapping[str, str]) -> str:
    hashed = hashlib.sha256(json.dumps(sorted(said.items())).encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        hashed.update(json.dumps([name, value.dtype.str, list(np.shape(arrays[name]))]).encode())
        hashed.update(value.tobytes())
    return hashed.hexdigest()


def array(
    found: Mapping[str, Any], name: str, source: Source, kind: str, shape: Sequence[int | None], finite: bool = True
) -> Any:
    """One array of several, of a dtype's kind (``f``, ``i``, ``u``, ``b``) and a shape in which None is any length."""
    if name not in found:
        raise source.wrong(f"lacks the array {shown(name)}")
    value = found[name]
    fits = len(value.shape) == len(shape) and all(
        want is None or want == have for want, have in zip(shape, value.shape, strict=True)
    )
    if value.dtype.kind not in kind or not fits:
        wanted = ", ".join("any" if each is None else str(each) for each in shape)
        raise source.wrong(
            f"holds {shown(name)} as {value.dtype} of shape {tuple(value.shape)}, and it must be of ({wanted})"
        )
    if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
        raise source.wrong(f"holds NaN or infinity in {shown(name)}")
    return value
