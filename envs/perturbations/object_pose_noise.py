"""The object is seen to jitter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect, object_seen_at
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Observation, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ObjectPoseNoiseEffect(Effect):
    """Shows the object at an offset of its own at every control step; the draw depends on the step's number alone."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the offset in everything that derives from the object's position."""
        if not self.active(scene.step_index):
            return observation
        offset_m = self.noise.at(scene.step_index).normal(0.0, float(self.record["std_m"]), 2)
        return object_seen_at(scene, observation, offset_m.tolist())


class ObjectPoseNoise(Specification):
    """A pose estimate with a random error (the unsystematic counterpart of IntervenGen's, Hoque et al., IROS 2024).

    Parameters
    ----------
    std_m : standard deviation of each horizontal axis (world frame), per control step.
    schedule : see :class:`Specification`.
    """

    channel = "observation"
    effect = ObjectPoseNoiseEffect
    magnitude = Magnitude("std_m", 0.001, 0.5)
    needs_object = True

    def __init__(
        self,
        std_m: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.std_m = self.magnitude.within(std_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn standard deviation."""
        return {"std_m": uniform(rng, self.std_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the object is seen with an error of {record['std_m']:.3f} m per axis"
