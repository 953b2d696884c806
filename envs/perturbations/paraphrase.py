"""The robot is told its task in other words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.envs.faults.language import InstructionFault, wording_of

if TYPE_CHECKING:
    from workbench.envs.task import SceneTask


class Paraphrase(InstructionFault):
    """The same goal in other words (LIBERO-Plus, Fei et al., 2025; STAR-Gen's S-LANG, Gao et al., 2025)."""

    seen_as = ("stall", "timeout")

    def texts(self, task: SceneTask) -> Sequence[str]:
        """The task's own goal in other words."""
        return wording_of(task).paraphrases
