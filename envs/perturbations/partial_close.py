"""The fingers do not close all the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.hand import finger_joints
from workbench.envs.faults.schedule import Schedule
from workbench.envs.faults.specification import Specification
from workbench.types import Record

if TYPE_CHECKING:
    from workbench.envs.scene import MujocoScene


class PartialCloseEffect(Effect):
    """Lifts the closed end of the range into which the fingers' commands are mapped."""

    def edit(self, scene: MujocoScene) -> None:
        """Move the end that is nearer to zero, of each finger, to half of the opening."""
        moved_by = scene.model.actuator_trnid[:, 0]
        for actuator in np.flatnonzero(np.isin(moved_by, finger_joints(scene))):
            ends_m = scene.model.actuator_ctrlrange[actuator]
            closed, opened = np.abs(ends_m).argsort()
            stop_m = np.sign(ends_m[opened]) * self.record["opening_m"] / 2
            self.change(scene.model, "actuator_ctrlrange", (actuator, closed), stop_m)


class PartialClose(Specification):
    """A grasp that is not closed (RoboFAC's grasping error, arXiv 2505.12224, 2025), as of a blocked or weak gripper.

    What is narrower than the opening is not held; what is wider is held with less force, by the fingers' stiffness
    (a Panda's here: 1 N for each millimetre that a finger is kept from its goal).

    Parameters
    ----------
    opening_m : how far apart the fingers stop.
    schedule : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = PartialCloseEffect
    magnitude = Magnitude("opening_m", 0.005, 0.075)
    needs_gripper = True
    seen_as = ("missed grasp", "slip", "drop")

    def __init__(self, opening_m: float | Sequence[float], **schedule: Unpack[Schedule]) -> None:
        super().__init__(**schedule)
        self.opening_m = self.magnitude.within(opening_m)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn opening."""
        return {"opening_m": uniform(rng, self.opening_m)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the fingers stop {record['opening_m']:.3f} m apart"
