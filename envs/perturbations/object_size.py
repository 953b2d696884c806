"""The object is larger than it should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.props import lowest_m
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Record, Task

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

MESH = 7
"""MuJoCo's number of a geometry that is a mesh: its vertices are shared, and cannot be scaled."""


class ObjectSizeEffect(Effect):
    """Scales a free object made of primitives about its origin, at the density that it has."""

    derives = True

    def edit(self, scene: MujocoScene) -> None:
        """Scale lengths, and with them what the compiler derives: bounds, mass (cubed) and inertia (fifth power)."""
        model, scale = scene.model, float(self.record["size_scale"])
        body = model.body(scene.task.object_body).id
        geoms = [model.geom(name).id for name in scene.task.object_geoms]
        first = model.body_bvhadr[body]
        boxes = slice(first, first + model.body_bvhnum[body])
        for field in ("geom_size", "geom_pos", "geom_rbound", "geom_aabb"):
            self.change(model, field, geoms, getattr(model, field)[geoms] * scale)
        self.change(model, "bvh_aabb", boxes, model.bvh_aabb[boxes] * scale)
        for field, power in (("body_ipos", 1), ("body_mass", 3), ("body_inertia", 5)):
            self.change(model, field, body, getattr(model, field)[body] * scale**power)

    def strike(self, scene: MujocoScene) -> None:
        """Raise the object so that its lowest point stays where it is."""
        import mujoco

        joint, scale = scene.data.joint(scene.task.object_joint), float(self.record["size_scale"])
        mujoco.mj_kinematics(scene.model, scene.data)  # of the scaled object
        below = joint.qpos[2] - lowest_m(scene.model, scene.data, scene.task.object_geoms)
        joint.qpos[2] += below * (1 - 1 / scale)


class ObjectSize(Specification):
    """An object of another size than in training (size is an axis of THE COLOSSEUM, Pumacay et al., RSS 2024).

    Parameters
    ----------
    size_scale : factor on every length of the object; above one.  The density stays, so its mass grows too.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = ObjectSizeEffect
    magnitude = Magnitude("size_scale", 1.02, 3.0)
    seen_as = ("missed grasp", "collision", "jam")
    needs_free_object = True

    def __init__(self, size_scale: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.size_scale = self.magnitude.within(size_scale)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse objects that are meshes."""
        super().possible(task)
        mujoco_task: Any = task
        kinds = [int(mujoco_task.model.geom(name).type[0]) for name in mujoco_task.object_geoms]
        if MESH in kinds:
            raise ConfigError(
                f"perturbation {cls.name} scales boxes, cylinders and spheres, and the object of task {task.name} is "
                "a mesh: leave it out"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn factor."""
        return {"size_scale": uniform(rng, self.size_scale)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"every length of the object times {record['size_scale']:.3g}"
