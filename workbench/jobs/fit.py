"""Scores fitted on one split, monitors calibrated on another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from workbench.config import Run, build
from workbench.errors import CalibrationError, ConfigError, ScoreError, UnknownNameError
from workbench.execution.progress import console, progress
from workbench.monitoring.calibration import calibrate, groups_of
from workbench.monitoring.files import load, save
from workbench.monitoring.monitor import COMBINATIONS, And, AnyMonitor, Monitor, Or
from workbench.monitoring.scoring import FittedScore, curves, fit_score, supervised
from workbench.monitoring.window import Window
from workbench.store import Store
from workbench.types import Calibrator, EpisodeCalls, EpisodeTruth, Record, Score, Split, SupervisedScore

Known = tuple[EpisodeCalls, EpisodeTruth]
"""An episode, and what the simulator knows of it."""
Part = TypeVar("Part")


def run(run: Run) -> None:
    """Fit every score on the nominal successes of the fit split and calibrate on those of the calibrate split.

    Supervised scores learn from all episodes of the fit split, and calibrators that control recall read the failures of
    the calibrate split.
    """
    run.refuse_other_store()
    if folder_of(run).exists() and not run.overwrite:
        raise CalibrationError(
            f"{run.shown(folder_of(run))} holds monitors; overwrite=true fits them anew, "
            f"name=... store={run.config['store']} keeps both"
        )
    store = Store.open(run.store)
    parts = [*build_scores(run).values(), *build_groups(run).values()]
    needs = frozenset().union(*(part.needs for part in parts))
    fitting = known_episodes(store, "fit", needs, failures=any(map(supervised, parts)))
    if not any(is_nominal_success(truth) for _, truth in fitting):
        raise CalibrationError(
            f"{run.shown(run.store)} has no nominal success in the fit split; roll some with: "
            f"workbench rollout name={run.name} job.episodes.fit=80 job.episodes.calibrate=100"
        )
    recall = any("failures" in uses(rule) for rule in build_calibrators(run).values())
    calibrating = known_episodes(store, "calibrate", needs, failures=recall)
    settling = known_episodes(store, "select", needs, False) if run.config["monitor"]["window"] == "cusum" else []
    monitors = make_monitors(run, fitting, calibrating, settling)
    save(folder_of(run), monitors)
    for monitor in monitors:
        if monitor.reason:
            console.print(f"{monitor.name} has no threshold: {monitor.reason}")
    fitted, calibrated = (sum(is_nominal_success(t) for _, t in part) for part in (fitting, calibrating))
    console.print(
        f"{len(monitors)} monitors: fitted on {fitted}, calibrated on {calibrated} successful nominal "
        f"episodes at level {run.config['monitor']['level']}: {run.shown(folder_of(run))}"
    )


def folder_of(run: Run) -> Path:
    """Where a run keeps its monitors."""
    return run.folder / "monitors"


def known_episodes(store: Store, split: Split, needs: Collection[str], failures: bool) -> list[Known]:
    """Episodes of a split with their truths: the nominal successes, and with ``failures`` all the others too."""
    rows = store.episodes
    chosen = [
        number
        for number in range(len(store))
        if rows["split"][number] == split
        and (failures or (rows["perturbation"][number] == "" and rows["success"][number]))
    ]
    return [(store.calls(number, needs), store.truth(number)) for number in chosen]


def is_nominal_success(truth: EpisodeTruth) -> bool:
    """Whether an episode succeeded, and without a perturbation."""
    return truth.success and not truth.perturbation


def fit_all(run: Run, episodes: Sequence[Known]) -> dict[str, FittedScore]:
    """Every score, and everything that tells groups apart, fitted; the supervised ones on all episodes.

    A score is left out, with a line that says so, where the store does not hold what it needs.

    Raises
    ------
    ScoreError
        if no score is left, or one cannot be fitted for another reason.
    """
    parts = {**build_scores(run), **build_groups(run)}
    fitted: dict[str, FittedScore] = {}
    left_out: list[str] = []
    with progress("scores", len(parts)) as advance:
        for name, part in parts.items():
            chosen = [known for known in episodes if supervised(part) or is_nominal_success(known[1])]
            calls, truths = [calls for calls, _ in chosen], [truth for _, truth in chosen]
            try:
                fitted[name] = fit_score(name, part, calls, run.seed, truths)
            except ScoreError as error:
                if name not in run.config["score"] or all(part.needs <= held(each) for each in calls):
                    raise
                left_out.append(str(error))
            advance(1)
    if left_out and not fitted.keys() & run.config["score"].keys():
        raise ScoreError(f"no score is left: {'; '.join(left_out)}")
    for line in left_out:
        console.print(f"left out: {line}", markup=False)
    return fitted


def held(calls: EpisodeCalls) -> frozenset[str]:
    """What the calls of an episode hold, in the words of :class:`workbench.types.Scorer`."""
    optional = {"samples": calls.samples, "embedding": calls.embedding}
    optional |= {f"signals/{name}": values for name, values in calls.signals.items()}
    optional |= {f"observation/{key}": values for key, values in calls.observation.items()}
    return frozenset(need for need, values in optional.items() if values is not None)


def make_monitors(
    run: Run, fitting: Sequence[Known], calibrating: Sequence[Known], settling: Sequence[Known] = ()
) -> list[AnyMonitor]:
    """Every score with every calibrator, the combinations, and the baselines; named ``<score>+<calibrator>``.

    ``settling`` are episodes of the select split, from which a window learns its drift if it has one.
    """
    settings = run.config["monitor"]
    baselines: Record = settings["baselines"]
    rules, fitted = build_calibrators(run), fit_all(run, fitting)
    successes = [calls for calls, truth in calibrating if is_nominal_success(truth)]
    failures = [calls for calls, truth in calibrating if not truth.success]
    raw = {name: curves(part, successes) for name, part in fitted.items()}
    raw_failures = {name: curves(part, failures) for name, part in fitted.items()}

    def one(score: str, rule: str, window: Window, level: float = settings["level"], owner: str = "") -> Monitor:
        return calibrate(
            f"{owner}{score}+{rule}",
            named(fitted, score),
            window,
            named(rules, rule),
            successes,
            level,
            raw[score],
            failures,
            raw_failures[score],
            fitted.get(groups_of(rule)),
            raw.get(groups_of(rule)),
        )

    ordinary = [name for name in run.config["score"] if name in fitted and name not in baselines]
    usual = [rule for rule in rules if rule not in baselines.values() or rule == "split_conformal"]
    shared, settled = Window(settings["window"], settings["width"]), [calls for calls, _ in settling]
    windows = {score: shared.settle(curves(fitted[score], settled)) for score in ordinary}
    alone = {m.name: m for m in (one(score, rule, windows[score]) for score in ordinary for rule in usual)}
    combined: list[AnyMonitor] = []
    for name, how, legs in combinations(settings["combine"]):
        if set(legs) <= set(ordinary):
            for rule in usual:
                if how == "all":
                    combined.append(And(f"{name}+{rule}", tuple(named(alone, f"{leg}+{rule}") for leg in legs)))
                else:
                    share = settings["level"] / len(legs)
                    parts = tuple(one(leg, rule, windows[leg], share, owner=f"{name}.") for leg in legs)
                    combined.append(Or(f"{name}+{rule}", parts))
    references = [one(score, rule, Window()) for score, rule in baselines.items() if score in fitted]
    return [*alone.values(), *combined, *references]


def combinations(settings: Mapping[str, Mapping[str, Sequence[str]]]) -> list[tuple[str, str, Sequence[str]]]:
    """Name, ``all`` or ``any``, and scores of every combination that the configuration asks for."""
    for name, parts in settings.items():
        if len(parts) != 1 or not set(parts) <= set(COMBINATIONS):
            raise ConfigError(
                f"monitor.combine.{name} says {sorted(parts)}: it must say one of {sorted(COMBINATIONS)}, such as "
                "{all: [rnd, entropy]}"
            )
    return [(name, how, legs) for name, parts in settings.items() for how, legs in parts.items()]


def named(parts: Mapping[str, Part], name: str) -> Part:
    """A part by name, or an error that lists what there is."""
    if name not in parts:
        raise UnknownNameError("part of a monitor", name, parts)
    return parts[name]


def build_scores(run: Run) -> dict[str, Score | SupervisedScore]:
    """New scores of the configuration, by name."""
    return {name: build(node) for name, node in run.config["score"].items()}


def build_calibrators(run: Run) -> dict[str, Calibrator]:
    """Calibrators of the configuration, by name."""
    return {name: build(node) for name, node in run.config["calibrator"].items()}


def build_groups(run: Run) -> dict[str, Score | SupervisedScore]:
    """What tells groups apart for the calibrators that have groups, new, by the name under which it is fitted."""
    nodes = run.config["calibrator"].items()
    return {groups_of(name): build(node["groups"]) for name, node in nodes if node.get("groups")}


def uses(calibrator: Calibrator) -> frozenset[str]:
    """What a calibrator reads beside the curves of successes."""
    read: frozenset[str] = getattr(calibrator, "uses", frozenset())
    return read


def load_monitors(run: Run) -> list[AnyMonitor]:
    """The monitors that ``workbench fit`` saved for a run."""
    return load(folder_of(run), {**build_scores(run), **build_groups(run)})
