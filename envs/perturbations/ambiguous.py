"""The robot is told something that leaves open what is meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.envs.faults.language import InstructionFault, wording_of

if TYPE_CHECKING:
    from workbench.envs.task import SceneTask


class Ambiguous(InstructionFault):
    """An instruction that fits several things or none (REFLECT's ambiguous plan, Liu et al., CoRL 2023)."""

    seen_as = ("stall", "timeout", "wrong object")

    def texts(self, task: SceneTask) -> Sequence[str]:
        """What leaves open which thing is meant."""
        return wording_of(task).ambiguous
