"""An auditor of prefixes, learned at the boundary between safe and unsafe ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.attribution.attributors.reading.nominal import NominalModel, decided, successes
from workbench.attribution.attributors.reading.series import first
from workbench.errors import ConfigError
from workbench.types import Array
from workbench.types.attribution import Attribution, Case, EpisodeLog, Lesson, Surroundings


class PrefixAuditor:
    """Reads the log step by step and names the first prefix that it holds to be unsafe.

    After AgentForesight (an auditor trained on adjacent safe and unsafe prefixes round the decisive error).  Of every
    failure of the fit split the prefixes that end in the ``boundary_steps`` before t_dec are safe, and as many from
    t_dec on unsafe; of every nominal success as many, spread over it, are safe.  A prefix is what its last step shows,
    how surprising it is to a one-step model of the successes, now, on average and at most so far.  What learns is a
    logistic regression with balanced classes, where theirs is a language model.  The threshold is the one whose named
    steps lie nearest to t_dec on the failures that it learned from.

    Parameters
    ----------
    boundary_steps : control steps on either side of the boundary.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, boundary_steps: int = 8) -> None:
        if boundary_steps < 1:
            raise ConfigError(f"boundary_steps={boundary_steps} of an attributor must be at least 1")
        self.boundary_steps = boundary_steps

    def fit(self, lessons: Sequence[Lesson], task: Surroundings, seed: int) -> None:
        """Learn from the boundary of every failure, and from as many prefixes of every success."""
        from sklearn.linear_model import LogisticRegression

        won, lost = successes(lessons, "prefix_auditor"), decided(lessons, "prefix_auditor")
        self._model = NominalModel.of(won)
        rows, unsafe = [], []
        for log, (decisive, _) in lost:
            steps = np.arange(max(0, decisive - self.boundary_steps), min(log.length, decisive + self.boundary_steps))
            rows.append(self._features(log)[steps])
            unsafe.append(steps >= decisive)
        for log in won:
            steps = np.unique(np.linspace(0, log.length - 1, self.boundary_steps).astype(int))
            rows.append(self._features(log)[steps])
            unsafe.append(np.zeros(len(steps), bool))
        features, labels = np.concatenate(rows), np.concatenate(unsafe)
        self._centre, self._scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
        self._regression = LogisticRegression(class_weight="balanced", solver="newton-cholesky", tol=1e-8)
        self._regression.fit((features - self._centre) / self._scale, labels)
        self._threshold = self._best_threshold(lost)

    def attribute(self, case: Case) -> Attribution:
        """The first unsafe step, then the others by how unsafe they are."""
        unsafe = self._unsafe(case.log)
        named = self._named(unsafe, self._threshold)
        order = [named, *(int(step) for step in np.argsort(-unsafe, kind="stable") if step != named)]
        return Attribution(tuple(order), float(unsafe[named]))

    def _features(self, log: EpisodeLog) -> Array:
        """(T, F) of the prefix that ends at every step, its action included."""
        surprise = np.log1p(np.abs(self._model.surprise(log)))
        count = np.arange(1, log.length + 1)[:, None]
        overall = surprise.mean(axis=1, keepdims=True)
        return np.concatenate(
            [
                self._model.standardised(log),
                surprise,
                overall,
                np.cumsum(overall, axis=0) / count,
                np.maximum.accumulate(surprise.max(axis=1, keepdims=True)),
            ],
            axis=1,
        )

    def _unsafe(self, log: EpisodeLog) -> Array:
        """(T,) probability of every prefix to be unsafe."""
        inputs = (self._features(log) - self._centre) / self._scale
        unsafe: Array = self._regression.predict_proba(inputs)[:, 1]
        return unsafe

    def _best_threshold(self, lost: Sequence[tuple[EpisodeLog, tuple[int, int]]]) -> float:
        curves = [(self._unsafe(log), decisive[0]) for log, decisive in lost]
        errors = {
            threshold: float(np.median([abs(self._named(curve, threshold) - step) for curve, step in curves]))
            for threshold in np.linspace(0.05, 0.95, 19)
        }
        return float(min(errors, key=lambda threshold: (errors[threshold], abs(threshold - 0.5))))

    @staticmethod
    def _named(unsafe: Array, threshold: float) -> int:
        step = first(unsafe > threshold)
        return int(np.argmax(unsafe)) if step is None else step
