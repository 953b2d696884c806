"""A stage of the plan is done again."""

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


class StepDuplicatedEffect(DetourEffect):
    """Goes through the repeated stage again and again."""

    over_again = True


class StepDuplicated(SequenceFault):
    """A step that is repeated though it is done (*step repetition*: MAST, Cemri et al., 2025).

    Once the stage is done, it is done again and again, until control returns.

    Parameters
    ----------
    duration_steps : for how many control steps it keeps the arm.
    repeated : the stage that is repeated; None to draw one, any but the last, which ends the episode.
    start : when; by default as soon as the stage after it is due.
    """

    effect = StepDuplicatedEffect
    drawn = typed(repeated=NAME)
    seen_as = ("drop", "stall", "timeout")

    def __init__(
        self, duration_steps: int | Sequence[int], repeated: str | None = None, **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps, **start)
        self.repeated = repeated

    def check(self, task: Task) -> None:
        """Refuse a stage that the task does not have, and the last."""
        super().check(task)
        if self.repeated is not None and self.repeated not in stages_of(task)[:-1]:
            raise UnknownNameError(f"stage of task {task.name} to be repeated", self.repeated, stages_of(task)[:-1])

    def itinerary(self, stages: Sequence[str], rng: np.random.Generator) -> tuple[str, Record]:
        """The stage itself, once the next one is due."""
        drawn = int(rng.integers(len(stages) - 1))
        at = drawn if self.repeated is None else stages.index(self.repeated)
        return stages[at + 1], {"repeated": stages[at], "route": [stages[at]]}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """Which stage it is."""
        return f"stage {record['repeated']} is done again and again"
