"""One episode as a Rerun recording."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run
from workbench.errors import UnknownNameError
from workbench.execution.progress import console
from workbench.monitoring.files import folder_of, load_monitors
from workbench.monitoring.monitor import AnyMonitor
from workbench.store import Store
from workbench.viewing.recording import view


def run(run: Run, episode: str | int, monitors: Sequence[str]) -> None:
    """Write ``runs/<name>/recordings/<uid>.rrd``."""
    run.refuse_other_store()
    store = Store.open(run.store, aborted=True)
    recording = view(store, episode, run.task, chosen_monitors(run, monitors), into=run.folder / "recordings")
    shown = run.shown(recording.path)
    run.update_metrics(recording=shown, example=recording.example.record())
    console.print(f"recording: {shown}   (open it with: rerun {shown})")


def chosen_monitors(run: Run, names: Sequence[str]) -> list[AnyMonitor]:
    """The named monitors; none if the run has none yet."""
    if not folder_of(run).exists():
        return []
    known = {monitor.name: monitor for monitor in load_monitors(run)}
    for name in names:
        if name not in known:
            raise UnknownNameError("monitor", name, known)
    return [known[name] for name in names]
