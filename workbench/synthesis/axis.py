"""A perturbation and the parameter that turns it: what searches and data sets vary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from workbench.config import build, resolve
from workbench.synthesis.tolerance import Scale
from workbench.types import Perturbation, Record


@dataclasses.dataclass(frozen=True)
class Dial:
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

    def at(self, magnitude: float) -> Perturbation:
        """The perturbation at one magnitude, everything else as its configuration has it."""
        turned = {self.parameter: int(magnitude) if self.scale.whole else magnitude}
        perturbation: Perturbation = build({**self.node, **turned})
        return perturbation


def dial_of(name: str, node: Record, axis: str | None = None) -> Dial:
    """The dial of a perturbation's configuration, along an axis or along that of the configuration."""
    limits = resolve(node["_target_"]).magnitude
    scale = Scale(float(limits.low), float(limits.high), limits.worse, limits.whole)
    kept = {key: value for key, value in node.items() if key != limits.name}
    along = {} if axis is None else {"axis": axis}
    return Dial(name, axis or node.get("axis"), {**kept, **along}, limits.name, scale)


def dials(nodes: Mapping[str, Record], axes: bool) -> list[Dial]:
    """One dial a perturbation; with ``axes`` one for each axis of those that have several."""
    found = []
    for name, node in nodes.items():
        known = resolve(node["_target_"]).axes
        found += [dial_of(name, node, axis) for axis in (known if axes and known else (None,))]
    return found
