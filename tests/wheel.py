"""The wheel of this checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "workbench", "envs", "policies", "detectors", "conf")


def build_wheel(into: Path) -> Path:
    """Build the wheel below a folder; returns its path.

    From a copy: setuptools keeps what it once packed in build/, and would pack what has moved or gone since again.
    """
    copy = into / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=ignored)
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy / name)
    shutil.copytree(ROOT / "datasets" / "recipes", copy / "datasets" / "recipes")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(into), str(copy)]
    subprocess.run(command, check=True)
    (wheel,) = into.glob("failure_workbench-*.whl")
    return wheel
