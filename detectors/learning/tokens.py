"""What a policy that decodes tokens says of each of them, and how a call's tokens become one number.

Servers whose calls differ in their number of tokens fill up to a common length: log probabilities with ``1``, entropies
with ``-1``, which no token has.  Such places are left out here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from workbench.detectors.scores.signal import signal_of
from workbench.errors import ScoreError, UnknownNameError
from workbench.types import Array, EpisodeCalls, PolicyCall, Record

OVER = ("max", "mean")
FILLED = -0.5
"""Surprise or entropy below which no token stands there: rounding takes that of a certain one barely below zero."""


class TokenScore:
    """The largest or the mean surprise (or entropy) of the tokens of a call.

    Parameters
    ----------
    over : ``max`` or ``mean`` over the call's tokens.
    """

    name: ClassVar[str]
    signal: ClassVar[str]
    sign: ClassVar[float]
    """What makes higher worse of the signal."""

    def __init__(self, over: str = "max") -> None:
        if over not in OVER:
            raise UnknownNameError(f"over of score {self.name}", over, OVER)
        self.over = over
        self.needs = frozenset({f"signals/{self.signal}"})

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Nothing is learnt; episodes that it could not score are refused already here."""
        for episode in episodes:
            self._of_tokens(episode)

    def begin(self) -> Record:
        """Nothing is remembered from call to call."""
        return {}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) in nats."""
        return self._of_tokens(call)

    def state(self) -> dict[str, Array]:
        """Which number it is."""
        return {"over": np.array([OVER.index(self.over)])}

    def load(self, state: Mapping[str, Array]) -> None:
        """The inverse of :meth:`state`."""
        self.over = OVER[int(state["over"][0])]

    def _of_tokens(self, call: PolicyCall | EpisodeCalls) -> Array:
        values = self.sign * signal_of(call, self.name, self.signal)
        if values.ndim != 2 or not values.shape[1]:
            raise ScoreError(
                f"score {self.name} needs one number a token, (N, L), and the policy's signal {self.signal} is "
                f"{list(values.shape)}"
            )
        none = values < FILLED  # not so of NaN, which has to stay in
        if none.all(axis=1).any():
            raise ScoreError(f"score {self.name} was given a call without any token: check the server's {self.signal}")
        if self.over == "max":
            return np.asarray(np.where(none, -np.inf, values).max(axis=1))
        return np.asarray(np.where(none, 0.0, values).sum(axis=1) / (~none).sum(axis=1))
