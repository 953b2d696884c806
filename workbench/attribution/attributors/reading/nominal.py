"""What nominal successes look like: a one-step model of them, and by how much an episode is surprising to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.attribution.attributors.reading.series import observed, spread
from workbench.errors import ScoreError
from workbench.types import Array
from workbench.types.attribution import EpisodeLog, Lesson

RIDGE = 1e-2
"""Weight of the squared coefficients beside unit variances."""


def successes(lessons: Sequence[Lesson], who: str) -> list[EpisodeLog]:
    """Logs of the successful lessons; a ScoreError where there are fewer than two."""
    found = [lesson.log for lesson in lessons if lesson.log.success]
    if len(found) < 2:
        raise ScoreError(
            f"attributor {who} learns from nominal successes of the fit split, and there are {len(found)}: roll some "
            "with: workbench rollout 'perturbation=[]' job.episodes.fit=40"
        )
    return found


def decided(lessons: Sequence[Lesson], who: str) -> list[tuple[EpisodeLog, tuple[int, int]]]:
    """Failed lessons with their decisive steps; a ScoreError where there are fewer than two."""
    found = [(lesson.log, lesson.decisive) for lesson in lessons if lesson.decisive is not None]
    if len(found) < 2:
        raise ScoreError(
            f"attributor {who} learns from failures of the fit split with a decisive step, and there are {len(found)}: "
            "roll some with job.episodes.fit=10 under faults, and label them with: workbench label"
        )
    return found


@dataclasses.dataclass(frozen=True)
class NominalModel:
    """A linear model of one control step: change of what is seen, from what is seen and asked; by ridge regression.

    Attributes
    ----------
    centre, scale : (D,) of what is seen; ``action_centre``, ``action_scale`` (A,) of actions.
    weights : (D + A, D) from standardised observations and actions to standardised changes.
    deviation : (D,) of its residuals over nominal successes.
    """

    centre: Array
    scale: Array
    action_centre: Array
    action_scale: Array
    weights: Array
    deviation: Array

    @classmethod
    def of(cls, logs: Sequence[EpisodeLog]) -> NominalModel:
        """The model of some nominal successes."""
        seen = np.concatenate([observed(log)[:-1] for log in logs])
        change = np.concatenate([np.diff(observed(log), axis=0) for log in logs])
        asked = np.concatenate([log.actions[:-1] for log in logs]).astype(np.float64)
        centre, scale = seen.mean(axis=0), spread(seen)
        action_centre, action_scale = asked.mean(axis=0), spread(asked)
        inputs = np.concatenate([(seen - centre) / scale, (asked - action_centre) / action_scale], axis=1)
        target = change / scale
        gram = inputs.T @ inputs / len(inputs) + RIDGE * np.eye(inputs.shape[1])
        weights = np.linalg.solve(gram, inputs.T @ target / len(inputs))
        return cls(centre, scale, action_centre, action_scale, weights, spread(target - inputs @ weights))

    def standardised(self, log: EpisodeLog) -> Array:
        """(T, D) what was seen, in units of its spread over nominal successes."""
        scaled: Array = (observed(log) - self.centre) / self.scale
        return scaled

    def surprise(self, log: EpisodeLog) -> Array:
        """(T, D) residual of every control step's change, in units of its spread over nominal successes.

        Row t is of the change from step t to t + 1, which is what action t did; the last row is 0.
        """
        seen = observed(log)
        asked = (log.actions[:-1] - self.action_centre) / self.action_scale
        inputs = np.concatenate([(seen[:-1] - self.centre) / self.scale, asked], axis=1)
        residual = np.diff(seen, axis=0) / self.scale - inputs @ self.weights
        return np.concatenate([residual / self.deviation, np.zeros((1, seen.shape[1]))])

    @property
    def influence(self) -> Array:
        """(D, D) how much each column of what is seen (row) moves each (column) in a control step: absolute weights."""
        strength: Array = np.abs(self.weights[: len(self.centre)])
        return strength
