"""The policy looks only once in a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Policy, Record


class NoReplanningEffect(Effect):
    """Runs chunks to their end."""

    def executed(self, execute: int, horizon: int) -> int:
        """All actions of a chunk."""
        return horizon


class NoReplanning(Specification):
    """Chunks that are run to their end without a look at what came of them (execution horizons: Chi et al., Diffusion
    Policy, RSS 2023, section on receding horizons).

    It needs a policy whose chunks are longer than what is run of them.

    Parameters
    ----------
    duration_steps : for how many control steps; a chunk that is begun is run to its end.
    start : when; see :class:`Specification`.
    """

    channel = "policy"
    effect = NoReplanningEffect
    magnitude = Magnitude("duration_steps", 1, 400, whole=True)
    seen_as = ("missed grasp", "timeout")

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def suits(self, policy: Policy) -> None:
        """Refuse a policy whose chunks are run to their end anyway."""
        if policy.execute >= policy.horizon:
            raise ConfigError(
                f"perturbation {self.name} runs chunks to their end, and so does {type(policy).__name__} anyway "
                f"(execute={policy.execute}, horizon={policy.horizon}): leave it out, or lower policy.execute"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "chunks are run to their end"
