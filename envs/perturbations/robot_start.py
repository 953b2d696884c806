"""The arm starts in a posture that it never had in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification, joints_of
from workbench.types import Record, Task
from workbench.types.reading import vector

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class RobotStartEffect(Effect):
    """Turns the arm's joints once.

    The controller keeps the posture of the nominal start as the one that its null space returns to, before and after a
    snapshot alike; it sets its goals anew from the achieved pose at every control step, so it needs no more.
    """

    def strike(self, scene: MujocoScene) -> None:
        """Move the joints, within their limits, and zero their velocities."""
        for name, angle in zip(scene.task.robot.joints, self.record["angle_rad"], strict=True):
            joint, limits = scene.data.joint(name), scene.model.joint(name).range
            joint.qpos[0] = np.clip(joint.qpos[0] + angle, *limits)
            joint.qvel[0] = 0.0


class RobotStart(Specification):
    """An arm that was not homed as in training (an axis of LIBERO-Plus, arXiv 2510.13626, 2025).

    Parameters
    ----------
    angle_rad : length of the vector of the joints' displacements, whose direction is drawn uniformly on the
        sphere; the nominal draw has 0.05 rad in the mean.  At most 0.5 rad, at which the hand is still off the table.
    start : when, by default before anything has moved; see :class:`Specification`.
    """

    channel = "physics"
    effect = RobotStartEffect
    magnitude = Magnitude("angle_rad", 0.05, 0.5, sizes=(1, 100))
    needs_arm = True
    seen_as = ("missed grasp", "out of reach", "timeout")

    def __init__(self, angle_rad: float | Sequence[float], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=1, **start)
        self.angle_rad = self.magnitude.within(angle_rad)

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """One angle a joint of the task's arm."""
        joints = joints_of(task)
        return super().fields_on(task) | {"angle_rad": vector(joints, cls.magnitude.low, cls.magnitude.high)}

    def parameters_on(self, task: Task, rng: np.random.Generator) -> Record:
        """The drawn displacements (J) of the joints, base first."""
        length, direction = uniform(rng, self.angle_rad), rng.standard_normal(joints_of(task))
        return {"angle_rad": (length * direction / np.linalg.norm(direction)).tolist()}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the arm's joints start {np.linalg.norm(record['angle_rad']):.3f} rad off"
