"""The policy samples too wildly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Record


class SamplerNoiseEffect(Effect):
    """Lets the policy start from other noise."""

    def settings(self) -> Mapping[str, Any]:
        """The one that is changed."""
        return {"noise_scale": self.record["noise_scale"]}


class SamplerNoise(Specification):
    """A sampler at too high a temperature: the noise from which a chunk is made is scaled (the converse of the low
    temperatures of Ajay et al., Is Conditional Generative Modeling All You Need for Decision Making?, ICLR 2023).

    Parameters
    ----------
    noise_scale : factor on the initial noise; above one.
    schedule : see :class:`Specification`.
    """

    channel = "policy"
    effect = SamplerNoiseEffect
    magnitude = Magnitude("noise_scale", 1.1, 100.0)
    alters = ("noise_scale",)
    seen_as = ("missed grasp", "drop", "timeout")

    def __init__(
        self,
        noise_scale: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.noise_scale = self.magnitude.within(noise_scale)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn setting."""
        return {"noise_scale": uniform(rng, self.noise_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"noise of the sampler times {record['noise_scale']:.3g}"
