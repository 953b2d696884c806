"""Which strategy is worth more than luck and time, on weak and on strong policies?

On several tasks policies of two strengths are trained with several training seeds: ``weak`` ends after a fraction of
the iterations, ``zoo`` has the zoo's recipe.  Each is rolled under faults, a monitor is fitted, recovery heads are
trained on failures of the fit split alone, and in the test split every strategy is branched from the monitor's first
alarm and from step 0, all to the same control step (twice the deadline) with the same noise.

Shown, pooled over tasks and seeds and for each task:

alarmed         test episodes with an alarm; of them those that succeed to the horizon with the strategy, and with the
                placebo
over placebo    points of success in the alarmed episodes, with the paired 95 % interval, the exact paired test,
                corrected over all strategies of a strength (Holm), the gain of every seed, and how many alarmed
                episodes a study with these rates needs to tell the two apart with a power of 0.8
in time         the same within the deadline, where the placebo is luck alone
always          points over the placebo from step 0 of all episodes under faults, without a monitor
ahead           by how much a guard at the monitor's alarm is ahead of *always*, in all episodes under faults
guard           success of all episodes under faults without a guard and with it: in the task's time, to the horizon
nominal         nominal episodes that the guard breaks and those that it wins, against the same time without it

``longer`` is a control of the head: as many further iterations, on the demonstrations alone.  What the head gains over
it is said, too.  The expert sees all.

What is there already below ``--into`` is kept, so that the same call goes on.

Run: make verify WHAT=recoveries ARGS="--into FOLDER"
"""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.verify.claims import table, verdict
from workbench.attribution.labels import Settings
from workbench.config.named import nodes
from workbench.execution.progress import console
from workbench.monitoring.episodes import sound
from workbench.recovery.correcting import CorrectionSettings, keep_corrections
from workbench.recovery.corrections import CORRECTOR, KINDS
from workbench.recovery.economics import operating_rule
from workbench.recovery.gains import PLACEBO, Gain
from workbench.recovery.paired import first_alarms
from workbench.recovery.tables import NEVER
from workbench.recovery.when import learn_benefit
from workbench.reporting.summaries import benefit_words
from workbench.rollouts.training import TRAINER
from workbench.stats.multiple import holm
from workbench.store import table_names
from workbench.types import Array, Policy, Record, Split, Task

FAULTS: Mapping[str, Record] = {
    "translation": {"duration_steps": [25, 50]},
    "rotation": {"duration_steps": [25, 50]},
    "no_op": {"duration_steps": [15, 35]},
    "hand_push": {"force_n": [40, 80]},
    "action_noise": {"std_fraction": [0.1, 0.15]},
    "object_pose_bias": {"offset_m": [0.012, 0.02]},
    "latency": {"latency_steps": [1, 2]},
    "observation_freeze": {"duration_steps": [10, 25]},
}
"""FailSafe's three (arXiv 2510.01642) and five of other channels, milder than conf/perturbation has them: at those
magnitudes the zoo's own policies fail more than half the time, and nothing could be learnt of weaker ones."""
MONITOR, HORIZON = "rnd+split_conformal", 2.0
FURTHER: Record = {**TRAINER, "iterations": 800, "learning_rate": 0.0005}
"""Training of the head, as workbench recover does it, and of its control."""
LABELS = Settings(branches=(), pairs=0)
CORRECTIONS = CorrectionSettings(episodes=6, before=2, beyond=1, targets=2, randoms=2)
RECOVERIES = (
    "retreat", "home", "backtrack", "best_of", "adaptive_chunking", "retrieve", "reward_steered", "longer", "cascade",
    "cascade_for_24", "head", "head_for_24", "when", "expert",
)  # fmt: skip
"""Arms beside the controls; ``_for_24`` hands back after so many control steps.  ``reward_steered_stage``, asked for
by ``--arms``, goes by the task's own plan instead of a target that is written by hand."""
VARIANTS: Mapping[str, str] = {"longer": "cascade", "reward_steered_stage": "reward_steered"}
"""Arm -> the strategy that it is, with other settings."""


@dataclasses.dataclass(frozen=True)
class Known:
    """What an experiment has to know of a task.

    Attributes
    ----------
    demonstrations, iterations : of the zoo's recipe.
    weak : iterations of the weak policy: chosen on the select split, so that it wins 40 to 70 % under faults.
    target, offset_m : where ``reward_steered`` leads the hand.
    """

    demonstrations: int
    iterations: int
    weak: int
    target: str
    offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)


TASKS = {
    "lift": Known(300, 3000, 150, "cube_pos"),
    "stack": Known(600, 5000, 400, "cube_a_pos"),
    "door": Known(200, 3000, 250, "handle_pos"),
}
STRENGTHS = ("weak", "zoo")
ARMS = "arms-"
"""How the names of the tables of arms begin, beside those of corrections and of the predicted benefit."""
LEARNED, AIM = ("head", "head_for_24", "cascade", "cascade_for_24"), 0.2
"""Arms of which one is to win so much over the placebo behind the weak policy's alarms."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """Test episodes (N,) of one task, strength and seed.

    Attributes
    ----------
    nominal, alarmed : whether an episode has no fault, and whether its monitor alarms.
    within : whether it succeeded within the deadline: what happened.
    waited : whether it succeeds to the horizon without a guard.
    at_alarm, at_start : arm -> whether it succeeds to the horizon from the alarm (of alarmed ones), and from step 0.
    in_time : as ``at_alarm``, within the deadline; of the placebo that is the redraw.
    corrections : tried from failures of the fit split; None where nobody asked for them.
    """

    nominal: Array
    alarmed: Array
    within: Array
    waited: Array
    at_alarm: Mapping[str, Array]
    at_start: Mapping[str, Array]
    in_time: Mapping[str, Array]
    corrections: wb.Corrections | None = None


def main() -> int:
    options = arguments()
    cells: dict[tuple[str, str, int], Cell] = {}
    for seed in range(options.seeds):
        for strength in options.strengths.split(","):
            for name in options.tasks.split(","):
                cells[name, strength, seed] = cell(name, strength, seed, options)
    corrected(cells)
    best = [shown(strength, cells, options) for strength in options.strengths.split(",")]
    return verdict(all(best), "a learned strategy wins 20 points over the placebo behind the weak policy's alarms")


def arguments() -> argparse.Namespace:
    made = experiment(__doc__)
    made.add_argument("--arms", default=",".join(RECOVERIES), help="strategies beside the controls")
    made.add_argument("--corrections", action="store_true", help="try corrections from failures of the fit split, too")
    return made.parse_args()


def experiment(description: str | None) -> argparse.ArgumentParser:
    """Options that decide which policies there are, and which of them are looked at."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--into", type=Path, required=True, help="folder of all that is made; what is there is kept")
    made.add_argument("--tasks", default=",".join(TASKS))
    made.add_argument("--strengths", default=",".join(STRENGTHS))
    made.add_argument("--seeds", type=int, default=3, help="training seeds")
    made.add_argument("--each", type=int, default=10, help="test episodes of every fault")
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--json", type=Path, help="files FILE.weak.json and FILE.zoo.json for the numbers")
    return made


@dataclasses.dataclass(frozen=True)
class Subject:
    """One policy with its episodes, and what has been learned from them.

    Attributes
    ----------
    name, strength, seed : which of them.
    store : its episodes, of the fit, calibrate and test split.
    monitors : fitted on them, by name.
    longer, head : folders of the control of the head, and of the head.
    """

    name: str
    strength: str
    seed: int
    task: Task
    policy: Policy
    store: wb.Store
    monitors: Mapping[str, Any]
    longer: Path
    head: Path

    @property
    def monitor(self) -> Any:
        """The one that says when."""
        return self.monitors[MONITOR]

    def alarms(self, split: Split = "test") -> dict[str, int]:
        """Uid -> control step of the first alarm, of the episodes of a split that have one."""
        return {
            self.store.uids[number]: step for number, (step,) in first_alarms(self.store, self.monitor, split).items()
        }

    def nodes(self, arms: Sequence[str]) -> dict[str, Record]:
        """Configuration of arms, with what they have to know of the task."""
        known = TASKS[self.name]
        told = {
            "longer": {"strong": str(self.longer)},
            "cascade": {"strong": f"zoo/{self.name}_flow"},
            "best_of": {"score": "chunk_overlap"},
            "retrieve": {"successes": str(self.store.path)},
            "reward_steered": {"target": known.target, "offset_m": list(known.offset_m)},
            "reward_steered_stage": {"reward": "stage"},
        }
        return {arm: node_of(arm, told) for arm in arms}

    def tables(self, kind: str) -> list[wb.CounterfactualTable]:
        """The tables in its store whose names begin so."""
        names = [name for name in table_names(self.store.path) if name.startswith(kind)]
        return [wb.CounterfactualTable.load(self.store, name) for name in names]

    def tabulate(
        self, arms: Mapping[str, Record], at: Mapping[str, Collection[int]], name: str, runner: wb.Processes
    ) -> wb.CounterfactualTable:
        """A table of some calls of test episodes, which then lies in the store."""
        made = wb.tabulate(
            self.store,
            arms,
            self.task,
            self.policy,
            at=at,
            horizon=HORIZON,
            head=self.head,
            monitors=list(self.monitors.values()),
            runner=runner,
        )
        made.save(self.store, name)
        return made


def subject(name: str, strength: str, seed: int, options: argparse.Namespace, runner: wb.Processes) -> Subject:
    """Train, roll and fit what is not there yet; one task, strength and seed."""
    folder = options.into / name / f"{strength}-{seed}"
    task, demonstrations, policy = trained(name, strength, seed, options.into, runner)
    longer, head = folder / "longer", folder / "head"
    wb.train(copy.deepcopy(policy), demonstrations, task, into=longer, trainer=FURTHER, seed=seed)
    store = rolled(task, policy, folder / "episodes.zarr", seed, options, runner)
    monitors = wb.fit(store, ["rnd", "chunk_overlap"], seed=seed)
    wb.train_head(
        store, demonstrations, task, copy.deepcopy(policy), into=head, trainer=FURTHER, seed=seed, runner=runner
    )
    return Subject(name, strength, seed, task, policy, store, monitors, longer, head)


def cell(name: str, strength: str, seed: int, options: argparse.Namespace) -> Cell:
    """Make and tabulate what is not there yet; one task, strength and seed."""
    runner, arms = wb.Processes(options.workers), options.arms.split(",")
    of = subject(name, strength, seed, options, runner)
    corrections = tried(of.store, of.task, of.policy, runner) if options.corrections else None
    if "when" in arms:
        lent = {arm: node_of(arm, {}) for arm in ("head", "when")}
        acting = learn_benefit(of.store, of.monitor, lent, of.task, of.policy, head=of.head, seed=seed, runner=runner)
        console.print(*benefit_words({"benefit": acting.record()}))
    alarms = of.alarms()
    won = tabulated(of, of.nodes([PLACEBO, *arms]), alarms, runner)
    console.print(f"{name} {strength} {seed}: {len(alarms)} alarms of {len(won.nominal)} test episodes")
    return dataclasses.replace(won, corrections=corrections)


def tried(
    store: wb.Store,
    task: Task,
    policy: Policy,
    runner: wb.Processes,
    labels: Settings = LABELS,
    settings: CorrectionSettings = CORRECTIONS,
) -> wb.Corrections:
    """Corrections from failures of the fit split, which need no onsets among their labels."""
    wb.label(store, task, policy, settings=labels, runner=runner)
    return keep_corrections(wb.open_store(store.path), task, policy, settings=settings, runner=runner)


def trained(name: str, strength: str, seed: int, into: Path, runner: wb.Processes) -> tuple[Task, wb.Store, Policy]:
    """A task, its demonstrations, and the policy of that strength and seed; what is there is kept."""
    known, task, folder = TASKS[name], wb.task(name), into / name / f"{strength}-{seed}" / "policy"
    demonstrations = wb.collect(
        task, episodes=known.demonstrations, into=into / name / "demonstrations.zarr", runner=runner
    )
    iterations = known.weak if strength == "weak" else known.iterations
    recipe = {**TRAINER, "iterations": iterations, "warmup": min(100, iterations // 4)}
    wb.train(wb.untrained("flow"), demonstrations, task, into=folder, trainer=recipe, seed=seed)
    return task, demonstrations, wb.policy(folder, task)


def node_of(arm: str, told: Mapping[str, Record]) -> Record:
    """Configuration of an arm; what is named ``_for_24`` hands back after so many steps."""
    base, _, steps = arm.partition("_for_")
    (node,) = nodes("strategy", [VARIANTS.get(base, base)]).values()
    return {**node, **told.get(base, {}), **({"steps": int(steps)} if steps else {})}


def rolled(
    task: Task, policy: Policy, path: Path, seed: int, options: argparse.Namespace, runner: wb.Processes
) -> wb.Store:
    """Nominal episodes to fit and calibrate on, and episodes of every fault to learn, to calibrate and to judge on."""
    faults = {name: wb.perturbation(name, **settings) for name, settings in FAULTS.items()}
    nominal = {"fit": 60, "calibrate": 80, "test": 2 * options.each}
    return rolled_under(
        faults, task, policy, path, seed, nominal, {"fit": 8, "calibrate": 8, "test": options.each}, runner
    )


def rolled_under(
    faults: Mapping[str, Any],
    task: Task,
    policy: Policy,
    path: Path,
    seed: int,
    nominal: Mapping[str, int],
    each: Mapping[str, int],
    runner: wb.Processes,
) -> wb.Store:
    """So many nominal episodes of every split, and of every fault."""
    told: dict[str, Any] = {"into": path, "seed": seed, "samples": 0, "images": False, "runner": runner}
    wb.rollout(task, policy, episodes=nominal, **told)
    return wb.rollout(task, policy, faults, episodes=each, one_each=True, **told)


def tabulated(of: Subject, arms: Mapping[str, Record], alarms: Mapping[str, int], runner: wb.Processes) -> Cell:
    """Every arm from the alarm and from step 0 of every test episode; tables lie in the store."""
    store, tables = of.store, of.tables(ARMS)
    missing = {arm: node for arm, node in arms.items() if not any(arm in each.arms for each in tables)}
    if missing:
        at = {store.uids[n]: {0, alarms.get(store.uids[n], 0)} for n in sound(store, "test")}
        tables.append(of.tabulate(missing, at, f"{ARMS}{len(tables)}", runner))
    uids, horizon = tables[0].uids, tables[0].horizon
    first, start = {uid: alarms[uid] for uid in uids if uid in alarms}, dict.fromkeys(uids, 0)

    def won(arm: str, at: Mapping[str, int], within: int) -> Array:
        (table,) = [each for each in tables if arm in each.arms]
        steps = table.arms[arm][table.cells(at), 0]
        return (steps > NEVER) & (steps <= within)

    return Cell(
        nominal=nominal(store, uids),
        alarmed=np.array([uid in first for uid in uids]),
        within=tables[0].factual > NEVER,
        waited=tables[0].waited > NEVER,
        at_alarm={arm: won(arm, first, horizon) for arm in arms},
        at_start={arm: won(arm, start, horizon) for arm in arms},
        in_time={arm: won(arm, first, of.task.deadline) for arm in arms},
    )


def nominal(store: wb.Store, uids: Sequence[str]) -> Array:
    """Whether episodes (N,) have no fault."""
    drawn = store.episodes["perturbations"]
    return np.array([drawn[store.number_of(uid)] in ("", "[]") for uid in uids])


def corrected(cells: Mapping[tuple[str, str, int], Cell]) -> None:
    """Print how many corrections were verified of those tried, by task, strength and failure mode.

    Of the placebo, no motion at all, those calls are counted from which luck wins at least half of its branches.
    """
    of = {key: each.corrections for key, each in cells.items() if each.corrections is not None}
    counts: dict[tuple[str, str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for (name, strength, _), corrections in of.items():
        for row in corrections.counts():
            counts[name, strength, row["failure_mode"]].update(
                {
                    row["kind"]: row["candidates"],
                    f"{row['kind']} verified": row["verified"],
                    "once": row["once"] * (row["kind"] != PLACEBO),
                }
            )
    if not counts:
        return
    kinds = [kind for kind in KINDS if kind != CORRECTOR]  # whose motions are judged elsewhere
    told = table("corrections: verified of tried", "task", "strength", "mode", *kinds, "all", "succeeds once")
    for key, here in sorted(counts.items()):
        motions = [kind for kind in kinds if kind != PLACEBO]
        tried, passed = (sum(here[kind + what] for kind in motions) for what in ("", " verified"))
        each = [f"{here[f'{kind} verified']} of {here[kind]}" for kind in kinds]
        told.add_row(*key, *each, f"{passed} of {tried}", str(here["once"]))
    console.print(told)
    verified = sum(int(corrections.verified().sum()) for corrections in of.values())
    seconds = sum(corrections.seconds for corrections in of.values())
    console.print(f"{verified} verified, {seconds / max(verified, 1):.1f} s of CPU each")


def shown(strength: str, cells: Mapping[tuple[str, str, int], Cell], options: argparse.Namespace) -> bool:
    """Print the tables of one strength; whether the best learned arm wins 20 points, which is asked of the weak one."""
    of = {key: each for key, each in cells.items() if key[1] == strength}
    rows = pooled(of)
    many = f"{len(of)} policies, {sum(len(each.nominal) for each in of.values())} test episodes"
    behind = ("alarmed", "wins", "placebo", "over placebo", "p (Holm)", "of each seed", "needed", "in time, over luck")
    overall = ("always", "ahead of always", "guard: in time", "to the horizon", "nominal: broken", "won")
    for title, columns, cells_of in (("alarms", behind, Row.behind), ("all", overall, Row.overall)):
        told = table(f"{strength}, {title}: {many}", "strategy", *columns)
        for row in rows:
            told.add_row(row.name, *cells_of(row))
        console.print(told)
    console.print(*further(of))
    for name in options.tasks.split(","):
        mine = {key: each for key, each in of.items() if key[0] == name}
        faulty = np.concatenate([each.within[~each.nominal] for each in mine.values()])
        nominal = np.concatenate([each.within[each.nominal] for each in mine.values()])
        first, *_ = by_task = pooled(mine)
        gains = ", ".join(f"{row.name} {points(row.over_placebo)}" for row in by_task)
        console.print(
            f"{name}, {strength}: within the deadline {faulty.mean():.0%} of {len(faulty)} under faults and "
            f"{nominal.mean():.0%} of {len(nominal)} nominal ones; {first.over_placebo.pairs} alarmed"
        )
        console.print(f"over the placebo: {gains}")
    if options.json:
        kept = {row.name: row.record() for row in rows}
        options.json.with_suffix(f".{strength}.json").write_text(json.dumps(kept, indent=1))
    learned = [row.over_placebo.gain or 0.0 for row in rows if row.name in LEARNED]
    return strength != "weak" or max(learned, default=0.0) >= AIM


def further(cells: Mapping[tuple[str, str, int], Cell]) -> list[str]:
    """What the head gains over as much training on demonstrations alone, behind the same alarms; none without it."""
    of = [each.at_alarm for each in cells.values() if {"head", "longer"} <= each.at_alarm.keys()]
    if not of:
        return []
    gain = Gain.of(*(np.concatenate([each[arm] for each in of]) for arm in ("head", "longer")))
    return [f"the head over as much further training: {points(gain)} points of {gain.pairs}, p {gain.p_value:.2g}"]


@dataclasses.dataclass(frozen=True)
class Row:
    """What one strategy comes to over some cells; gains are of successes to the horizon, in the same episodes.

    Attributes
    ----------
    over_placebo : in alarmed episodes; ``p_value`` is its own, corrected.
    in_time : the same within the deadline, where the placebo is the redraw: luck.
    seeds : the same of every seed.
    needed : alarmed episodes that tell it from the placebo with a power of 0.8; None for more than 20,000.
    always : of the arm from step 0 over the placebo from step 0, in all episodes under faults.
    ahead : of a guard over the arm from step 0, in all episodes under faults.
    without, guarded : successes of all ``faulty`` episodes, within the deadline and to the horizon.
    broken, won : nominal episodes, of ``nominal``, that the guard turns round.
    """

    name: str
    over_placebo: Gain
    wins: int
    p_value: float | None
    seeds: tuple[float, ...]
    needed: int | None
    in_time: Gain
    always: Gain
    ahead: Gain
    without: tuple[int, int]
    guarded: tuple[int, int]
    faulty: int
    broken: int
    won: int
    nominal: int

    def behind(self) -> list[str]:
        """Behind the monitor's alarms, as the table shows it."""
        over = self.over_placebo
        placebo = self.wins - over.only_arm + over.only_control
        p = "" if self.p_value is None else f"{self.p_value:.2g}"
        seeds = " ".join(f"{100 * gain:+.0f}" for gain in self.seeds)
        needed = "" if self.needed is None else str(self.needed)
        return [str(over.pairs), str(self.wins), str(placebo), points(over), p, seeds, needed, points(self.in_time)]

    def overall(self) -> list[str]:
        """In all episodes, as the table shows it."""
        guards = [f"{a} -> {b} of {self.faulty}" for a, b in zip(self.without, self.guarded, strict=True)]
        broken = f"{self.broken} of {self.nominal}"
        return [points(self.always), points(self.ahead), *guards, broken, str(self.won)]

    def record(self) -> Record:
        """Plain data."""
        return dataclasses.asdict(self)


def pooled(cells: Mapping[tuple[str, str, int], Cell]) -> list[Row]:
    """A row of every arm over all these cells, the best over the placebo first."""
    of = list(cells.values())
    arms = [arm for arm in of[0].at_alarm if arm != PLACEBO]
    rows = [row_of(arm, cells) for arm in arms]
    corrected = holm([row.over_placebo.p_value for row in rows], [""] * len(rows))
    rows = [dataclasses.replace(row, p_value=p) for row, p in zip(rows, corrected, strict=True)]
    return sorted(rows, key=lambda row: -(row.over_placebo.gain or 0.0))


def row_of(arm: str, cells: Mapping[tuple[str, str, int], Cell]) -> Row:
    """One arm over all these cells."""
    of = list(cells.values())

    def joined(what: Any) -> Array:
        return np.concatenate([what(each) for each in of])

    def guarded(each: Cell) -> Array:
        return behind_alarms(each, each.waited, each.at_alarm[arm])

    def in_time(each: Cell) -> Array:
        return behind_alarms(each, each.within, each.in_time[arm])

    mine, control = joined(lambda each: each.at_alarm[arm]), joined(lambda each: each.at_alarm[PLACEBO])
    faulty, behind, bare = (joined(what) for what in (lambda each: ~each.nominal, guarded, lambda each: each.waited))
    start, from_placebo = (joined(lambda each, name=name: each.at_start[name]) for name in (arm, PLACEBO))
    seeds = sorted({seed for _, _, seed in cells})
    by_seed = [[each for (_, _, seed), each in cells.items() if seed == wanted] for wanted in seeds]
    return Row(
        name=arm,
        over_placebo=Gain.of(mine, control),
        wins=int(mine.sum()),
        p_value=None,
        seeds=tuple(
            float(np.concatenate([each.at_alarm[arm].astype(float) - each.at_alarm[PLACEBO] for each in some]).mean())
            for some in by_seed
        ),
        needed=operating_rule(control, mine).episodes_needed,
        in_time=Gain.of(*(joined(lambda each, name=name: each.in_time[name]) for name in (arm, PLACEBO))),
        always=Gain.of(start[faulty], from_placebo[faulty]),
        ahead=Gain.of(behind[faulty], start[faulty]),
        without=(int(joined(lambda each: each.within)[faulty].sum()), int(bare[faulty].sum())),
        guarded=(int(joined(in_time)[faulty].sum()), int(behind[faulty].sum())),
        faulty=int(faulty.sum()),
        broken=int((bare & ~behind)[~faulty].sum()),
        won=int((behind & ~bare)[~faulty].sum()),
        nominal=int((~faulty).sum()),
    )


def behind_alarms(cell: Cell, without: Array, acted: Array) -> Array:
    """Successes (N,) of all episodes where a guard acts at the alarms."""
    ended = without.copy()
    ended[cell.alarmed] = acted
    return ended


def points(gain: Gain) -> str:
    """A gain in points, with its interval."""
    if gain.gain is None or gain.low is None or gain.high is None:
        return ""
    return f"{100 * gain.gain:+.0f} ({100 * gain.low:.0f} to {100 * gain.high:.0f})"


if __name__ == "__main__":
    sys.exit(main())
