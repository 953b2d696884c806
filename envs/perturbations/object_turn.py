"""The object is turned while nobody looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class ObjectTurnEffect(Effect):
    """Turns the manipulated object once and stops its motion."""

    def strike(self, scene: MujocoScene) -> None:
        """Turn the object's free joint about the vertical and zero its velocity."""
        import mujoco

        joint, angle = scene.data.joint(scene.task.object_joint), float(self.record["angle_rad"])
        turned = np.zeros(4)
        mujoco.mju_mulQuat(turned, np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]), joint.qpos[3:])
        joint.qpos[3:] = turned
        joint.qvel[:] = 0.0


class ObjectTurn(Specification):
    """An object that is turned in the middle of the episode (LangPert, 2025, moves its objects so).

    Parameters
    ----------
    angle_rad : by how much it is turned about the vertical, to a drawn side.
    start : when; see :class:`Specification`.  Before it is grasped: between closed fingers there is no room to turn in.
    """

    channel = "physics"
    effect = ObjectTurnEffect
    magnitude = Magnitude("angle_rad", 0.02, 3.1, signed=True)
    seen_as = ("missed grasp", "misplacement")
    needs_free_object = True

    def __init__(self, angle_rad: float | Sequence[float], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=1, **start)
        self.angle_rad = self.magnitude.within(angle_rad)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn angle, positive to the left."""
        side = 1.0 if rng.random() < 0.5 else -1.0
        return {"angle_rad": side * uniform(rng, self.angle_rad)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the object turns by {record['angle_rad']:+.3f} rad"
