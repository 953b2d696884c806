"""One episode as a Rerun recording."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.execution.progress import console
from workbench.monitoring.files import folder_of, load_monitors
from workbench.store import Store
from workbench.viewing.recording import view


def run(run: Run, episode: str | int, monitors: Sequence[str]) -> None:
    """Write ``runs/<name>/recordings/<uid>.rrd``, with the named monitors if the run has any yet."""
    run.refuse_other_store()
    store = Store.open(run.store, aborted=True)
    known = load_monitors(run) if folder_of(run).exists() else None
    shown = [known[name] for name in monitors] if known is not None else []
    recording = view(store, episode, run.task, shown, into=run.folder / "recordings")
    path = run.shown(recording.path)
    run.update_metrics(recording=path, example=recording.example.record(), store=run.shown(run.store))
    console.print(f"recording: {path}   (open it with: rerun {path})")
