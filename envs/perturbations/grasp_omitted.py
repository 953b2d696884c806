"""The fingers do not close when they are told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import OPEN, with_fingers
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Array, Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class GraspOmittedEffect(Effect):
    """Commands the fingers open from the first closing command that falls due on."""

    def advance(self, scene: MujocoScene) -> None:
        """Only notes when the stage is reached: what starts this fault is an action."""
        self.due(scene)

    def action(self, scene: MujocoScene, action: Array) -> Array:
        """The asked action with the fingers' channel replaced."""
        if self.started < 0 and action[-1] > 0 and self.due(scene):
            self.started = scene.step_index
        return with_fingers(action, OPEN) if self.active(scene.step_index) else action


class GraspOmitted(Specification):
    """A grasp that is left out (AHA's *No_Grasp*, Duan et al., ICLR 2025).

    It starts when the policy first commands the fingers to close, at or after the scheduled step.

    Parameters
    ----------
    duration_steps : for how many control steps the fingers are commanded open instead.
    start : from when on a closing command starts it.
    """

    channel = "keyframe"
    effect = GraspOmittedEffect
    magnitude = Magnitude("duration_steps", 1, 200, whole=True)
    needs_gripper = True
    seen_as = ("missed grasp",)

    def __init__(self, duration_steps: int | Sequence[int], **start: Unpack[Start]) -> None:
        super().__init__(duration_steps=self.magnitude.steps(duration_steps), **start)

    def parameters(self, rng: np.random.Generator) -> Record:
        """Nothing beyond the duration."""
        return {}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return "the fingers stay open from the first closing command on"
