"""The arm gives way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ControllerStiffnessEffect(Effect):
    """Scales the controller's stiffness, at the same damping ratio."""

    def edit(self, scene: MujocoScene) -> None:
        """Scale kp, and kd = 2 sqrt(kp) damping_ratio with it."""
        scale = float(self.record["stiffness_scale"])
        self.change(scene, "gains", 0, scene.gains[0] * scale)
        self.change(scene, "gains", 1, scene.gains[1] * np.sqrt(scale))


class ControllerStiffness(Specification):
    """A controller that is set softer than the one for which the policy was made (variable impedance as action space,
    Martin-Martin et al., IROS 2019).

    Parameters
    ----------
    stiffness_scale : factor on the stiffness; below one.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = ControllerStiffnessEffect
    magnitude = Magnitude("stiffness_scale", 0.001, 0.9, worse="smaller")
    seen_as = ("out of reach", "stall", "timeout")

    def __init__(
        self,
        stiffness_scale: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.stiffness_scale = self.magnitude.within(stiffness_scale)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"stiffness_scale": uniform(rng, self.stiffness_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"stiffness of the controller times {record['stiffness_scale']:.3g}"
