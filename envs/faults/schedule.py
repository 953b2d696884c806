"""When a fault strikes and how long it lasts: a step, counted from a stage or from a predicate, and a duration."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

from workbench.errors import ConfigError
from workbench.types import Record

FOREVER = 1_000_000
"""Duration, in control steps, of a fault that does not end."""


class Start(TypedDict, total=False):
    """When a fault strikes; see :class:`Specification`."""

    start_step: int | Sequence[int]
    stage: str | None
    predicate: str | None


class Schedule(Start, total=False):
    """When a fault strikes and how long it lasts; see :class:`Specification`."""

    duration_steps: int | Sequence[int] | None


_COMPARISON = re.compile(r"(\w+)(?:\s*([<>])\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?))?")


def comparison(predicate: str) -> tuple[str, str, float]:
    """A schedule's predicate as (name, ``<`` or ``>``, number); a bare name asks whether it holds."""
    found = _COMPARISON.fullmatch(predicate.strip()) if isinstance(predicate, str) else None
    if found is None or not _is_number(found[3] or "0"):
        raise ConfigError(
            f"predicate={predicate!r} must be a predicate's name, or compare it with a number: cube_height_m > 0.02"
        )
    name, sign, number = found.groups()
    return (name, sign, float(number)) if sign else (name, ">", 0.5)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def holds(predicate: str, predicates: Mapping[str, float]) -> bool:
    """Whether a schedule's predicate holds."""
    name, sign, number = comparison(predicate)
    return predicates[name] > number if sign == ">" else predicates[name] < number


def when(record: Record) -> str:
    """The schedule of a drawn fault, in a few words for people."""
    start, duration = int(record["start_step"]), int(record["duration_steps"])
    since = [f"stage {record['stage']}"] if record["stage"] else []
    since += [f"{record['predicate']}"] if record["predicate"] else []
    begins = f"{start} steps into {' and '.join(since)}" if since else f"step {start}"
    span = "to the end" if duration >= FOREVER else f"for {duration} steps"
    return f"at {begins}" if duration == 1 else f"from {begins} {span}"
