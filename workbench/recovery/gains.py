"""An arm of a counterfactual table held against its control, in the same episodes with the same noise and time."""

from __future__ import annotations

import dataclasses

import numpy as np

from workbench.recovery.tables import NEVER, CounterfactualTable
from workbench.stats.proportions import paired_gain, paired_test
from workbench.types import Array

PLACEBO = "placebo"
"""The arm without which nothing can be judged: luck with the same total time."""
CONTROLS = ("continue", "redraw", "more_time", PLACEBO)
"""Arms that are no recoveries: nothing, luck, waiting, and both."""


@dataclasses.dataclass(frozen=True)
class Gain:
    """Success of an arm less that of its control, in the same episodes with the same noise and total time.

    Attributes
    ----------
    only_arm, only_control, pairs : episodes in which only one of them succeeds, of all.
    gain, low, high : difference of the success rates with its 95 % interval (Newcombe); None of no episode.
    p_value : of the exact paired test.
    """

    only_arm: int
    only_control: int
    pairs: int
    gain: float | None
    low: float | None
    high: float | None
    p_value: float

    @classmethod
    def of(cls, arm: Array, control: Array) -> Gain:
        """Of two arms (N,) in the same episodes."""
        test = paired_test(arm, control)
        gain: tuple[float | None, float | None, float | None] = (None, None, None)
        if len(arm):
            gain = paired_gain(arm, control)
        return cls(test["only_first"], test["only_second"], len(arm), *gain, test["p_value"])


def over_placebo(table: CounterfactualTable, name: str, rows: Array, within: int) -> Gain:
    """An arm against the placebo's branches, which within the task's deadline are the redraw."""
    arm, control = (table.arms[each][rows, 0] for each in (name, PLACEBO))
    return Gain.of(*((each > NEVER) & (each <= within) for each in (arm, control)))


def won_at(table: CounterfactualTable, name: str, rows: Array) -> Array:
    """Whether an arm's first branch, which a live rollout would meet, succeeds within its own time."""
    steps = table.arms[name][rows, 0]
    own = np.where(table.more_time[name][rows], table.horizon, table.deadline)
    won: Array = (steps > NEVER) & (steps <= own)
    return won
