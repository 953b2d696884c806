"""The robot is told of another thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from workbench.envs.faults.language import InstructionFault, wording_of
from workbench.envs.faults.schedule import Start

if TYPE_CHECKING:
    from workbench.envs.task import SceneTask


class NounSwap(InstructionFault):
    """An instruction with another noun, whose thing may not even be there (STAR-Gen's SB-NOUN, Gao et al., 2025).

    Parameters
    ----------
    duration_steps : for how many control steps the robot is told it.
    present : whether the thing is in the scene; None for either.
    start : when; see :class:`Specification`.
    """

    seen_as = ("stall", "timeout", "wrong object")

    def __init__(
        self, duration_steps: int | Sequence[int], present: bool | None = None, **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps, **start)
        self.present = present

    def texts(self, task: SceneTask) -> Sequence[str]:
        """The instruction with a noun exchanged; none of them means a goal of the task."""
        wording = wording_of(task)
        here = wording.present_nouns if self.present is not False else ()
        elsewhere = wording.absent_nouns if self.present is not True else ()
        return (*here, *elsewhere)
