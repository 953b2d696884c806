"""The words of a command line: flags apart from words, and each word as Hydra's grammar reads what was typed.

Hydra reads a value by its looks: ``name=1.10`` becomes the number 1.1, and ``checkpoint=runs/lr=0.1/policy`` is outside
of its grammar.  Here the *key* decides: where it takes text, what was typed is the text.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.config.hints import Takes, in_words, takes
from workbench.errors import ConfigError, UnknownNameError

_KEY = re.compile(r"[A-Za-z_$][\w$-]*([./][\w$-]+)*(@[\w$.:-]+)?", re.ASCII)
_OPTION = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_][\w/.-]*", re.ASCII | re.IGNORECASE)
_WORD = re.compile(r"(?P<prefix>\+\+|\+|~|)(?P<key>[^=]*)(?:=(?P<value>.*))?", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z_/][\w/.-]*", re.ASCII)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.DOTALL)
_CLOSING = {"[": "]", "{": "}", "(": ")"}
_OTHERWISE = re.compile(r"null|true|false|nan|inf", re.IGNORECASE)
"""Plain words that Hydra does not read as text."""


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of the command line.

    Attributes
    ----------
    name, short : ``--cfg`` and ``-c``.
    allowed : values that it takes; None for a flag without one, () for any.
    default : value where none is given; None if one must be.
    """

    name: str
    short: str = ""
    allowed: tuple[str, ...] | None = None
    default: str | None = None


FLAGS = (
    Flag("--help", "-h"),
    Flag("--version"),
    Flag("--multirun", "-m"),
    Flag("--cfg", "-c", ("job", "hydra", "all")),
    Flag("--resolve"),
    Flag("--package", "-p", ()),
    Flag("--info", "-i", ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"), "all"),
    Flag("--config-dir", "-cd", ()),
    Flag("--shell-completion", "-sc"),
    Flag("--hydra-help"),
    Flag("--run", "-r"),
)
"""Hydra's, but for those that name another configuration than ours, or read objects that can be code."""
_MODES = ("--multirun", "--cfg", "--info", "--shell-completion", "--run")


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What was typed behind ``workbench``.

    Attributes
    ----------
    words : those that are neither flags nor values of flags, in order.
    flags : name -> value, "" for a flag without one.
    """

    words: tuple[str, ...]
    flags: Mapping[str, str]

    @property
    def sweep(self) -> bool:
        """Whether commas separate the points of a sweep."""
        return "--multirun" in self.flags

    def hydra_flags(self) -> list[str]:
        """Flags as Hydra takes them behind its words."""
        return [f"{name}={value}" if value else name for name, value in self.flags.items() if name != "--config-dir"]


def parse(arguments: Sequence[str]) -> CommandLine:
    """Flags and words apart, in whatever order they were typed.

    Raises
    ------
    UnknownNameError
        for an unknown flag, or a value that a flag does not take.
    ConfigError
        for a flag without its value, two flags that exclude each other, or a word that is no valid text.
    """
    words: list[str] = []
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise ConfigError(f"{argument!r} is no text of this terminal's encoding")
        if not argument.startswith("-") or argument == "-":
            words.append(argument)
            continue
        typed, equals, value = argument.partition("=")
        flag = _flag(typed)
        flags[flag.name] = _value(flag, value if equals else None, rest)
    _refuse_contradictions(flags)
    return CommandLine(tuple(words), flags)


def _flag(typed: str) -> Flag:
    for flag in FLAGS:
        if typed in (flag.name, flag.short):
            return flag
    raise UnknownNameError("flag", typed, [flag.name for flag in FLAGS])


def _value(flag: Flag, given: str | None, rest: list[str]) -> str:
    """Value of a flag; taken from the words behind it where it is needed, or there is one that it takes."""
    if flag.allowed is None:
        if given is not None:
            raise ConfigError(f"{flag.name} takes no value, not {given!r}")
        return ""
    if given is None and rest and (flag.default is None or rest[0] in flag.allowed):
        given = rest.pop(0)
    if given is None:
        given = flag.default
    if not given:
        raise ConfigError(f"{flag.name} needs a value" + (f": {', '.join(flag.allowed)}" if flag.allowed else ""))
    if flag.allowed and given not in flag.allowed:
        raise UnknownNameError(f"value of {flag.name}", given, flag.allowed)
    return given


def _refuse_contradictions(flags: Mapping[str, str]) -> None:
    modes = [name for name in _MODES if name in flags]
    if len(modes) > 1:
        raise ConfigError(f"{' and '.join(modes)} exclude each other")
    for name in ("--resolve", "--package"):
        if name in flags and "--cfg" not in flags and "--help" not in flags:
            raise ConfigError(f"{name} goes with --cfg: add --cfg job")


@dataclasses.dataclass(frozen=True)
class Word:
    """``prefix key = value`` as typed; without ``=`` the value is None."""

    prefix: str
    key: str
    value: str | None

    def __str__(self) -> str:
        return f"{self.prefix}{self.key}" + ("" if self.value is None else f"={self.value}")


def read(word: str) -> Word:
    """A word apart; ConfigError for one that is not ``key=value``, or whose key cannot be one."""
    match = _WORD.fullmatch(word)
    assert match is not None
    found = Word(match["prefix"], match["key"], match["value"])
    if found.value is None and found.prefix != "~":
        raise ConfigError(f"{word!r} is no key=value: words behind the job are written like seed=1, without spaces")
    if not _KEY.fullmatch(found.key):
        raise ConfigError(f"unknown key {found.key!r}: keys are written like seed or job.episodes")
    return found


def hydra_word(word: Word, hint_of: Callable[[str], Any], sweep: bool = False) -> str:
    """A word in Hydra's grammar, which then reads what was typed.

    Parameters
    ----------
    hint_of : gives the annotation of what a key takes; Any where that is not known.
    sweep : whether commas separate the points of a sweep.

    Raises
    ------
    ConfigError
        for a value with a comma outside of a sweep, and for one that is outside of Hydra's grammar where no text is
        taken; with the word as it should be typed.
    """
    if not word.value or is_plain(word.value):
        return str(word)
    hint = hint_of(word.key)
    kind = takes(hint)
    points = split_at_commas(word.value)
    if sweep and kind.text and (function := _SWEEP.fullmatch(word.value)):
        value = _choices(function, kind)
    elif len(points) > 1 and not sweep:
        raise ConfigError(_comma(word, points, kind))
    else:
        value = ",".join(as_typed(point.strip() if len(points) > 1 else point, kind) for point in points)
    found = dataclasses.replace(word, value=value)
    refuse_unreadable(found, word, hint)
    return str(found)


def _choices(function: re.Match[str], kind: Takes) -> str:
    """A sweep by a function; what ``choice`` takes is text."""
    value = function[0]
    if function[1] != "choice":
        return value
    inner = value[len("choice(") : -1]
    return f"choice({','.join(as_typed(point.strip(), kind) for point in split_at_commas(inner))})"


def _comma(word: Word, points: Sequence[str], kind: Takes) -> str:
    said = [f"{word} has a comma: add -m to run each of {', '.join(point.strip() for point in points)}"]
    if kind.lists or kind.anything:
        said.append(f"as one list type {_with(word, f'[{word.value}]')}")
    if (kind.text and not kind.lists) or kind.anything:
        said.append(f"as one text type {_with(word, quoted(str(word.value)))}")
    return "; ".join(said)


def _with(word: Word, value: str) -> str:
    """A word with another value, as it is typed into a shell."""
    return shlex.quote(str(dataclasses.replace(word, value=value)))


def as_typed(value: str, kind: Takes) -> str:
    """One value in Hydra's grammar: quoted where the key takes text and Hydra would not read that."""
    if kind.texts and value.startswith("[") and value.endswith("]"):
        inner = value[1:-1]
        items = split_at_commas(inner) if inner.strip() else []
        return f"[{','.join(as_typed(item.strip(), kind.texts) for item in items)}]"
    if not kind.text or (kind.none and value == "null") or (kind.whole and _WHOLE.fullmatch(value)):
        return value
    return value if _QUOTED.fullmatch(value) or is_plain(value) else quoted(value)


def is_plain(value: str) -> bool:
    """Whether Hydra reads a value as the text that it is."""
    return bool(_PLAIN.fullmatch(value)) and not _OTHERWISE.fullmatch(value)


def quoted(text: str) -> str:
    """A text in quotes, as Hydra's grammar has them."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single if '"' in text else Quote.double).with_quotes()  # shells are fond of single


def unquoted(word: str) -> str:
    """A word whose value is one text in quotes, without them; any other as it stands."""
    from hydra.core.override_parser.types import QuotedString

    found = _WORD.fullmatch(word)
    if found is None or found["value"] is None or not _QUOTED.fullmatch(found["value"]):
        return word
    value = parsed(word).value()
    assert not isinstance(value, QuotedString)
    return f"{found['prefix']}{found['key']}={value}"


def parsed(word: str) -> Any:
    """A word as Hydra reads it; its errors pass through."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(word)


def points_of(word: str) -> list[str]:
    """The words of a sweep's points, for one of its words in Hydra's grammar; itself where it is not swept over.

    A function whose points only Hydra's sweeper knows stands for itself and yields none.
    """
    from hydra.core.override_parser.types import ValueType

    found = parsed(word)
    if found.value_type in (None, ValueType.ELEMENT):
        return [word]
    if not found.is_discrete_sweep() or found.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return []
    return [f"{found.get_key_element()}={value}" for value in found.sweep_string_iterator()]


def refuse_unreadable(word: Word, typed: Word, hint: Any) -> None:
    """ConfigError, with what its key takes, for a word that is outside of Hydra's grammar."""
    from hydra.errors import HydraException

    value = str(word.value)
    if is_plain(value):
        return
    try:
        parsed(str(word))
    except (HydraException, RecursionError, ValueError):  # ValueError: thousands of digits
        if takes(hint).anything:
            as_text = _with(typed, quoted(str(typed.value)))
            raise ConfigError(f"{typed} cannot be read; if its value is meant as text, type {as_text}") from None
        raise ConfigError(f"{typed} cannot be read: {typed.key} must be {in_words(hint)}") from None


def refuse_no_option(word: Word) -> None:
    """ConfigError for ``~group=value`` whose value is no name of an option, by which Hydra leaves out."""
    if not _OPTION.fullmatch(str(word.value)):
        way = f"type ~{word.key}, or ~{word.key}=NAME with the name of an option"
        raise ConfigError(f"{word} leaves nothing out: {way}")


def split_at_commas(value: str) -> list[str]:
    """The parts of a value between commas that stand in no quotes, brackets or parentheses."""
    parts, start, expected, place = [], 0, [], 0
    while place < len(value):
        letter = value[place]
        if letter in "'\"" and (match := _QUOTED.match(value, place)):
            place = match.end()
            continue
        if letter == "\\":
            place += 1
        elif letter in _CLOSING:
            expected.append(_CLOSING[letter])
        elif expected and letter == expected[-1]:
            expected.pop()
        elif letter == "," and not expected:
            parts.append(value[start:place])
            start = place + 1
        place += 1
    return [*parts, value[start:]]
