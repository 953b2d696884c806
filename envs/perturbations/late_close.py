"""The fingers close after the arm has gone on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.draws import Magnitude, uniform_int, within_steps
from workbench.envs.faults.hand import CLOSED, LateFingers
from workbench.envs.faults.schedule import Start
from workbench.envs.faults.specification import Specification
from workbench.types import Record


class LateCloseEffect(LateFingers):
    """Closes late; meanwhile the fingers are shown half closed, as if they had met something."""

    command, share, recurring = CLOSED, 0.5, True


class LateClose(Specification):
    """A grasp that comes too late (RoboFAC's *close_late*, arXiv 2505.12224, 2025).

    Every closing that is commanded comes late.  Until then the driver sees fingers that have closed on something, so
    that the arm goes on.

    Parameters
    ----------
    delay_steps : control steps from the first closing command until the fingers begin to close.
    duration_steps : for how many control steps, from the first on, closings come late.
    start : see :class:`Specification`.
    """

    channel = "keyframe"
    effect = LateCloseEffect
    magnitude = Magnitude("delay_steps", 1, 100, whole=True)
    lasts = (1, 1000)
    needs_gripper = True
    seen_as = ("missed grasp", "knocked")

    def __init__(
        self, delay_steps: int | Sequence[int], duration_steps: int | Sequence[int], **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps=within_steps("duration_steps", duration_steps, *self.lasts), **start)
        self.delay_steps = self.magnitude.steps(delay_steps)

    def parameters(self, rng: np.random.Generator) -> Record:
        """The drawn number of control steps."""
        return {"delay_steps": uniform_int(rng, self.delay_steps)}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """What was drawn, in a few words."""
        return f"the fingers close {record['delay_steps']} steps late"
