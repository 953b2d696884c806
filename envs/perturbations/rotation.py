"""Keyframes are turned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, one_of, within_steps
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import AXES, FRAMES, drawn_along, seen_turned
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Observation, Record
from workbench.types.reading import among, typed

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class RotationEffect(Effect):
    """Shows the hand turned by the inverse, so that it comes to rest turned."""

    def observation(self, scene: MujocoScene, observation: dict[str, Array]) -> Observation:
        """The observation with the hand turned about its grip site."""
        if not self.active(scene.step_index):
            return observation
        seen = seen_turned(observation["eef_quat"], self.record["angle_rad"], self.record["frame"])
        return observation | {"eef_quat": seen}


class Rotation(Specification):
    """An incorrectly turned keyframe (AHA's *Rotation*, Duan et al., ICLR 2025, which adds to an Euler angle).

    The driver is shown its hand turned by the inverse about its grip site, and comes to rest turned.

    Parameters
    ----------
    angle_rad : by how much; the record holds the rotation vector.
    duration_steps : for how many control steps.
    axis : ``x``, ``y`` or ``z``; None draws one.  The sign is drawn.
    frame : whose axes: the ``world``'s or the ``tool``'s, whose z points along the fingers and x from one to the other.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = RotationEffect
    magnitude = Magnitude("angle_rad", 0.02, 3.0, sizes=(3,))
    lasts = (1, 1000)
    axes = AXES
    drawn = typed(axis=among(axes), frame=among(FRAMES))
    needs_pose_control = True
    seen_as = ("missed grasp", "slip", "drop", "collision", "jam", "stall", "knocked")

    def __init__(
        self,
        angle_rad: float | Sequence[float],
        duration_steps: int | Sequence[int],
        axis: str | None = None,
        frame: str = "tool",
        **start: Unpack[Start],
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, *self.lasts), **start)
        self.angle_rad = self.magnitude.within(angle_rad)
        self.axis, self.frame = one_of("axis", axis, self.axes), one_of("frame", frame, FRAMES)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn rotation vector [x, y, z] in its frame."""
        axis, angle_rad = drawn_along(rng, self.axis, self.angle_rad)
        return {"axis": axis, "frame": self.frame, "angle_rad": angle_rad}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        angle_rad = np.linalg.norm(record["angle_rad"])
        return f"keyframes turned by {angle_rad:.3f} rad about the {record['frame']}'s {record['axis']}"
