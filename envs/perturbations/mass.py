"""The object is heavier than it looks."""

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


class MassEffect(Effect):
    """Scales mass and inertia of a free object alike."""

    derives = True

    def edit(self, scene: MujocoScene) -> None:
        """Scale the body's values; MuJoCo derives those of its contacts and of the solver's stopping rule."""
        body = scene.model.body(scene.task.object_body).id
        for field in ("body_mass", "body_inertia"):
            scaled = getattr(scene.model, field)[body] * float(self.record["mass_scale"])
            self.change(scene.model, field, body, scaled)


class Mass(Specification):
    """A heavy object (mass is an axis of THE COLOSSEUM, Pumacay et al., RSS 2024).

    Parameters
    ----------
    mass_scale : factor on mass and inertia of the object; above one.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = MassEffect
    magnitude = Magnitude("mass_scale", 1.5, 500.0)
    needs_free_object = True

    def __init__(
        self,
        mass_scale: float | Sequence[float],
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        self.mass_scale = self.magnitude.within(mass_scale)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"mass_scale": uniform(rng, self.mass_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"mass and inertia of the object times {record['mass_scale']:.3g}"
