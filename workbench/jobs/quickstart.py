"""The whole chain on one task; a second call does only what is missing or changed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import __version__
from workbench.config import Run, build, compose, digest, words_asked, write_text
from workbench.errors import StoreError, WorkbenchError
from workbench.execution.progress import console
from workbench.jobs.recover import needs_head
from workbench.reporting.report import terminal_tables
from workbench.rollouts.worker import weights_digest
from workbench.types import Record


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of the chain.

    Attributes
    ----------
    reads : keys of the configuration that decide its result.
    after : stages whose results it reads.
    makes : paths of the run that it writes and that are set aside before it is done differently.
    runs : command-line words of each job in it.
    """

    name: str
    reads: Sequence[str]
    after: Sequence[str]
    makes: Sequence[str]
    runs: Sequence[Sequence[str]]


def run(run: Run, stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Do every stage that is missing or changed, in order."""
    ledger = Ledger(run.folder / "stages.json")
    fingerprints: dict[str, str] = {}
    asked = [word for word in words_asked() if not word.lstrip("+").startswith(("job=", "job."))]
    for name, node in stages.items():
        stage = Stage(name, **node)
        runs = [Run(compose([*asked, *override]), run.root) for override in stage.runs]
        fingerprints[name] = fingerprint(stage, runs, fingerprints)
        if why := unneeded(run, stage):
            if "checkpoint" in stage.makes:
                run.update_metrics(policy={"training": None, "zoo": run.zoo})
            console.print(f"{name}: {why}")
            continue
        done = ledger.state(name) == (fingerprints[name], True)
        if done and all(getattr(run, made).exists() for made in stage.makes):
            console.print(f"{name}: up to date")
            continue
        do(run, stage, runs, fingerprints[name], ledger)
    seconds = ledger.seconds()
    run.update_metrics(jobs=seconds, wall_s=round(sum(seconds.values()), 1))
    close(run)


def unneeded(run: Run, stage: Stage) -> str:
    """Why a stage is left out of a run whose policy is of the zoo; "" where it is not."""
    if run.zoo and "checkpoint" in stage.makes:
        return f"weights from the zoo ({run.zoo})"
    if run.zoo and "demos" in stage.makes and not needs_head(run):
        return "no demonstrations are needed"
    return ""


def do(run: Run, stage: Stage, runs: Sequence[Run], mark: str, ledger: Ledger) -> None:
    """Do one stage and note it; results of other settings are set aside, never mixed or deleted."""
    before, _ = ledger.state(stage.name)
    if before not in ("", mark):
        for made in stage.makes:
            set_aside(run, getattr(run, made))
    ledger.begin(stage.name, mark)
    began = time.monotonic()
    try:
        console.quiet = True  # what the jobs print is printed once, at the end
        for each in runs:
            each.overwrite = each.overwrite or before != ""
            build({**each.config["job"], "_partial_": True})(each)
    except WorkbenchError:
        ledger.take_back(stage.name)  # what was refused was not begun: a second call must be refused as well
        raise
    finally:
        console.quiet = False
    ledger.end(stage.name, time.monotonic() - began)


def set_aside(run: Run, path: Path) -> None:
    """Rename what other settings made, so that it is neither mixed in nor lost."""
    if path.exists():
        kept = path.with_name(f"{path.stem}.before-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")
        path.rename(kept)
        console.print(f"settings have changed: {run.shown(path)} is kept as {run.shown(kept)}")


def fingerprint(stage: Stage, runs: Sequence[Run], fingerprints: Mapping[str, str]) -> str:
    """Digest of everything that decides a stage's result."""
    keys = (*stage.reads, "seed", "job", "perturbation")
    read = [{key: each.config[key] for key in keys} for each in runs]
    if "checkpoint" in stage.makes:
        read += [{"zoo": weights_digest(each.checkpoint)} for each in runs if each.zoo]
    return digest([__version__, read, [fingerprints[name] for name in stage.after]])


class Ledger:
    """Which stages were begun and ended, with what fingerprint and in how many seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, Record] = {}
        self._before: dict[str, dict[str, Record]] = {}
        if path.exists():
            try:
                self._rows = json.loads(path.read_text(encoding="utf-8"))
            except json.JSONDecodeError as error:
                raise StoreError(f"{path} is not JSON ({error}); remove it, and every stage is done again") from None

    def state(self, stage: str) -> tuple[str, bool]:
        """Fingerprint of the last attempt ("" if there was none), and whether it ended."""
        row = self._rows.get(stage, {})
        return row.get("fingerprint", ""), row.get("ended", False)

    def begin(self, stage: str, fingerprint: str) -> None:
        """Note an attempt; seconds of an interrupted attempt at the same thing are kept."""
        before = self._rows.get(stage, {})
        again = before.get("fingerprint") == fingerprint and not before.get("ended")
        seconds = before.get("seconds", 0.0) if again else 0.0
        self._before[stage] = {stage: before} if before else {}
        self._rows[stage] = {"fingerprint": fingerprint, "ended": False, "seconds": seconds}
        self._write()

    def take_back(self, stage: str) -> None:
        """Forget the last attempt at a stage; the one before it counts again."""
        before = self._before.pop(stage)
        self._rows = {name: row for name, row in self._rows.items() if name != stage} | before
        self._write()

    def end(self, stage: str, seconds: float) -> None:
        """Note that a stage is done."""
        row = self._rows[stage]
        self._rows[stage] = {**row, "ended": True, "seconds": round(row["seconds"] + seconds, 2)}
        self._write()

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage when it was last done."""
        return {name: row["seconds"] for name, row in self._rows.items()}

    def _write(self) -> None:
        write_text(self.path, json.dumps(self._rows, indent=2))


def close(run: Run) -> None:
    """Print the tables and what to open next."""
    metrics = run.metrics()
    console.print(*terminal_tables(metrics))
    shares = ", ".join(f"{name} {taken:.0f} s" for name, taken in metrics["jobs"].items())
    console.print(f"time:      {metrics['wall_s']:.0f} s ({shares})")
    console.print(f"numbers:   {run.shown(run.folder / 'metrics.json')}")
    console.print(f"recording: {metrics['recording']}")
    console.print(f"report:    {metrics['report']}")
    console.print(f"Open the report in a browser, and the recording with: .venv/bin/rerun {metrics['recording']}")
