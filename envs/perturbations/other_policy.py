"""Another policy takes over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Record
from workbench.types.reading import Size, typed


class OtherPolicyEffect(Effect):
    """Lets another checkpoint of the same kind of policy plan."""

    def settings(self) -> Mapping[str, Any]:
        """The other's checkpoint."""
        return {"checkpoint": self.record["checkpoint"]}


class OtherPolicy(Specification):
    """Mistakes of a real policy in the place of made-up ones: for a while another checkpoint drives (policy mistakes as
    the second source of failures in RACER, Dai et al., ICRA 2025).

    Parameters
    ----------
    duration_steps : for how many control steps; a chunk that it has planned is run as any other.
    checkpoint : folder of the other policy, or ``zoo/<entry>``; of the same task and with chunks of the same length.
    start : when; see :class:`Specification`.
    """

    channel = "policy"
    effect = OtherPolicyEffect
    magnitude = Magnitude("duration_steps", 1, 400, whole=True)
    drawn = typed(checkpoint=Annotated[str, Size(1, 2000)])
    alters = ("checkpoint",)
    seen_as = ("missed grasp", "drop", "timeout")

    def __init__(self, duration_steps: int | Sequence[int], checkpoint: str, **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)
        if not isinstance(checkpoint, str) or not checkpoint:
            raise ConfigError(f"checkpoint={checkpoint!r} must name a policy of the zoo (zoo/lift_flow), or a folder")
        self.checkpoint = checkpoint

    def parameters(self, rng: np.random.Generator) -> Record:
        """The other's checkpoint, beside the duration."""
        return {"checkpoint": self.checkpoint}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the policy in {record['checkpoint']} plans"
