"""The robot is told nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.envs.faults.language import InstructionFault

if TYPE_CHECKING:
    from workbench.envs.task import SceneTask


class EmptyInstruction(InstructionFault):
    """An instruction that gets lost on its way, so that a policy shows whether it listens (source: none found)."""

    seen_as = ("stall", "timeout")

    def texts(self, task: SceneTask) -> Sequence[str]:
        """The empty instruction."""
        return ("",)
