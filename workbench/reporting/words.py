"""Words for numbers: every kind of number is written in one way, on pages, on the terminal and in files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from workbench.stats.proportions import clopper_pearson

DASH = "–"  # noqa: RUF001 (an en dash stands between the bounds of an interval)
NONE = "—"
"""What stands where there is no number."""


def percent(share: float | None) -> str:
    """A share as whole percent."""
    return NONE if share is None else f"{100 * share:.0f} %"


def count(part: int, whole: int) -> str:
    """Counts as k/n."""
    return f"{part}/{whole}"


def interval(bounds: Sequence[float], dash: str = DASH) -> str:
    """Bounds in percent."""
    return f"{100 * bounds[0]:.0f}{dash}{100 * bounds[1]:.0f} %"


def points(gain: float, low: float, high: float) -> str:
    """A difference of shares with its interval, in percentage points."""
    return f"{round(100 * gain):+d} ({round(100 * low)} to {round(100 * high)})"


def estimate(found: Mapping[str, float | None], digits: int = 2) -> str:
    """A number with its interval, or a dash where there is none."""
    values = [found[key] for key in ("value", "low", "high")]
    value, low, high = (number(None if each is None else round(each, digits) + 0.0, digits) for each in values)
    return NONE if value == NONE else f"{value} ({low} to {high})"


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed digits, or a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def significant(value: float | None) -> str:
    """A number with three significant digits, for what may be of any size."""
    return NONE if value is None else f"{value:.3g}"


def step(median: float | None) -> str:
    """A median of control steps, which may lie half-way between two."""
    return NONE if median is None else f"{median:g}"


def p_value(value: float | None) -> str:
    """A p-value, never shown as zero."""
    return NONE if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def seconds(value: float) -> str:
    """A duration for people."""
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def kilobytes(value: float) -> str:
    """A size in thousands of bytes; the heading says so."""
    return f"{value / 1000:.0f}"


def megabytes(value: float, digits: int = 1) -> str:
    """A size in millions of bytes; the heading says so."""
    return f"{value / 1e6:.{digits}f}"


UNITS: Mapping[str, Callable[[float], str]] = {
    "ratio": number,
    "rate": percent,
    "steps": lambda value: f"{round(value):d}",
    "signed": lambda value: f"{value:+.2f}",
    "milliseconds": number,
}
"""Unit of a metric -> how it is written."""


def in_unit(value: float | None, unit: str) -> str:
    """A number in one of :data:`UNITS`."""
    return NONE if value is None else UNITS[unit](value)


def between(bounds: Sequence[float], unit: str) -> str:
    """Bounds in one of :data:`UNITS`; with "to" where a dash could be taken for a minus."""
    low, high = (in_unit(bound, unit) for bound in bounds)
    return f"{low} to {high}" if "-" in low or unit == "signed" else f"{low.removesuffix(' %')}{DASH}{high}"


@dataclasses.dataclass(frozen=True)
class Rate:
    """``part`` of ``whole`` episodes, as numbers and in words."""

    part: int
    whole: int

    @property
    def share(self) -> float | None:
        """The share; None of no episodes."""
        return self.part / self.whole if self.whole else None

    @property
    def bounds(self) -> tuple[float, float]:
        """Exact 95 % interval (Clopper and Pearson)."""
        return clopper_pearson(self.part, self.whole)

    @property
    def percent(self) -> str:
        """The share as whole percent."""
        return percent(self.share)

    @property
    def count(self) -> str:
        """As k/n."""
        return count(self.part, self.whole)

    @property
    def interval(self) -> str:
        """The interval in percent."""
        return interval(self.bounds)

    @property
    def counted(self) -> str:
        """Count and interval."""
        return f"{self.count} · {self.interval}"
