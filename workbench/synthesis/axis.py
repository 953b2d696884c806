"""A perturbation and the parameter that says how strong it is: what searches and data sets vary.

Severities
----------
Severity 0 is the mildest magnitude that a fault may have and severity 1 the worst; between them the axis is logarithmic
where the magnitude spans more than a factor of ten, and linear otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from workbench.config import build, origin_of, resolve
from workbench.errors import ConfigError
from workbench.types import Perturbation, Policy, Record, Stream, Task

LOGARITHMIC_FROM = 10.0
"""Ratio of the bounds above which an axis is logarithmic."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """The axis of a magnitude.

    Attributes
    ----------
    low, high : bounds of the magnitude, both above zero.
    worse : which of them is severity 1.
    whole : whether magnitudes are whole numbers.
    """

    low: float
    high: float
    worse: Literal["larger", "smaller"] = "larger"
    whole: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise ConfigError(f"the axis {self.low} .. {self.high} of a magnitude must rise, from above zero")

    @property
    def logarithmic(self) -> bool:
        """Whether equal steps of severity are equal factors of the magnitude."""
        return self.high / self.low > LOGARITHMIC_FROM

    def magnitude(self, severity: float) -> float:
        """Magnitude of a severity in 0..1; the nearest whole number where magnitudes are whole."""
        if not 0 <= severity <= 1:
            raise ConfigError(f"severity {severity} must lie within 0 .. 1")
        share = severity if self.worse == "larger" else 1 - severity
        value = self.low + (self.high - self.low) * share
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** share
        if self.whole:
            value = float(round(value))
        return min(max(value, self.low), self.high)

    def severity(self, magnitude: float) -> float:
        """Severity in 0..1 of a magnitude; the inverse of :meth:`magnitude`."""
        if not self.low <= magnitude <= self.high:
            raise ConfigError(f"magnitude {magnitude} must lie within {self.low} .. {self.high}")
        share = (magnitude - self.low) / (self.high - self.low)
        if self.logarithmic:
            share = math.log(magnitude / self.low) / math.log(self.high / self.low)
        return share if self.worse == "larger" else 1 - share


@dataclasses.dataclass(frozen=True)
class FaultAxis:
    """One perturbation, along one of its axes if it has any, and the parameter that says how strong it is.

    Attributes
    ----------
    name : of the perturbation.
    axis : None where it has none, or one is drawn.
    node : its configuration, the axis in place, without that parameter.
    parameter : its name, with its unit.
    scale : where it may lie.
    """

    name: str
    axis: str | None
    node: Record
    parameter: str
    scale: Scale

    @property
    def label(self) -> str:
        """In words: ``push x``."""
        return f"{self.name} {self.axis or ''}".strip()

    @property
    def channel(self) -> str:
        """Where the fault enters."""
        return str(resolve(self.node["_target_"]).channel)

    def at(self, magnitude: float) -> Perturbation:
        """The perturbation at one magnitude, everything else as its configuration has it."""
        value = int(magnitude) if self.scale.whole else magnitude
        perturbation: Perturbation = build({**self.node, self.parameter: value})
        return perturbation

    def suits(self, task: Task, policy: Policy, seed: int) -> None:
        """Raise a ConfigError if the task or the policy cannot have this fault."""
        mildest = self.at(self.scale.magnitude(0.0))
        mildest.draw(Stream(seed, 0), task)
        mildest.suits(policy)


def fault_axis(name: str, node: Record, axis: str | None = None) -> FaultAxis:
    """The axis of a perturbation's configuration: the one that is named, or else that of the configuration."""
    limits = resolve(node["_target_"]).magnitude
    scale = Scale(float(limits.low), float(limits.high), limits.worse, limits.whole)
    kept = {key: value for key, value in node.items() if key != limits.name}
    along = {} if axis is None else {"axis": axis}
    return FaultAxis(name, axis or node.get("axis"), {**kept, **along}, limits.name, scale)


def fault_axes(perturbations: Mapping[str, Record | Perturbation], axes: bool = False) -> list[FaultAxis]:
    """One axis a perturbation; with ``axes`` every axis of those that have several.

    Parameters
    ----------
    perturbations : name -> configuration, or a perturbation that was made from one.
    """
    found = []
    for name, perturbation in perturbations.items():
        node = node_of(name, perturbation)
        known = resolve(node["_target_"]).axes
        found += [fault_axis(name, node, axis) for axis in (known if axes and known else (None,))]
    return found


def node_of(name: str, perturbation: Record | Perturbation) -> Record:
    """Configuration of a perturbation; ConfigError for one that was made by hand."""
    if isinstance(perturbation, Mapping):
        return dict(perturbation)
    origin = origin_of(perturbation)
    if origin is None:
        raise ConfigError(
            f"perturbation {name} was made by hand, so its magnitude cannot be varied: give its configuration, such as "
            f'{{"_target_": "{type(perturbation).__module__}.{type(perturbation).__qualname__}"}}'
        )
    return origin.node
