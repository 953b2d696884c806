"""Scores compared: all of them fitted, all monitors judged, all pairs tested: the leaderboard."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from workbench.benchmarking.auditing import false_alarms, same_faults, verdict_of
from workbench.benchmarking.curves import ScoreFit, fit_and_score, is_supervised, missing_seeds, read_curves
from workbench.benchmarking.evaluation import Evaluation, StoreEvaluation
from workbench.benchmarking.figures import Figure, at_false_alarm_rate, difference, figures, ranking
from workbench.benchmarking.judged import JudgedEpisode, elapsed
from workbench.benchmarking.leaderboard import (
    Audit,
    Cost,
    DriftWatch,
    Leaderboard,
    MonitorRow,
    Pair,
    Refusal,
    StoreSummary,
)
from workbench.benchmarking.metrics import AIM
from workbench.benchmarking.question import SEEDS, WINDOWS, Question
from workbench.config import data_path
from workbench.config.named import node_of, nodes
from workbench.errors import CalibrationError, ScoreError
from workbench.execution.executor import Executor
from workbench.execution.processes import Processes
from workbench.execution.progress import progress
from workbench.monitoring.assembly import MonitorSettings, Recipe
from workbench.monitoring.drift import Drift
from workbench.monitoring.episodes import diverged
from workbench.monitoring.monitor import NO_PROMISE
from workbench.monitoring.window import Window
from workbench.stats.proportions import clopper_pearson
from workbench.store import Store
from workbench.types import Record

Result = TypeVar("Result")
LENGTH, PRIOR = "length", "task_prior"
"""Baselines that are no scores: how long an episode has lasted, and how often its task fails in the fit split."""
WATCHED = ("failure-free", "supervised")
"""Kinds of monitors whose calibration is watched for drift."""
ORACLE = 0.1
"""Share of the judged successes that may alarm at an oracle's threshold, at which monitors are compared once more."""
PAIRED = 5
"""Resamples of a pair for each one of a figure: the smallest p-value they can give has to survive Holm's correction."""


@functools.lru_cache(maxsize=2)
def evaluation_of(question: Question, contents: tuple[str, ...]) -> Evaluation:
    """The evaluation of a question, in this process; ``contents`` are digests of its stores, which may have grown."""
    return Evaluation(question)


@dataclasses.dataclass(frozen=True)
class Item:
    """One row, or one pair of rows, for one worker."""

    question: Question
    contents: tuple[str, ...]
    recipes: tuple[Recipe, ...]
    metric: str = ""

    @property
    def evaluation(self) -> Evaluation:
        """That of the question, in this process."""
        return evaluation_of(self.question, self.contents)


@dataclasses.dataclass(frozen=True)
class JudgedRow:
    """A row, and what stands beside it in other tables."""

    row: MonitorRow
    audit: tuple[Audit, ...] = ()
    drift: tuple[DriftWatch, ...] = ()


class Breakdown(NamedTuple):
    """Figures of all episodes, and of each task and family of faults."""

    figures: dict[str, Figure]
    tasks: dict[str, dict[str, Figure]]
    families: dict[str, dict[str, Figure]]


def leaderboard(
    stores: Sequence[str | Path | Store],
    scores: Iterable[str] | Mapping[str, Record],
    calibrators: Iterable[str] | Mapping[str, Record] = ("split_conformal",),
    *,
    protocol: str | Record = "seen",
    settings: MonitorSettings | None = None,
    seed: int = 0,
    seeds: Sequence[int] = SEEDS,
    windows: Sequence[tuple[str, int]] = WINDOWS,
    pairs: Sequence[tuple[str, str, str]] = (),
    resamples: int = 1000,
    runner: Executor | None = None,
    root: Path | None = None,
    command: str = "",
) -> Leaderboard:
    """Compare scores by a protocol: fit each on every fold with every seed, choose its window, judge its monitors.

    Parameters
    ----------
    stores : names in ``datasets/``, paths, or opened stores.
    scores, calibrators : names, or name -> configuration.
    protocol : name, or configuration, of how the stores are cut into folds; see :mod:`workbench.benchmarking.folds`.
    settings, seed, seeds, windows, pairs, resamples, root : see :class:`workbench.benchmarking.question.Question`.
    runner : where the work is done; None for this process.
    command : what makes it again on the command line.
    """
    paths = [store.path if isinstance(store, Store) else data_path(store) for store in stores]
    question = Question(
        paths,
        node_of("protocol", protocol) if isinstance(protocol, str) else protocol,
        nodes("score", scores),
        nodes("calibrator", calibrators),
        settings or MonitorSettings(),
        seed,
        seeds,
        windows,
        pairs,
        resamples,
        root,
    )
    return compare(question, runner, command)


def compare(question: Question, runner: Executor | None = None, command: str = "") -> Leaderboard:
    """Fit every score on every fold with every seed, and judge all monitors of the question on the test split.

    What was fitted before is found on disk, beside the stores.

    Parameters
    ----------
    runner : where the work is done; None for this process.
    command : what makes the leaderboard again.

    Raises
    ------
    ScoreError
        if no score can be fitted.
    """
    runner = runner or Processes()
    contents = tuple(Store.open(path).digest() for path in question.stores)
    refused = fit_all(evaluation_of(question, contents), runner)
    left = question.without([refusal.score for refusal in refused])
    if not left.scores:
        raise ScoreError("no score is left: " + "; ".join(refusal.reason for refusal in refused))
    evaluation = evaluation_of(left, contents)
    judged = each_of(judge, [Item(left, contents, (each,)) for each in evaluation.recipes], "monitors", runner)
    rows = [each.row for each in judged] + [reference(evaluation, name) for name in (LENGTH, PRIOR)]
    asked = [Item(left, contents, recipes, metric) for recipes, metric in pairs_of(evaluation)]
    pairs = each_of(pair, asked, "pairs", runner)
    return Leaderboard(
        protocol=evaluation.cut.name,
        about=evaluation.cut.about,
        level=question.settings.level,
        seeds=tuple(question.seeds),
        command=command,
        stores=tuple(summary(question, store) for store in evaluation.stores),
        rows=tuple(sorted(rows, key=by_aim)),
        costs=tuple(costs(evaluation)),
        pairs=tuple(pairs),
        audit=tuple(line for each in judged for line in each.audit),
        drift=tuple(line for each in judged for line in each.drift),
        refused=tuple(refused),
        diverged=sum(diverged(store.store) for store in evaluation.stores),
    )


def by_aim(row: MonitorRow) -> tuple[float, str]:
    """Sorts rows, the best first and those without a number last."""
    figure = row.figures.get(AIM)
    value = figure["value"] if figure else None
    return (-1.0 if value is None else -value), row.monitor


def each_of(
    function: Callable[[tuple[int, Item]], tuple[int, Result]],
    items: Sequence[Item],
    name: str,
    runner: Executor,
) -> list[Result]:
    """Results of all items on workers, in their order."""
    found: dict[int, Result] = {}
    with progress(name, len(items)) as advance:
        for place, result in runner.map_unordered(function, list(enumerate(items))):
            found[place] = result
            advance(1)
    return [found[place] for place in range(len(items))]


# Fitting


def fit_all(evaluation: Evaluation, runner: Executor) -> list[Refusal]:
    """Fit every score on every fold with every seed where that is not on disk; returns those that could not be.

    Raises
    ------
    ScoreError
        if what tells groups apart for a calibrator cannot be fitted.
    """
    question = evaluation.question
    fits: dict[Path, ScoreFit] = {fit.path(0): fit for store in evaluation.stores for fit in store.fits.values()}
    todo = [dataclasses.replace(fit, seeds=tuple(missing)) for fit in fits.values() if (missing := missing_seeds(fit))]
    # The longest first, so that no worker is left alone with one at the end.
    todo.sort(key=lambda fit: not is_supervised(fit.node))
    refused: dict[str, Refusal] = {}
    with progress("scores", len(fits)) as advance:
        advance(len(fits) - len(todo))
        for fit, why in runner.map_unordered(fit_and_score, todo):
            if why and fit.score not in question.scores:
                raise ScoreError(f"{fit.score}: {why}")
            if why:
                said = Refusal(f"score {fit.score}", fit.score, question.shown(fit.store), why)
                refused.setdefault(fit.score, said)
            advance(1)
    return [refused[name] for name in sorted(refused)]


# Judging


def judge(numbered: tuple[int, Item]) -> tuple[int, JudgedRow]:
    """One monitor, in this process."""
    number, item = numbered
    (recipe,), question, evaluation = item.recipes, item.question, item.evaluation
    judged = evaluation.judged(recipe)
    folds = [(store, fold) for store in evaluation.stores for fold in store.folds]
    chosen = {str(store.window(fold, leg)) for store, fold in folds for leg in recipe.legs}
    found = breakdown(judged, question.resamples)
    # Scores are compared by one calibrator alone: the first that they share, or a baseline's own.
    selected = recipe.baseline or recipe.calibrator == evaluation.shared_calibrators[0]
    oracle = at_false_alarm_rate(judged, ORACLE, resamples=question.resamples) if selected else {}
    kind = kind_of(question, recipe)
    row = MonitorRow(
        monitor=recipe.name,
        score=recipe.score,
        window=", ".join(sorted(chosen)),
        calibrator=recipe.calibrator,
        kind=kind,
        guarantee=evaluation.guarantee(recipe),
        selected=selected,
        figures=found.figures | oracle,
        tasks=found.tasks,
        families=found.families,
    )
    watched = drift(evaluation, recipe.score) if selected and kind in WATCHED else []
    return number, JudgedRow(row, tuple(audit(evaluation, recipe)), tuple(watched))


def kind_of(question: Question, recipe: Recipe) -> str:
    """What sort of monitor it is."""
    if recipe.how:
        return "combination"
    if recipe.baseline:
        return "baseline"
    return "supervised" if is_supervised(question.scores[recipe.score]) else "failure-free"


def breakdown(
    judged: Mapping[int, Sequence[JudgedEpisode]],
    resamples: int,
    of_all: Callable[..., dict[str, Figure]] = figures,
) -> Breakdown:
    """Figures of all episodes, and of each task and family; ``of_all`` is what computes them."""
    first = next(iter(judged.values()))

    def of(wanted: Sequence[bool]) -> dict[str, Figure]:
        part = {seed: [e for e, keep in zip(each, wanted, strict=True) if keep] for seed, each in judged.items()}
        return of_all(part, resamples=min(resamples, 200))

    stores = list(dict.fromkeys(episode.uid.split("/")[0] for episode in first))
    families = sorted({episode.family for episode in first} - {""})
    return Breakdown(
        figures=of_all(judged, resamples=resamples),
        tasks={store: of([episode.uid.split("/")[0] == store for episode in first]) for store in stores},
        families={family: of(_with_nominal(first, family)) for family in families},
    )


def _with_nominal(episodes: Sequence[JudgedEpisode], family: str) -> list[bool]:
    """Which episodes are of a family, or nominal ones that are judged beside it.

    A fold that judges other families has nominal failures, too, which say nothing about this one.
    """
    beside = {episode.task for episode in episodes if episode.family == family}
    return [episode.family == family or (not episode.family and episode.task in beside) for episode in episodes]


def reference(evaluation: Evaluation, name: str) -> MonitorRow:
    """Row of a baseline that is no score."""
    episodes = [each for store in evaluation.stores for fold in store.folds for each in store.unscored(fold)]
    if name == LENGTH:
        episodes = [elapsed(episode) for episode in episodes]
    found = breakdown({0: episodes}, evaluation.question.resamples, ranking)
    return MonitorRow(
        monitor=name,
        score=name,
        window=str(Window()),
        calibrator="",
        kind="baseline",
        guarantee=f"{NO_PROMISE}: it raises no alarm",
        selected=None,
        figures=found.figures,
        tasks=found.tasks,
        families=found.families,
    )


def audit(evaluation: Evaluation, recipe: Recipe) -> list[Audit]:
    """Realised errors against the level, of every task, in its first fold by the first seed.

    Other folds judge the same nominal episodes again, and would make the interval look narrower than it is.
    """
    return [audit_of(store, recipe) for store in evaluation.stores]


def audit_of(store: StoreEvaluation, recipe: Recipe) -> Audit:
    """:func:`audit` of one task."""
    fold, question = store.folds[0], store.question
    judged, monitor = store.judged(fold, recipe, question.seeds[0]), store.monitor(fold, recipe, question.seeds[0])
    failed = [{entry.perturbation for entry in part if not entry.success} for part in (fold.calibrate, fold.test)]
    verdict = verdict_of(monitor, judged, same_faults(*failed))
    tested = verdict is not None and verdict.tested
    found = verdict or false_alarms(judged)
    return Audit(
        monitor=recipe.name,
        calibrator=recipe.calibrator,
        task=store.label,
        errors=found.errors,
        count=found.count,
        episodes=found.episodes,
        rate=found.count / found.episodes if found.episodes else None,
        ci95=clopper_pearson(found.count, found.episodes),
        level=question.settings.level,
        promised=tested or monitor.promises_silence,
        p_value=found.p_value,
        broken=found.broken,
        chance=found.chance,
    )


def drift(evaluation: Evaluation, score: str) -> list[DriftWatch]:
    """After how many episodes the exchangeability martingale notices that they are not the calibration's, by task.

    One stream are the nominal successes of the test split, which are like those of the calibration, the other all of
    its perturbed episodes.  Of the first fold and seed.
    """
    lines = []
    for store in evaluation.stores:
        fold = store.folds[0]
        windowed = store.windowed(fold, score, evaluation.question.seeds[0])
        streams = {"nominal": fold.successes("test"), "perturbed": [e for e in fold.test if not e.nominal]}
        for stream, entries in streams.items():
            watch = Drift()
            try:
                watch.begin(np.array([windowed[entry.uid].max() for entry in fold.successes("calibrate")]))
            except CalibrationError:
                continue
            for entry in entries:
                watch.update(float(windowed[entry.uid].max()))
            lines.append(DriftWatch(score, store.label, stream, watch.since, len(entries)))
    return lines


def pairs_of(evaluation: Evaluation) -> list[tuple[tuple[Recipe, Recipe], str]]:
    """Pairs of monitors that there are and the metric of each, by the first of the calibrators that they share."""
    first_calibrator = [r for r in evaluation.recipes if r.calibrator in evaluation.shared_calibrators[:1]]
    there = {recipe.score: recipe for recipe in first_calibrator if not recipe.baseline}
    found = []
    for first, second, metric in evaluation.question.pairs:
        others = [name for name in there if name != first] if second == "*" else [second]
        if first in there:
            found += [((there[first], there[other]), metric) for other in others if other in there]
    return found


def pair(numbered: tuple[int, Item]) -> tuple[int, Pair]:
    """Difference of two monitors on the same episodes and seeds."""
    number, item = numbered
    evaluation, (first, second) = item.evaluation, item.recipes
    one, other = evaluation.judged(first), evaluation.judged(second)
    found = difference(one, other, item.metric, resamples=PAIRED * item.question.resamples)
    return number, Pair(first.score, second.score, item.metric, **found)


# What stands around the rows


def costs(evaluation: Evaluation) -> list[Cost]:
    """Of every score, over stores, folds and seeds: the median call, its range, and the mean fit."""
    lines = []
    for score in evaluation.question.scores:
        fits = {fit.key: fit for store in evaluation.stores for (_, name), fit in store.fits.items() if name == score}
        found = [read_curves(fit.path(seed)) for fit in fits.values() for seed in fit.seeds]
        each = sorted(curves.milliseconds for curves in found)
        middle: Figure = {"value": each[len(each) // 2], "low": each[0], "high": each[-1], "n": len(each)}
        lines.append(Cost(score, middle, sum(curves.fit_s for curves in found) / len(found)))
    return lines


def summary(question: Question, store: StoreEvaluation) -> StoreSummary:
    """A store, as the leaderboard shows it."""
    splits: dict[str, int] = {}
    for entry in store.entries:
        splits[entry.split] = splits.get(entry.split, 0) + 1
    test = {entry.uid: entry for fold in store.folds for entry in fold.test}
    return StoreSummary(
        store=question.shown(store.store.path),
        task=store.label,
        policy=policy_of(store.store.header.config),
        splits=splits,
        test=len(test),
        failures=sum(not entry.success for entry in test.values()),
    )


def policy_of(config: Mapping[str, Any]) -> str:
    """How a policy is called on the command line, or the class behind it."""
    node = config.get("policy") or {}
    return f"zoo/{node['zoo']}" if node.get("zoo") else str(node.get("_target_", "")).rpartition(".")[2]
