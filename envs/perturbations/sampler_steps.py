"""The policy samples in haste."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Record


class SamplerStepsEffect(Effect):
    """Lets the policy integrate its flow in other steps."""

    def settings(self) -> Mapping[str, Any]:
        """The one that is changed."""
        return {"inference_steps": self.record["inference_steps"]}


class SamplerSteps(Specification):
    """A sampler cut short to answer in time: fewer steps from noise to chunk.

    Their number against quality: Song et al. (DDIM), ICLR 2021; Lipman et al. (flow matching), ICLR 2023.

    Parameters
    ----------
    inference_steps : steps from noise to chunk.
    schedule : see :class:`Specification`.
    """

    channel = "policy"
    effect = SamplerStepsEffect
    magnitude = Magnitude("inference_steps", 1, 50, worse="smaller", whole=True)
    alters = ("inference_steps",)
    seen_as = ("missed grasp", "timeout")

    def __init__(
        self,
        inference_steps: int | Sequence[int],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.inference_steps = self.magnitude.steps(inference_steps)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn setting."""
        return {"inference_steps": uniform_int(rng, self.inference_steps)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"chunks are sampled in {record['inference_steps']} steps"
