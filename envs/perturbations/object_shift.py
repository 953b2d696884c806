"""The object is moved while nobody looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, horizontal
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ObjectShiftEffect(Effect):
    """Displaces the manipulated object once and stops its motion."""

    def strike(self, scene: MujocoScene) -> None:
        """Move the object's free joint horizontally and zero its velocity."""
        joint = scene.data.joint(scene.task.object_joint)
        joint.qpos[:2] += scene.task.shift_m(scene.data, self.record["offset_m"])
        joint.qvel[:] = 0.0


class ObjectShift(Specification):
    """An object that changes its place in the middle of the episode (LangPert, 2025).

    Parameters
    ----------
    offset_m : how far it is moved; the horizontal direction (world frame) is drawn uniformly.  At most 0.2 m, which
        keeps an object from the middle of the table on it; in an arena with walls the direction is turned by what keeps
        it clear of them.
    start : when; see :class:`Specification`.
    """

    channel = "physics"
    effect = ObjectShiftEffect
    magnitude = Magnitude("offset_m", 0.005, 0.2, sizes=(2,))
    needs_free_object = True

    def __init__(self, offset_m: float | Sequence[float], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=1, **start)
        self.offset_m = self.magnitude.within(offset_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn displacement [x, y] in the world frame."""
        return {"offset_m": horizontal(rng, self.offset_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        x, y = record["offset_m"]
        return f"the object moves by {np.hypot(x, y):.3f} m to ({x:+.3f}, {y:+.3f})"
