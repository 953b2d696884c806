"""Which failures are law and which are luck, counted: by fault, task, policy, stage and failure mode.

A failure is *law* where its luck surely lies below ``LAW``: whoever runs it again sees it fail.  It is *luck* (flaky)
where its luck surely lies above: other noise of the policy wins now and then.  Otherwise it is *open*: the reruns leave
both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.attribution.luck import LABEL, LAW
from workbench.errors import StoreError
from workbench.execution.ledger import plain
from workbench.stats.ceiling import estimated_ceiling
from workbench.stats.proportions import clopper_pearson, of_effective
from workbench.store import Store
from workbench.types import Record
from workbench.types.results import Tabular

KINDS = ("law", "luck", "open")
GROUPS = ("all", "fault", "failure mode", "stage", "task", "policy")
"""What failures are grouped by."""
STRATA = ("failure", "success")


def kind_of_luck(row: Mapping[str, Any]) -> str:
    """One of ``KINDS`` for an episode's row, "" where its luck was not measured."""
    if not row["luck_runs"]:
        return ""
    low, high = float(row["luck_low"]), float(row["luck_high"])
    law, luck = (low > 1 - LAW, high < 1 - LAW) if row["success"] else (high < LAW, low > LAW)
    return "law" if law else "luck" if luck else "open"


@dataclasses.dataclass(frozen=True)
class LuckRow:
    """Failures of one group.

    Attributes
    ----------
    by, name : what is grouped, one of ``GROUPS``, and which; the name of nominal episodes is "".
    failures : whose luck was measured.
    law, luck, open : how many of them are which.
    luck_share : share of luck in the failures, lower and upper end of its exact 95 % interval.
    reruns_won : mean luck of the failures: the chance that running one of them again succeeds.
    mistaken : share that one rerun, "passed, so it is flaky", calls wrong of those that are law or luck, with an
        interval that holds at least 95 %; None where there are none.
    """

    by: str
    name: str
    failures: int
    law: int
    luck: int
    open: int
    luck_share: tuple[float, float, float]
    reruns_won: float
    mistaken: tuple[float, float, float] | None


@dataclasses.dataclass(frozen=True)
class LuckJudgement(Tabular):
    """What measuring the luck of some episodes came to.

    Attributes
    ----------
    rows : one each group of failures.
    failures, successes : of the stores; ``measured`` of each.
    lucky_successes : of the measured successes, those that are luck, and those that are law.
    ceiling : AUROC of the perfect score that knows start, fault and policy, but not the noise, with its 95 % interval;
        None where it is not defined.  A monitor that watches can be better: it sees what the noise did.
    runs_each : reruns of an episode, on average.
    """

    rows: tuple[LuckRow, ...]
    failures: int
    successes: int
    measured: tuple[int, int]
    lucky_successes: tuple[int, int]
    ceiling: tuple[float, float, float] | None
    runs_each: float

    def rows_of_table(self) -> list[Record]:
        """One row each group."""
        return [dataclasses.asdict(row) for row in self.rows]

    def record(self) -> Record:
        """As ``metrics.json`` holds it."""
        (whole,) = self.of("all")
        made: Record = plain({**dataclasses.asdict(self), **{kind: getattr(whole, kind) for kind in KINDS}})
        return made

    def of(self, by: str) -> tuple[LuckRow, ...]:
        """The rows of one grouping."""
        return tuple(row for row in self.rows if row.by == by)


def judge_luck(*stores: Store, stages: Sequence[str] = (), split: str | None = None) -> LuckJudgement:
    """Count the failures of stores that are law and those that are luck, and what follows for reruns and for ranking.

    Parameters
    ----------
    stages : names of the task's stages, where they are known; stores hold their numbers alone.
    split : of the episodes; None for all.

    Raises
    ------
    StoreError
        if no luck was measured.
    """
    rows = [row for store in stores for row in _rows(store, stages, split)]
    known = [row for row in rows if row["luck_runs"]]
    failed = [row for row in known if not row["success"]]
    if not failed:
        named = ", ".join(store.path.name for store in stores)
        raise StoreError(f"no luck of a failure is known in {named}; measure it with: workbench label job.luck=64")
    groups: dict[str, Callable[[Record], str]] = {
        "all": lambda row: "",
        "fault": lambda row: str(row["perturbation"]),
        "failure mode": lambda row: str(row["failure_mode"]),
        "stage": lambda row: str(row["stage"]),
        "task": lambda row: str(row["task"]),
        "policy": lambda row: str(row["policy"]),
    }
    made = []
    for by in GROUPS:
        names = sorted({groups[by](row) for row in failed})
        made += [_counted(by, name, [row for row in failed if groups[by](row) == name]) for name in names]
    succeeded = [kind_of_luck(row) for row in known if row["success"]]
    return LuckJudgement(
        rows=tuple(made),
        failures=sum(not row["success"] for row in rows),
        successes=sum(bool(row["success"]) for row in rows),
        measured=(len(failed), len(succeeded)),
        lucky_successes=(succeeded.count("luck"), succeeded.count("law")),
        ceiling=_ceiling(rows),
        runs_each=float(np.mean([row["luck_runs"] for row in known])),
    )


def _rows(store: Store, stages: Sequence[str], split: str | None) -> list[Record]:
    """Every episode's columns that are counted, and for measured failures the stage that was not reached."""
    wanted = ("success", "split", "perturbation", "failure_mode", "task", "policy", *LABEL.columns)
    columns = {name: store.episodes[name].tolist() for name in wanted}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for number, row in enumerate(rows):
        if row["luck_runs"] and not row["success"]:
            stage = int(store.episode(number, steps=("stage",), calls=()).steps["stage"][-1])
            row["stage"] = stages[stage] if stage < len(stages) else str(stage)
    return [row for row in rows if split in (None, row["split"])]


def _counted(by: str, name: str, failed: Sequence[Record]) -> LuckRow:
    kinds = [kind_of_luck(row) for row in failed]
    law, luck, undecided = (kinds.count(kind) for kind in KINDS)
    won = {"law": 1.0, "luck": -1.0, "open": 0.0}
    wrong = luck + sum(won[kind] * row["luck"] for row, kind in zip(failed, kinds, strict=True))
    settled = law + luck
    share = wrong / settled if settled else 0.0
    return LuckRow(
        by,
        name,
        len(failed),
        law,
        luck,
        undecided,
        (luck / len(failed), *clopper_pearson(luck, len(failed))),
        float(np.mean([row["luck"] for row in failed])),
        (share, *of_effective(share, settled)) if settled else None,
    )


def _ceiling(rows: Sequence[Record]) -> tuple[float, float, float] | None:
    """Of all episodes: each one measured stands for as many as ended like it for each that was measured."""
    counts, weights, strata = [], [], []
    for number in range(len(STRATA)):
        ended = [row for row in rows if bool(row["success"]) == bool(number)]
        known = [row for row in ended if row["luck_runs"]]
        if ended and not known:
            return None
        for row in known:
            runs = int(row["luck_runs"])
            counts.append((runs - round(row["luck"] * runs), runs))
            weights.append(len(ended) / len(known))
            strata.append(number)
    failures, runs = np.array(counts).T
    found = estimated_ceiling(failures, runs, np.array(weights), np.array(strata))
    ceiling, low, high = found
    return None if any(map(math.isnan, found)) else (ceiling, low, high)
