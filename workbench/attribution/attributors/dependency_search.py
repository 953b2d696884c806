"""Back along dependencies from the symptom, asking of each step whether correcting it would suffice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from workbench.attribution.attributors.reading.nominal import NominalModel, decided, successes
from workbench.attribution.attributors.reading.series import first
from workbench.errors import ConfigError
from workbench.types.attribution import CORRECTIONS, Attribution, Case, EpisodeLog, Lesson, Surroundings

NEIGHBOURS = 10
"""Steps of the fit split that say together whether an episode could still be won."""
SURPRISING = 3.0
"""Residual, in standard deviations, from which a step did what no success does."""


class DependencySearch:
    """Walks back from the symptom to the earliest step on which it depends whose correction would suffice.

    After FALAT (dependency-guided search, then: would correcting it suffice?).  The symptom is the first failure mode
    that is seen, or the last step.  It depends on the steps before it that did something surprising to a one-step
    model of nominal successes, to whatever moves what surprises at the symptom; these are the candidates, the nearest
    first, and the policy calls behind which they lie.

    Whether a correction would suffice is asked of what was learned, unless it is executed: a correction suffices where
    most of the fit split's steps that look alike lie before a decisive step, or in a success.  With a ``budget`` the
    reference expert executes it instead, for ``steps`` steps; that is the truth's own method, with fewer tries, and
    what it simulates is counted.

    Parameters
    ----------
    budget : executed corrections at most; 0 executes none.
    steps : length of a correction.
    """

    def __init__(self, budget: int = 0, steps: int = 16) -> None:
        if budget < 0 or steps < 1:
            raise ConfigError(f"budget={budget} of an attributor must be at least 0, steps={steps} at least 1")
        self.budget, self.steps = budget, steps
        self.needs = frozenset({CORRECTIONS}) if budget else frozenset[str]()

    def fit(self, lessons: Sequence[Lesson], task: Surroundings, seed: int) -> None:
        """Learn the one-step model, and unless corrections are executed which steps can still be won."""
        who = "dependency_search"
        won = successes(lessons, who)
        self._model = NominalModel.of(won)
        self._seen, self._winnable = np.zeros((0, 0)), np.zeros(0)
        if not self.budget:
            lost = decided(lessons, who)
            logs = [*won, *(log for log, _ in lost)]
            self._seen = np.concatenate([self._model.standardised(log) for log in logs])
            known = [np.ones(log.length) for log in won]
            known += [(np.arange(log.length) < decisive[0]).astype(float) for log, decisive in lost]
            self._winnable = np.concatenate(known)

    def attribute(self, case: Case) -> Attribution:
        """The earliest sufficient candidate, then the other candidates from it on."""
        candidates = self._candidates(case.log)
        suffices = self._executed(case) if self.budget else self._learned(case.log)
        found = _earliest(candidates, suffices, self.budget or len(candidates))
        if found is None:
            return Attribution(tuple(candidates[:1]))
        return Attribution(tuple([found, *(step for step in sorted(candidates) if step > found)]))

    def _candidates(self, log: EpisodeLog) -> list[int]:
        """Steps on which the symptom depends, the latest first; the policy calls before it where nothing surprises."""
        seen = first(log.modes > 0)
        symptom = log.length - 1 if seen is None else seen
        surprise = np.abs(self._model.surprise(log))[: symptom + 1]
        moved = surprise.max(axis=0, initial=0.0) > SURPRISING
        causes = moved | (self._model.influence[:, moved].max(axis=1, initial=0.0) > 0.05)
        steps = np.flatnonzero((surprise[:, causes] > SURPRISING).any(axis=1)) if causes.any() else np.zeros(0, int)
        calls = log.calls.step[log.calls.step <= symptom]
        behind = calls[np.searchsorted(calls, steps, side="right") - 1] if len(steps) else calls
        return sorted({int(step) for step in behind}, reverse=True)

    def _learned(self, log: EpisodeLog) -> Callable[[int], bool]:
        rows = self._model.standardised(log)

        def suffices(step: int) -> bool:
            distance = np.linalg.norm(self._seen - rows[step], axis=1)
            nearest = np.argpartition(distance, min(NEIGHBOURS, len(distance) - 1))[:NEIGHBOURS]
            return bool(self._winnable[nearest].mean() >= 0.5)

        return suffices

    def _executed(self, case: Case) -> Callable[[int], bool]:
        correct, steps = case.correct, self.steps

        def suffices(step: int) -> bool:
            return correct is not None and correct(step, steps)

        return suffices


def _earliest(candidates: Sequence[int], suffices: Callable[[int], bool], budget: int) -> int | None:
    """The earliest candidate that suffices, found by halving; the latest first, for it is nearest to the symptom.

    A correction before the fault strikes does not reach it, and one behind the point of no return comes too late, so
    first any that suffices is looked for, then the earliest before it.
    """
    asked: dict[int, bool] = {}

    def ask(place: int) -> bool:
        if place not in asked:
            if len(asked) >= budget:
                return False
            asked[place] = suffices(candidates[place])
        return asked[place]

    places = list(range(len(candidates)))
    stride = max(1, len(places) * 2 // max(budget, 1))
    good = next((place for place in places[::stride] if ask(place)), None)
    if good is None:
        return None
    beyond = good + stride
    while beyond - good > 1 and len(asked) < budget:
        middle = min((good + beyond) // 2, len(places) - 1)
        if middle == good:
            break
        good, beyond = (middle, beyond) if ask(middle) else (good, middle)
    return candidates[good]
