"""The object starts where it never stood in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, horizontal, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Record
from workbench.types.reading import typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene

ANGLE_RAD = Magnitude("angle_rad", 0.01, np.pi, signed=True)


class ObjectPoseEffect(Effect):
    """Displaces and turns the object once."""

    def strike(self, scene: MujocoScene) -> None:
        """Move the free joint horizontally, turn it about the vertical and zero its velocity."""
        import mujoco

        joint, angle = scene.data.joint(scene.task.object_joint), float(self.record["angle_rad"])
        joint.qpos[:2] += scene.task.shift_m(scene.data, self.record["offset_m"])
        turned = np.zeros(4)
        mujoco.mju_mulQuat(turned, np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]), joint.qpos[3:])
        joint.qpos[3:] = turned
        joint.qvel[:] = 0.0


class ObjectPose(Specification):
    """An object that starts outside the places of training (an axis of STAR-Gen, arXiv 2503.01238, 2025).

    Parameters
    ----------
    offset_m : how far from its nominal place it starts; the horizontal direction (world frame) is drawn uniformly, and
        in an arena with walls turned by what keeps it clear of them.
    angle_rad : by how much it is turned about the vertical, to a drawn side.
    start : when, by default before anything has moved; see :class:`Specification`.
    """

    channel = "physics"
    effect = ObjectPoseEffect
    magnitude = Magnitude("offset_m", 0.005, 0.25, sizes=(2,))
    drawn = typed(angle_rad=ANGLE_RAD.drawn)
    seen_as = ("out of reach", "missed grasp")
    needs_free_object = True

    def __init__(
        self, offset_m: float | Sequence[float], angle_rad: float | Sequence[float], **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps=1, **start)
        self.offset_m = self.magnitude.within(offset_m)
        self.angle_rad = ANGLE_RAD.within(angle_rad)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn displacement [x, y] in the world frame, and the turn, positive to the left."""
        side = 1.0 if rng.random() < 0.5 else -1.0
        return {"offset_m": horizontal(rng, self.offset_m), "angle_rad": side * uniform(rng, self.angle_rad)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        length = np.hypot(*record["offset_m"])
        return f"the object starts {length:.3f} m from its nominal place, turned by {record['angle_rad']:+.2f} rad"
