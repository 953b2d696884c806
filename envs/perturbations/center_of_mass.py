"""The object's weight is not where its middle is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Record, Task
from workbench.types.reading import among, typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

SAME_FRAME_NONE, SAME_FRAMES_OF_INERTIA = 0, (2, 4)
"""Numbers of MuJoCo's mjtSameFrame: a frame of its own, and those that follow the inertial frame."""


class CenterOfMassEffect(Effect):
    """Moves the centre of mass of a free object; its mass and its inertia about that centre stay."""

    derives = True

    def edit(self, scene: MujocoScene) -> None:
        """Move the inertial frame, and what MuJoCo keeps in that frame or takes to be the same as it."""
        model, offset = scene.model, np.array(self.record["offset_m"])
        body = model.body(scene.task.object_body).id
        rotation = np.zeros(9)
        _rotate(rotation, model.body_iquat[body])
        self.change(model, "body_ipos", body, model.body_ipos[body] + offset)
        self.change(model, "body_sameframe", body, SAME_FRAME_NONE)
        for field, owner in (("geom_sameframe", model.geom_bodyid), ("site_sameframe", model.site_bodyid)):
            follows = np.isin(getattr(model, field), SAME_FRAMES_OF_INERTIA) & (owner == body)
            self.change(model, field, follows, SAME_FRAME_NONE)
        first = model.body_bvhadr[body]
        boxes = (slice(first, first + model.body_bvhnum[body]), slice(0, 3))
        self.change(model, "bvh_aabb", boxes, model.bvh_aabb[boxes] - rotation.reshape(3, 3).T @ offset)


def _rotate(rotation: np.ndarray, quaternion: np.ndarray) -> None:
    import mujoco

    mujoco.mju_quat2Mat(rotation, quaternion)


class CenterOfMass(Specification):
    """An object that is heavier at one end, as a hammer is (an axis of ROBOGATE, arXiv 2603.22126, 2026).

    Not for cubes and pegs: MuJoCo compiles a box on a free joint to have a diagonal inertia, once and for all.

    Parameters
    ----------
    offset_m : how far the centre of mass is moved along one axis of the object, to a drawn side.
    axis : ``x``, ``y`` or ``z`` of the object's frame; None to draw it.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = CenterOfMassEffect
    magnitude = Magnitude("offset_m", 0.001, 0.2, sizes=(3,))
    axes = ("x", "y", "z")
    drawn = typed(axis=among(axes))
    seen_as = ("slip", "drop", "misplacement")
    needs_free_object = True

    def __init__(
        self, offset_m: float | Sequence[float], axis: str | None = None, **schedule: Unpack[Schedule]
    ) -> None:
        super().__init__(**schedule)
        if axis is not None and axis not in self.axes:
            raise UnknownNameError("axis of perturbation center_of_mass", axis, self.axes)
        self.offset_m, self.axis = self.magnitude.within(offset_m), axis

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse objects whose centre of mass MuJoCo compiles in."""
        super().possible(task)
        mujoco_task: Any = task
        if mujoco_task.model.body(mujoco_task.object_body).simple[0]:
            raise ConfigError(
                f"perturbation {cls.name} cannot be had of task {task.name}: MuJoCo compiles its object, a box on "
                "a free joint, to have a diagonal inertia, without room for another centre of mass; leave it out"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn displacement [x, y, z] in the object's frame."""
        drawn = self.axes[int(rng.integers(len(self.axes)))]
        length = uniform(rng, self.offset_m) * (1.0 if rng.random() < 0.5 else -1.0)
        axis = self.axis or drawn
        return {"axis": axis, "offset_m": [length if name == axis else 0.0 for name in self.axes]}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        length = sum(record["offset_m"])
        return (
            f"the object's centre of mass is {abs(length):.3f} m off along {'-' if length < 0 else '+'}{record['axis']}"
        )
