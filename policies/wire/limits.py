"""How large what is sent may be, each limit with its reason, and checks of single values against them.

Both sides hold to these: what is received is checked before memory is taken for it, and what is sent before it leaves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

from workbench.errors import ConfigError
from workbench.policies.wire.shown import shown

MIB = 2**20
FRAME_MIB = 1024
"""Largest ``frame_limit_mib``: a frame lies in memory whole, and once more while it is read."""
METADATA_BYTES = 2**18
"""What a server may say of itself: openpi's say a pose, ours a kilobyte, and it is kept with every run."""
DEPTH = 16
"""How deeply arrays and maps may nest: a request needs three levels, an array among them."""
ITEMS = 100_000
"""How many values a message may hold, an ndarray counting as a few whatever its size: lists of numbers are for actions
and short features, and an object of Python takes a hundred times the byte that it came in."""
DIMENSIONS = 8
"""How many axes an array may have: samples over scenes have four."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""A camera, an observation, a signal: they become names of arrays in a store."""
NAMES = 64
"""How many of each: each signal of a call is computed, each camera drawn."""
LETTERS = 4096
"""Of an instruction: tokenizers of policies that listen cut far below."""
WORD_LETTERS = 200
"""Of what else is said in words: names of tasks and policies, digests."""
SAMPLES = 4096
"""Further chunks of one request: scores ask for up to 256."""
NUMBERS = 2**23
"""Of all chunks of an answer together: as doubles they fill a frame of the default limit."""
HISTORY = 256
"""Observations in a row: a scene keeps them all."""
HORIZON = 4096
"""Actions of a chunk: no task here runs for as many control steps."""
ACTION = 256
"""Numbers of an action: two arms with hands have about sixty."""
OBSERVATION = 65_536
"""Numbers of one observation at one time."""
FEATURES = 2**20
"""Numbers of an embedding or signal of one call: all of pi0's features before its velocities are half as many."""
PIXELS = 4096
"""Of an image's edge."""
CONNECTIONS = 256
"""Clients of one server at a time: each is a thread, and may hold a frame."""
FRAGMENTS = 1024
"""Pieces that a websocket message may come in: clients and servers of this protocol send one."""
WAIT_S = 86_400.0
"""Longest wait that can be set."""


def whole(name: str, value: Any, low: int, high: int) -> int:
    """The value, if it is a whole number in low..high; ConfigError if not."""
    if type(value) is not int or not low <= value <= high:
        raise ConfigError(f"{name}={shown(value)} must be a whole number in {low}..{high}")
    return value


def seconds(name: str, value: Any, least: float) -> float:
    """The value, if it is a number of seconds in least..WAIT_S; ConfigError if not."""
    number = type(value) in (int, float) and math.isfinite(value)
    if not number or not least <= value <= WAIT_S:
        raise ConfigError(f"{name}={shown(value)} must be a number of seconds in {least:g}..{WAIT_S:g}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """The value, if it is true or false: any word would count as true."""
    if type(value) is not bool:
        raise ConfigError(f"{name}={shown(value)} must be true or false")
    return value


def text(name: str, value: Any, letters: int) -> str:
    """The value, if it is text of up to so many letters that can be sent; ConfigError if not."""
    if not isinstance(value, str):
        raise ConfigError(f"{name}={shown(value)} must be text")
    if len(value) > letters:
        raise ConfigError(f"{name} has {len(value)} letters, must have at most {letters}: {shown(value[:40])}...")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{name}={shown(value)} holds half of a letter (a lone surrogate), which cannot be sent"
        ) from None
    return value


def names(name: str, values: Any) -> tuple[str, ...]:
    """The values, if they are a collection of different names, in their order; ConfigError if not."""
    if not isinstance(values, Collection) or isinstance(values, (str, bytes)):
        raise ConfigError(f"{name}={shown(values)} must be a list of names")
    if len(values) > NAMES:
        raise ConfigError(f"{name} has {len(values)} names, must have at most {NAMES}")
    for each in values:
        if not isinstance(each, str) or not NAME.fullmatch(each):
            raise ConfigError(
                f"{name} has {shown(each)}, must have names of up to 64 letters, digits, '_', '.' and '-' each"
            )
    twice = [each for each in dict.fromkeys(values) if list(values).count(each) > 1]
    if twice:
        raise ConfigError(f"{name} has {shown(twice[0])} twice")
    return tuple(values)
