"""Two stages of the plan change places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from workbench.envs.faults.schedule import Start
from workbench.envs.faults.sequence import DetourEffect, SequenceFault
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Record, Task
from workbench.types.abilities import stages_of
from workbench.types.reading import NAME, many, typed


class WrongOrder(SequenceFault):
    """A plan whose steps are in the wrong order (AHA's *wrong action sequence*, Duan et al., ICLR 2025).

    When the first of the two stages is due, the arm is driven through the rest of the plan with the two exchanged, and
    waits where that ends.

    Parameters
    ----------
    duration_steps : for how many control steps it keeps the arm.
    swapped : the two stages; None to draw them.
    start : when; by default as soon as the first of them is due.
    """

    effect = DetourEffect
    drawn = typed(swapped=many(NAME, 2, 2))
    seen_as = ("missed grasp", "misplacement", "drop", "collision", "knocked", "jam", "stall", "timeout")

    def __init__(
        self, duration_steps: int | Sequence[int], swapped: Sequence[str] | None = None, **start: Unpack[Start]
    ) -> None:
        super().__init__(duration_steps, **start)
        self.swapped = swapped
        if swapped is not None and (isinstance(swapped, str) or len(set(swapped)) != 2 or len(swapped) != 2):
            raise ConfigError(f"swapped={swapped!r} must be two stages of the task: [grasp, lift]")

    def check(self, task: Task) -> None:
        """Refuse stages that the task does not have."""
        super().check(task)
        for stage in self.swapped or ():
            if stage not in stages_of(task):
                raise UnknownNameError(f"stage of task {task.name} to be swapped", stage, stages_of(task))

    def itinerary(self, stages: Sequence[str], rng: np.random.Generator) -> tuple[str, Record]:
        """The plan from the first of the two stages on, with the two exchanged."""
        drawn = rng.choice(len(stages), size=2, replace=False)
        pair = drawn if self.swapped is None else [stages.index(stage) for stage in self.swapped]
        first, second = sorted(int(at) for at in pair)
        route = list(stages)
        route[first], route[second] = stages[second], stages[first]
        return stages[first], {"swapped": [stages[first], stages[second]], "route": route[first:]}

    @classmethod
    def phrase(cls, record: Record) -> str:
        """Which stages they are."""
        return f"stages {' and '.join(record['swapped'])} change places"
