"""How large a number of a configuration may be, said in the annotation of the argument that takes it."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from workbench.types.random import EPISODES_PER_SPLIT, MOST_SEED
from workbench.types.reading import Between


@dataclasses.dataclass(frozen=True)
class Inside:
    """Bounds of a number that are not included themselves; ``zero`` is, where that is said."""

    low: float
    high: float
    zero: bool = False

    def allows(self, value: float) -> bool:
        """Whether a number lies within; NaN and infinity never do."""
        return self.low < value < self.high or (self.zero and value == 0)

    def __str__(self) -> str:
        return f"above {self.low:g} and below {self.high:g}" + (", or 0" if self.zero else "")


Count = Annotated[int, Between(0, 10**9)]
Positive = Annotated[int, Between(1, 10**9)]
Episodes = Annotated[int, Between(0, EPISODES_PER_SPLIT)]
"""Of one split: its episodes have so many numbers."""
Seed = Annotated[int, Between(0, MOST_SEED)]
Seconds = Annotated[float, Between(0, 10**6)]
Share = Annotated[float, Inside(0, 1)]
"""A share or probability that is neither 0 nor 1."""
