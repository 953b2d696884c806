"""A package for a part of your own."""

from __future__ import annotations

from workbench.config import Run
from workbench.execution.progress import console
from workbench.testing.new import KINDS, new_part


def run(run: Run, kind: str, name: str, folder: str | None) -> None:
    """Write the package, and say what to do with it."""
    written = new_part(kind, name, run.root / (folder or name))
    for path in written:
        console.print(run.shown(path))
    root = next(path for path in written if path.parent.name == "tests").parent.parent
    console.print(f"now: pip install -e {run.shown(root)}; then: {KINDS[kind].format(name)}")
