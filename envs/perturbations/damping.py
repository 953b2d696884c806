"""What the object hangs on moves heavily, as in honey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Record, Task

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene


class DampingEffect(Effect):
    """Scales the damping of every joint between the object and the world."""

    def edit(self, scene: MujocoScene) -> None:
        """Scale what the joints' damping is now."""
        dofs = _dofs(scene.model, scene.task.object_body)
        self.change(scene.model, "dof_damping", dofs, scene.model.dof_damping[dofs] * self.record["damping_scale"])


def _dofs(model: mujoco.MjModel, name: str) -> Array:
    """Degrees of freedom of a body and of all that carries it."""
    body, carried = model.body(name).id, []
    while body:
        carried.append(body)
        body = model.body_parentid[body]
    return np.flatnonzero(np.isin(model.dof_bodyid, carried))


class Damping(Specification):
    """A stiff hinge: a door that wants oil, or one with a closer (source: none found).

    Parameters
    ----------
    damping_scale : factor on the damping of the object's joints, hinge and latch of a door; above one.  A free object
        is damped against the whole world, as if it moved in a thick liquid.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = DampingEffect
    magnitude = Magnitude("damping_scale", 1.5, 1e6)
    seen_as = ("stall", "timeout")

    def __init__(self, damping_scale: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.damping_scale = self.magnitude.within(damping_scale)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse an object whose joints have no damping that could be scaled."""
        super().possible(task)
        mujoco_task: Any = task
        model = mujoco_task.model
        if not model.dof_damping[_dofs(model, mujoco_task.object_body)].any():
            raise ConfigError(
                f"perturbation {cls.name} scales the damping of the object's joints, and task {task.name}'s has none: "
                "leave it out"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"damping_scale": uniform(rng, self.damping_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"damping of the object's joints times {record['damping_scale']:.3g}"
