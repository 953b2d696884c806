"""A log as series of numbers, one row a control step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.errors import ScoreError
from workbench.types import Array
from workbench.types.attribution import EpisodeLog, Watched


def observed(log: EpisodeLog) -> Array:
    """(T, D) all that the robot saw, key by key in the order of their names."""
    parts = [log.observations[key].reshape(log.length, -1) for key in sorted(log.observations)]
    return np.concatenate(parts, axis=1).astype(np.float64)


def spread(values: Array) -> Array:
    """(D,) standard deviation over rows (N, D); of a column that hardly moves, a hundredth of the largest."""
    deviation = values.std(axis=0)
    least = max(0.01 * float(deviation.max(initial=0.0)), 1e-9)
    floored: Array = np.maximum(deviation, least)
    return floored


def first(holds: Array, start: int = 0) -> int | None:
    """Index of the first true element from ``start`` on; None if there is none."""
    found = np.flatnonzero(holds[start:])
    return start + int(found[0]) if len(found) else None


def held_over(values: Array, calls: Array, length: int) -> Array:
    """(T, ...) values of policy calls (C, ...) at every control step: those of the call before it."""
    place = np.searchsorted(calls, np.arange(length), side="right") - 1
    rows: Array = np.asarray(values)[np.maximum(place, 0)]
    return rows


def watched(log: EpisodeLog, monitor: str, who: str) -> Watched:
    """What a monitor said, or a ScoreError that lists those that are there."""
    if monitor not in log.monitors:
        there = ", ".join(sorted(log.monitors)) or "none"
        raise ScoreError(
            f"attributor {who} reads monitor {monitor}, and there is no such one; there are: {there}. Fit it first, or "
            f"name another with attributor.{who}.monitor=NAME"
        )
    return log.monitors[monitor]


def stacked(logs: Sequence[EpisodeLog]) -> Array:
    """(sum of T, D) of several logs, end to end."""
    return np.concatenate([observed(log) for log in logs])
