"""Every monitor, judged on the test split: those that were fitted, or all that there are, compared by a protocol."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.errors import StoreError
from workbench.jobs.fit import load_monitors
from workbench.judging import JudgedEpisode, elapsed, monitor_row
from workbench.leaderboard import terminal, write
from workbench.monitor import AnyMonitor, Reading, needs_of, offline
from workbench.progress import console, progress
from workbench.report import terminal_tables
from workbench.store import Store
from workbench.table import Asked, compare
from workbench.types import EpisodeCalls, Record


def run(
    run: Run,
    stores: Sequence[str],
    seeds: Sequence[int],
    windows: Sequence[tuple[str, int]],
    pairs: Sequence[tuple[str, str, str]],
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
        windows=tuple((str(kind), int(width)) for kind, width in windows),
        pairs=tuple((str(first), str(second), str(metric)) for first, second, metric in pairs),
        resamples=resamples,
    )
    leaderboard = compare(asked)
    page = write(leaderboard, run.folder)
    console.print(*terminal(leaderboard))
    console.print(f"leaderboard: {run.shown(page)}")


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
    rows: dict[str, list[JudgedEpisode]] = {monitor.name: [] for monitor in monitors}
    with progress("benchmark", len(numbers)) as advance:
        for first in range(0, len(numbers), 50):
            part = numbers[first : first + 50]
            calls = [store.calls(number, needs_of(monitors)) for number in part]
            for name, readings in offline(monitors, calls).items():
                rows[name] += [judged(store, *each) for each in zip(part, calls, readings, strict=True)]
            advance(len(part))
    run.update_metrics(monitors=[row(monitor, rows[monitor.name]) for monitor in monitors])
    console.print(*terminal_tables(run.metrics(), only=("monitors",)))


def judged(store: Store, number: int, calls: EpisodeCalls, reading: Reading) -> JudgedEpisode:
    """One episode as a monitor saw it, with what the simulator knows."""
    record = {name: column[number] for name, column in store.episodes.items()}
    return JudgedEpisode(
        margin=reading.margin,
        step=calls.step,
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
