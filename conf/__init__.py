"""Hydra configuration groups, named by noun; and what is read of them where nothing else may be imported yet."""

from __future__ import annotations

from pathlib import Path

OURS = Path(__file__).parent
GROUP = "workbench.parts"
"""Entry point group of packages that have yaml files as well."""
LOCAL = "local"
"""Group of the user's own yaml files."""


def described(folder: Path) -> dict[str, str]:
    """Name of every yaml file of a folder -> what its first line says of it."""
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        found[file.stem] = first.lstrip("# ").rstrip(".") if first.startswith("#") else ""
    return found
