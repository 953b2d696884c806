"""The table is higher or lower than it should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.props import PROPS
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError
from workbench.types import Array, Record, Task

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class SupportHeightEffect(Effect):
    """Moves all that is fixed but the robot and the floor up or down, and what stands on it with it."""

    def edit(self, scene: MujocoScene) -> None:
        """Move tables, bins, pegs, boards and doors."""
        index = (_furniture(scene), 2)
        self.change(scene.model, "body_pos", index, scene.model.body_pos[index] + self.record["offset_m"])

    def strike(self, scene: MujocoScene) -> None:
        """Move what can go anywhere."""
        free = scene.model.jnt_qposadr[scene.model.jnt_type == 0]
        scene.data.qpos[free + 2] += self.record["offset_m"]


def _furniture(scene: MujocoScene) -> Array:
    """Bodies that are fixed to the world, without the robot and the props."""
    model, hand = scene.model, scene.model.body(scene.task.robot.hand_body).id
    fixed = (model.body_parentid == 0) & (model.body_weldid == 0)
    fixed[[0, model.body_rootid[hand], *(model.body(name).id for name in PROPS)]] = False
    return np.flatnonzero(fixed)


class SupportHeight(Specification):
    """A table that was set up too high or too low (source: none found).

    Parameters
    ----------
    offset_m : by how much the table, and all that is fixed to it or stands on it, is raised or lowered; the side is
        drawn.  Heights among a task's predicates, success included, are counted from the table as it stands.
    schedule : by default from the start to the end; see :class:`Specification`.
    """

    channel = "physics"
    effect = SupportHeightEffect
    magnitude = Magnitude("offset_m", 0.005, 0.15, signed=True)
    seen_as = ("missed grasp", "collision", "misplacement")

    def __init__(self, offset_m: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.offset_m = self.magnitude.within(offset_m)

    @classmethod
    def possible(cls, task: Task) -> None:
        """Refuse tasks whose robot moves on the table itcls."""
        super().possible(task)
        mujoco_task: Any = task
        if not hasattr(mujoco_task, "support_bodies"):
            raise ConfigError(
                f"perturbation {cls.name} moves the table under the robot, and task {task.name}'s robot moves on it: "
                "leave it out"
            )

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn displacement, positive upwards."""
        side = 1.0 if rng.random() < 0.5 else -1.0
        return {"offset_m": side * uniform(rng, self.offset_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        offset = record["offset_m"]
        return f"the table stands {abs(offset):.3f} m too {'high' if offset > 0 else 'low'}"
