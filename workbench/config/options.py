"""Which yaml files there are: groups of the configuration and their options, ours and everybody else's."""

from __future__ import annotations

import functools
from pathlib import Path

from workbench.conf import OURS
from workbench.config.plugins import conf_folders

LISTED = ("perturbation", "score", "calibrator", "strategy", "shield", "attributor")
"""Groups of which several options are chosen, in a list."""


def conf_paths() -> list[Path]:
    """Folders of yaml files: ours, and those of everybody else."""
    return [OURS, *(folder for _, folder in conf_folders())]


def groups() -> frozenset[str]:
    """Groups of the configuration, ``policy/zoo`` and the like among them."""
    return _groups_below(*conf_paths())


@functools.cache
def _groups_below(*folders: Path) -> frozenset[str]:
    return frozenset(file.parent.relative_to(each).as_posix() for each in folders for file in each.glob("*/**/*.yaml"))


def options_of(group: str) -> list[str]:
    """Names that a group of the configuration knows."""
    found = [file.name for folder in conf_paths() if (folder / group).is_dir() for file in (folder / group).iterdir()]
    return sorted({name.removesuffix(".yaml") for name in found if name.endswith(".yaml")})
