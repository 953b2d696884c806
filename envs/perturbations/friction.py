"""The object and the fingers become slippery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.envs.perturbation import Effect, Specification, uniform, within
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class FrictionEffect(Effect):
    """Scales the sliding friction of the object and of the fingers."""

    _original: Array

    def edit(self, scene: MujocoScene) -> None:
        """Scale both sides: a contact takes the larger friction of its two geometries."""
        geoms = _geoms(scene)
        self._original = scene.model.geom_friction[geoms, 0]
        scene.model.geom_friction[geoms, 0] = self._original * self.record["friction_scale"]

    def undo(self, scene: MujocoScene) -> None:
        """Put the kept values back."""
        scene.model.geom_friction[_geoms(scene), 0] = self._original


def _geoms(scene: MujocoScene) -> list[int]:
    return [scene.model.geom(name).id for name in (*scene.task.object_geoms, *scene.task.finger_geoms)]


class Friction(Specification):
    """A slippery object (friction is an axis of THE COLOSSEUM, Pumacay et al., RSS 2024).

    Parameters
    ----------
    friction_scale : factor on the sliding friction of the object and of the fingers; below one.
    start_step, stage, duration_steps : see :class:`Specification`.
    """

    channel = "physics"
    effect = FrictionEffect

    def __init__(
        self,
        friction_scale: float | Sequence[float],
        start_step: int | Sequence[int] = 0,
        stage: str | None = None,
        duration_steps: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(start_step, stage, duration_steps)
        self.friction_scale = within("friction_scale", friction_scale, 0.001, 0.9)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"friction_scale": uniform(rng, self.friction_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"friction of object and fingers times {record['friction_scale']:.3g}"
