"""Scores fitted on one split, monitors calibrated on another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from workbench.config import Run, build
from workbench.errors import CalibrationError, UnknownNameError
from workbench.monitor import And, Monitor, Window, calibrate, curves, fit_score, load, save
from workbench.progress import console, progress
from workbench.store import Store
from workbench.types import EpisodeCalls, Record, Score, Split

Part = TypeVar("Part")
WINDOW = "workbench.detectors.window.Window"


def run(run: Run) -> None:
    """Fit every score on the nominal successes of the fit split and calibrate on those of the calibrate split."""
    run.refuse_other_store()
    if folder_of(run).exists() and not run.overwrite:
        raise CalibrationError(
            f"{run.shown(folder_of(run))} holds monitors; overwrite=true fits them anew, "
            f"name=... store={run.config['store']} keeps both"
        )
    store = Store.open(run.store)
    fitting = nominal_successes(store, "fit")
    if not fitting:
        raise CalibrationError(
            f"{run.shown(run.store)} has no nominal success in the fit split; roll some with: "
            f"workbench rollout name={run.name} job.episodes.fit=80 job.episodes.calibrate=100"
        )
    calibrating = nominal_successes(store, "calibrate")
    monitors = make_monitors(run, fitting, calibrating)
    save(folder_of(run), monitors)
    for monitor in monitors:
        if monitor.reason:
            console.print(f"{monitor.name} has no threshold: {monitor.reason}")
    console.print(
        f"{len(monitors)} monitors: fitted on {len(fitting)}, calibrated on {len(calibrating)} successful nominal "
        f"episodes at level {run.config['monitor']['level']}: {run.shown(folder_of(run))}"
    )


def folder_of(run: Run) -> Path:
    """Where a run keeps its monitors."""
    return run.folder / "monitors"


def nominal_successes(store: Store, split: Split) -> list[EpisodeCalls]:
    """Policy calls of the successful unperturbed episodes of a split."""
    rows = store.episodes
    chosen = [
        number
        for number in range(len(store))
        if rows["split"][number] == split and rows["perturbation"][number] == "" and rows["success"][number]
    ]
    return [store.calls(number) for number in chosen]


def make_monitors(
    run: Run, fitting: Sequence[EpisodeCalls], calibrating: Sequence[EpisodeCalls]
) -> list[Monitor | And]:
    """Every score with every calibrator, the pairs, and the baselines; named ``<score>+<calibrator>``."""
    settings = run.config["monitor"]
    fitted, raw = {}, {}
    with progress("scores", len(run.config["score"])) as advance:
        for name, score in build_scores(run).items():
            fitted[name] = fit_score(name, score, fitting, run.seed)
            raw[name] = curves(fitted[name], calibrating)
            advance(1)
    baselines: Record = settings["baselines"]
    rules = {name: build(node) for name, node in run.config["calibrator"].items()}

    def one(score: str, rule: str, window: Window) -> Monitor:
        return calibrate(
            f"{score}+{rule}",
            named(fitted, score),
            window,
            named(rules, rule),
            calibrating,
            settings["level"],
            raw[score],
        )

    shared = window(settings["window"], settings["width"])
    ordinary = [name for name in fitted if name not in baselines]
    usual = [rule for rule in rules if rule not in baselines.values() or rule == "split_conformal"]
    alone = {m.name: m for m in (one(score, rule, shared) for score in ordinary for rule in usual)}
    pairs = [
        And(f"{name}+{rule}", tuple(named(alone, f"{leg}+{rule}") for leg in legs))
        for name, legs in settings["both"].items()
        for rule in usual
        if set(legs) <= set(ordinary)
    ]
    references = [one(score, rule, window("last", 1)) for score, rule in baselines.items() if score in fitted]
    return [*alone.values(), *pairs, *references]


def named(parts: dict[str, Part], name: str) -> Part:
    """A part by name, or an error that lists what there is."""
    if name not in parts:
        raise UnknownNameError("part of a monitor", name, parts)
    return parts[name]


def build_scores(run: Run) -> dict[str, Score]:
    """New scores of the configuration, by name."""
    return {name: build(node) for name, node in run.config["score"].items()}


def window(kind: str, width: int) -> Window:
    """A window from its kind and width."""
    made: Window = build({"_target_": WINDOW, "kind": kind, "width": width})
    return made


def load_monitors(run: Run) -> list[Monitor | And]:
    """The monitors that ``workbench fit`` saved for a run."""
    return load(folder_of(run), build_scores(run), window)
