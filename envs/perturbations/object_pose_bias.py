"""The object is seen beside where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, horizontal
from workbench.envs.faults.effect import Effect, object_seen_at
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Observation, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ObjectPoseBiasEffect(Effect):
    """Shows the object at a constant offset."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the offset in everything that derives from the object's position."""
        if not self.active(scene.step_index):
            return observation
        return object_seen_at(scene, observation, self.record["offset_m"])


class ObjectPoseBias(Specification):
    """A pose estimate with a systematic error (IntervenGen, Hoque et al., IROS 2024).

    Parameters
    ----------
    offset_m : length of the error; its horizontal direction (world frame) is drawn uniformly.
    schedule : see :class:`Specification`.
    """

    channel = "observation"
    effect = ObjectPoseBiasEffect
    magnitude = Magnitude("offset_m", 0.001, 0.2, sizes=(2,))
    needs_object = True

    def __init__(
        self,
        offset_m: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.offset_m = self.magnitude.within(offset_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn offset [x, y] in the world frame."""
        return {"offset_m": horizontal(rng, self.offset_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        x, y = record["offset_m"]
        return f"the object is seen {np.hypot(x, y):.3f} m away, at ({x:+.3f}, {y:+.3f})"
