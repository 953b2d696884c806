"""The object and the fingers become slippery."""

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


class FrictionEffect(Effect):
    """Scales the sliding friction of the object and of the fingers."""

    def edit(self, scene: MujocoScene) -> None:
        """Scale both sides: a contact takes the larger friction of its two geometries."""
        index = (_geoms(scene), 0)
        scaled = scene.model.geom_friction[index] * self.record["friction_scale"]
        self.change(scene.model, "geom_friction", index, scaled)


def _geoms(scene: MujocoScene) -> list[int]:
    return [scene.model.geom(name).id for name in (*scene.task.object_geoms, *scene.task.robot.contact_geoms)]


class Friction(Specification):
    """A slippery object (friction is an axis of THE COLOSSEUM, Pumacay et al., RSS 2024).

    Parameters
    ----------
    friction_scale : factor on the sliding friction of the object and of the fingers; below one.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = FrictionEffect
    magnitude = Magnitude("friction_scale", 0.001, 0.9, worse="smaller")

    def __init__(
        self,
        friction_scale: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.friction_scale = self.magnitude.within(friction_scale)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"friction_scale": uniform(rng, self.friction_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"friction of object and fingers times {record['friction_scale']:.3g}"
