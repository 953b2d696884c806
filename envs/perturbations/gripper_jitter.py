"""The fingers twitch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import with_fingers
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class GripperJitterEffect(Effect):
    """Turns the fingers' command round in some control steps; in which depends on their numbers alone."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action, its fingers' channel negated or not."""
        step = scene.step_index
        flipped = self.active(step) and self.noise.at(step).random() < self.record["flip_fraction"]
        return with_fingers(action, -action[-1]) if flipped else action


class GripperJitter(Specification):
    """A gripper's command that flickers, as that of a policy in doubt whether to hold.

    Source: none found.

    Parameters
    ----------
    flip_fraction : probability with which a control step's command is turned round.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = GripperJitterEffect
    magnitude = Magnitude("flip_fraction", 0.05, 1.0)
    needs_gripper = True
    seen_as = ("missed grasp", "slip", "drop")

    def __init__(
        self,
        flip_fraction: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.flip_fraction = self.magnitude.within(flip_fraction)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn probability."""
        return {"flip_fraction": uniform(rng, self.flip_fraction)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the fingers' command is turned round with probability {record['flip_fraction']:.3g}"
