"""A run's own monitors, judged on the test split of its store."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypedDict

from workbench.benchmarking.auditing import same_faults, verdict_of
from workbench.benchmarking.columns import FRACTIONS
from workbench.benchmarking.figures import decisions, figure
from workbench.benchmarking.judged import JudgedEpisode, elapsed, judged_episode
from workbench.errors import StoreError
from workbench.execution.progress import progress
from workbench.monitoring.episodes import diverged, sound
from workbench.monitoring.monitor import AnyMonitor, needs_of, scores_of
from workbench.monitoring.promises import Verdict
from workbench.monitoring.reading import read
from workbench.monitoring.scoring import curves
from workbench.stats.proportions import Proportion, proportion
from workbench.store import Store
from workbench.types import Array, Record
from workbench.types.results import Tabular

TOGETHER = 50
"""Episodes whose calls are held in memory at a time."""
CLOCK = "elapsed"
"""The baseline that knows nothing but how long an episode has lasted.

It is ranked by time itself, which is known at every control step and not at calls alone.
"""


class Delay(TypedDict):
    """Median delay in control steps, and the failures that it is of."""

    median: float | None
    episodes: int


@dataclasses.dataclass(frozen=True)
class BenchmarkRow:
    """Everything about one monitor on the test split.

    Attributes
    ----------
    score, calibrator : of what it is made, as its name says.
    window : such as "mean 2".
    level : nominal false-alarm rate.
    auroc, matched_auroc : fraction of the deadline, such as "0.5" -> AUROC; see
        :func:`workbench.benchmarking.figures.ranking`.
    tpr, tpr_ci95, failures : share of the failures with an alarm, its exact 95 % interval, and how many they are.
    fpr_nominal, fpr_perturbed_success : alarms in successes without and with a fault.
    twa, detection_time, actionable_recall, delay_to_onset_steps : see
        :func:`workbench.benchmarking.figures.decisions`.
    threshold_episodes : calibration episodes behind the threshold.
    guarantee : what is promised, in one sentence.
    audit : how that fared; None where nothing is promised, or no law of it is known.
    """

    score: str
    window: str
    calibrator: str
    level: float
    auroc: Mapping[str, float | None]
    matched_auroc: Mapping[str, float | None]
    tpr: float | None
    tpr_ci95: list[float]
    failures: int
    fpr_nominal: Proportion
    fpr_perturbed_success: Proportion
    twa: float | None
    detection_time: float | None
    actionable_recall: Proportion
    delay_to_onset_steps: Delay
    threshold_episodes: int
    guarantee: str
    audit: Verdict | None

    def record(self) -> Record:
        """As plain data, for ``metrics.json``."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Benchmark(Tabular):
    """Monitors on the test split of a store.

    Attributes
    ----------
    rows : one of each monitor.
    episodes : that were judged.
    diverged : that were left out because their physics diverged.
    """

    rows: tuple[BenchmarkRow, ...]
    episodes: int
    diverged: int

    def rows_of_table(self) -> list[Record]:
        """One row a monitor."""
        return self.record()

    def record(self) -> list[Record]:
        """As plain data: the section ``monitors`` of ``metrics.json``."""
        return [row.record() for row in self.rows]


def benchmark(store: Store, monitors: Mapping[str, AnyMonitor]) -> Benchmark:
    """Judge monitors on the test split of a store; episodes whose physics diverged are left out.

    Raises
    ------
    StoreError
        if the test split is empty.
    """
    numbers, judged = sound(store, "test"), judged_by(store, monitors)
    seen = same_faults(_failed(store, sound(store, "calibrate")), _failed(store, numbers))
    rows = tuple(benchmark_row(monitor, judged[monitor.name], seen) for monitor in monitors.values())
    return Benchmark(rows, len(numbers), diverged(store, "test"))


def judged_by(store: Store, monitors: Mapping[str, AnyMonitor]) -> dict[str, list[JudgedEpisode]]:
    """Name of a monitor -> the episodes of the test split as it saw them; StoreError if there are none."""
    numbers, judges = sound(store, "test"), list(monitors.values())
    if not numbers:
        raise StoreError(f"{store.path} has no episode in the test split; roll some with job.episodes.test=20")
    steps, raw = _scored(store, numbers, judges)
    readings = read(judges, raw, [bool(store.episodes["success"][number]) for number in numbers])

    def judged(monitor: AnyMonitor) -> list[JudgedEpisode]:
        told = next((raw[leaf.groups.name] for leaf in monitor.leaves() if leaf.groups), None)
        groups = [int(each[0]) for each in told] if told else [-1] * len(numbers)
        said = zip(numbers, steps, readings[monitor.name], groups, strict=True)
        return [judged_episode(store, number, reading.margin, step, group) for number, step, reading, group in said]

    return {monitor.name: judged(monitor) for monitor in judges}


def _failed(store: Store, numbers: Sequence[int]) -> set[str]:
    """Faults of the failures among some episodes."""
    rows = store.episodes
    return {str(rows["perturbation"][number]) for number in numbers if not rows["success"][number]}


def _scored(
    store: Store, numbers: Sequence[int], monitors: Sequence[AnyMonitor]
) -> tuple[list[Array], dict[str, list[Array]]]:
    """Control steps (C_i,) of the calls of some episodes, and their raw scores by every score of the monitors."""
    scores, needs = scores_of(monitors), needs_of(monitors)
    steps: list[Array] = []
    raw: dict[str, list[Array]] = {name: [] for name in scores}
    with progress("episodes", len(numbers)) as advance:
        for first in range(0, len(numbers), TOGETHER):
            calls = [store.calls(number, needs) for number in numbers[first : first + TOGETHER]]
            steps += [episode.step for episode in calls]
            for name, score in scores.items():
                raw[name] += curves(score, calls)
            advance(len(calls))
    return steps, raw


def benchmark_row(monitor: AnyMonitor, episodes: Sequence[JudgedEpisode], seen: bool = True) -> BenchmarkRow:
    """The row of a monitor, of the episodes as it saw them; ``seen`` as in :func:`verdict_of`."""
    score, _, calibrator = monitor.name.partition("+")
    successes = [e for e in episodes if e.success]
    tpr = alarm_rate([e for e in episodes if not e.success])
    found = decisions({0: episodes}, resamples=0)
    recall, delay = found["actionable_recall"], found["delay_to_onset_steps"]
    ranked = {0: [elapsed(episode) for episode in episodes] if score == CLOCK else episodes}
    auroc, matched = (
        {str(f): figure(ranked, f"{kind}@{f:g}", resamples=0)["value"] for f in FRACTIONS}
        for kind in ("auroc", "matched_auroc")
    )
    return BenchmarkRow(
        score=score,
        window=str(monitor.leaves()[0].window),
        calibrator=calibrator,
        level=monitor.level,
        auroc=auroc,
        matched_auroc=matched,
        tpr=tpr["rate"],
        tpr_ci95=tpr["ci95"],
        failures=tpr["episodes"],
        fpr_nominal=alarm_rate([e for e in successes if not e.perturbed]),
        fpr_perturbed_success=alarm_rate([e for e in successes if e.perturbed]),
        twa=found["twa"]["value"],
        detection_time=found["detection_time"]["value"],
        actionable_recall=proportion(round((recall["value"] or 0) * recall["n"]), recall["n"]),
        delay_to_onset_steps={"median": delay["value"], "episodes": delay["n"]},
        threshold_episodes=monitor.threshold_episodes,
        guarantee=monitor.guarantee,
        audit=verdict_of(monitor, episodes, seen),
    )


def alarm_rate(episodes: Sequence[JudgedEpisode]) -> Proportion:
    """How many of some episodes have an alarm."""
    return proportion(sum(episode.alarm_step >= 0 for episode in episodes), len(episodes))
