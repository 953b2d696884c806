"""Is a monitor's alarm worth more than an intervention at any other time, as often?

The policies, monitors and recovery heads are those of ``make verify WHAT=recoveries``; what is there already below
``--into`` is kept.  In the test split of each, the same arms and the placebo act by these triggers, once an episode:

monitor    at the monitor's first alarm
random     in as many episodes, drawn among all, at one of the policy calls that the episode made, each as likely
periodic   in as many episodes, drawn among those that still run then, at one fixed control step: that by which half
           the alarms of the calibrate split have come
matched    in the episodes in which the monitor alarms, at the random call: whether it is the *which* or the *when*
always     in every episode, at step 0: without a budget

All draws are addressed by the episode's uid.  Nominal and faulty episodes are drawn alike, so the budget is that of a
guard that does not know which is which.  Every arm ends at the same control step, with the same noise.

Shown for each strength, pooled over tasks and seeds:

acts in        test episodes with an intervention, and how many of them are nominal
in time        successes of all episodes under faults within the deadline; where nobody acts an episode ends as it did
horizon        the same to twice the deadline, everybody with that time
over monitor   points of success to the horizon over the same arm at the monitor's alarms, in all episodes under
               faults, paired, with a 95 % interval and the exact test, corrected over all rows that have one (Holm)
sooner         the same within the deadline, not tested
over placebo   to the horizon, over the placebo by the same trigger
nominal        nominal episodes that the interventions break and those that they win

Run: make verify WHAT=triggers ARGS="--into FOLDER"
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import workbench as wb
from tests.verify.claims import table, verdict
from tests.verify.recoveries import ARMS, Subject, experiment, nominal, points, subject
from workbench.execution.progress import console
from workbench.monitoring.episodes import sound
from workbench.recovery.gains import PLACEBO, Gain
from workbench.recovery.tables import NEVER
from workbench.stats.multiple import holm
from workbench.types import Array, Record
from workbench.types.random import Stream

RECOVERIES = ("head", "cascade")
MONITOR, RANDOM, PERIODIC, MATCHED, ALWAYS = "monitor", "random", "periodic", "matched", "always"
TABLES = "triggers-"
"""How the names of the tables begin that hold the calls beside the monitor's alarms."""
NOBODY = "nobody"
ALPHA = 0.05
Calls = Mapping[str, int]
"""Uid -> control step of the policy call at which somebody acts, of the episodes in which somebody does."""


@dataclasses.dataclass(frozen=True)
class Ends:
    """Test episodes (N,) of one policy, or of several, and how they end by who says when.

    Attributes
    ----------
    nominal : whether an episode has no fault.
    acted : trigger -> whether somebody acts.
    in_time, to_horizon : (trigger, arm) -> whether it succeeds; (``nobody``, ``nobody``) without any intervention.
    """

    nominal: Array
    acted: Mapping[str, Array]
    in_time: Mapping[tuple[str, str], Array]
    to_horizon: Mapping[tuple[str, str], Array]

    @classmethod
    def joined(cls, parts: Sequence[Ends]) -> Ends:
        """Of several policies, one after the other."""

        def each(key: str) -> dict[Any, Array]:
            return {
                name: np.concatenate([getattr(part, key)[name] for part in parts]) for name in getattr(parts[0], key)
            }

        every = np.concatenate([part.nominal for part in parts])
        return cls(every, each("acted"), each("in_time"), each("to_horizon"))


def main() -> int:
    options = experiment(__doc__).parse_args()
    runner, strengths = wb.Processes(options.workers), options.strengths.split(",")
    found: dict[tuple[str, str, int], Ends] = {}
    for seed in range(options.seeds):
        for strength in strengths:
            for name in options.tasks.split(","):
                found[name, strength, seed] = ends(subject(name, strength, seed, options, runner), runner)
    ahead = [shown(strength, found, options) for strength in strengths]
    return verdict(all(ahead), "behind the monitor's alarms a strategy wins more than at as many random or fixed times")


def ends(of: Subject, runner: wb.Processes) -> Ends:
    """How the test episodes of a policy end by every trigger; tabulates what is not there yet."""
    store = of.store
    uids = [store.uids[number] for number in sound(store, "test")]
    calls = triggers(of, uids)
    nodes = of.nodes([PLACEBO, *RECOVERIES])
    wanted = {(uid, step) for at in calls.values() for uid, step in at.items()}
    tables = [*of.tables(ARMS), *of.tables(TABLES)]
    there = set.intersection(*(set(steps_of(tables, arm)) for arm in nodes))
    if missing := wanted - there:
        at = {uid: {step for other, step in missing if other == uid} for uid in dict(sorted(missing))}
        tables.append(of.tabulate(nodes, at, f"{TABLES}{len(of.tables(TABLES))}", runner))
    told = ", ".join(f"{name} {len(at)}" for name, at in calls.items())
    console.print(f"{of.name} {of.strength} {of.seed}: of {len(uids)} test episodes {told}")
    return looked_up(of, uids, calls, tables, nodes)


def triggers(of: Subject, uids: Sequence[str]) -> dict[str, Calls]:
    """When who acts in which episodes: as often by every trigger, unless fewer episodes are still running."""
    alarms, early = of.alarms(), of.alarms("calibrate")
    steps = {uid: of.store.calls(of.store.number_of(uid), ()).step for uid in uids}
    anywhere = {uid: int(draws(of, uid).choice(steps[uid])) for uid in uids}
    half = np.median(sorted(early.values())) if early else 0.0
    fixed = {uid: int(later[0]) for uid in uids if (later := steps[uid][steps[uid] >= half]).size}
    order = sorted(uids, key=lambda uid: float(draws(of, uid, "episode").random()))
    return {
        MONITOR: {uid: alarms[uid] for uid in uids if uid in alarms},
        RANDOM: {uid: anywhere[uid] for uid in order[: len(alarms)]},
        PERIODIC: {uid: fixed[uid] for uid in [uid for uid in order if uid in fixed][: len(alarms)]},
        MATCHED: {uid: anywhere[uid] for uid in uids if uid in alarms},
        ALWAYS: dict.fromkeys(uids, 0),
    }


def draws(of: Subject, uid: str, what: str = "call") -> np.random.Generator:
    """Random numbers of one episode, whatever else is drawn."""
    return Stream(of.seed, zlib.crc32(uid.encode())).child("trigger", what).at()


def steps_of(tables: Sequence[wb.CounterfactualTable], arm: str) -> dict[tuple[str, int], int]:
    """(uid, control step of a policy call) -> control step at which an arm's first branch succeeds."""
    return {
        (each.uids[episode], int(step)): int(won)
        for each in tables
        if arm in each.arms
        for episode, step, won in zip(each.episode, each.step, each.arms[arm][:, 0], strict=True)
    }


def looked_up(
    of: Subject,
    uids: Sequence[str],
    calls: Mapping[str, Calls],
    tables: Sequence[wb.CounterfactualTable],
    arms: Sequence[str] | Mapping[str, Record],
) -> Ends:
    """How episodes end by every trigger and arm; where nobody acts, as they did, or with more time alone."""
    deadline, horizon = of.task.deadline, tables[0].horizon
    unaided = {
        within: {uid: step > NEVER for each in tables for uid, step in zip(each.uids, getattr(each, key), strict=True)}
        for within, key in ((deadline, "factual"), (horizon, "waited"))
    }
    bare = {within: np.array([each[uid] for uid in uids], bool) for within, each in unaided.items()}

    def won(at: Calls, arm: str, within: int) -> Array:
        steps = steps_of(tables, arm)
        acted = {uid: NEVER < steps[uid, step] <= within for uid, step in at.items()}
        return np.array([acted.get(uid, without) for uid, without in zip(uids, bare[within], strict=True)], bool)

    def by_all(within: int) -> dict[tuple[str, str], Array]:
        found = {(name, arm): won(at, arm, within) for name, at in calls.items() for arm in arms}
        return {(NOBODY, NOBODY): bare[within], **found}

    return Ends(
        nominal=nominal(of.store, uids),
        acted={name: np.array([uid in at for uid in uids]) for name, at in calls.items()},
        in_time=by_all(deadline),
        to_horizon=by_all(horizon),
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """What an arm comes to by one trigger.

    Attributes
    ----------
    acted, nominal_acted : episodes in which it acts, and those of them without a fault.
    in_time, to_horizon : successes of all ``faulty`` episodes.
    over_monitor : to the horizon in the faulty episodes, over the same arm behind the monitor; None for that itself.
    p_value : of ``over_monitor``, corrected; None for the placebo's, which is no recovery.
    sooner : the same within the deadline.
    over_placebo : to the horizon, over the placebo by the same trigger; None for that itself.
    broken, won : nominal episodes, of ``nominal``, that are turned round.
    """

    trigger: str
    arm: str
    acted: int
    nominal_acted: int
    in_time: int
    to_horizon: int
    faulty: int
    over_monitor: Gain | None
    p_value: float | None
    sooner: Gain | None
    over_placebo: Gain | None
    broken: int
    won: int
    nominal: int

    @classmethod
    def of(cls, ends: Ends, trigger: str, arm: str) -> Row:
        """One row of all these episodes, without its corrected p-value."""
        faulty, mine = ~ends.nominal, ends.to_horizon[trigger, arm]
        bare, acted = ends.to_horizon[NOBODY, NOBODY], ends.acted.get(trigger, np.zeros(len(faulty), bool))

        def over(control: tuple[str, str], won: Mapping[tuple[str, str], Array] = ends.to_horizon) -> Gain | None:
            if trigger == NOBODY or control == (trigger, arm):
                return None
            return Gain.of(won[trigger, arm][faulty], won[control][faulty])

        return cls(
            trigger=trigger,
            arm=arm,
            acted=int(acted.sum()),
            nominal_acted=int(acted[ends.nominal].sum()),
            in_time=int(ends.in_time[trigger, arm][faulty].sum()),
            to_horizon=int(mine[faulty].sum()),
            faulty=int(faulty.sum()),
            over_monitor=over((MONITOR, arm)),
            p_value=None,
            sooner=over((MONITOR, arm), ends.in_time),
            over_placebo=over((trigger, PLACEBO)),
            broken=int((bare & ~mine)[ends.nominal].sum()),
            won=int((mine & ~bare)[ends.nominal].sum()),
            nominal=int(ends.nominal.sum()),
        )

    def ended(self) -> list[str]:
        """How often it acts and what it comes to, as the table shows it."""
        ends = [f"{count} of {self.faulty}" for count in (self.in_time, self.to_horizon)]
        return [str(self.acted), str(self.nominal_acted), *ends, f"{self.broken} of {self.nominal}", str(self.won)]

    def gained(self) -> list[str]:
        """Its gains, as the table shows them."""
        gains = ["" if gain is None else points(gain) for gain in (self.over_monitor, self.sooner, self.over_placebo)]
        p = "" if self.p_value is None else f"{self.p_value:.2g}"
        return [gains[0], p, *gains[1:]]


def rows_of(ends: Ends) -> list[Row]:
    """A row of every trigger and arm; recoveries are corrected together."""
    rows = [Row.of(ends, trigger, arm) for trigger, arm in ends.to_horizon]
    tested = [row.over_monitor.p_value if row.over_monitor and row.arm != PLACEBO else None for row in rows]
    corrected = holm(tested, [""] * len(rows))
    return [dataclasses.replace(row, p_value=p) for row, p in zip(rows, corrected, strict=True)]


def shown(strength: str, found: Mapping[tuple[str, str, int], Ends], options: argparse.Namespace) -> bool:
    """Print the table of one strength; whether some strategy is shown to win more behind the monitor's alarms."""
    of = {key: each for key, each in found.items() if key[1] == strength}
    rows = rows_of(Ends.joined(list(of.values())))
    many = f"{len(of)} policies, {rows[0].faulty} test episodes under faults, {rows[0].nominal} nominal"
    ended = ("acts in", "of them nominal", "in time", "horizon", "nominal: broken", "won")
    gained = ("over monitor", "p (Holm)", "sooner", "over placebo")
    for title, columns, cells in (("who acts when", ended, Row.ended), ("gains", gained, Row.gained)):
        told = table(f"{strength}, {title}: {many}", "trigger", "arm", *columns)
        for row in rows:
            told.add_row(row.trigger, row.arm, *cells(row))
        console.print(told)
    for name in options.tasks.split(","):
        by_task = Ends.joined([each for key, each in of.items() if key[0] == name])
        console.print(*by_arm(f"{name}, {strength}", by_task), sep="\n")
    if options.json:
        kept = [dataclasses.asdict(row) for row in rows]
        options.json.with_suffix(f".{strength}.json").write_text(json.dumps(kept, indent=1))
    return any(
        all(behind(row) for row in rows if row.arm == arm and row.trigger in (RANDOM, PERIODIC)) for arm in RECOVERIES
    )


def by_arm(title: str, ends: Ends) -> list[str]:
    """What every recovery and the placebo gain over the monitor's alarms by the other triggers, a line each."""
    rows = [row for row in rows_of(ends) if row.over_monitor is not None]
    return [
        f"{title}, {arm} over itself behind the monitor: "
        + ", ".join(f"{row.trigger} {points(row.over_monitor)}" for row in rows if row.arm == arm and row.over_monitor)
        for arm in dict.fromkeys(row.arm for row in rows)
    ]


def behind(row: Row) -> bool:
    """Whether a trigger is shown to win less than the monitor."""
    gain, p = row.over_monitor, row.p_value
    return gain is not None and p is not None and gain.only_arm < gain.only_control and p < ALPHA


if __name__ == "__main__":
    sys.exit(main())
