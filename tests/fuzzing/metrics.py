"""Mutated ``metrics.json`` and ``journal.jsonl`` of runs, through all that reads them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from tests.fuzzing.mutations import damaged, encoded, mutated
from tests.reporting.test_report import EXAMPLE, FULL
from workbench.config import Entry, Run, compose
from workbench.config.journal import append
from workbench.config.remembered import remembered
from workbench.monitoring.example import Example
from workbench.reporting.comparing import compare
from workbench.reporting.report import report, terminal_tables
from workbench.types import Record

WORDS = (
    "job=rollout", "name=one", "policy=zoo/lift_flow", "score=[rnd,knn]", "monitor.level=0.2",
    "task.cameras={names: [a]}",
    "perturbation=[slip]", "policy._target_=os.system", "plugins=[os]", "name=../x", "+score.x={_target_: os.system}",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Valid contents of both files, and the configuration of a run."""

    config: Record
    metrics: Record
    lines: tuple[Record, ...]


def prepare(folder: Path) -> Prepared:
    """Everything that a run can hold, and a journal of two jobs."""
    config = compose(["job=rollout", "name=one", "perturbation=[slip]"])
    entries = [
        Entry("rollout", list(WORDS), None, "", config, {"mujoco": "3"}, None, "2026-01-01T00:00:00Z", 1.5, end, "")
        for end in ("ended", "interrupted")
    ]
    made = folder / "run"
    made.mkdir(parents=True)
    for entry in entries:
        append(made, entry)
    lines = tuple(json.loads(line) for line in (made / "journal.jsonl").read_text().splitlines())
    return Prepared(config, {**FULL, "example": EXAMPLE, "demonstrations": {"episodes": 3, "successes": 2}}, lines)


def attempt(prepared: Prepared, random: np.random.Generator, folder: Path) -> None:
    """Write a run whose files are mutated beside one that is whole, and read it in every way."""
    for name, mutating in (("one", True), ("two", False)):
        (folder / "runs" / name).mkdir(parents=True)
        metrics = mutated(random, prepared.metrics) if mutating else prepared.metrics
        content = encoded(random, metrics) if mutating else json.dumps(metrics).encode()
        (folder / "runs" / name / "metrics.json").write_bytes(content)
        (folder / "runs" / name / "journal.jsonl").write_bytes(journal(prepared, random, mutating))
    run = Run(prepared.config, folder)
    which = random.integers(4)
    if which == 0:
        found = compare("runs/*", metrics=["policy.nominal", "labels.median_onset"], root=folder)
        found.write(folder / "runs" / "compared")
        Console(file=(folder / "out").open("w")).print(found.grid())
        assert len(found.runs) + len(found.left_out) == 2
        return
    if which == 1:
        remembered(run.journal(), ["job=fit", "name=one"])
        run.update_metrics(wall_s=3.0)
    read = run.metrics()
    example = Example.of(read["example"]) if "example" in read else None
    report(folder / "page.html", read, title="t", example=example, journal=run.journal())
    Console(file=(folder / "out").open("w")).print(*terminal_tables(read))


def journal(prepared: Prepared, random: np.random.Generator, mutating: bool) -> bytes:
    """The lines of a journal, of which some are mutated."""
    lines = []
    for line in prepared.lines:
        changed = mutating and random.random() < 0.4
        lines.append(encoded(random, mutated(random, line)) if changed else json.dumps(line).encode())
    content = b"\n".join(lines) + b"\n"
    return damaged(random, content) if mutating and random.random() < 0.1 else content
