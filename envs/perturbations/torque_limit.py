"""The arm is weak."""

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


class TorqueLimitEffect(Effect):
    """Scales the torques that the arm's motors can have."""

    def edit(self, scene: MujocoScene) -> None:
        """Scale the ranges of the motors' controls, which are torques, and by which the controller is limited."""
        motors = [scene.model.actuator(name).id for name in scene.task.robot.actuators]
        scaled = scene.model.actuator_ctrlrange[motors] * float(self.record["torque_scale"])
        self.change(scene.model, "actuator_ctrlrange", motors, scaled)


class TorqueLimit(Specification):
    """Motors that are worn, hot or short of current; below what gravity asks for, the arm sinks (loss of effectiveness:
    Zhang and Jiang, Annual Reviews in Control, 2008).

    Parameters
    ----------
    torque_scale : factor on the largest torques of the arm's motors; below one.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = TorqueLimitEffect
    magnitude = Magnitude("torque_scale", 0.01, 0.9, worse="smaller")
    needs_arm = True
    seen_as = ("out of reach", "collision", "stall", "timeout")

    def __init__(
        self,
        torque_scale: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.torque_scale = self.magnitude.within(torque_scale)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"torque_scale": uniform(rng, self.torque_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"largest torques of the arm times {record['torque_scale']:.3g}"
