"""What every monitor said of every test episode, from the curves that are on disk.

A monitor is named by its recipe: ``rnd+split_conformal`` is one score with one calibrator, ``fiper+split_conformal`` a
combination of scores.  Everything here follows from the question and the kept curves, so a worker needs no more than a
recipe to come to what the monitor said.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.benchmarking.curves import Curves, KeptScore, ScoreFit, choose_window, needed, read_curves
from workbench.benchmarking.folds import Cut, Entry, Fold, entries_of
from workbench.benchmarking.judged import JudgedEpisode, judged_episode
from workbench.benchmarking.question import Question
from workbench.config import build
from workbench.monitoring.assembly import (
    Assembly,
    Recipe,
    groups_name,
    groups_of,
    made_all,
    recipes,
    shared_calibrators,
)
from workbench.monitoring.calibration import Evidence, Groups
from workbench.monitoring.monitor import AnyMonitor
from workbench.monitoring.reading import read_windowed
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.store import Store
from workbench.types import Array, Calibrator, Record


class Evaluation:
    """All monitors of a question, on all of its stores."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.calibrators: dict[str, Calibrator] = made_all(question.calibrators)
        self.recipes = recipes(question.scores, self.calibrators, question.settings)
        self.shared_calibrators = shared_calibrators(self.calibrators, question.settings.baselines)
        self.cut: Cut = build(question.protocol)

    @property
    def groups(self) -> Mapping[str, Record]:
        """What tells groups of calls apart, by the name under which it is fitted."""
        return groups_of(self.calibrators)

    @functools.cached_property
    def stores(self) -> tuple[StoreEvaluation, ...]:
        """Its stores, each cut into folds."""
        return tuple(StoreEvaluation(self, path) for path in self.question.stores)

    def judged(self, recipe: Recipe) -> dict[int, list[JudgedEpisode]]:
        """Seed -> every test episode of all stores and folds, as the monitor saw it; in one order for all seeds."""
        return {
            seed: [
                episode for store in self.stores for fold in store.folds for episode in store.judged(fold, recipe, seed)
            ]
            for seed in self.question.seeds
        }

    def monitors(self, recipe: Recipe) -> list[AnyMonitor]:
        """The monitors of a recipe in all stores and folds, by the first seed."""
        seed = self.question.seeds[0]
        return [store.monitor(fold, recipe, seed) for store in self.stores for fold in store.folds]

    def guarantee(self, recipe: Recipe) -> str:
        """What is promised of a monitor, in one sentence; the weakest of its stores and folds."""
        monitors = self.monitors(recipe)
        return next((each for each in monitors if not each.promises), monitors[0]).guarantee


class StoreEvaluation:
    """One store of an evaluation, cut into folds by its protocol."""

    def __init__(self, evaluation: Evaluation, path: Path) -> None:
        self.evaluation, self.question = evaluation, evaluation.question
        self.store = store = Store.open(path)
        self.entries = entries_of(store)
        self.folds = evaluation.cut.folds(self.entries, self.question.seed)
        nodes = {**self.question.scores, **evaluation.groups}
        self.fits: dict[tuple[str, str], ScoreFit] = needed(store, self.folds, nodes, self.question.seeds)
        self.lengths = dict(zip(store.uids, store.episodes["length"].tolist(), strict=True))
        self.label = path.stem
        self.several = len({entry.instruction for entry in self.entries}) > 1
        self._windows: dict[tuple[str, str], Window] = {}
        self._windowed: dict[tuple[str, str, int], Mapping[str, Array]] = {}
        self._assemblies: dict[tuple[str, int], Assembly] = {}

    def kept(self, fold: Fold, score: str, seed: int) -> Curves:
        """Raw curves of a score."""
        return read_curves(self.fits[fold.name, score].path(seed))

    def window(self, fold: Fold, score: str) -> Window:
        """The window that is chosen for a score on the select split, for all seeds together."""
        place = fold.name, score
        if place not in self._windows:
            offered = [Window(kind, width) for kind, width in self.question.windows]
            windows = self.question.settings.windows(score, offered)
            found = {seed: self.kept(fold, score, seed) for seed in self.question.seeds}
            self._windows[place] = choose_window(fold, found, windows, self.lengths, self.store.header.deadline)
        return self._windows[place]

    def windowed(self, fold: Fold, score: str, seed: int) -> Mapping[str, Array]:
        """Uid -> windowed curve (C,) of every calibrate and test episode."""
        place = fold.name, score, seed
        if place not in self._windowed:
            window, kept = self.window(fold, score), self.kept(fold, score, seed)
            uids = dict.fromkeys(entry.uid for entry in (*fold.calibrate, *fold.test))
            self._windowed[place] = {uid: window.apply(kept.scores[uid]) for uid in uids}
        return self._windowed[place]

    def monitor(self, fold: Fold, recipe: Recipe, seed: int) -> AnyMonitor:
        """The monitor of a recipe in a fold."""
        place = fold.name, seed
        if place not in self._assemblies:
            self._assemblies[place] = self._assembly(fold, seed)
        return self._assemblies[place].monitor(recipe)

    def _assembly(self, fold: Fold, seed: int) -> Assembly:
        successes = [entry.uid for entry in fold.successes("calibrate")]
        failures = [entry.uid for entry in fold.calibrate if not entry.success]

        def fitted(score: str) -> FittedScore:
            uids = frozenset(self.store.uids[number] for number in self.fits[fold.name, score].fitted)
            return FittedScore(score, KeptScore(), uids, seed)

        @functools.cache
        def evidence(score: str) -> Evidence:
            windowed, window = self.windowed(fold, score, seed), self.window(fold, score)
            return Evidence(
                score=fitted(score),
                window=window,
                uids=frozenset(entry.uid for entry in fold.calibrate),
                successes=[windowed[uid] for uid in successes],
                failures=lambda: [windowed[uid] for uid in failures],
                held_out=lambda: [window.apply(curve) for curve in self.kept(fold, score, seed).held_out],
            )

        @functools.cache
        def groups(calibrator: str) -> Groups | None:
            name = groups_name(calibrator)
            if (fold.name, name) not in self.fits:
                return None
            scores = self.kept(fold, name, seed).scores
            return Groups(fitted(name), [scores[uid] for uid in successes])

        return Assembly(self.evaluation.calibrators, evidence, groups)

    def judged(self, fold: Fold, recipe: Recipe, seed: int) -> list[JudgedEpisode]:
        """The test episodes of a fold as a monitor saw them."""
        monitor = self.monitor(fold, recipe, seed)
        windowed: dict[str, Sequence[Array]] = {}
        groups: dict[str, Sequence[Array]] = {}
        for leaf in monitor.leaves():
            curves = self.windowed(fold, leaf.score.name, seed)
            windowed[leaf.name] = [curves[entry.uid] for entry in fold.test]
            if leaf.groups:
                told = self.kept(fold, leaf.groups.name, seed).scores
                groups[leaf.name] = [told[entry.uid] for entry in fold.test]
        readings = read_windowed([monitor], windowed, groups, [entry.success for entry in fold.test])[monitor.name]
        steps = self.kept(fold, recipe.legs[0], seed).steps
        first = [int(each[0]) for each in next(iter(groups.values()))] if groups else [-1] * len(fold.test)
        return [
            self._episode(fold, entry, reading.margin, steps[entry.uid], group)
            for entry, reading, group in zip(fold.test, readings, first, strict=True)
        ]

    def unscored(self, fold: Fold) -> list[JudgedEpisode]:
        """The test episodes of a fold, with how often the task failed in its fit split in the place of margins."""
        rate = np.mean([not entry.success for entry in fold.fit]) if fold.fit else 0.0
        return [self._episode(fold, entry, np.array([rate]), np.zeros(1, int)) for entry in fold.test]

    def _episode(self, fold: Fold, entry: Entry, margin: Array, step: Array, group: int = -1) -> JudgedEpisode:
        return judged_episode(
            self.store,
            entry.number,
            margin,
            step,
            group,
            uid=f"{self.label}/{fold.name}/{entry.uid}",
            task=self.task(fold, entry),
            family=entry.family,
            twin=f"{self.label}/{fold.name}/{entry.twin}" if entry.twin else "",
            rolled=f"{self.label}/{entry.uid}",
        )

    def task(self, fold: Fold, entry: Entry) -> str:
        """What is compared among itself before means are taken: a task, and within it a fold."""
        own = f"{self.label}: {entry.instruction}" if self.several else self.label
        return f"{own}, {fold.name}" if fold.name else own
