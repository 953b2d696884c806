"""Arrays, observations and plain records: what everything else is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy.typing as npt

Array = npt.NDArray[Any]
Observation = Mapping[str, Array]
"""What the robot sees at one control step: name -> vector."""
Record = dict[str, Any]
"""Plain data (str, int, float, bool, None, list, dict) that survives a trip through JSON."""

DEEPEST = 64
"""Levels of nesting that plain data may have: what goes through it goes no deeper than Python can."""
LARGEST = 1e300
"""No number is as large: what goes through plain data may add and multiply."""


def plain_json(text: str | bytes) -> Any:
    """Plain data out of JSON from a file; ValueError if it is none.

    As strict as what is written: UTF-8, finite numbers, no lone surrogates, bounded nesting.
    """
    try:
        found = json.loads(text.decode() if isinstance(text, bytes) else text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    _check_plain(found, DEEPEST)
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _check_plain(value: Any, levels: int) -> None:
    """Raise ValueError for what JSON gives but plain data are not."""
    if levels == 0:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no UTF-8: a UnicodeEncodeError, which is a ValueError
    elif isinstance(value, int | float):
        if not abs(value) < LARGEST:  # NaN is not either
            raise ValueError("a number is too large")
    elif isinstance(value, list):
        for each in value:
            _check_plain(each, levels - 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            key.encode()
            _check_plain(each, levels - 1)
