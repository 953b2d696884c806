"""How strong a fault is: bounds that leave out zero, and draws within them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Array
from workbench.types.reading import Length, Size, number, whole


def within(name: str, value: float | Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Bounds of a magnitude as (min, max), or a ConfigError if they leave ``low..high`` or are out of order.

    ``low`` is above zero for every magnitude, so that no draw is a fault that does nothing.
    """
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in pair):
        raise ConfigError(f"{name} must be a number or a pair [min, max], not {value!r}")
    first, last = float(pair[0]), float(pair[1])
    if not low <= first <= last <= high:  # NaN fails every comparison
        shown = first if first == last else [first, last]
        raise ConfigError(f"{name}={shown} is impossible: it must lie within {low} .. {high} (min before max)")
    return first, last


def within_steps(name: str, value: int | Sequence[int], low: int, high: int) -> tuple[int, int]:
    """Like :func:`within`, for numbers of control steps: whole numbers only."""
    first, last = within(name, value, low, high)
    if not (first.is_integer() and last.is_integer()):
        raise ConfigError(f"{name}={value!r} is impossible: control steps are whole numbers")
    return int(first), int(last)


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """The parameter that says how strong a fault is, and between what it may lie.

    Attributes
    ----------
    name : of the parameter, with its unit.
    low, high : bounds; ``low`` is above zero, so that no draw is a fault that does nothing.
    worse : which end is the stronger fault.
    whole : whether it counts control steps or things.
    sizes : of the vector in a record whose length it is; none where it is a number.
    signed : whether the number in a record may lie on either side of zero.
    """

    name: str
    low: float
    high: float
    worse: Literal["larger", "smaller"] = "larger"
    whole: bool = False
    sizes: tuple[int, ...] = ()
    signed: bool = False

    @property
    def drawn(self) -> Any:
        """Type of what a record holds of it; see :mod:`workbench.types.reading`."""
        if self.whole:
            return whole(int(self.low), int(self.high))
        bounds = Length(self.low, self.high)
        if self.sizes:
            return Annotated[list[float], Size(min(self.sizes), max(self.sizes)), bounds]
        return Annotated[float, bounds] if self.signed else number(self.low, self.high)

    def within(self, value: float | Sequence[float]) -> tuple[float, float]:
        """Bounds of a draw as (min, max), or a ConfigError."""
        return within(self.name, value, self.low, self.high)

    def steps(self, value: int | Sequence[int]) -> tuple[int, int]:
        """The same for a magnitude that is whole."""
        return within_steps(self.name, value, int(self.low), int(self.high))


def uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """A number uniform within bounds; one draw whatever the bounds."""
    return float(bounds[0] + (bounds[1] - bounds[0]) * rng.random())


def uniform_int(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """A whole number uniform within bounds, both included; one draw whatever the bounds."""
    return bounds[0] + int((bounds[1] - bounds[0] + 1) * rng.random())


def horizontal(rng: np.random.Generator, bounds: tuple[float, float]) -> list[float]:
    """A vector [x, y] whose length is uniform within bounds and whose direction is uniform on the circle."""
    length, angle_rad = uniform(rng, bounds), 2.0 * np.pi * rng.random()
    return [float(length * np.cos(angle_rad)), float(length * np.sin(angle_rad))]


def one_of(what: str, asked: str | None, known: Iterable[str]) -> str | None:
    """A name that may be left open, or an UnknownNameError."""
    if asked is not None and asked not in known:
        raise UnknownNameError(what, str(asked), known)
    return asked


def direction(rng: np.random.Generator, axis: str | None, size: int = 3) -> Array:
    """A unit vector (size,): along x, y or z with a drawn sign, or uniform on the sphere if ``axis`` is None.

    The same numbers are drawn either way.
    """
    drawn: Array = rng.standard_normal(size)
    unit: Array = drawn / np.linalg.norm(drawn)
    if axis is not None:
        along = "xyz".index(axis)
        unit = np.where(np.arange(size) == along, np.sign(drawn[along]), 0.0)
    return unit
