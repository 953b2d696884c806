"""One episode in pictures: a film strip, or a film."""

from __future__ import annotations

from workbench.config import Run
from workbench.errors import UnknownNameError
from workbench.execution.progress import console
from workbench.monitoring.files import load_monitors
from workbench.store import Store
from workbench.viewing.film import KINDS, film
from workbench.viewing.strip import film_strip

STRIP = "strip"


def run(run: Run, episode: str | int, kind: str, camera: str, width_px: int, monitor: str | None) -> None:
    """Write ``runs/<name>/pictures/<uid>.png`` (or ``.gif``, ``.mp4``)."""
    run.refuse_other_store()
    if kind not in (STRIP, *KINDS):
        raise UnknownNameError("job.kind", kind, (STRIP, *KINDS))
    store, folder = Store.open(run.store, aborted=True), run.folder / "pictures"
    if kind == STRIP:
        strip = film_strip(store, episode, run.task, camera=camera, width_px=width_px)
        path = strip.save(folder / f"{strip.uid.replace(':', '-')}.png")
    else:
        judge = load_monitors(run)[monitor] if monitor is not None else None
        path = film(store, episode, run.task, judge, into=folder, kind=kind, camera=camera, width_px=width_px)
    console.print(f"pictures: {run.shown(path)}")
