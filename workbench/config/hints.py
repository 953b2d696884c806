"""What an annotation takes: whether a word is text for it, and what is wrong with a value that was given."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.errors import UnknownNameError
from workbench.types import Inside
from workbench.types.reading import Between

_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_EXAMPLES = {int: "1", float: "0.5", str: "a"}
_MAPPINGS = (dict, collections.abc.Mapping)


@dataclasses.dataclass(frozen=True)
class Takes:
    """How a typed value is read.

    Attributes
    ----------
    text : whether it is the text itself.
    texts : how the items of a list of texts are read; None where no such list is taken.
    none : whether ``null`` stands for none.
    whole : whether whole numbers stay numbers, beside text.
    lists : whether lists are taken.
    anything : whether nothing is known of what is taken.
    """

    text: bool = False
    texts: Takes | None = None
    none: bool = False
    whole: bool = False
    lists: bool = False
    anything: bool = False


def takes(hint: Any) -> Takes:
    """How a value is read where an annotation says what is taken; without text where it may be something else."""
    members = list(_members(hint))
    lists = [member for member in members if _origin(member) in _LISTS]
    if any(member in (Any, float, bool) for member in members):
        return Takes(lists=bool(lists), anything=Any in members)
    items = [item for member in lists for item in _items(member)]
    listed = takes(items[0]) if items else Takes()
    return Takes(
        lists=bool(lists),
        text=any(member is str or _is_text_literal(member) for member in members),
        texts=listed if listed.text else None,
        none=type(None) in members,
        whole=int in members,
    )


def inside(hint: Any, names: list[str]) -> Any:
    """Annotation of what lies behind some keys of a mapping; Any where that is not said."""
    for name in names:
        if typed := [member for member in _members(hint) if typing.is_typeddict(member)]:
            hint = typing.get_type_hints(typed[0], include_extras=True).get(name, Any)
            continue
        found = [member for member in _members(hint) if _origin(member) in _MAPPINGS]
        hint = typing.get_args(found[0])[1] if found and len(typing.get_args(found[0])) == 2 else Any
    return hint


def complaint(value: Any, hint: Any, path: str) -> str:
    """What is wrong with a value, with the path of what is wrong in it; "" if nothing is."""
    members = list(_members(hint))
    if any(_fits(value, member) for member in members):
        broken = [each for each in _bounds(hint) if type(value) in (int, float) and not each.allows(value)]
        return f"{path}={value!r} must be {in_words(hint)} {broken[0]}" if broken else ""
    for member in members:
        if said := _inner_complaint(value, member, path):
            return said
    said = f"{path}={value!r} must be {in_words(hint)}"
    if str in members and isinstance(value, int | float):
        said += f"; in a yaml file text that looks like a number stands in quotes: '{value}'"
    return said


def _inner_complaint(value: Any, member: Any, path: str) -> str:
    """What is wrong inside of a list or mapping, if the value is one at all."""
    origin = _origin(member)
    if typing.is_typeddict(member) and isinstance(value, Mapping):
        return _keys_complaint(value, typing.get_type_hints(member, include_extras=True), path)
    if origin in _MAPPINGS and isinstance(value, Mapping) and typing.get_args(member):
        _, inner = typing.get_args(member)
        return next((said for key in value if (said := complaint(value[key], inner, f"{path}.{key}"))), "")
    if origin in _LISTS and isinstance(value, list | tuple) and (items := _items(member)):
        if len(items) > 1 and len(items) != len(value):
            return ""
        pairs = zip(value, items * len(value) if len(items) == 1 else items, strict=False)
        return next((said for each, item in pairs if (said := complaint(each, item, path))), "")
    return ""


def _keys_complaint(value: Mapping[str, Any], hints: Mapping[str, Any], path: str) -> str:
    """What is wrong with the keys of a mapping that has certain ones, or with their values."""
    for key in value:
        if key not in hints:
            return str(UnknownNameError("key", f"{path}.{key}", [f"{path}.{name}" for name in hints]))
    for key, hint in hints.items():
        if key not in value:
            return f"{path}.{key} is missing"
        if said := complaint(value[key], hint, f"{path}.{key}"):
            return said
    return ""


def _fits(value: Any, member: Any) -> bool:
    origin = _origin(member)
    if member is Any:
        return True
    if member in (int, float, bool, str, type(None)):
        return type(value) is member or (member is float and type(value) is int)
    if origin is typing.Literal:
        return any(type(value) is type(allowed) and value == allowed for allowed in typing.get_args(member))
    if origin in _MAPPINGS or typing.is_typeddict(member):
        return isinstance(value, Mapping) and not _inner_complaint(value, member, "")
    if origin in _LISTS:
        return (
            isinstance(value, list | tuple)
            and not _inner_complaint(value, member, "")
            and not (len(_items(member)) > 1 and len(_items(member)) != len(value))
        )
    return True  # a class of its own: what it is built from is not ours to say


def in_words(hint: Any) -> str:
    """An annotation for people."""
    return " or ".join(dict.fromkeys(_member_words(member) for member in _members(hint)))


def _member_words(member: Any) -> str:
    simple = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    origin, items = _origin(member), _items(member)
    if member in simple:
        return simple[member]
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(member)))}"
    if origin in _MAPPINGS or typing.is_typeddict(member):
        return "a mapping such as {a: ...}"
    if origin in _LISTS:
        examples = [_EXAMPLES.get(next(_members(item)), "...") for item in items]
        return f"a list such as [{','.join(examples if len(items) > 1 else [*examples, '...'])}]"
    return str(member)


def _members(hint: Any) -> Iterator[Any]:
    """The members of a union, aliases resolved; the annotation itself where it is none."""
    if isinstance(hint, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        hint = hint.__value__
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _members(member)
    else:
        yield type(None) if hint is None else hint


def _bounds(hint: Any) -> list[Between | Inside]:
    """Bounds that an annotation names for numbers, of a union those of its members."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [each for member in typing.get_args(hint) for each in _bounds(member)]
    return [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Between | Inside)]


def _origin(member: Any) -> Any:
    return typing.get_origin(member) or member


def _items(member: Any) -> list[Any]:
    """Annotations of the items of a list: one for all of them, or one each."""
    return [item for item in typing.get_args(member) if item is not Ellipsis]


def _is_text_literal(member: Any) -> bool:
    allowed = typing.get_args(member)
    return typing.get_origin(member) is typing.Literal and all(isinstance(each, str) for each in allowed)
