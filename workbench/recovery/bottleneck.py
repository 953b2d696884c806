"""Is it the alarm or the recovery?  What each arm wins by who says when, and what could have been won at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np

from workbench.recovery.gains import CONTROLS, PLACEBO, Gain, won_at
from workbench.recovery.tables import NEVER, CounterfactualTable
from workbench.types import Array, Record

EXPERT, ASK = "expert", "ask"
"""Arms that know the true state, and that give up."""
ALPHA = 0.05
Verdict = Literal["alarm", "recovery", "neither", "undecided"]


@dataclasses.dataclass(frozen=True)
class Bottleneck:
    """What one arm wins of the failed test episodes, to the horizon.

    Attributes
    ----------
    episodes : how many of them have an onset.
    by_monitor : of those, how many it wins behind the monitor's first alarm; none of those without one.
    by_oracle : how many behind an alarm at the first policy call from the onset on.
    by_start : how many from step 0.
    solvable : how many failed episodes could have been won, with or without an onset; see :func:`solvable`.
    won_solvable : of those, how many it wins behind the monitor's first alarm.
    """

    name: str
    episodes: int
    by_monitor: int
    by_oracle: int
    by_start: int
    solvable: int
    won_solvable: int


@dataclasses.dataclass(frozen=True)
class Crossed:
    """Successes in all test episodes: the monitor or an oracle says when, an arm or the expert recovers.

    The oracle alarms at the first policy call from the onset on, in failed episodes alone.  Without an alarm an episode
    ends as it did, so false alarms and silent failures count.  Every arm has its own time.

    Attributes
    ----------
    name : the arm.
    unaided : successes as they were.
    by_monitor, by_oracle : successes of the arm.
    expert_by_monitor, expert_by_oracle : successes of the expert.
    perfect_alarm : what the oracle gains over the monitor, with the arm.
    perfect_alarm_of_expert : the same with the expert.
    perfect_recovery : what the expert gains over the arm, behind the monitor's alarms.
    perfect_recovery_of_oracle : the same behind the oracle's.
    recovery_over_alarm : the expert behind the monitor against the arm behind the oracle: which of the two wins more.
    """

    name: str
    episodes: int
    unaided: int
    by_monitor: int
    by_oracle: int
    expert_by_monitor: int
    expert_by_oracle: int
    perfect_alarm: Gain
    perfect_alarm_of_expert: Gain
    perfect_recovery: Gain
    perfect_recovery_of_oracle: Gain
    recovery_over_alarm: Gain

    @property
    def verdict(self) -> Verdict:
        """Which of the two is the bottleneck, by the exact paired test at 5 %.

        ``neither`` where neither, made perfect, is shown to win anything; ``undecided`` where one is, and the two are
        not told apart.
        """
        found, helps = self.recovery_over_alarm, self._helps
        if not helps:
            return "neither"
        more: Verdict = "recovery" if (found.gain or 0) > 0 else "alarm"
        return more if found.p_value < ALPHA and more in helps else "undecided"

    @property
    def _helps(self) -> list[Verdict]:
        """Which of the two, made perfect, is shown to win anything."""
        gains: dict[Verdict, Gain] = {"alarm": self.perfect_alarm, "recovery": self.perfect_recovery}
        return [name for name, gain in gains.items() if gain.p_value < ALPHA and gain.only_arm > gain.only_control]

    def record(self) -> Record:
        """Plain data, as ``metrics.json`` holds it."""
        return {**dataclasses.asdict(self), "verdict": self.verdict}


def bottlenecks(
    table: CounterfactualTable,
    alarms: Mapping[str, int],
    onsets: Mapping[str, int],
    winnable: Collection[str] = (),
) -> tuple[Bottleneck, ...]:
    """What each arm wins of the failed episodes, by who says when.

    Parameters
    ----------
    alarms, onsets : uid -> control step of a policy call; the table has these cells, and those at step 0.
    winnable : failed episodes that :func:`solvable` has found.
    """
    behind_alarm = table.cells({uid: alarms[uid] for uid in onsets if uid in alarms})
    behind_onset, start = table.cells(onsets), table.cells(dict.fromkeys(onsets, 0))
    of_winnable = table.cells({uid: alarms[uid] for uid in winnable if uid in alarms})

    def won(arm: str, rows: Array) -> int:
        return int((table.arms[arm][rows, 0] > NEVER).sum())

    return tuple(
        Bottleneck(
            name=arm,
            episodes=len(onsets),
            by_monitor=won(arm, behind_alarm),
            by_oracle=won(arm, behind_onset),
            by_start=won(arm, start),
            solvable=len(winnable),
            won_solvable=won(arm, of_winnable),
        )
        for arm in table.arms
    )


def solvable(
    table: CounterfactualTable, failed: Collection[str], onsets: Mapping[str, int], labelled: Collection[str]
) -> list[str]:
    """Failed episodes that could have been won, in their order.

    By the label: the point of no return lies behind step 0.  Or by the table: the expert wins to the horizon from step
    0 or from the onset.

    Parameters
    ----------
    failed, labelled : uids of the failed episodes, and of those with such a label.
    """
    found = {*labelled}
    if EXPERT in table.arms:
        for at in (dict.fromkeys(failed, 0), onsets):
            wins = table.arms[EXPERT][table.cells(at), 0] > NEVER
            found |= {uid for uid, win in zip(at, wins, strict=True) if win}
    return [uid for uid in failed if uid in found]


def crossings(table: CounterfactualTable, alarms: Mapping[str, int], onsets: Mapping[str, int]) -> tuple[Crossed, ...]:
    """The 2 x 2 of every recovery and the placebo; none without the expert, or without an onset.

    Parameters
    ----------
    alarms, onsets : as of :func:`bottlenecks`.
    """
    if EXPERT not in table.arms or not onsets:
        return ()
    place = {uid: number for number, uid in enumerate(table.uids)}
    factual = np.asarray(table.factual > NEVER)

    def won(arm: str, at: Mapping[str, int]) -> Array:
        found = factual.copy()
        found[[place[uid] for uid in at]] = won_at(table, arm, table.cells(at))
        return found

    def crossed(arm: str) -> Crossed:
        monitor, oracle = won(arm, alarms), won(arm, onsets)
        return Crossed(
            name=arm,
            episodes=len(factual),
            unaided=int(factual.sum()),
            by_monitor=int(monitor.sum()),
            by_oracle=int(oracle.sum()),
            expert_by_monitor=int(best.sum()),
            expert_by_oracle=int(most.sum()),
            perfect_alarm=Gain.of(oracle, monitor),
            perfect_alarm_of_expert=Gain.of(most, best),
            perfect_recovery=Gain.of(best, monitor),
            perfect_recovery_of_oracle=Gain.of(most, oracle),
            recovery_over_alarm=Gain.of(best, oracle),
        )

    best, most = won(EXPERT, alarms), won(EXPERT, onsets)
    left_out = {*CONTROLS, EXPERT, ASK} - {PLACEBO}
    return tuple(crossed(arm) for arm in table.arms if arm not in left_out)
