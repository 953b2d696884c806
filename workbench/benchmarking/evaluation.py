"""Verdicts of a study: what every monitor said of every test episode, from the curves that are on disk.

A monitor is named by what it is: ``rnd+split_conformal`` is one score with one calibrator, ``fiper+split_conformal`` a
combination of scores.  Everything here follows from the configuration and the curves, so workers need no more than a
monitor's name to come to its verdicts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.benchmarking.curves import Curves, Part, choose_window, needed, read_curves
from workbench.benchmarking.folds import Cut, Entry, Fold, entries_of
from workbench.benchmarking.judged import JudgedEpisode
from workbench.config import Run, build
from workbench.errors import CalibrationError, UnknownNameError
from workbench.monitoring.calibration import groups_of, threshold_of
from workbench.monitoring.window import Window
from workbench.store import Store
from workbench.types import AdaptiveThreshold, Array, Calibrator, Record, Threshold

ALL, ANY = "all", "any"
"""How legs are combined: an alarm where every one alarms, or where any does."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared, by which protocol, on which stores.

    Attributes
    ----------
    stores : paths.
    seeds : of the scores' fits.
    windows : (kind, width) of those that may be chosen.
    """

    run: Run
    stores: tuple[Path, ...]
    seeds: tuple[int, ...]
    windows: tuple[tuple[str, int], ...]

    @functools.cached_property
    def protocol(self) -> Cut:
        """The protocol."""
        made: Cut = build(self.run.config["protocol"])
        return made

    @functools.cached_property
    def benches(self) -> tuple[Bench, ...]:
        """Its stores, each cut into folds."""
        return tuple(Bench(self, path) for path in self.stores)

    @property
    def groups(self) -> dict[str, Record]:
        """What tells groups of calls apart, for the calibrators that have groups, by :func:`groups_of`."""
        nodes: Mapping[str, Record] = self.run.config["calibrator"]
        return {groups_of(rule): node["groups"] for rule, node in nodes.items() if node.get("groups")}

    def legs(self, name: str) -> tuple[str, tuple[str, ...]]:
        """How a monitor combines which scores; a score alone is a combination of one."""
        combinations = self.run.config["monitor"]["combine"]
        if name in combinations:
            ((how, scores),) = combinations[name].items()
            return how, tuple(scores)
        if name not in self.run.config["score"]:
            raise UnknownNameError("score or combination", name, [*self.run.config["score"], *combinations])
        return ALL, (name,)

    @property
    def level(self) -> float:
        """Nominal false-alarm rate of every monitor."""
        return float(self.run.config["monitor"]["level"])

    def guarantee(self, name: str, rule: str) -> str:
        """What is promised of a monitor, in one sentence; the weakest of its stores and folds."""
        how, legs = self.legs(name)
        said = [
            bench.promise(fold, leg, rule, self.seeds[0], self.leg_level(how, legs))
            for bench in self.benches
            for fold in bench.folds
            for leg in legs
        ]
        if broken := [each for each in said if each.startswith("none")]:
            return broken[0]
        return (
            said[0]
            if len(legs) == 1
            else f"{how} of {len(legs)} legs, each at level {self.leg_level(how, legs):g}: {said[0]}"
        )

    def promises_silence(self, name: str, rule: str) -> bool:
        """Whether a monitor promises a false-alarm rate: something, and not about failures."""
        if self.guarantee(name, rule).startswith("none"):
            return False
        how, legs = self.legs(name)
        level = self.leg_level(how, legs)
        found = [
            bench.threshold(fold, leg, rule, self.seeds[0], level)
            for bench in self.benches
            for fold in bench.folds
            for leg in legs
        ]
        return not any(isinstance(each, Threshold) and each.on_failures for each in found)

    def leg_level(self, how: str, legs: Sequence[str]) -> float:
        """Level of each leg: an alarm of any leg is a monitor's, so they share its level."""
        return self.level / len(legs) if how == ANY else self.level

    def judged(self, name: str, rule: str) -> dict[int, list[JudgedEpisode]]:
        """Seed -> every test episode of all stores and folds, as the monitor saw it; in one order for all seeds."""
        return {
            seed: [
                episode
                for bench in self.benches
                for fold in bench.folds
                for episode in bench.judged(fold, name, rule, seed)
            ]
            for seed in self.seeds
        }


@dataclasses.dataclass(frozen=True)
class Leg:
    """One score in one fold.

    Attributes
    ----------
    window : the one that was chosen on the select split.
    applied : seed -> uid -> (C,) windowed scores.
    """

    window: Window
    applied: Mapping[int, Mapping[str, Array]]


class Bench:
    """One store of a study, cut into folds by its protocol."""

    def __init__(self, study: Study, path: Path) -> None:
        self.study = study
        self.store = store = Store.open(path)
        self.entries = entries_of(store)
        self.folds = study.protocol.folds(self.entries, study.run.seed)
        nodes = study.run.config["score"] | study.groups
        self.parts: dict[tuple[str, str], Part] = needed(store, self.folds, nodes, study.seeds)
        self.deadline = store.header.deadline
        self.lengths = dict(zip(store.uids, store.episodes["length"].tolist(), strict=True))
        self.label = path.stem
        self.several = len({entry.instruction for entry in self.entries}) > 1
        self._legs: dict[tuple[str, str], Leg] = {}
        self._thresholds: dict[tuple[str, str, str, int, float], Threshold | str] = {}

    def found(self, fold: Fold, score: str) -> dict[int, Curves]:
        """Seed -> curves of a score."""
        part = self.parts[fold.name, score]
        return {seed: read_curves(part.path(seed)) for seed in part.seeds}

    def leg(self, fold: Fold, score: str) -> Leg:
        """A score with the window that is chosen for it on the select split."""
        place = fold.name, score
        if place not in self._legs:
            baseline = score in self.study.run.config["monitor"]["baselines"]
            kinds = [("last", 1)] if baseline else self.study.windows
            windows = [Window(kind, width) for kind, width in kinds]
            found = self.found(fold, score)
            window = choose_window(fold, found, windows, self.lengths, self.deadline)
            judged = [entry.uid for entry in (*fold.calibrate, *fold.test)]
            applied = {
                seed: {uid: window.apply(curves.scores[uid]) for uid in dict.fromkeys(judged)}
                for seed, curves in found.items()
            }
            self._legs[place] = Leg(window, applied)
        return self._legs[place]

    def threshold(self, fold: Fold, score: str, rule: str, seed: int, level: float) -> Threshold | str:
        """Threshold of a score on the calibrate split, or why there is none."""
        place = fold.name, score, rule, seed, level
        if place not in self._thresholds:
            calibrator: Calibrator = build(self.study.run.config["calibrator"][rule])
            leg, successes = self.leg(fold, score), fold.successes("calibrate")
            applied = leg.applied[seed]
            given: dict[str, Callable[[], Sequence[Array]]] = {
                "failures": lambda: [applied[entry.uid] for entry in fold.calibrate if not entry.success],
                "groups": lambda: [self.groups(fold, rule, seed)[entry.uid] for entry in successes],
                "held_out": lambda: [leg.window.apply(each) for each in self.found(fold, score)[seed].held_out],
            }
            try:
                known = [applied[entry.uid] for entry in successes]
                self._thresholds[place] = threshold_of(calibrator, known, level, given)
            except CalibrationError as error:
                self._thresholds[place] = str(error)
        return self._thresholds[place]

    def groups(self, fold: Fold, rule: str, seed: int) -> Mapping[str, Array]:
        """Uid -> group (C,) of every call, for a calibrator that has groups."""
        return self.found(fold, groups_of(rule))[seed].scores

    def margins(self, fold: Fold, score: str, rule: str, seed: int, level: float) -> list[Array]:
        """Margins (C_i,) of the test episodes of a fold, in order; NaN where there is no threshold.

        A threshold that adapts follows what became of the episodes before.
        """
        threshold, applied = self.threshold(fold, score, rule, seed, level), self.leg(fold, score).applied[seed]
        found = []
        for entry in fold.test:
            curve = applied[entry.uid]
            if isinstance(threshold, str):
                found.append(np.full(len(curve), np.nan))
                continue
            groups = self.groups(fold, rule, seed)[entry.uid] if threshold.grouped else None
            found.append(threshold.margin(curve, 0, groups))
            if isinstance(threshold, AdaptiveThreshold) and entry.success:
                threshold = threshold.after(float(curve.max()), bool((found[-1] > 0).any()))
        return found

    def judged(self, fold: Fold, name: str, rule: str, seed: int) -> list[JudgedEpisode]:
        """The test episodes of a fold as a monitor saw them."""
        how, legs = self.study.legs(name)
        margins = [self.margins(fold, leg, rule, seed, self.study.leg_level(how, legs)) for leg in legs]
        joined, steps = (np.min if how == ALL else np.max), self.found(fold, legs[0])[seed].steps
        return [
            self._episode(fold, entry, joined(each, axis=0), steps[entry.uid])
            for entry, *each in zip(fold.test, *margins, strict=True)
        ]

    def promise(self, fold: Fold, score: str, rule: str, seed: int, level: float) -> str:
        """What a threshold promises, or why there is none."""
        threshold = self.threshold(fold, score, rule, seed, level)
        return f"none: {threshold}" if isinstance(threshold, str) else threshold.guarantee

    def unscored(self, fold: Fold) -> list[JudgedEpisode]:
        """The test episodes of a fold, with how often the task failed in its fit split in the place of margins."""
        rate = np.mean([not entry.success for entry in fold.fit]) if fold.fit else 0.0
        return [self._episode(fold, entry, np.array([rate]), np.zeros(1, int)) for entry in fold.test]

    def _episode(self, fold: Fold, entry: Entry, margin: Array, step: Array) -> JudgedEpisode:
        rows = self.store.episodes
        return JudgedEpisode(
            margin=margin,
            step=step,
            length=int(rows["length"][entry.number]),
            success=entry.success,
            perturbed=not entry.nominal,
            t_on=int(rows["t_on"][entry.number]),
            t_pnr=int(rows["t_pnr"][entry.number]),
            deadline=self.deadline,
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
