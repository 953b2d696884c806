"""How much of each fault a policy bears, and which combination of faults most likely makes it fail."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import shown
from workbench.config.named import nodes
from workbench.errors import ConfigError, UnknownNameError
from workbench.execution.executor import Executor, batches
from workbench.execution.ledger import Ledger, plain
from workbench.execution.processes import Processes
from workbench.execution.progress import bars, progress
from workbench.rollouts.launch import Launch
from workbench.rollouts.rolling import drawn
from workbench.rollouts.setup import Recording, Setup
from workbench.synthesis.axis import FaultAxis, fault_axes
from workbench.synthesis.likely_failures import Finding, find_likely_failure, sample_uniformly
from workbench.synthesis.tolerances import Search, Tolerance, Verdict, find_tolerance
from workbench.types import EPISODES_PER_SPLIT, SPLITS, Array, Perturbation, Policy, Record, Split, Task

RATES = (0.25, 0.5, 0.75)
"""Failure rates whose magnitudes stand beside a tolerance."""
POINTS_A_BATCH = 4
SETTINGS = "settings"
"""Item of a ledger of tolerances whose settings are those of all of them."""


@dataclasses.dataclass(frozen=True)
class ToleranceRow:
    """How much a policy bears of one fault along one axis.

    Attributes
    ----------
    label : of the axis, in words: ``push x``.
    node : configuration of the perturbation, without its magnitude.
    parameter : name of the magnitude, with its unit.
    verdict, interval, contradictions : as in :class:`workbench.synthesis.tolerances.Tolerance`.
    tolerance : magnitude at which success falls under one half; None where the policy never or always fails.
    confidence : with which the interval contains it.
    at : failure rate, as text, -> magnitude; None where the rate is nowhere on the axis.
    episodes, diverged : that were rolled, and of which the physics diverged.
    trials : (magnitude, failures, episodes), the mildest first.
    """

    label: str
    perturbation: str
    axis: str | None
    node: Record
    channel: str
    parameter: str
    verdict: Verdict
    tolerance: float | None
    interval: Sequence[float]
    confidence: float
    at: Mapping[str, float | None]
    episodes: int
    diverged: int
    contradictions: Sequence[Sequence[float]]
    trials: Sequence[Sequence[float]]

    @classmethod
    def of(cls, axis: FaultAxis, found: Tolerance, confidence: float, diverged: int) -> ToleranceRow:
        """The row of what a search found."""
        return cls(
            label=axis.label,
            perturbation=axis.name,
            axis=axis.axis,
            node=axis.node,
            channel=axis.channel,
            parameter=axis.parameter,
            verdict=found.verdict,
            tolerance=found.magnitude,
            interval=found.interval,
            confidence=confidence,
            at={str(rate): found.at(rate) for rate in RATES},
            episodes=found.episodes,
            diverged=diverged,
            contradictions=found.contradictions,
            trials=[dataclasses.astuple(trial) for trial in found.trials],
        )

    def record(self) -> Record:
        """Plain data: one row of the section ``tolerance`` of ``metrics.json``."""
        row: Record = plain(dataclasses.asdict(self))
        return row


@dataclasses.dataclass(frozen=True)
class LikelyFailure:
    """What one way of looking for the most likely failing combination found.

    Attributes
    ----------
    name : of the way: ``search``, or ``uniform sampling`` with as many episodes.
    axes : of the faults, in the order of their severities.
    confidence : of the interval of its failure rate.
    """

    name: str
    axes: tuple[FaultAxis, ...]
    found: Finding
    confidence: float

    def faults(self, severities: Sequence[float]) -> dict[str, Record]:
        """Label -> parameter, severity and magnitude of every fault of a combination."""
        pairs = zip(self.axes, severities, strict=True)
        return {
            axis.label: {
                "parameter": axis.parameter,
                "severity": severity,
                "magnitude": axis.scale.magnitude(severity),
            }
            for axis, severity in pairs
        }

    def record(self) -> Record:
        """Plain data: one row of the section ``joint`` of ``metrics.json``."""
        found = self.found
        return {
            "name": self.name,
            "episodes": found.episodes,
            "failed_episodes": found.failed_episodes,
            "failing_points": found.failing_points,
            "points": found.points,
            "dials": {axis.label: {"parameter": axis.parameter} for axis in self.axes},
            "combination": None if found.severities is None else self.faults(found.severities),
            "distance": found.distance,
            "failures": found.failures,
            "fresh_episodes": found.fresh_episodes,
            "interval": list(found.interval),
            "confidence": self.confidence,
            "boundary": [{"rate": rate, "faults": self.faults(severities)} for severities, rate in found.boundary],
        }


@dataclasses.dataclass(frozen=True)
class AxisSearch:
    """One search along one axis, for one worker."""

    setup: Setup
    axis: FaultAxis
    search: Search
    split: Split
    seed: int


def tolerance(
    task: Task,
    policy: Policy,
    perturbations: Iterable[Any] | Mapping[str, Any],
    *,
    axes: bool = False,
    split: Split = "select",
    batch: int = 12,
    most: int = 48,
    resolution: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
    until: str = "success",
    runner: Executor | None = None,
    ledger: Path | None = None,
) -> tuple[ToleranceRow, ...]:
    """Measure how much of every fault a policy bears: the magnitude at which its success falls under one half.

    Parameters
    ----------
    perturbations : names, or perturbations that were made by name; or name -> configuration or perturbation.
    axes : whether every axis of a fault that has several is searched, instead of directions that are drawn.
    split : of the episodes.
    batch, most, resolution, confidence : as in :class:`workbench.synthesis.tolerances.Search`.
    until : ``success`` stops an episode at success, ``deadline`` runs on.
    runner : where the episodes are rolled; they depend on it in nothing.
    ledger : file that keeps what was measured, so that an interrupted call goes on; None keeps nothing.

    Returns
    -------
    rows
        by their labels; with a ledger also those of its faults that were not asked for this time.

    Raises
    ------
    OtherSettingsError
        if the ledger holds what was measured with other settings.
    ConfigError
        if there is no fault, or one that does not suit the task or the policy.
    """
    setup = Setup(task, policy, Recording(until=until), runner or Processes())
    search = Search(batch, most, resolution, confidence)
    asked = suitable_axes(setup, nodes("perturbation", perturbations), axes, split, seed)
    settings = {**decides(setup, seed), "split": split, **dataclasses.asdict(search)}
    kept = Ledger(ledger, shown(ledger) if ledger else "")
    kept.holds(SETTINGS, settings)
    wanted = [axis for axis in asked if not kept.holds(axis.label, made_with(axis))]
    with bars("tolerances", {axis.label: 1 for axis in asked}) as advance:
        for axis in asked:
            advance(axis.label, int(axis not in wanted))
        items = [AxisSearch(setup, axis, search, split, seed) for axis in wanted]
        for place, found, diverged in setup.map_unordered(search_axis, list(enumerate(items))):
            # One by one, so that an interrupted call keeps what it has measured.
            row = ToleranceRow.of(wanted[place], found, confidence, diverged)
            kept.put(SETTINGS, settings)
            kept.put(row.label, made_with(wanted[place]), row.record())
            advance(row.label, 1)
    return tuple(ToleranceRow(**record) for key, record in kept.records().items() if key != SETTINGS)


def likely_failure(
    task: Task,
    policy: Policy,
    perturbations: Iterable[Any] | Mapping[str, Any],
    *,
    budget: int = 600,
    axes: bool = False,
    split: Split = "select",
    confidence: float = 0.95,
    seed: int = 0,
    until: str = "success",
    runner: Executor | None = None,
) -> tuple[LikelyFailure, LikelyFailure]:
    """Look for the most likely combination of faults with which a policy fails, beside uniform sampling.

    Parameters
    ----------
    perturbations : as in :func:`tolerance`.
    budget : episodes of each way of looking.
    axes, split, seed, until, runner : as in :func:`tolerance`.
    confidence : of the interval of the combination's failure rate.
    """
    if not 0 < confidence < 1 or not 0 < budget <= EPISODES_PER_SPLIT:
        raise ConfigError(
            f"job.confidence={confidence} must lie between 0 and 1, and job.budget={budget} in 1..{EPISODES_PER_SPLIT}"
        )
    setup = Setup(task, policy, Recording(until=until), runner or Processes())
    asked = tuple(suitable_axes(setup, nodes("perturbation", perturbations), axes, split, seed))
    rows = []
    for name, find in (("search", find_likely_failure), ("uniform sampling", sample_uniformly)):
        with progress(f"episodes of {name}", budget) as advance:
            fails = functools.partial(_fails, setup, asked, split, seed, advance)
            found = find(len(asked), fails, budget=budget, seed=seed, confidence=confidence)
        rows.append(LikelyFailure(name, asked, found, confidence))
    return rows[0], rows[1]


def suitable_axes(
    setup: Setup, perturbations: Mapping[str, Record | Perturbation], axes: bool, split: str, seed: int
) -> list[FaultAxis]:
    """Axes of some faults; ConfigError if there is none, or one that does not suit the task or the policy."""
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if not perturbations:
        raise ConfigError("search needs perturbations, for example perturbation=[mass,friction]")
    asked = fault_axes(perturbations, axes)
    for axis in asked:
        axis.suits(setup.task, setup.policy, seed)
    return asked


def decides(setup: Setup, seed: int) -> Record:
    """What decides how an episode ends, beside its faults."""
    config = setup.header(seed).config
    return {key: config[key] for key in ("task", "policy", "weights")} | {"seed": seed}


def made_with(axis: FaultAxis) -> Record:
    """What an item of a ledger says of an axis, so that another configuration of the same fault is named."""
    return {"perturbation": {axis.name: axis.node}}


def search_axis(numbered: tuple[int, AxisSearch]) -> tuple[int, Tolerance, int]:
    """Search one axis in this process; with its place, and how many episodes diverged."""
    place, item = numbered
    setup, diverged = item.setup, 0
    lockstep = setup.lockstep("search", setup.policy)  # without samples: one of its own

    def fails(magnitude: float, numbers: range) -> list[bool]:
        nonlocal diverged
        fault = [item.axis.at(magnitude)]
        outcomes = lockstep.outcomes([drawn(setup.task, fault, item.split, number, item.seed) for number in numbers])
        diverged += sum(outcome.diverged for outcome in outcomes)
        return [not outcome.success for outcome in outcomes]

    return place, find_tolerance(item.axis.scale, fails, **dataclasses.asdict(item.search)), diverged


def _fails(
    setup: Setup,
    axes: Sequence[FaultAxis],
    split: Split,
    seed: int,
    advance: Callable[[int], None],
    severities: Array,
    numbers: range,
) -> Array:
    failed = failures_at(setup, axes, severities, numbers, split=split, seed=seed)
    advance(failed.size)
    return failed


def failures_at(
    setup: Setup, axes: Sequence[FaultAxis], severities: Array, numbers: range, *, split: Split, seed: int
) -> Array:
    """(P, E) bool, whether each of E episodes fails at each of P combinations of faults.

    Parameters
    ----------
    severities : (P, axes).
    numbers : of the episodes in their split, the same ones at every point.
    """
    points = []
    for point in severities.tolist():
        pairs = zip(axes, point, strict=True)
        faults = [axis.at(axis.scale.magnitude(severity)) for axis, severity in pairs]
        points.append([drawn(setup.task, faults, split, number, seed) for number in numbers])
    items = [
        (place, setup, [launch for launches in part for launch in launches])
        for place, part in enumerate(batches(points, POINTS_A_BATCH))
    ]
    answers = dict(setup.map_unordered(failed_launches, items))
    flat = [failed for place in range(len(items)) for failed in answers[place]]
    return np.array(flat, dtype=bool).reshape(len(points), len(numbers))


def failed_launches(item: tuple[int, Setup, Sequence[Launch]]) -> tuple[int, list[bool]]:
    """Whether each launch fails, rolled in this process; with the item's place, as workers finish in any order."""
    place, setup, launches = item
    outcomes = setup.lockstep("search", setup.policy).outcomes(launches)
    return place, [not outcome.success for outcome in outcomes]
