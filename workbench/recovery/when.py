"""When to act: the benefit of an arm over the placebo, predicted from a counterfactual table; see :mod:`acting`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import build, described, digest, shown
from workbench.config.named import nodes
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.executor import Executor
from workbench.execution.ledger import deciding, plain, refuse_other
from workbench.monitoring.episodes import sound
from workbench.monitoring.monitor import AnyMonitor, identified
from workbench.recovery.acting import Acting, Outcome, best, certified, level_of
from workbench.recovery.gains import PLACEBO
from workbench.recovery.paired import first_alarms
from workbench.recovery.tables import NEVER, CounterfactualTable, made_of, tabulate
from workbench.rollouts.arms import ACTS, EXPERT, beside, composed, leaves_acting, parts_asked
from workbench.rollouts.guard import steps_beyond
from workbench.rollouts.setup import refuse_other_task
from workbench.rollouts.training import Training, with_defaults
from workbench.store import Store, table_names
from workbench.types import Array, Compared, Policy, Record, Shield, Split, Task
from workbench.types.inputs import elapsed, inputs_for, inputs_there

TRAINER: Record = {"_target_": "workbench.policies.learning.benefit.train"}
"""How it is trained, unless told otherwise."""
FIT: Split = "fit"
CALIBRATE: Split = "calibrate"
TABLE = "benefit"
"""Name of the table in the store."""


def train_benefit(
    store: Store,
    table: CounterfactualTable,
    alarms: Mapping[str, int],
    task: Task,
    policy: Policy,
    *,
    into: Path,
    arm: str,
    monitor: str = "",
    confidence: float = 0.9,
    trainer: Mapping[str, Any] = TRAINER,
    seed: int = 0,
    overwrite: bool = False,
) -> Acting:
    """Learn how much likelier an arm wins than the placebo, and show from where on it does; one that is there is kept.

    It learns from the cells of the fit split, to the table's horizon.  From where on to act is tested at the alarms of
    the calibrate split, one an episode: see :mod:`workbench.recovery.acting`.

    Parameters
    ----------
    table : of the store, with the placebo and the arm, of episodes of the fit and the calibrate split alone.
    alarms : uid -> control step of the first alarm, of the episodes that have one; the table has these cells.
    task, policy : those that the store was rolled with; what the policy sees is what is read of a call.
    into : folder of the checkpoint.
    arm : its name in the table.
    monitor : whose alarms they are, as :func:`workbench.monitoring.monitor.identified` says it; a guard with another
        one is refused then.
    confidence : of the guarantee, over the calibrate episodes.

    Raises
    ------
    StoreError
        if the table has an episode of another split, such as one on which it is to be judged.
    OtherSettingsError
        if it is of another store, task or policy.
    CheckpointError
        if the folder holds another benefit, unless ``overwrite`` trains it anew.
    """
    refuse_other_task(store, task)
    table.refuse_other_store(store, "tabulate the episodes of this one")
    node, _ = _refuse_unfit(store, table, arm), level_of(confidence)
    asked = {
        "trainer": deciding(with_defaults(trainer)),
        "seed": seed,
        "confidence": confidence,
        "task": described(task),
        "arm": {arm: node},
        "alarms": digest(dict(alarms)),
        "table": {**table.made_of, "horizon": table.horizon, "rows": digest(table.rows_of_table())},
    }
    training = Training(into, plain(asked))
    if (kept := training.kept(overwrite)) is not None:
        return Acting.of(kept)
    names = inputs_for(task, policy)
    lessons, weights = lessons_of(store, table, names, arm), {p: table.made_of[p] for p in parts_asked({arm: node})}
    training.begin()
    began = time.monotonic()
    make = build({**trainer, "_partial_": True})
    benefit, held_out = make(lessons, task=task.name, arm=node, weights=weights, seed=seed)
    fit, calibrate = (_rows(store, table, split, alarms) for split in (FIT, CALIBRATE))
    apart = held_out[np.searchsorted(_rows(store, table, FIT), fit)]
    unseen = benefit.predict(_inputs(store, table, calibrate, names)) if len(calibrate) else np.zeros(0)
    candidates = certified(_outcome(table, arm, fit, apart), _outcome(table, arm, calibrate, unseen), confidence)
    learned = len(lessons.episode), len(np.unique(lessons.episode))
    acting = Acting(arm, best(candidates), confidence, learned, len(calibrate), candidates)
    dataclasses.replace(benefit, monitor=monitor).save(into, acting.threshold)
    training.end(time.monotonic() - began, acting.record())
    return acting


def _refuse_unfit(store: Store, table: CounterfactualTable, arm: str) -> Record:
    """Configuration of the arm; refuses what nothing can be learned from, and episodes of other splits."""
    for name in (PLACEBO, arm):
        if name not in table.arms:
            raise UnknownNameError("arm of the table", name, table.arms)
    node: Record | None = table.made_of.get("strategies", {}).get(arm)
    if node is None or arm == PLACEBO:
        raise ConfigError(
            f"the benefit of {arm} over the {PLACEBO} cannot be learned: "
            + ("they are the same" if node else "the table does not say how it acted; tabulate it again")
        )
    splits = {uid: store.episodes["split"][store.number_of(uid)] for uid in table.uids}
    if strangers := [uid for uid, split in splits.items() if split not in (FIT, CALIBRATE)]:
        raise StoreError(
            f"a benefit is learned in the {FIT} split and calibrated in the {CALIBRATE} split, and the table has "
            f"episode {strangers[0]}, of the {splits[strangers[0]]} split"
        )
    return node


def lessons_of(store: Store, table: CounterfactualTable, names: Sequence[str], arm: str) -> Compared:
    """The cells of the fit split, with what came of arm and placebo there to the table's horizon.

    Raises
    ------
    StoreError
        if there is none.
    """
    rows = _rows(store, table, FIT)
    if not len(rows):
        raise StoreError(
            f"a benefit is learned in the {FIT} split, of which the table of {shown(store.path)} has no episode; roll "
            f"some: workbench rollout job.episodes.{FIT}=50"
        )
    won, other = (table.won(name, table.horizon)[rows] for name in (arm, PLACEBO))
    return Compared(_inputs(store, table, rows, names), won, other, table.episode[rows])


def _rows(store: Store, table: CounterfactualTable, split: Split, alarms: Mapping[str, int] | None = None) -> Array:
    """Rows of the cells of a split's episodes, in their order; with ``alarms`` those at the first alarm alone."""
    of = [uid for uid in table.uids if store.episodes["split"][store.number_of(uid)] == split]
    if alarms is not None:
        return np.sort(table.cells({uid: alarms[uid] for uid in of if uid in alarms}))
    return np.flatnonzero(np.isin(table.episode, [table.uids.index(uid) for uid in of]))


def _inputs(store: Store, table: CounterfactualTable, rows: Array, names: Sequence[str]) -> dict[str, Array]:
    """What is read of the calls of some cells, in their order."""
    found: dict[str, list[Array]] = {}
    places, order = table.episode[rows], []
    for place in np.unique(places):
        of = np.flatnonzero(places == place)
        calls = store.calls(store.number_of(table.uids[place]), names)
        at = np.searchsorted(calls.step, table.step[rows[of]])
        for name, values in {**inputs_there(calls, names), **elapsed(calls, table.deadline)}.items():
            found.setdefault(name, []).append(values[at])
        order += of.tolist()
    return {name: np.concatenate(parts)[np.argsort(order)] for name, parts in found.items()}


def _outcome(table: CounterfactualTable, arm: str, rows: Array, predicted: Array) -> Outcome:
    """First branches, which a live rollout would meet, of arm and placebo to the same horizon."""
    won, other = (table.arms[name][rows, 0] > NEVER for name in (arm, PLACEBO))
    return Outcome(predicted, won, other)


def learn_benefit(
    store: Store,
    monitor: AnyMonitor,
    strategies: Mapping[str, Any],
    task: Task,
    policy: Policy,
    *,
    head: Path,
    calls: int = 4,
    confidence: float = 0.9,
    horizon: float = 2.0,
    expert: Mapping[str, Any] = EXPERT,
    trainer: Mapping[str, Any] = TRAINER,
    seed: int = 0,
    runner: Executor | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
    overwrite: bool = False,
) -> Acting:
    """:func:`train_benefit` for the strategy that leaves the acting to another, from a table that is kept in the store.

    The table has the first alarms of the monitor in the fit and the calibrate split, and of every episode of the fit
    split ``calls`` more.

    Parameters
    ----------
    strategies : name -> configuration; one of them leaves the acting to another one.
    head : folder of the recovery head, beside which the benefit is written.
    shields : those behind which the store was rolled.

    Raises
    ------
    OtherSettingsError
        if the store holds a table of other settings, unless ``overwrite`` makes it anew.
    """
    if calls < 1:
        raise ConfigError(f"job.benefit.calls={calls} must be at least 1")
    arm, node = _lent(strategies)
    arms = {**nodes("strategy", [PLACEBO]), arm: node}
    alarms = {split: _first_alarms(store, monitor, split) for split in (FIT, CALIBRATE)}
    at = {uid: {step} for uid, step in alarms[CALIBRATE].items()}
    for number in sound(store, FIT):
        steps, uid = store.calls(number, ()).step, store.uids[number]
        spread = steps[np.linspace(0, len(steps) - 1, calls).round().astype(int)]
        at[uid] = {*map(int, spread), *([alarms[FIT][uid]] if uid in alarms[FIT] else [])}
    asked = _Asked(store, arms, at, steps_beyond(task.deadline, horizon), expert, head)
    table = None if overwrite else asked.kept(f"{TABLE}-{arm}")
    if table is None:
        rolled: Record = {"horizon": horizon, "expert": expert, "head": head, "monitors": [monitor]}
        table = tabulate(store, arms, task, policy, at=at, runner=runner, shields=shields, **rolled)
        table.save(store, f"{TABLE}-{arm}", overwrite=True)
    found = alarms[FIT] | alarms[CALIBRATE]
    options: Record = {"confidence": confidence, "trainer": trainer, "seed": seed, "overwrite": overwrite}
    options |= {"monitor": identified(monitor)}
    return train_benefit(store, table, found, task, policy, into=beside(head, "benefit"), arm=arm, **options)


def _lent(strategies: Mapping[str, Any]) -> tuple[str, Record]:
    """Name and configuration of the strategy to which another one leaves the acting."""
    lent = [node[ACTS] for node in composed(strategies).values() if leaves_acting(node)]
    if len(lent) != 1:
        raise ConfigError(f"a run has one predicted benefit, and {len(lent)} of its strategies go by one; choose one")
    (node,) = lent
    beside = [name for name, each in strategies.items() if each == node]
    return (beside or [node["_target_"].split(".")[-2]])[0], node


def _first_alarms(store: Store, monitor: AnyMonitor, split: Split) -> dict[str, int]:
    return {store.uids[number]: step for number, (step,) in first_alarms(store, monitor, split).items()}


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A table that is wanted: of which arms, from which calls, to which horizon."""

    store: Store
    arms: Mapping[str, Any]
    at: Mapping[str, Collection[int]]
    horizon: int
    expert: Mapping[str, Any]
    head: Path

    def kept(self, name: str) -> CounterfactualTable | None:
        """The one of that name in the store; None if there is none.

        Raises
        ------
        OtherSettingsError
            if it is of other settings.
        """
        if name not in table_names(self.store.path):
            return None
        table = CounterfactualTable.load(self.store, name)
        cells = zip((table.uids[place] for place in table.episode), table.step.tolist(), strict=True)
        before = {**table.made_of, "horizon": table.horizon, "calls": sorted(cells)}
        now = {
            **made_of(self.store, self.arms, self.expert, self.head),
            "horizon": self.horizon,
            "calls": sorted((uid, step) for uid, steps in self.at.items() for step in steps),
        }
        refuse_other(f"table {name} of {shown(self.store.path)}", before, now, "overwrite=true makes it anew")
        return table
