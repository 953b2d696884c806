"""The policy reads its observations on a wrong scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Record


class WrongNormalisationEffect(Effect):
    """Lets the policy divide observations by other deviations."""

    def settings(self) -> Mapping[str, Any]:
        """The one that is changed."""
        return {"normalisation_scale": self.record["normalisation_scale"]}


class WrongNormalisation(Specification):
    """Statistics of another data set: the standard deviations by which observations are divided are off by a factor.

    Source: none found; OpenVLA (Kim et al., CoRL 2024) has to be told which data set's statistics to use.

    Parameters
    ----------
    normalisation_scale : factor on the standard deviations; above one, so that the policy sees all nearer to the mean.
    schedule : see :class:`Specification`.
    """

    channel = "policy"
    effect = WrongNormalisationEffect
    magnitude = Magnitude("normalisation_scale", 1.05, 100.0)
    alters = ("normalisation_scale",)
    seen_as = ("missed grasp", "out of reach", "timeout")

    def __init__(
        self,
        normalisation_scale: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.normalisation_scale = self.magnitude.within(normalisation_scale)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn setting."""
        return {"normalisation_scale": uniform(rng, self.normalisation_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"observations are normalised with deviations times {record['normalisation_scale']:.3g}"
