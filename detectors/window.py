"""How the last scores of an episode are combined; causal, and the same arithmetic online and offline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Array, Record

Kind = Literal["last", "sum", "mean", "max"]
COMBINE: dict[str, Callable[[list[float]], float]] = {
    "last": lambda scores: scores[-1],
    "sum": sum,
    "mean": lambda scores: sum(scores) / len(scores),
    "max": max,
}


class Window:
    """Combination of the last ``width`` scores of an episode, or of those there are while there are fewer.

    The sum is that of Römer et al. (FIPER, NeurIPS 2025): ``S_w(t) = sum of s(i), i from max(0, t-w+1) to t``, so it
    ramps up over the first calls and, against a constant threshold, cannot alarm there; the mean does not ramp.

    Parameters
    ----------
    kind : ``last`` (the score itself, whatever the width), ``sum``, ``mean`` or ``max``.
    width : how many policy calls.
    """

    def __init__(self, kind: Kind = "last", width: int = 1) -> None:
        if kind not in COMBINE:
            raise UnknownNameError("window", kind, get_args(Kind))
        if width < 1:
            raise ConfigError(f"width={width} of a window is impossible: it must be at least 1 policy call")
        self.kind: str = kind
        self.width = width

    def begin(self) -> Record:
        """Memory of an episode that has not begun."""
        return {"last": []}

    def update(self, memories: Sequence[Record], scores: Array) -> Array:
        """Windowed scores (N,) of one call from its scores (N,); each scene's memory is updated in place."""
        windowed = np.empty(len(scores))
        for scene, (memory, score) in enumerate(zip(memories, scores, strict=True)):
            memory["last"] = [*memory["last"], float(score)][-self.width :]
            windowed[scene] = COMBINE[self.kind](memory["last"])
        return windowed

    def apply(self, curve: Array) -> Array:
        """Windowed curve (C,) of a curve (C,) of scores."""
        memory = self.begin()
        return np.array([self.update([memory], np.array([score]))[0] for score in curve])
