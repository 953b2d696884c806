"""The table is not level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Record
from workbench.types.reading import number, typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class SupportTiltEffect(Effect):
    """Turns gravity about a horizontal axis, which is a tilt of all that stands still in the world, robot included."""

    def edit(self, scene: MujocoScene) -> None:
        """Turn what gravity is now by the drawn angle, downhill into the drawn direction."""
        angle, direction = float(self.record["angle_rad"]), float(self.record["direction_rad"])
        down = np.array(scene.model.opt.gravity)
        downhill = np.array([np.cos(direction), np.sin(direction), 0.0])
        axis = np.cross(downhill, [0.0, 0.0, 1.0])  # turns the downward vertical towards downhill
        turned = np.cos(angle) * down + np.sin(angle) * np.cross(axis, down)
        turned += (1 - np.cos(angle)) * axis * (axis @ down)
        self.change(scene.model.opt, "gravity", slice(None), turned)


class SupportTilt(Specification):
    """A table, and the robot that is screwed to it, that is not level (source: none found).

    The world is drawn level and gravity turned instead.  The controller compensates gravity as it is, so the arm does
    not sag; what is not held slides where the tangent of the angle exceeds its friction, or rolls.

    Parameters
    ----------
    angle_rad : by how much it is tilted; the horizontal direction in which it slopes down is drawn uniformly.  A cube
        with friction 1 slides from 0.79 rad on.
    schedule : see :class:`Specification`.
    """

    channel = "physics"
    effect = SupportTiltEffect
    magnitude = Magnitude("angle_rad", 0.02, 1.0)
    drawn = typed(direction_rad=number(-np.pi, np.pi))
    seen_as = ("missed grasp", "drop", "knocked", "misplacement")

    def __init__(self, angle_rad: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.angle_rad = self.magnitude.within(angle_rad)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn angle and direction, 0 along the world's x axis."""
        return {"angle_rad": uniform(rng, self.angle_rad), "direction_rad": float(rng.uniform(-np.pi, np.pi))}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the table is tilted by {record['angle_rad']:.3f} rad, down towards {record['direction_rad']:+.2f} rad"
