"""One episode as a Rerun recording, or a strategy beside the placebo from its alarm."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.errors import ConfigError
from workbench.execution.progress import console
from workbench.monitoring.files import folder_of, load_monitors
from workbench.rollouts.shielding import shields_of
from workbench.store import Store
from workbench.viewing.beside import view_beside
from workbench.viewing.recording import view


def run(run: Run, episode: str | int, monitors: Sequence[str], strategy: str | None, horizon: float) -> None:
    """Write ``runs/<name>/recordings/<uid>.rrd``, with the named monitors if the run has any yet."""
    run.refuse_other_store()
    folder = run.folder / "recordings"
    if strategy is not None:
        _beside(run, episode, monitors, strategy, horizon)
        return
    store = Store.open(run.store, aborted=True)
    known = load_monitors(run) if folder_of(run).exists() else None
    shown = [known[name] for name in monitors] if known is not None else []
    recording = view(store, episode, run.task, shown, into=folder)
    path = run.shown(recording.path)
    run.update_metrics(recording=path, example=recording.example.record(), store=run.shown(run.store))
    console.print(f"recording: {path}   (open it with: rerun {path})")


def _beside(run: Run, episode: str | int, monitors: Sequence[str], strategy: str, horizon: float) -> None:
    """The strategy behind the first alarm of the first monitor."""
    if not monitors:
        raise ConfigError("a strategy acts on a monitor's first alarm; name one: job.monitors=[rnd+split_conformal]")
    found = view_beside(
        Store.open(run.store),
        episode,
        run.task,
        run.policy(),
        load_monitors(run)[monitors[0]],
        {strategy: run.config["strategy"].get(strategy, strategy)},
        into=run.folder / "recordings",
        horizon=horizon,
        head=run.folder / "head",
        shields=shields_of(run),
    )
    path = run.shown(found.path)
    console.print(found.words)
    console.print(f"recording: {path}   (open it with: rerun {path})")
