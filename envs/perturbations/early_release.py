"""The fingers open before the place is reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, within_steps
from workbench.envs.faults.hand import LettingGo, closed_keyframes, hand_position
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class EarlyReleaseEffect(LettingGo):
    """Lets go near the last keyframe at which the fingers are closed."""

    def lets_go(self, scene: MujocoScene) -> bool:
        """Whether the place is near."""
        closed = closed_keyframes(scene)
        if not closed:
            return False
        way_m = hand_position(scene) - closed[-1].position_m
        return bool(np.linalg.norm(way_m) < self.record["distance_m"])


class EarlyRelease(Specification):
    """A release that comes too early: the object falls on the way to its place.  Source: none found.

    The place is the last keyframe of the task's plan at which the fingers are closed; where nothing is put down, that
    is where the task ends.

    Parameters
    ----------
    distance_m : of the grip site from the place, at which the fingers open for a moment.
    duration_steps : for how many control steps, from the first on, each carry ends so.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = EarlyReleaseEffect
    magnitude = Magnitude("distance_m", 0.005, 0.5)
    lasts = (1, 1000)
    needs_gripper = True
    needs_plan = True
    seen_as = ("drop", "misplacement", "slip", "knocked")

    def __init__(
        self, distance_m: float | Sequence[float], duration_steps: int | Sequence[int], **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, *self.lasts), **start)
        self.distance_m = self.magnitude.within(distance_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn distance."""
        return {"distance_m": uniform(rng, self.distance_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the fingers open {record['distance_m']:.3f} m before the place"
