"""The arm swings."""

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


class ControllerDampingEffect(Effect):
    """Scales the controller's damping."""

    def edit(self, scene: MujocoScene) -> None:
        """Scale kd."""
        self.change(scene, "gains", 1, scene.gains[1] * float(self.record["damping_scale"]))


class ControllerDamping(Specification):
    """A controller whose damping ratio is set too low, so that the arm overshoots and swings (variable impedance as
    action space, Martin-Martin et al., IROS 2019).

    Parameters
    ----------
    damping_scale : factor on the damping; below one.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = ControllerDampingEffect
    magnitude = Magnitude("damping_scale", 0.001, 0.9, worse="smaller")
    seen_as = ("overshoot", "missed grasp", "knocked")

    def __init__(
        self,
        damping_scale: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.damping_scale = self.magnitude.within(damping_scale)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"damping_scale": uniform(rng, self.damping_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"damping of the controller times {record['damping_scale']:.3g}"
