"""Jobs one after the other: each stage is done once, and again when what decides it has changed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from workbench import __version__
from workbench.config import Run, compose, digest, job_of, weights_digest
from workbench.errors import ConfigError, UnknownNameError, WorkbenchError
from workbench.execution.ledger import Ledger, deciding, set_aside
from workbench.execution.progress import console
from workbench.types import Record

STAGES = "stages.json"
"""File of a run that remembers which stages are done."""
PATHS = ("demos", "checkpoint", "store")
"""Paths of a run that a stage may make."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of a chain.

    Attributes
    ----------
    reads : keys of the configuration that decide its result.
    after : stages whose results it reads.
    makes : paths of the run that it writes and that are set aside before it is done differently.
    runs : the run of each job in it.
    """

    name: str
    reads: Sequence[str]
    after: Sequence[str]
    makes: Sequence[str]
    runs: Sequence[Run]


class Words(TypedDict):
    """A stage as a configuration names it, the words of each of its runs."""

    reads: Sequence[str]
    after: Sequence[str]
    makes: Sequence[str]
    runs: Sequence[Sequence[str]]


class Chain:
    """The stages of a run, in order.

    Parameters
    ----------
    run : whose folder holds the ledger.
    stages : how many there are.
    careful : whether a stage that was done with other settings is refused unless the run overwrites; else what they
        made is set aside.
    """

    def __init__(self, run: Run, stages: int, careful: bool = False) -> None:
        self.run, self.stages, self.careful = run, stages, careful
        self.ledger = Ledger(run.folder / STAGES, run.shown(run.folder / STAGES))
        self._marks: dict[str, str] = {}

    def settle(self, stage: Stage, skip: Callable[[Stage], str] = lambda stage: "") -> None:
        """Do one stage unless it is done; ``skip`` says why it is not needed at all, or ""."""
        mark = self._marks[stage.name] = fingerprint(stage, self._marks)
        entry = self.ledger.entry(stage.name)
        console.stage = f"{len(self._marks)}/{self.stages} {stage.name}"
        if why := skip(stage):
            console.print(f"{stage.name}: {why}")
        elif entry is not None and (entry.made_with, entry.ended) == (mark, True) and _all_there(stage):
            console.print(f"{stage.name}: up to date")
        elif self.careful and entry is not None and entry.made_with != mark and not self.run.overwrite:
            raise ConfigError(
                f"{self.run.shown(self.run.folder)} holds {stage.name} of other settings; choose another name=..., or "
                "overwrite=true to set aside what they made"
            )
        else:
            self._do(stage, mark, entry.made_with if entry else "")

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds that it took when it was last done."""
        return self.ledger.seconds()

    def _do(self, stage: Stage, mark: str, before: str) -> None:
        """Do one stage and note it; results of other settings are set aside, never mixed or deleted."""
        if before not in ("", mark):
            self._set_aside(stage)
        self.ledger.begin(stage.name, mark)
        began = time.monotonic()
        console.say(console.stage)
        try:
            console.held = True  # what the jobs print is printed once, at the end
            for each in stage.runs:
                each.overwrite = each.overwrite or before != ""
                job_of(each.config["job"])(each)
        except WorkbenchError:
            self.ledger.take_back(stage.name)  # what was refused was not begun: a second call is refused as well
            raise
        finally:
            console.held = False
        self.ledger.end(stage.name, time.monotonic() - began)

    def _set_aside(self, stage: Stage) -> None:
        run = stage.runs[0]
        for path in (getattr(run, made) for made in stage.makes):
            if kept := set_aside(path):
                console.print(f"settings have changed: {run.shown(path)} is kept as {run.shown(kept)}")


def plan(stages: Mapping[str, Words], asked: Sequence[str], root: Path) -> list[Stage]:
    """Stages from their words, those that were asked for in front of each run's own."""
    found = []
    for name, node in stages.items():
        runs = [Run(compose([*asked, *words]), root) for words in node["runs"]]
        found.append(Stage(name, node["reads"], node["after"], node["makes"], runs))
    return found


def refuse_unknown(stages: Sequence[Stage], config: Record) -> None:
    """Hold every stage against what there is, before the first one is done.

    Raises
    ------
    ConfigError
        for a job or an argument of one that there is not, a key that a stage reads, a stage that it comes after, a path
        that it makes, or a policy that is to be trained and cannot be.
    """
    before: list[str] = []
    for stage in stages:
        for what, asked, known in (
            ("key that it reads", stage.reads, config),
            ("stage before it", stage.after, before),
            ("path that it makes", stage.makes, PATHS),
        ):
            for name in asked:
                if name not in known:
                    raise UnknownNameError(f"{what}, of stage {stage.name}:", name, known)
        for each in stage.runs:
            job_of(each.config["job"])
            if "checkpoint" in stage.makes and not each.zoo:
                each.refuse_untrainable()
        before.append(stage.name)


def _all_there(stage: Stage) -> bool:
    return all(getattr(stage.runs[0], made).exists() for made in stage.makes)


def fingerprint(stage: Stage, marks: Mapping[str, str]) -> str:
    """Digest of everything that decides a stage's result."""
    keys = (*stage.reads, "seed", "job", "perturbation")
    read = [{key: deciding(each.config[key]) for key in keys} for each in stage.runs]
    if "checkpoint" in stage.makes:
        read += [{"zoo": weights_digest(each.checkpoint)} for each in stage.runs if each.zoo]
    return digest([__version__, json.loads(json.dumps(read)), [marks[name] for name in stage.after]])
