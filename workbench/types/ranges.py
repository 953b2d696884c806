"""How large a number may be, said in the annotation of the argument that takes it."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated

from workbench.types.random import EPISODES_PER_SPLIT, MOST_SEED


@dataclasses.dataclass(frozen=True)
class Within:
    """Bounds of a number.

    Attributes
    ----------
    low, high : both allowed, but for those that are ``outside``.
    outside : which of them are not allowed: "", "low", "high" or "both".
    """

    low: float
    high: float = math.inf
    outside: str = ""

    def holds(self, value: float) -> bool:
        """Whether a number lies within; NaN and infinity never do."""
        if not math.isfinite(value):
            return False
        above = value > self.low if self.outside in ("low", "both") else value >= self.low
        return above and (value < self.high if self.outside in ("high", "both") else value <= self.high)

    def __str__(self) -> str:
        lowest = f"above {self.low:g}" if self.outside in ("low", "both") else f"{self.low:g} or more"
        if self.high == math.inf:
            return lowest
        highest = f"below {self.high:g}" if self.outside in ("high", "both") else f"at most {self.high}"
        return f"{lowest}, and {highest}"


Count = Annotated[int, Within(0, 10**9)]
Positive = Annotated[int, Within(1, 10**9)]
Episodes = Annotated[int, Within(0, EPISODES_PER_SPLIT)]
"""Of one split: its episodes have so many numbers."""
Seed = Annotated[int, Within(0, MOST_SEED)]
Share = Annotated[float, Within(0, 1, "both")]
"""A share or probability that is neither 0 nor 1."""
