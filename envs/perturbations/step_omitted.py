"""A stage of the plan is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.schedule import Start
from workbench.envs.faults.sequence import DetourEffect, SequenceFault
from workbench.errors import UnknownNameError
from workbench.types import Record, Task
from workbench.types.abilities import stages_of
from workbench.types.reading import NAME, typed


class StepOmitted(SequenceFault):
    """A step that is missing (REFLECT's *missing_step*, Liu et al., CoRL 2023; RoboFAC's *step omission*, 2025).

    When the stage is due, the arm is driven straight through the stages after it, and waits where they end.

    Parameters
    ----------
    duration_steps : for how many control steps it keeps the arm.
    omitted : the stage that is left out; None to draw one, any but the last.
    start : when; by default as soon as that stage is due.
    """

    effect = DetourEffect
    drawn = typed(omitted=NAME)
    seen_as = ("missed grasp", "misplacement", "collision", "knocked", "slip", "stall", "timeout")

    def __init__(self, duration_steps: int | Sequence[int], omitted: str | None = None, **start: Unpack[Start]) -> None:
        super().__init__(duration_steps, **start)
        self.omitted = omitted

    def check(self, task: Task) -> None:
        """Refuse a stage that the task does not have, and the last, after which there is nothing to go on to."""
        super().check(task)
        if self.omitted is not None and self.omitted not in stages_of(task)[:-1]:
            raise UnknownNameError(f"stage of task {task.name} to be left out", self.omitted, stages_of(task)[:-1])

    def itinerary(self, stages: Sequence[str], rng: np.random.Generator) -> tuple[str, Record]:
        """The stages after the one that is left out."""
        drawn = int(rng.integers(len(stages) - 1))
        at = drawn if self.omitted is None else stages.index(self.omitted)
        return stages[at], {"omitted": stages[at], "route": list(stages[at + 1 :])}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """Which stage it is."""
        return f"stage {record['omitted']} is left out"
