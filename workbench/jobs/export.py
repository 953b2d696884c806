"""The rollouts as a data set in somebody else's format, failure columns included."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib import resources

from workbench.config import Run, resolve
from workbench.errors import StoreError, UnknownNameError
from workbench.execution.progress import console, progress
from workbench.store import Store
from workbench.types import Episode


def run(run: Run, format: str) -> None:
    """Write ``datasets/exports/<store>-<format>/``; an existing one is refused unless ``overwrite=true``."""
    known = [file.name.removesuffix(".py") for file in resources.files("workbench.formats").iterdir()]
    if format not in known or format.startswith("_"):
        raise UnknownNameError("format", format, [name for name in known if not name.startswith("_")])
    run.refuse_other_store()
    store = Store.open(run.store)
    folder = run.root / "datasets" / "exports" / f"{run.config['store']}-{format}"
    if folder.exists():
        if not run.overwrite:
            raise StoreError(f"{run.shown(folder)} exists; overwrite=true replaces it, or move it away")
        shutil.rmtree(folder)
    with progress("export", len(store)) as advance:

        def episodes() -> Iterator[Episode]:
            for number in range(len(store)):
                yield store.episode(number, calls=())
                advance(1)

        resolve(f"workbench.formats.{format}.export")(episodes(), folder, fps=store.header.control_hz)
    run.update_metrics(export=run.shown(folder))
    console.print(f"export: {run.shown(folder)}")
