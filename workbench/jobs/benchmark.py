"""Every monitor, judged on the test split: those that were fitted, or all that there are, compared by a protocol."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarking.comparison import leaderboard
from workbench.benchmarking.own import benchmark
from workbench.benchmarking.question import Pairs, Seeds, Windows
from workbench.config import Run, command_asked
from workbench.execution.progress import console
from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.files import load_monitors
from workbench.reporting.leaderboard import terminal, write
from workbench.reporting.report import terminal_tables
from workbench.store import Store
from workbench.types import Positive


def run(run: Run, stores: Sequence[str], seeds: Seeds, windows: Windows, pairs: Pairs, resamples: Positive) -> None:
    """Judge the run's own monitors; with a protocol, fit and compare every score on the stores that are named."""
    scores, calibrators, protocol = (run.config[key] for key in ("score", "calibrator", "protocol"))
    if protocol is None:
        judge_own(run)
        return
    paths = [run.root / "datasets" / f"{name}.zarr" for name in stores] or [run.store]
    board = leaderboard(
        paths,
        scores,
        calibrators,
        protocol=protocol,
        settings=MonitorSettings(**run.config["monitor"]),
        seed=run.seed,
        seeds=seeds,
        windows=windows,
        pairs=pairs,
        resamples=resamples,
        runner=run.runner,
        root=run.root,
        command=command_asked().get("benchmark", "workbench benchmark"),
    )
    page = write(board.record(), run.folder)
    console.print(*terminal(board.record()))
    say_diverged(board.diverged)
    console.print(f"leaderboard: {run.shown(page)}")


def judge_own(run: Run) -> None:
    """Write the ``monitors`` section of ``metrics.json``."""
    run.refuse_other_store()
    judged = benchmark(Store.open(run.store), load_monitors(run))
    run.update_metrics(monitors=judged.record(), store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=("monitors",)))
    say_diverged(judged.diverged)


def say_diverged(episodes: int) -> None:
    """One line where any were left out."""
    if episodes:
        console.print(f"left out: {episodes} episodes whose physics diverged")
