"""The fingers close before they are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform, within_steps
from workbench.envs.faults.hand import CLOSED, Waiting, closed_keyframes, hand_position, held, with_fingers
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class EarlyCloseEffect(Waiting):
    """Commands the fingers closed near the keyframe of the grasp, as long as nothing is held."""

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the fingers' channel replaced."""
        if action[-1] > 0 or not self.ready(scene) or held(scene) or not self._near(scene):
            return action
        self.begin(scene)
        return with_fingers(action, CLOSED) if self.active(scene.step_index) else action

    def _near(self, scene: MujocoScene) -> bool:
        closed = closed_keyframes(scene)
        if not closed:  # the object has been let go for good
            return False
        way_m = hand_position(scene) - closed[0].position_m
        return bool(np.linalg.norm(way_m) < self.record["distance_m"])


class EarlyClose(Specification):
    """A grasp that comes too early (the counterpart of RoboFAC's *close_late*, arXiv 2505.12224, 2025).

    Parameters
    ----------
    distance_m : of the grip site from where it should close, at which the fingers begin to.
    duration_steps : for how many control steps, from the first on, each approach ends so.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = EarlyCloseEffect
    magnitude = Magnitude("distance_m", 0.005, 0.3)
    lasts = (1, 1000)
    needs_gripper = True
    needs_plan = True
    seen_as = ("missed grasp", "stall", "timeout")

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
        return f"the fingers close from {record['distance_m']:.3f} m before the grasp"
