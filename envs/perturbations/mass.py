"""The object is heavier than it looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.envs.perturbation import Effect, Specification, uniform, within
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class MassEffect(Effect):
    """Scales mass and inertia of the object."""

    _mass_kg: float
    _inertia_kgm2: Array

    def edit(self, scene: MujocoScene) -> None:
        """Scale both, so that the object stays one of uniform density."""
        model, body = scene.model, scene.target_body
        self._mass_kg, self._inertia_kgm2 = float(model.body_mass[body]), model.body_inertia[body].copy()
        scale = self.record["mass_scale"]
        _set_inertial(scene, self._mass_kg * scale, self._inertia_kgm2 * scale)

    def undo(self, scene: MujocoScene) -> None:
        """Put the kept values back."""
        _set_inertial(scene, self._mass_kg, self._inertia_kgm2)


def _set_inertial(scene: MujocoScene, mass_kg: float, inertia_kgm2: Array) -> None:
    import mujoco

    scene.model.body_mass[scene.target_body] = mass_kg
    scene.model.body_inertia[scene.target_body] = inertia_kgm2
    # Inverse weights scale the contact forces and must follow; the scratch data keeps the scene's own state as it is.
    mujoco.mj_setConst(scene.model, mujoco.MjData(scene.model))


class Mass(Specification):
    """A heavy object (mass is an axis of THE COLOSSEUM, Pumacay et al., RSS 2024).

    Parameters
    ----------
    mass_scale : factor on mass and inertia of the object; above one.
    start_step, stage, duration_steps : see :class:`Specification`.
    """

    channel = "physics"
    effect = MassEffect

    def __init__(
        self,
        mass_scale: float | Sequence[float],
        start_step: int | Sequence[int] = 0,
        stage: str | None = None,
        duration_steps: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(start_step, stage, duration_steps)
        self.mass_scale = within("mass_scale", mass_scale, 1.5, 500.0)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"mass_scale": uniform(rng, self.mass_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"mass and inertia of the object times {record['mass_scale']:.3g}"
