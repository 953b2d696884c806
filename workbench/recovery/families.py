"""Strategies by kind of fault: no harm where there is none, and what they do against faults that end or last."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.recovery.bottleneck import ASK
from workbench.recovery.gains import CONTROLS, PLACEBO, Gain, over_placebo, won_at
from workbench.recovery.tables import NEVER, CounterfactualTable
from workbench.types import Record

NO_FAULT, TRANSIENT, LASTING = "no fault", "transient faults", "lasting faults"


@dataclasses.dataclass(frozen=True)
class FamilyRow:
    """What a strategy came to behind the first alarms of the episodes of one family.

    Attributes
    ----------
    family : no fault, transient or lasting faults, or a channel such as ``physics``.
    episodes, alarmed : test episodes of the family, and those with an alarm.
    failed, silent : those that failed, and of them those without an alarm.
    rescued, kept : as of :class:`workbench.recovery.paired.StrategyRow`.
    over_placebo : within the horizon, in the alarmed episodes; its p-value is not corrected.
    """

    family: str
    name: str
    episodes: int
    alarmed: int
    failed: int
    silent: int
    rescued: tuple[int, int]
    kept: tuple[int, int]
    over_placebo: Gain

    def record(self) -> Record:
        """Plain data, as ``metrics.json`` holds it."""
        return {**dataclasses.asdict(self), "rescued": list(self.rescued), "kept": list(self.kept)}


def families_of(faults: Sequence[Mapping[str, Any]], deadline: int) -> list[str]:
    """Families of an episode with these drawn faults.

    A fault is transient if it ends before the task's deadline, whatever it leaves behind; an episode is if all are.
    One that does not say how long it lasts is taken to last.
    """
    if not faults:
        return [NO_FAULT]
    ends = all(int(fault.get("duration_steps", deadline)) < deadline for fault in faults)
    return [TRANSIENT if ends else LASTING, *sorted({str(fault["channel"]) for fault in faults})]


def by_family(
    table: CounterfactualTable, alarms: Mapping[str, int], families: Mapping[str, Sequence[str]]
) -> tuple[FamilyRow, ...]:
    """Rows of every recovery and the placebo, a family after the other: no fault, transient, lasting, channels.

    Parameters
    ----------
    alarms : uid -> control step of the alarm; the table has these cells.
    families : uid -> families, of all episodes of the table.
    """
    first = (NO_FAULT, TRANSIENT, LASTING)
    there = {family for each in families.values() for family in each}
    order = [*(family for family in first if family in there), *sorted(there - {*first})]
    left_out = {*CONTROLS, ASK} - {PLACEBO}
    arms = [arm for arm in table.arms if arm not in left_out]
    return tuple(_row(table, alarms, families, family, arm) for family in order for arm in arms)


def _row(
    table: CounterfactualTable,
    alarms: Mapping[str, int],
    families: Mapping[str, Sequence[str]],
    family: str,
    arm: str,
) -> FamilyRow:
    success = dict(zip(table.uids, (table.factual > NEVER).tolist(), strict=True))
    uids = [uid for uid in table.uids if family in families[uid]]
    at = {uid: alarms[uid] for uid in uids if uid in alarms}
    rows, factual = table.cells(at), np.array([success[uid] for uid in at], bool)
    won = won_at(table, arm, rows)
    failed = [uid for uid in uids if not success[uid]]
    return FamilyRow(
        family=family,
        name=arm,
        episodes=len(uids),
        alarmed=len(at),
        failed=len(failed),
        silent=sum(uid not in alarms for uid in failed),
        rescued=(int(won[~factual].sum()), int((~factual).sum())),
        kept=(int(won[factual].sum()), int(factual.sum())),
        over_placebo=over_placebo(table, arm, rows, table.horizon),
    )
