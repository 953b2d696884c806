"""What was done in a run, a line a job: ``runs/<name>/journal.jsonl``.

A line says what was asked, what that was composed to, with which versions, for how long, and how it ended.  It names no
machine: paths are relative to the root.  Lines are only ever added, whole, also by several processes at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import functools
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.config.files import locked
from workbench.config.metrics import finite
from workbench.config.plugins import given_folders
from workbench.config.sweep import job_of_words, key_of
from workbench.errors import ConfigError, StoreError
from workbench.types.reading import Source, checked, parsed, read_bytes

if TYPE_CHECKING:
    from workbench.config.run import Run

JOURNAL = "journal.jsonl"
"""File of a run."""
LARGEST_BYTES = 64 * 2**20
"""Of a journal that is read."""
End = Literal["ended", "refused", "interrupted", "failed"]
"""How a job can end."""
PACKAGES = ("failure-workbench", "mujoco", "robosuite", "torch", "numpy", "mapie", "zarr", "hydra-core")
"""Packages whose versions decide results."""
CONFIG: Mapping[str, Any] = {
    **dict.fromkeys(("name", "store", "demos"), str | None),
    **dict.fromkeys(("task", "policy", "monitor", "rollout", "runner", "job"), dict[str, Any] | None),
    **dict.fromkeys(
        ("perturbation", "score", "calibrator", "strategy", "shield", "attributor"), dict[str, dict[str, Any]] | None
    ),
}
"""Key of a composed configuration -> type of what stands there, of those that are read again."""
DONE = ("ended", "interrupted")
"""Ends of jobs that made something."""
_PATH = re.compile(r"(?<![\w.:/~-])/(?:[^\s/'\"\]}),:]+/)*[^\s/'\"\]}),:]+")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One job of a run.

    Attributes
    ----------
    job : its name.
    words : what was asked, ``job=...`` among them.
    of : words of the job of which it was a stage; None for one that was asked for itself.
    stage : which stage; "" for none.
    config : what the words were composed to.
    versions : package -> version.
    commit : of the checkout that did it; None where there is none.
    started : UTC.
    seconds : that it took.
    ended : how.
    why : the line with which it was refused or failed; "" for none.
    """

    job: str
    words: list[str]
    of: list[str] | None
    stage: str
    config: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    started: str
    seconds: float
    ended: End
    why: str

    @property
    def command(self) -> str:
        """The command line that does it again."""
        return command(self.words)

    @property
    def asked(self) -> str:
        """The command line that somebody typed: its own, or that of the job of which it was a stage."""
        return command(self.of or self.words)

    @property
    def done(self) -> bool:
        """Whether it made something."""
        return self.ended in DONE


def command(words: Sequence[str]) -> str:
    """The command line of some words, which can be pasted."""
    job = job_of_words(words)
    # An experiment of a job's own name comes with it.
    rest = [word for word in words if not word.startswith("job=") and word != f"+experiment={job}"]
    return shlex.join(["workbench", job, *rest])


def read_journal(folder: Path, shown: str = "") -> tuple[Entry, ...]:
    """The jobs of a run in the order in which they ended; none where there is no journal.

    Raises
    ------
    StoreError
        if a line is damaged: nothing is left out in silence.
    """
    path = folder / JOURNAL
    if not path.exists():
        return ()
    advice = "mend it, or move the file away"
    source = Source(shown or path.name, StoreError, advice)
    with locked(folder):
        lines = read_bytes(path, source, LARGEST_BYTES).split(b"\n")
    if lines.pop():
        raise source.wrong("has a last line that is cut off")
    sources = (Source(f"{source.name} line {place}", StoreError, advice) for place in range(1, len(lines) + 1))
    return tuple(_entry(line, each) for line, each in zip(lines, sources, strict=True))


def _entry(line: bytes, source: Source) -> Entry:
    entry: Entry = checked(Entry, parsed(line, source), source)
    for name, kind in CONFIG.items():
        checked(kind, entry.config.get(name), source, f"config.{name}")
    return entry


@contextlib.contextmanager
def journalled(run: Run) -> Iterator[None]:
    """Note how a job of a run ends, where the run has a folder by then: what made nothing leaves nothing."""
    started, began = datetime.datetime.now(datetime.UTC), time.monotonic()
    ended: End = "ended"
    why = ""
    try:
        yield
    except KeyboardInterrupt:
        ended = "interrupted"
        raise
    except BaseException as error:
        ended, why = "refused" if isinstance(error, ConfigError) else "failed", f"{error}" or repr(error)
        raise
    finally:
        entry = Entry(
            job=job_of(run),
            words=kept([*run.words, *(f"--config-dir={folder}" for folder in given_folders())], run.root),
            of=None if run.of is None else kept(run.of, run.root),
            stage=run.stage,
            config=portable({**run.config, "root": None}, run.root),
            versions=versions(),
            commit=commit(),
            started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=round(time.monotonic() - began, 2),
            ended=ended,
            why=portable(" ".join(why.split()), run.root)[:2000],
        )
        try:
            append(run.folder, entry)
        except OSError as error:  # the job did what it did, and its exit code says so
            if ended in DONE:  # else its own line is the one to read
                print(f"workbench: {run.shown(run.folder / JOURNAL)} is not written: {error.strerror}", file=sys.stderr)


def append(folder: Path, entry: Entry) -> None:
    """Add a line to the journal of a run that has a folder."""
    line = json.dumps(finite(dataclasses.asdict(entry)), ensure_ascii=True, default=str).encode() + b"\n"
    if not folder.is_dir():
        return
    with locked(folder), open(folder / JOURNAL, "ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        if file.write(line) != len(line):  # the disk is full: half a line is none
            file.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def job_of(run: Run) -> str:
    """Name of a run's job: that of its words, or the module of the function that does it."""
    target = str((run.config["job"] or {}).get("_target_", ""))
    return job_of_words(run.words) or target.removesuffix(".run").rpartition(".")[2]


def kept(words: Sequence[str], root: Path) -> list[str]:
    """Words as a journal has them: they hold below the root, wherever that is."""
    return [portable(word, root) for word in words if key_of(word) != "root"]


def portable(value: Any, root: Path) -> Any:
    """Plain data in which every path is relative to the root."""
    if isinstance(value, dict):
        return {key: portable(each, root) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [portable(each, root) for each in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    below = value.replace(f"{root}/", "").replace(str(root), ".")
    return _PATH.sub(lambda found: os.path.relpath(found[0], root), below)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what decides results."""
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@functools.cache
def commit() -> str | None:
    """Commit of the checkout from which this package runs, with ``-dirty`` where files differ; None for none."""
    checkout = Path(__file__).parents[2]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str:
        called = ["git", "-C", str(checkout), "--no-optional-locks", *words]
        done = subprocess.run(called, capture_output=True, text=True, timeout=20, env=ours, check=True)
        return done.stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if Path(git("rev-parse", "--show-toplevel")).resolve() == checkout.resolve():
            return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return None
