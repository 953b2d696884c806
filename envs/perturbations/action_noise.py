"""The arm does not do quite what it is told."""

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


class ActionNoiseEffect(Effect):
    """Adds Gaussian noise to the arm's channels; the draw of a control step depends on its number alone."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with noise on all channels but the fingers'; the scene clips it."""
        if not self.active(scene.step_index):
            return action
        fingers = finger_channels(scene.task)
        noise = self.noise.at(scene.step_index).normal(0.0, float(self.record["std_fraction"]), len(action) - fingers)
        noisy: Array = action + np.append(noise, np.zeros(fingers))
        return noisy


class ActionNoise(Specification):
    """Actuation noise (MimicGen, Mandlekar et al., CoRL 2023, collects with 0.05).

    Parameters
    ----------
    std_fraction : standard deviation as a fraction of the largest action, per control step and channel.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = ActionNoiseEffect
    magnitude = Magnitude("std_fraction", 0.01, 2.0)

    def __init__(
        self,
        std_fraction: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.std_fraction = self.magnitude.within(std_fraction)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn standard deviation."""
        return {"std_fraction": uniform(rng, self.std_fraction)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"noise of {record['std_fraction']:.3g} of the largest action on the arm"
