"""The robot is told another goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.envs.faults.language import InstructionFault

if TYPE_CHECKING:
    from workbench.envs.task import SceneTask


class WrongInstruction(InstructionFault):
    """Right-looking execution of a wrong instruction: semantic misalignment (I-FailSense, 2025)."""

    seen_as = ("wrong object", "misplacement", "timeout")

    def texts(self, task: SceneTask) -> Sequence[str]:
        """The instructions of the other goals in the same scene."""
        return tuple(task.goals.values())[1:]
