"""How the last scores of an episode are combined; causal, and the same arithmetic online and offline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from workbench.errors import CalibrationError, ConfigError, UnknownNameError
from workbench.types import Array, Record

Kind = Literal["last", "sum", "mean", "max", "total", "cusum"]
COMBINE: dict[str, Callable[[list[float]], float]] = {
    "last": lambda scores: scores[-1],
    "sum": sum,
    "mean": lambda scores: sum(scores) / len(scores),
    "max": lambda scores: float(np.max(scores)),  # the builtin one swallows NaN
}


class Window:
    """Combination of the last ``width`` scores of an episode, or of those there are while there are fewer.

    The sum is that of Römer et al. (FIPER, NeurIPS 2025): ``S_w(t) = sum of s(i), i from max(0, t-w+1) to t``, so it
    ramps up over the first calls and, against a constant threshold, cannot alarm there; the mean does not ramp.

    Two have no width.  ``total`` is the sum over all of the episode so far, as STAC (Agia et al., CoRL 2024) and
    SAFE-MLP (Gu et al., NeurIPS 2025) are defined; it grows with time whatever happens, so compare it at equal times.
    ``cusum`` is the one-sided cumulative sum of Page (Biometrika, 1954)::

        S(t) = max(0, S(t-1) + s(t) - drift),   S before the first call = 0

    which forgets what lies below the drift and gathers what stays above; the drift comes from :meth:`settle`.

    Parameters
    ----------
    kind : ``last`` (the score itself), ``sum``, ``mean``, ``max``, ``total`` or ``cusum``.
    width : how many policy calls, for ``sum``, ``mean`` and ``max``.
    drift : for ``cusum``, in units of the score.
    """

    def __init__(self, kind: str = "last", width: int = 1, drift: float = 0.0) -> None:
        if kind not in get_args(Kind):
            raise UnknownNameError("window", kind, get_args(Kind))
        if width < 1:
            raise ConfigError(f"width={width} of a window is impossible: it must be at least 1 policy call")
        if not math.isfinite(drift):
            raise ConfigError(f"drift={drift} of a window is impossible: it must be a finite number")
        self.kind = kind
        self.width = width
        self.drift = drift

    def __str__(self) -> str:
        """Kind and width, as tables show it."""
        return f"{self.kind} {self.width}"

    def settle(self, curves: Sequence[Array]) -> Window:
        """The same window with the drift that some episodes' scores ask for; any but a ``cusum`` needs none.

        The drift is the scores' mean plus half their standard deviation, half way to a shift by one deviation
        (Montgomery, "Introduction to Statistical Quality Control").  It is learnt, so like a score it must not come
        from the calibration episodes, whose curves would then no longer be exchangeable with new ones.

        Parameters
        ----------
        curves : (C_i,) raw scores of successful episodes of the select split, or of the fit split where the score
            learns nothing.
        """
        if self.kind != "cusum":
            return self
        scores = np.concatenate([np.asarray(curve, np.float64) for curve in curves]) if len(curves) else np.empty(0)
        if not len(scores) or not np.isfinite(scores).all():
            raise CalibrationError(
                f"window cusum needs its drift from finite scores of successful episodes, and was given "
                f"{len(curves)} curves of {len(scores)} scores: roll out episodes of the select split"
            )
        return Window("cusum", self.width, float(scores.mean() + scores.std() / 2))

    def begin(self) -> Record:
        """Memory of an episode that has not begun."""
        return {"last": [], "sum": 0.0}

    def update(self, memories: Sequence[Record], scores: Array) -> Array:
        """Windowed scores (N,) of one call from its scores (N,); each scene's memory is updated in place."""
        return np.array([self._next(memory, float(score)) for memory, score in zip(memories, scores, strict=True)])

    def _next(self, memory: Record, score: float) -> float:
        if self.kind in COMBINE:
            memory["last"] = [*memory["last"], score][-self.width :]
            return COMBINE[self.kind](memory["last"])
        gathered: float = memory["sum"] + score
        # In this order, since max(0.0, nan) is 0.0.
        memory["sum"] = gathered if self.kind == "total" else max(gathered - self.drift, 0.0)
        return float(memory["sum"])

    def apply(self, curve: Array) -> Array:
        """Windowed curve (C,) of a curve (C,) of scores."""
        memory = self.begin()
        return np.array([self._next(memory, float(score)) for score in curve])
