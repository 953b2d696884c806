"""What the verification scripts share: the finished run that they look at, and how they end."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.table import Table

from workbench.config import Run, compose
from workbench.execution.progress import console

NAME = "quickstart"
STARTED = time.monotonic()


def parser(description: str | None, seed: int = 0) -> argparse.ArgumentParser:
    """Options that every script has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--root", type=Path, default=Path.cwd(), help="folder with runs/ and datasets/ of a quickstart")
    made.add_argument("--seed", type=int, default=seed, help="decides what is drawn")
    return made


def finished_run(root: Path, *words: str) -> Run:
    """The run that ``make quickstart`` left below ``root``, composed with more words; leaves if there is none."""
    run = Run(compose([f"name={NAME}", *words]), root.resolve())
    for path in (run.store, run.checkpoint, run.folder / "monitors"):
        if not path.exists():
            print(f"{path} is missing; run first: make quickstart", file=sys.stderr)
            raise SystemExit(2)
    return run


def copy_checkpoint(run: Run, root: Path, name: str) -> None:
    """Give a run called ``name`` below another root the same trained policy."""
    shutil.copytree(run.checkpoint, root / "runs" / name / "policy")


def command(*words: str) -> list[str]:
    """The ``workbench`` command with these words, run by this interpreter."""
    return [sys.executable, "-m", "workbench", *words]


def call(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command below a root to its end."""
    return subprocess.run(command(*words), cwd=root, capture_output=True, text=True)


def contents(root: Path) -> dict[str, str]:
    """Path -> digest of every file below a root; folders end with a slash."""
    return {
        f"{path.relative_to(root)}{'/' if path.is_dir() else ''}": ""
        if path.is_dir()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
    }


def table(title: str, *columns: str) -> Table:
    """An empty table; the first column stands left, numbers stand right."""
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def verdict(holds: bool, claim: str) -> int:
    """Print the last line; returns the exit status."""
    said = "holds" if holds else "does not hold"
    console.print(f"{said}: {claim} ({time.monotonic() - STARTED:.0f} s)")
    return 0 if holds else 1
