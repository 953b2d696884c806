"""The arm is never fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record
from workbench.types.abilities import finger_channels

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ActionSaturationEffect(Effect):
    """Cuts the arm's channels off at a fraction of their range."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action cut off; the fingers' channel as it is."""
        if not self.active(scene.step_index):
            return action
        limit, arm = float(self.record["limit_fraction"]), len(action) - finger_channels(scene.task)
        return np.concatenate([action[:arm].clip(-limit, limit), action[arm:]])


class ActionSaturation(Specification):
    """A speed limit that the policy does not know, as a safety controller sets one (actuator saturation: Bernstein and
    Michel, Int. J. Robust and Nonlinear Control, 1995).

    Parameters
    ----------
    limit_fraction : where the arm's channels are cut off, as a fraction of the largest action.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = ActionSaturationEffect
    magnitude = Magnitude("limit_fraction", 0.01, 0.9, worse="smaller")
    seen_as = ("out of reach", "stall", "timeout")

    def __init__(
        self,
        limit_fraction: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.limit_fraction = self.magnitude.within(limit_fraction)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn limit."""
        return {"limit_fraction": uniform(rng, self.limit_fraction)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the arm's actions cut off at {record['limit_fraction']:.3g} of the largest"
