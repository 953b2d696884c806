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
    """Scales mass and inertia of a free object alike, and what MuJoCo derives of them.

    The derived fields (``mj_setConst``) set the contacts' regularisation and the solver's stopping rule.  Those of a
    body that hangs on nothing but its free joint scale like the mass or its inverse, so they need no recomputation.
    """

    _original: dict[str, Array]
    _mean_inertia: float

    def edit(self, scene: MujocoScene) -> None:
        """Scale the body's and its degrees of freedom's values."""
        scale = float(self.record["mass_scale"])
        self._original = {name: values.copy() for name, values in _values(scene).items()}
        self._mean_inertia = scene.model.stat.meaninertia
        for name, values in _values(scene).items():
            values[:] = values / scale if "invweight" in name else values * scale
        scene.model.stat.meaninertia = scene.model.dof_M0.mean()

    def undo(self, scene: MujocoScene) -> None:
        """Put the kept values back."""
        for name, values in _values(scene).items():
            values[:] = self._original[name]
        scene.model.stat.meaninertia = self._mean_inertia


def _values(scene: MujocoScene) -> dict[str, Array]:
    """Views into the model of all that depends on the object's mass."""
    model, body = scene.model, scene.model.body(scene.task.object_body).id
    first = model.joint(scene.task.object_joint).dofadr[0]
    of_body = ("body_mass", "body_inertia", "body_subtreemass", "body_invweight0")
    of_freedom = ("dof_M0", "dof_invweight0")
    return {name: getattr(model, name)[body : body + 1] for name in of_body} | {
        name: getattr(model, name)[first : first + 6] for name in of_freedom
    }


class Mass(Specification):
    """A heavy object (mass is an axis of THE COLOSSEUM, Pumacay et al., RSS 2024).

    Parameters
    ----------
    mass_scale : factor on mass and inertia of the object; above one.
    start_step, stage, duration_steps : see :class:`Specification`.
    """

    channel = "physics"
    effect = MassEffect
    needs_free_object = True

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
