"""Some actions never arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record, Stream
from workbench.types.abilities import finger_channels

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class DroppedPacketsEffect(Effect):
    """Executes no motion where an action is lost; the fingers keep the last command that arrived."""

    memory_size = 1

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.fingers = 0.0

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action, or a hold; whether it is lost depends on the step's number alone."""
        step, fingers = scene.step_index, finger_channels(scene.task)
        if self.active(step) and self.noise.at(step).random() < self.record["loss_fraction"]:
            return np.append(np.zeros(len(action) - fingers), [self.fingers] * fingers)
        self.fingers = float(action[-1])
        return action

    def recall(self) -> Array:
        """The fingers' last command."""
        return np.array([self.fingers])

    def remember(self, memory: Array) -> None:
        """Take up a command."""
        self.fingers = float(memory[0])


class DroppedPackets(Specification):
    """A lossy link between policy and robot: each action is lost or not, independently of the others.

    An action is a displacement, so for a lost one the arm's controller is given none and holds (the zero-input rule of
    Schenato, To Zero or to Hold Control Inputs With Lossy Links?, IEEE Trans. Automatic Control, 2009); the fingers'
    driver holds its last command.

    Parameters
    ----------
    loss_fraction : probability with which an action is lost.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = DroppedPacketsEffect
    magnitude = Magnitude("loss_fraction", 0.05, 1.0)
    seen_as = ("stall", "timeout")

    def __init__(
        self,
        loss_fraction: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.loss_fraction = self.magnitude.within(loss_fraction)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn probability."""
        return {"loss_fraction": uniform(rng, self.loss_fraction)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"actions are lost with probability {record['loss_fraction']:.3g}"
