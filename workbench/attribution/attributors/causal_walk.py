"""A change point, then a walk back along causes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.attribution.attributors.reading.nominal import NominalModel, successes
from workbench.attribution.attributors.reading.series import first
from workbench.errors import ConfigError
from workbench.types import Array
from workbench.types.attribution import Attribution, Case, Lesson, Surroundings

RESTART = 0.15
"""Probability with which a walk begins anew at a symptom, as in random walks with restart."""
WALK = 60
"""Moves after which the distribution of a walk stands still."""


class CausalWalk:
    """A change point in what is seen triggers; a random walk against the arrows of causation finds where it came from.

    After CORAL (its trigger is an online change-point test, its graph grows incrementally, its root is found by a
    random walk).  Here a linear model of one control step of nominal successes says what each thing seen does next.
    Its residuals are summed up by CUSUM (Page, Biometrika 1954), one sum for each thing seen, and the trigger is the
    first sum above what the successes themselves reach.  The graph has an arrow from each thing to what it moves in
    the model, as strong as the residuals of both at the trigger say together.  A walk against the arrows, which begins
    at whatever is surprising by the trigger, stays longest at the root; named is the step at which the root's sum that
    reached its height began to rise, then those of the others, in the order of the walk.

    Parameters
    ----------
    slack : of CUSUM, in standard deviations: smaller residuals count for nothing.
    quantile : of the successes' largest sums, above which a sum triggers.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, slack: float = 1.0, quantile: float = 0.9) -> None:
        if not slack > 0 or not 0 < quantile <= 1:
            raise ConfigError(f"slack={slack} of an attributor must be positive, quantile={quantile} in (0, 1]")
        self.slack, self.quantile = slack, quantile

    def fit(self, lessons: Sequence[Lesson], task: Surroundings, seed: int) -> None:
        """Learn the one-step model, and how high its sums come in successes."""
        logs = successes(lessons, "causal_walk")
        self._model = NominalModel.of(logs)
        highest = [self._sums(self._model.surprise(log)).max(axis=0) for log in logs]
        self._limits = np.maximum(np.quantile(highest, self.quantile, axis=0), 1e-9)

    def attribute(self, case: Case) -> Attribution:
        """The steps at which the likeliest roots began to change."""
        sums = self._sums(self._model.surprise(case.log)) / self._limits
        trigger = first((sums > 1).any(axis=1))
        if trigger is None:
            trigger = int(np.argmax(sums.max(axis=1)))
        height = sums[trigger]
        order = np.argsort(-self._visits(height), kind="stable")
        began = [_began(sums[: trigger + 1, thing]) for thing in order if height[thing] > 0]
        return Attribution(tuple(dict.fromkeys(began)) or (trigger,))

    def _sums(self, surprise: Array) -> Array:
        """(T, D) CUSUM of absolute residuals beyond the slack."""
        sums = np.zeros_like(surprise)
        running = np.zeros(surprise.shape[1])
        for step, row in enumerate(np.abs(surprise)):
            running = np.maximum(running + row - self.slack - 0.8, 0.0)  # 0.8: mean of the absolute standard normal
            sums[step] = running
        return sums

    def _visits(self, height: Array) -> Array:
        """(D,) how often a walk against the arrows is at each thing, begun by how surprising things are."""
        total = float(height.sum())
        begin = height / total if total > 0 else np.full(len(height), 1 / len(height))
        back = self._model.influence.T * height[None, :]  # from an effect (row) to its causes
        ways = back.sum(axis=1, keepdims=True)
        moves = np.where(ways > 0, back / np.maximum(ways, 1e-12), begin[None, :])
        visits = begin
        for _ in range(WALK):
            visits = RESTART * begin + (1 - RESTART) * visits @ moves
        return visits


def _began(sums: Array) -> int:
    """The step from which a sum (T,) has been above 0 up to its end; its last one where it is 0 there."""
    at_zero = np.flatnonzero(sums <= 0)
    return min(int(at_zero[-1]) + 1 if len(at_zero) else 0, len(sums) - 1)
