"""The robot is told to do something else with the same things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.envs.faults.language import InstructionFault, wording_of

if TYPE_CHECKING:
    from workbench.envs.task import SceneTask


class VerbSwap(InstructionFault):
    """An instruction with another verb, for what the robot was never taught (STAR-Gen's SB-VRB, Gao et al., 2025)."""

    seen_as = ("stall", "timeout")

    def texts(self, task: SceneTask) -> Sequence[str]:
        """The instruction with its verb exchanged; none of them means a goal of the task."""
        return wording_of(task).other_verbs
