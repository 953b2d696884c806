"""The robot is told of things by what they are like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.envs.faults.language import InstructionFault, wording_of

if TYPE_CHECKING:
    from workbench.envs.task import SceneTask


class PropertyReference(InstructionFault):
    """Things that are told by a property instead of their name (STAR-Gen's S-PROP, Gao et al., 2025)."""

    seen_as = ("stall", "timeout")

    def texts(self, task: SceneTask) -> Sequence[str]:
        """The task's own goal by what its things are like."""
        return wording_of(task).properties
