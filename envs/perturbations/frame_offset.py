"""The robot's frame is not the one that the policy means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Array, Record, Stream, Task
from workbench.types.abilities import commands_pose
from workbench.types.reading import among, typed
from workbench.types.rotations import about

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class FrameOffsetEffect(Effect):
    """Turns the translation and the rotation vector of every action."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action turned; the fingers' channel as it is."""
        if not self.active(scene.step_index):
            return action
        vector_rad = np.array(self.record["angle_rad"])
        angle_rad = float(np.linalg.norm(vector_rad))
        turn = about(vector_rad / angle_rad, angle_rad)
        if len(action) == 2:
            return turn[:2, :2] @ action
        return np.concatenate([turn @ action[:3], turn @ action[3:6], action[6:]])


class FrameOffset(Specification):
    """A base frame that is miscalibrated, or a policy from a robot whose frame was another one (Open X-Embodiment, ICRA
    2024, mixes such frames).

    Parameters
    ----------
    angle_rad : angle between the frame in which actions are meant and the one in which they are executed; its sign is
        drawn.
    axis : ``x``, ``y`` or ``z`` of the robot's base about which it is turned, None to draw it; in the plane it is z.
    schedule : see :class:`Specification`.
    """

    channel = "action"
    effect = FrameOffsetEffect
    magnitude = Magnitude("angle_rad", 0.05, 3.14, sizes=(3,))
    axes = ("x", "y", "z")
    drawn = typed(axis=among(axes))
    seen_as = ("out of reach", "missed grasp", "collision")

    def __init__(
        self,
        angle_rad: float | Sequence[float],
        axis: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> None:
        super().__init__(**schedule)
        if axis is not None and axis not in self.axes:
            raise UnknownNameError(f"axis of perturbation {self.name}", axis, self.axes)
        self.angle_rad, self.axis = self.magnitude.within(angle_rad), axis

    def check(self, task: Task) -> None:
        """Refuse actions that are no motion in space or in the plane."""
        super().check(task)
        if not (commands_pose(task) or (task.action_size == 2 and self.axis in (None, "z"))):
            raise ConfigError(
                f"perturbation {self.name} turns motions in space, and in the plane about z; actions of task "
                f"{task.name} are none about {self.axis or 'any axis'}: leave it out"
            )

    @classmethod
    def fields_on(cls, task: Task) -> dict[str, Any]:
        """Of actions in space, or in the plane about z."""
        if not (commands_pose(task) or task.action_size == 2):
            raise ConfigError(f"perturbation {cls.name} turns motions, and actions of task {task.name} are none")
        return super().fields_on(task) | ({"axis": among(["z"])} if task.action_size == 2 else {})

    def draw(self, stream: Stream, task: Task) -> Record:
        """In the plane, the drawn axis is replaced."""
        record = super().draw(stream, task)
        if task.action_size == 2:
            record |= {"axis": "z", "angle_rad": [0.0, 0.0, sum(record["angle_rad"])]}
        return record

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn axis, and the rotation vector in the frame of the robot's base."""
        angle_rad, sign, drawn = uniform(rng, self.angle_rad), rng.choice([-1.0, 1.0]), rng.integers(3)
        axis = self.axes[drawn] if self.axis is None else self.axis
        return {"axis": axis, "angle_rad": [float(sign * angle_rad) if one == axis else 0.0 for one in self.axes]}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"actions are turned by {sum(record['angle_rad']):+.3g} rad about {record['axis']}"
