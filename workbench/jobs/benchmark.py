"""Every monitor, judged on the test split: those that were fitted, or all that there are, compared by a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.benchmarking.comparison import Asked, compare
from workbench.benchmarking.figures import monitor_row
from workbench.benchmarking.judged import JudgedEpisode, elapsed
from workbench.config import Run
from workbench.errors import ConfigError, StoreError
from workbench.execution.progress import console, progress
from workbench.jobs.fit import load_monitors
from workbench.monitoring.monitor import AnyMonitor, Reading, needs_of, scores_of
from workbench.monitoring.reading import read
from workbench.monitoring.scoring import curves
from workbench.reporting.leaderboard import terminal, write
from workbench.reporting.report import terminal_tables
from workbench.store import Store
from workbench.types import Array, Record


def run(
    run: Run,
    stores: Sequence[str],
    seeds: Sequence[int],
    windows: Sequence[Sequence[Any]],
    pairs: Sequence[Sequence[str]],
    resamples: int,
) -> None:
    """Judge the run's own monitors; with a protocol, fit and compare every score on the stores that are named."""
    if run.config["protocol"] is None:
        judge_own(run)
        return
    paths = [run.root / "datasets" / f"{name}.zarr" for name in stores] or [run.store]
    asked = Asked(
        run=run,
        stores=tuple(paths),
        seeds=tuple(seeds),
        windows=tuple(tuples("job.windows", windows, "[mean, 4]", 2)),
        pairs=tuple(tuples("job.pairs", pairs, "[viability, rnd, matched_auroc@0.5]", 3)),
        resamples=resamples,
    )
    leaderboard = compare(asked)
    page = write(leaderboard, run.folder)
    console.print(*terminal(leaderboard))
    console.print(f"leaderboard: {run.shown(page)}")


def tuples(key: str, given: Sequence[Sequence[Any]], example: str, size: int) -> list[tuple[Any, ...]]:
    """Lists of so many parts each, as tuples; ConfigError for others."""
    for each in given:
        if isinstance(each, str) or len(each) != size:
            raise ConfigError(f"{key} has {each}, where each must have {size} parts, such as {example}")
    return [tuple(each) for each in given]


def judge_own(run: Run) -> None:
    """Write the ``monitors`` section of ``metrics.json``."""
    run.refuse_other_store()
    store = Store.open(run.store)
    monitors = load_monitors(run)
    numbers = [number for number in range(len(store)) if store.episodes["split"][number] == "test"]
    if not numbers:
        raise StoreError(
            f"{run.shown(run.store)} has no episode in the test split; roll some with job.episodes.test=20"
        )
    scores = scores_of(monitors)
    steps: list[Array] = []
    raw: dict[str, list[Array]] = {name: [] for name in scores}
    with progress("benchmark", len(numbers)) as advance:
        for first in range(0, len(numbers), 50):
            calls = [store.calls(number, needs_of(monitors)) for number in numbers[first : first + 50]]
            steps += [episode.step for episode in calls]
            for name, score in scores.items():
                raw[name] += curves(score, calls)
            advance(len(calls))
    readings = read(monitors, raw, [bool(store.episodes["success"][number]) for number in numbers])
    run.update_metrics(
        monitors=[
            row(monitor, [judged(store, *each) for each in zip(numbers, steps, readings[monitor.name], strict=True)])
            for monitor in monitors
        ]
    )
    console.print(*terminal_tables(run.metrics(), only=("monitors",)))


def judged(store: Store, number: int, step: Array, reading: Reading) -> JudgedEpisode:
    """One episode as a monitor saw it, with what the simulator knows."""
    record = {name: column[number] for name, column in store.episodes.items()}
    return JudgedEpisode(
        margin=reading.margin,
        step=step,
        length=int(record["length"]),
        success=bool(record["success"]),
        perturbed=record["perturbation"] != "",
        t_on=int(record["t_on"]),
        t_pnr=int(record["t_pnr"]),
        deadline=store.header.deadline,
    )


def row(monitor: AnyMonitor, episodes: Sequence[JudgedEpisode]) -> Record:
    """One row of the table."""
    score, _, calibrator = monitor.name.partition("+")
    first = monitor.leaves()[0].window
    return monitor_row(
        episodes,
        score=score,
        window=f"{first.kind} {first.width}",
        calibrator=calibrator,
        level=monitor.level,
        threshold_episodes=monitor.threshold_episodes,
        guarantee=monitor.guarantee,
        ranked=[elapsed(episode) for episode in episodes] if score == "elapsed" else None,
    )
