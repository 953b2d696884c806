"""Strategies judged behind a monitor's alarms, beside luck, a placebo and no monitor; looked up in a table.

What an arm rescues says little: a failed episode that is rolled again with other noise often succeeds, and one that is
given more time more often still.  So an arm is held against the *redraw* (the same policy, fresh noise, the task's
deadline) within the deadline, and against the *placebo* (the same with more time) within the horizon, each in the same
episodes with the same noise and the same total time.  The row *always* is the arm from step 0, which needs no monitor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import shown
from workbench.config.named import nodes
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.executor import Executor
from workbench.monitoring.episodes import diverged, sound
from workbench.monitoring.monitor import AnyMonitor, needs_of, parts_of, refuse_silent
from workbench.monitoring.reading import offline
from workbench.recovery.abstaining import Abstention, abstention
from workbench.recovery.benefit import Terms
from workbench.recovery.bottleneck import Bottleneck, Crossed, bottlenecks, crossings, solvable
from workbench.recovery.dose import DoseResponse, dose_response
from workbench.recovery.families import FamilyRow, by_family, families_of
from workbench.recovery.gains import CONTROLS, PLACEBO, Gain, over_placebo, won_at
from workbench.recovery.ranking import DetectorRanking, rank_monitors
from workbench.recovery.tables import NEVER, CounterfactualTable, tabulate
from workbench.rollouts.arms import EXPERT, built, composed, leaves_acting
from workbench.rollouts.setup import branching_setup
from workbench.stats.multiple import holm
from workbench.store import Store
from workbench.types import Array, Policy, Record, Shield, Split, Task
from workbench.types.faults import faults_in
from workbench.types.results import Tabular


@dataclasses.dataclass(frozen=True)
class StrategyRow:
    """What a strategy came to behind the first alarm of an episode.

    Attributes
    ----------
    alarmed, episodes : test episodes with an alarm, of all.
    rescued : of the alarmed episodes that failed, how many it would have won within its own time, and how many there
        are; what luck does is among them.
    kept : the same of those that succeeded.
    over_redraw : within the task's deadline, against the same policy with fresh noise.
    over_placebo : within the horizon, against the same policy with fresh noise.
    p_vs_placebo : of ``over_placebo``, corrected for all strategies of the table (Holm); None for a control.
    always_over_redraw, always_over_placebo : the same from step 0 of every episode, alarmed or not.
    median_steps : control step at which its branches end; None where there are none.
    """

    name: str
    alarmed: int
    episodes: int
    rescued: tuple[int, int]
    kept: tuple[int, int]
    over_redraw: Gain
    over_placebo: Gain
    p_vs_placebo: float | None
    always_over_redraw: Gain
    always_over_placebo: Gain
    median_steps: float | None

    def record(self) -> Record:
        """Plain data, as ``metrics.json`` holds it."""
        return {**dataclasses.asdict(self), "rescued": list(self.rescued), "kept": list(self.kept)}


@dataclasses.dataclass(frozen=True)
class Recovery(Tabular):
    """Strategies judged behind the first alarms of one monitor.

    Attributes
    ----------
    deadline, horizon : control steps within which an arm is held against the redraw, and against the placebo.
    diverged : test episodes that were left out because their physics diverged.
    failed, silent : test episodes that failed, and those of them in which the monitor never alarmed.
    silent_solvable : of the silent ones, those that could have been won.
    bottleneck : of the failed episodes that have an onset, how many each arm wins behind the monitor's first alarm, and
        behind an alarm at the onset; and what it wins of those that could have been won.
    crossed : monitor or oracle, arm or expert, in all test episodes.
    families : the strategies by kind of fault.
    doses : what they win over the placebo by how late the first alarm comes.
    counterfactuals : the table in which all was looked up.
    abstention : of a strategy that leaves the acting to another one, what it gains over the placebo where it acts.
    detectors : monitors ranked by what one of the strategies wins behind their first alarms; None if none were asked.
    """

    monitor: str
    rows: tuple[StrategyRow, ...]
    deadline: int
    horizon: int
    diverged: int
    failed: int
    silent: int
    silent_solvable: int
    bottleneck: tuple[Bottleneck, ...]
    crossed: tuple[Crossed, ...]
    families: tuple[FamilyRow, ...]
    doses: DoseResponse
    counterfactuals: CounterfactualTable = dataclasses.field(repr=False)
    abstention: tuple[Abstention, ...] = ()
    detectors: DetectorRanking | None = None

    def rows_of_table(self) -> list[Record]:
        """One row a strategy, gains without their intervals."""
        kept = ("name", "alarmed", "rescued", "kept", "p_vs_placebo", "median_steps")
        gains = ("over_redraw", "over_placebo", "always_over_placebo")
        return [
            {**{key: row[key] for key in kept}, **{key: row[key]["gain"] for key in gains}} for row in self.record()
        ]

    def record(self) -> list[Record]:
        """The section ``strategies`` of ``metrics.json``."""
        return [row.record() for row in self.rows]

    def sections(self) -> Record:
        """All that ``metrics.json`` holds of it."""
        return {
            "strategies": self.record(),
            "strategies_monitor": self.monitor,
            "bottleneck": [dataclasses.asdict(row) for row in self.bottleneck],
            "crossed": [row.record() for row in self.crossed],
            "families": [row.record() for row in self.families],
            "dose_response": self.doses.record(),
            "abstention": [row.record() for row in self.abstention],
            "silent": {"silent": self.silent, "failed": self.failed, "solvable": self.silent_solvable},
            **({"detectors": self.detectors.record()} if self.detectors else {}),
        }


def recover(
    store: Store,
    monitor: AnyMonitor,
    strategies: Iterable[str] | Mapping[str, Record],
    task: Task,
    policy: Policy,
    *,
    horizon: float = 2.0,
    expert: Mapping[str, Any] = EXPERT,
    head: Path | None = None,
    runner: Executor | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
    detectors: Sequence[AnyMonitor] = (),
    arm: str = "head",
    seed: int = 0,
) -> Recovery:
    """Judge strategies behind a monitor's first alarm in every test episode, and from step 0 of every test episode.

    Parameters
    ----------
    strategies : names, or name -> configuration; ``placebo`` is needed.
    task, policy : those that the store was rolled with.
    horizon : deadlines that every arm with more time lasts at most.
    expert : configuration of the reference that some strategies hand over to.
    head : folder of the recovery head's weights, for those that hand over to it.
    shields : those behind which the store was rolled.
    detectors : monitors that are ranked by net benefit, too; the strategies are rolled from their first alarms as well.
    arm : the strategy by which they are ranked.
    seed : of the ranking's resamples.

    Raises
    ------
    ConfigError
        if the placebo is missing, without which nothing can be judged, or the monitor can never alarm.
    OtherSettingsError
        if the store was rolled with another task or policy, or behind other shields.
    StoreError
        if there is no test episode.
    """
    chosen = composed(nodes("strategy", strategies))
    refuse_without_reference(chosen)
    branching_setup(store, task, policy, runner, shields)
    refuse_silent(monitor)
    if not (numbers := sound(store, "test")):
        raise StoreError(
            f"{shown(store.path)} has no episode in the test split to judge strategies in; roll some: workbench "
            "rollout job.episodes.test=20"
        )
    if detectors:
        _refuse_unranked(store, numbers, detectors, chosen, arm)
    alarms, onsets = first_alarms(store, monitor), calls_from_onset(store)
    others = [first_alarms(store, each) for each in detectors if each.name != monitor.name]
    cells = (alarms, onsets, *others)
    at = {store.uids[n]: {0, *(step for each in cells for step in each.get(n, ()))} for n in numbers}
    options: Record = {"expert": expert, "head": head, "monitors": [monitor], "runner": runner, "shields": shields}
    table = tabulate(store, chosen, task, policy, at=at, horizon=horizon, **options)
    found = judged_table(store, table, monitor.name, alarms, onsets)
    if any(map(leaves_acting, chosen.values())):
        arms = built(chosen, task, policy, dict(expert), head, [monitor])
        first = {store.uids[number]: step for number, (step,) in alarms.items()}
        found = dataclasses.replace(found, abstention=abstention(store, table, first, chosen, arms))
    if detectors:
        calls = {uid: store.calls(store.number_of(uid), ()).step for uid in table.uids}
        terms = Terms(arm, table.deadline, table.horizon, PLACEBO)
        ranking = rank_monitors(store, detectors, table.outcomes(calls), terms, seed=seed)
        found = dataclasses.replace(found, detectors=ranking)
    return found


def _refuse_unranked(
    store: Store, numbers: Sequence[int], detectors: Sequence[AnyMonitor], strategies: Collection[str], arm: str
) -> None:
    """Refuse what cannot be ranked before anything is rolled."""
    if arm not in strategies:
        raise UnknownNameError("strategy to rank detectors by", arm, strategies)
    parts_of(detectors)
    if len({bool(store.episodes["success"][number]) for number in numbers}) < 2:
        raise StoreError(
            f"detectors are ranked on failures and successes, and the {len(numbers)} test episodes of "
            f"{shown(store.path)} all ended alike; roll more: workbench rollout perturbation=[...] job.episodes.test=20"
        )


def judged_table(
    store: Store,
    table: CounterfactualTable,
    monitor: str,
    alarms: Mapping[int, tuple[int]],
    onsets: Mapping[int, tuple[int]],
) -> Recovery:
    """What a table of the test episodes says of strategies behind a monitor's alarms.

    Parameters
    ----------
    monitor : its name.
    alarms, onsets : as of :func:`first_alarms` and :func:`calls_from_onset`.
    """
    rows, uids = store.episodes, store.uids
    first = {uids[number]: step for number, (step,) in alarms.items()}
    begun = {uids[number]: step for number, (step,) in onsets.items()}
    failed = [number for number in sound(store, "test") if not rows["success"][number]]
    labelled = [uids[number] for number in failed if rows["t_pnr"][number] > 0]
    winnable = solvable(table, [uids[number] for number in failed], begun, labelled)
    return Recovery(
        monitor=monitor,
        rows=judged(table, first),
        deadline=table.deadline,
        horizon=table.horizon,
        diverged=diverged(store, "test"),
        failed=len(failed),
        silent=sum(number not in alarms for number in failed),
        silent_solvable=sum(uid not in first for uid in winnable),
        bottleneck=bottlenecks(table, first, begun, winnable),
        crossed=crossings(table, first, begun),
        families=by_family(table, first, _families(store, table)),
        doses=dose_response(store, table, {uid: (step,) for uid, step in first.items()}),
        counterfactuals=table,
    )


def _families(store: Store, table: CounterfactualTable) -> dict[str, list[str]]:
    """Episode of a table -> its families."""
    drawn = {uid: store.episodes["perturbations"][store.number_of(uid)] for uid in table.uids}
    return {uid: families_of(faults_in(text, f"perturbations of {uid}"), table.deadline) for uid, text in drawn.items()}


def refuse_without_reference(strategies: Collection[str]) -> None:
    """ConfigError if the strategy is missing without which nothing can be judged."""
    if PLACEBO not in strategies:
        raise ConfigError(f"strategy must include {PLACEBO!r}: nothing can be judged without it")


def first_alarms(store: Store, monitor: AnyMonitor, split: Split = "test") -> dict[int, tuple[int]]:
    """Episode of a split -> control step of its first alarm; none without one, and none whose physics diverged."""
    found = {}
    for number in sound(store, split):
        calls = store.calls(number, needs_of([monitor]))
        (reading,) = offline([monitor], [calls])[monitor.name]
        if reading.alarm.any():
            found[number] = (int(calls.step[int(np.argmax(reading.alarm))]),)
    return found


def calls_from_onset(store: Store) -> dict[int, tuple[int]]:
    """Failed test episode -> control step of the first policy call from its onset on; none without one."""
    found = {}
    for number in sound(store, "test"):
        onset = int(store.episodes["t_on"][number])
        if store.episodes["success"][number] or onset < 0:
            continue
        steps = store.calls(number, ()).step
        if (later := steps[steps >= onset]).size:
            found[number] = (int(later[0]),)
    return found


def judged(table: CounterfactualTable, alarms: Mapping[str, int]) -> tuple[StrategyRow, ...]:
    """One row an arm of a table that has the placebo's.

    Parameters
    ----------
    alarms : uid -> control step of the alarm, of the episodes that have one; the table has these cells, and those at
        step 0 of all its episodes.
    """
    at, start = table.cells(alarms), table.cells(dict.fromkeys(table.uids, 0))
    factual = (table.factual[table.episode[at]] > NEVER).astype(bool)
    rows = [_row(table, name, at, start, factual) for name in table.arms]
    tested = [None if row.name in CONTROLS else row.over_placebo.p_value for row in rows]
    corrected = holm(tested, [""] * len(rows))
    return tuple(dataclasses.replace(row, p_vs_placebo=p) for row, p in zip(rows, corrected, strict=True))


def _row(table: CounterfactualTable, name: str, at: Array, start: Array, factual: Array) -> StrategyRow:
    """The row of one arm; its first branch is what a live rollout would meet."""
    steps, won = table.arms[name][at, 0], won_at(table, name, at)
    own = np.where(table.more_time[name][at], table.horizon, table.deadline)
    ended = np.where(steps > NEVER, np.minimum(steps, own), own)
    return StrategyRow(
        name=name,
        alarmed=len(at),
        episodes=len(start),
        rescued=(int(won[~factual].sum()), int((~factual).sum())),
        kept=(int(won[factual].sum()), int(factual.sum())),
        over_redraw=over_placebo(table, name, at, table.deadline),
        over_placebo=over_placebo(table, name, at, table.horizon),
        p_vs_placebo=None,
        always_over_redraw=over_placebo(table, name, start, table.deadline),
        always_over_placebo=over_placebo(table, name, start, table.horizon),
        median_steps=float(np.median(ended)) if len(at) else None,
    )
