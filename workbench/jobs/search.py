"""How much of each fault the policy bears, and which combination of faults most likely makes it fail."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import Run, resolve, write_text
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.processes import spread
from workbench.execution.progress import bars, console, progress
from workbench.reporting.report import terminal_tables
from workbench.rollouts.launch import Launch
from workbench.rollouts.worker import crew, weights_digest
from workbench.synthesis.axis import Dial, dials
from workbench.synthesis.likely_failure import Finding, find_likely_failure, sample_uniformly
from workbench.synthesis.tolerance import find_tolerance
from workbench.types import SPLITS, Array, Perturbation, Record, Split, Stream, episode_index

RATES = (0.25, 0.5, 0.75)
"""Failure rates whose magnitudes stand beside a tolerance; severities are named after them."""
POINTS_A_BATCH = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """How tolerances are measured; see :func:`workbench.synthesis.tolerance.find_tolerance`."""

    split: Split
    batch: int
    most: int
    resolution: float
    confidence: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """One tolerance for one worker."""

    run: Run
    dial: Dial
    settings: Settings


@dataclasses.dataclass(frozen=True)
class Points:
    """Combinations of severities for one worker."""

    run: Run
    dials: list[Dial]
    split: Split
    severities: list[list[float]]
    numbers: range


def run(
    run: Run,
    jointly: bool,
    budget: int,
    axes: bool,
    split: Split,
    batch: int,
    most: int,
    resolution: float,
    confidence: float,
) -> None:
    """Measure the tolerance of every perturbation, or with ``jointly`` look for their likely failing combination."""
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if not run.config["perturbation"]:
        raise ConfigError("search needs perturbations, for example perturbation=[mass,friction]")
    turned = dials(run.config["perturbation"], axes)
    run.policy()  # a missing or foreign checkpoint is refused here, once, and not in every worker
    for dial in turned:
        dial.at(dial.scale.low).draw(
            Stream(run.seed, episode_index(split, 0)), run.task
        )  # so is a fault of other tasks
    if jointly:
        search_jointly(run, turned, split, budget, confidence)
    else:
        search_each(run, turned, Settings(split, batch, most, resolution, confidence))


def search_each(run: Run, turned: Sequence[Dial], settings: Settings) -> None:
    """The tolerance of every dial; those that ``tolerance.json`` holds already are kept."""
    ledger = Ledger(run, settings)
    wanted = [dial for dial in turned if not ledger.holds(dial)]
    with bars("tolerances", {dial.label: 1 for dial in turned}) as advance:
        for dial in turned:
            advance(dial.label, int(dial not in wanted))
        for row in spread(search_cell, [Cell(run, dial, settings) for dial in wanted], run.config["runner"]):
            # Cell by cell, so that an interrupted job keeps what it has measured.
            ledger.add(row)
            advance(row["label"], 1)
    run.update_metrics(tolerance=ledger.rows)
    console.print(*terminal_tables(run.metrics(), only=("tolerance",)))
    console.print(f"all trials: {run.shown(ledger.path)}")


def search_cell(cell: Cell) -> Record:
    """Search one tolerance in this process."""
    run, dial, settings = cell.run, cell.dial, cell.settings
    diverged = 0

    def fails(magnitude: float, numbers: range) -> list[bool]:
        nonlocal diverged
        outcomes = roll(run, [dial.at(magnitude)], settings.split, numbers)
        diverged += sum(outcome.diverged for outcome in outcomes)
        return [not outcome.success for outcome in outcomes]

    limits = {key: value for key, value in dataclasses.asdict(settings).items() if key != "split"}
    found = find_tolerance(dial.scale, fails, **limits)
    return {
        "label": dial.label,
        "perturbation": dial.name,
        "axis": dial.axis,
        "node": dial.node,
        "channel": resolve(dial.node["_target_"]).channel,
        "parameter": dial.parameter,
        "verdict": found.verdict,
        "tolerance": found.magnitude,
        "interval": list(found.interval),
        "confidence": settings.confidence,
        "at": {str(rate): found.at(rate) for rate in RATES},
        "episodes": found.episodes,
        "diverged": diverged,
        "contradictions": [list(pair) for pair in found.contradictions],
        "trials": [[trial.magnitude, trial.failures, trial.episodes] for trial in found.trials],
    }


def roll(run: Run, faults: Sequence[Perturbation], split: Split, numbers: range) -> list[Any]:
    """How the episodes with these numbers end under these faults."""
    mine = crew(run)
    streams = [Stream(run.seed, episode_index(split, number)) for number in numbers]
    launches = [Launch(stream, tuple(fault.draw(stream, run.task) for fault in faults)) for stream in streams]
    return mine.lockstep("search", mine.policy).outcomes(launches)


class Ledger:
    """``runs/<name>/tolerance.json``: finished cells, and the settings with which all of them were measured."""

    def __init__(self, run: Run, settings: Settings) -> None:
        self.path: Path = run.folder / "tolerance.json"
        self.settings = {**measured_with(run), **dataclasses.asdict(settings)}
        self.shown = run.shown(self.path)
        self.rows: list[Record] = []
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            self.rows, before = kept["cells"], kept["settings"]
        except (json.JSONDecodeError, KeyError) as error:
            raise StoreError(f"{self.shown} is damaged ({error}); move it away and run the job again") from None
        changed = [key for key, value in self.settings.items() if before.get(key) != value]
        if changed:
            self._refuse(" and ".join(changed))

    def _refuse(self, changed: str) -> None:
        raise StoreError(f"{self.shown} was measured with another {changed}; choose another name=... or move it away")

    def holds(self, dial: Dial) -> bool:
        """Whether a cell is finished; refuses one of the same name that was configured otherwise."""
        for row in self.rows:
            if (row["perturbation"], row["axis"]) == (dial.name, dial.axis):
                if row["node"] != dial.node:
                    self._refuse(f"perturbation.{dial.name}")
                return True
        return False

    def add(self, row: Record) -> None:
        """Keep a finished cell."""
        # By name, not in the order in which workers finish.
        self.rows = sorted([*self.rows, row], key=lambda one: (one["perturbation"], one["axis"] or ""))
        write_text(self.path, json.dumps({"settings": self.settings, "cells": self.rows}, indent=1))


def measured_with(run: Run) -> Record:
    """What decides how an episode ends, beside its faults."""
    kept = {key: run.config[key] for key in ("task", "policy", "seed")}
    return {**kept, "weights": weights_digest(run.checkpoint)}


def search_jointly(run: Run, turned: Sequence[Dial], split: Split, budget: int, confidence: float) -> None:
    """The most likely failing combination of the dials, beside what uniform sampling finds with the same budget."""
    rows = []
    for name, find in (("search", find_likely_failure), ("uniform sampling", sample_uniformly)):
        with progress(name, budget) as advance:

            def fails(severities: Array, numbers: range, advance: Any = advance) -> Array:
                failed = roll_points(run, turned, split, severities, numbers)
                advance(failed.size)
                return failed

            found = find(len(turned), fails, budget=budget, seed=run.seed, confidence=confidence)
        rows.append(finding_row(name, found, turned, confidence))
    run.update_metrics(joint=rows)
    console.print(*terminal_tables(run.metrics(), only=("joint",)))


def roll_points(run: Run, turned: Sequence[Dial], split: Split, severities: Array, numbers: range) -> Array:
    """(P, E) bool, whether each episode fails at each of the points (P, dials)."""
    points = severities.tolist()
    parts = [points[first : first + POINTS_A_BATCH] for first in range(0, len(points), POINTS_A_BATCH)]
    items = [(place, Points(run, list(turned), split, part, numbers)) for place, part in enumerate(parts)]
    answers = dict(spread(roll_part, items, run.config["runner"]))
    return np.concatenate([answers[place] for place in range(len(parts))])


def roll_part(item: tuple[int, Points]) -> tuple[int, Array]:
    """Roll some points in this process; comes back with its place, as workers finish in any order."""
    place, points = item
    run, failed = points.run, []
    for severities in points.severities:
        pairs = zip(points.dials, severities, strict=True)
        faults = [dial.at(dial.scale.magnitude(severity)) for dial, severity in pairs]
        failed.append([not outcome.success for outcome in roll(run, faults, points.split, points.numbers)])
    return place, np.array(failed, bool)


def finding_row(name: str, found: Finding, turned: Sequence[Dial], confidence: float) -> Record:
    """What one way of looking found, as plain data."""

    def told(severities: Sequence[float]) -> dict[str, Record]:
        return {
            dial.label: {
                "parameter": dial.parameter,
                "severity": severity,
                "magnitude": dial.scale.magnitude(severity),
            }
            for dial, severity in zip(turned, severities, strict=True)
        }

    return {
        "name": name,
        "episodes": found.episodes,
        "failed_episodes": found.failed_episodes,
        "failing_points": found.failing_points,
        "points": found.points,
        "dials": {dial.label: {"parameter": dial.parameter} for dial in turned},
        "combination": None if found.severities is None else told(found.severities),
        "distance": found.distance,
        "failures": found.failures,
        "fresh_episodes": found.fresh_episodes,
        "interval": list(found.interval),
        "confidence": confidence,
        "boundary": [{"rate": rate, "faults": told(severities)} for severities, rate in found.boundary],
    }
