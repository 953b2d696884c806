"""Why an episode ended as it did: a record of what was drawn, seen and measured, and of nothing else.

Events are read from the simulator's predicates, stages and failure modes too; what was injected, when the failure
became likely and when it became certain, which actions decided it, and whether it was luck come from the labels.  What
was not measured is None.  :mod:`workbench.attribution.wording` makes words of it, which can say no more than it holds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.attribution.labels import SEARCHED
from workbench.attribution.laws import kind_of_luck
from workbench.config import named
from workbench.errors import WorkbenchError
from workbench.execution.ledger import Ledger, plain
from workbench.store import Store
from workbench.types import Array, Record, Task
from workbench.types.abilities import stages_of
from workbench.types.episode import Mode, modes_in
from workbench.types.faults import faults_in, magnitudes_in, unit_of

PREDICATES = "predicates/"


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """One magnitude of a fault, as drawn: name, one number or several, and unit; "" for a ratio."""

    name: str
    values: tuple[float, ...]
    unit: str


@dataclasses.dataclass(frozen=True)
class Injected:
    """A fault as drawn."""

    name: str
    channel: str
    magnitudes: tuple[Magnitude, ...]


@dataclasses.dataclass(frozen=True)
class Change:
    """A predicate that is true or false turns at a control step: ``holds`` from there on, or no longer."""

    predicate: str
    holds: bool
    step: int


@dataclasses.dataclass(frozen=True)
class Reached:
    """A stage of the task, and the control step behind whose action it was first reached; None if it never was."""

    stage: str
    step: int | None


@dataclasses.dataclass(frozen=True)
class Dated:
    """A measured control step, and the interval that its measurement leaves open."""

    step: int
    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Decided:
    """Actions ``first`` .. ``last`` replaced by those of ``by`` (twin or expert) raise success by ``gain``."""

    first: int
    last: int
    by: str
    gain: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Lucky:
    """Success rate of so many reruns under other noise, with its 95 % interval, and what it says: law, luck or open."""

    rate: float
    low: float
    high: float
    runs: int
    kind: str


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Measured facts of one episode.

    Predicates, stages and modes stand at the control step behind whose action they hold; faults and labels at the
    moment before the action of that number.

    Attributes
    ----------
    uid, task, instruction, policy, split : whose.
    control_hz, deadline, length : of the task, and control steps done.
    success, outcome : how it ended.
    faults : as drawn; none of a nominal episode.
    injected : first control step at which one was active; None if none ever was.
    effect : first control step at which the state differs from the nominal twin's; None if not measured, or none.
    changes : of predicates, in order.
    stages : of the task, in order.
    modes : beginnings of failure modes, in order; the first is what was seen first.
    failure_mode : by which the failure is called; "" of a success.
    onset : when the policy's success became unlikely; None if not measured.
    no_return : when not even the expert succeeds in time any more; None if not measured.
    lost : the same within twice the deadline; None if not measured.
    decided : which actions decided it; None if none did, or nobody looked.
    decided_sought : whether such actions were looked for; None where that is not known.
    luck : None if not measured.
    twin : uid of the nominal twin; "" if there is none.
    """

    uid: str
    task: str
    instruction: str
    policy: str
    split: str
    control_hz: float
    deadline: int
    length: int
    success: bool
    outcome: str
    faults: tuple[Injected, ...]
    injected: int | None
    effect: int | None
    changes: tuple[Change, ...]
    stages: tuple[Reached, ...]
    modes: tuple[Mode, ...]
    failure_mode: str
    onset: Dated | None
    no_return: Dated | None
    lost: int | None
    decided: Decided | None
    decided_sought: bool | None
    luck: Lucky | None
    twin: str

    @property
    def failed_stage(self) -> str:
        """First stage that was not reached; "" if all were, or the task has none."""
        return next((reached.stage for reached in self.stages if reached.step is None), "")

    def record(self) -> Record:
        """As plain data, for JSON."""
        made: Record = plain(dataclasses.asdict(self))
        return made


def explain(store: Store, episode: int | str, *, task: Task | None = None) -> Explanation:
    """What was drawn, seen and measured of one stored episode.

    Parameters
    ----------
    episode : its number or uid.
    task : that the store was made with, for the names of its stages; None for the workbench's task of that name.

    Raises
    ------
    UnknownNameError
        if there is no such episode.
    """
    number = store.number_of(episode)
    row = {name: values[number] for name, values in store.episodes.items()}
    names = [name for name in store.step_names(number) if name.startswith(PREDICATES)]
    steps = store.episode(number, steps=("stage", *names), calls=()).steps
    stages = stages_of(task) if task is not None else known_stages(store.header.task)
    return explanation_of(row, steps, stages, store.header.control_hz, store.header.deadline, _sought(store, row))


def explanation_of(
    row: Mapping[str, Any],
    steps: Mapping[str, Array],
    stages: tuple[str, ...],
    control_hz: float,
    deadline: int,
    sought: bool | None = None,
) -> Explanation:
    """Put together what a row of ``episodes/`` and the arrays of its steps say."""
    where = f"perturbations of {row['uid']}"
    return Explanation(
        uid=str(row["uid"]),
        task=str(row["task"]),
        instruction=str(row["instruction"]),
        policy=str(row["policy"]),
        split=str(row["split"]),
        control_hz=float(control_hz),
        deadline=int(deadline),
        length=int(row["length"]),
        success=bool(row["success"]),
        outcome=str(row["outcome"]),
        faults=tuple(injected_of(fault) for fault in faults_in(str(row["perturbations"]), where)),
        injected=_known(row["t_inj"]),
        effect=_known(row["t_eff"]),
        changes=_changes(steps),
        stages=_reached(np.asarray(steps["stage"]), stages),
        modes=tuple(modes_in(str(row["modes"]))),
        failure_mode=str(row["failure_mode"]),
        onset=_dated(row, "t_on"),
        no_return=_dated(row, "t_pnr"),
        lost=_known(row["t_lost"]),
        decided=_decided(row),
        decided_sought=sought,
        luck=_luck(row),
        twin=str(row["twin"]),
    )


def injected_of(fault: Record) -> Injected:
    """Name, channel and magnitudes of a drawn fault; a duration that outlasts any episode is none."""
    found = [
        Magnitude(key, tuple(float(each) for each in np.ravel(numbers)), unit_of(key))
        for key, numbers in magnitudes_in(fault).items()
        if key != "duration_steps" or np.ravel(numbers)[0] < FOR_EVER
    ]
    return Injected(str(fault["name"]), str(fault["channel"]), tuple(found))


FOR_EVER = 1_000_000
"""Duration in control steps of a fault that stays."""


@functools.cache
def known_stages(name: str) -> tuple[str, ...]:
    """Names of the stages of the workbench's task of that name; none where there is no such task."""
    try:
        return stages_of(named.task(name))
    except WorkbenchError:
        return ()


def _sought(store: Store, row: Mapping[str, Any]) -> bool | None:
    """Whether a decisive step was looked for in an episode, by the ledger beside the store."""
    if row["t_dec"] >= 0:
        return True
    path = store.path.with_suffix(".labels.json")
    entry = Ledger(path).entry(SEARCHED) if path.exists() else None
    if row["t_pnr"] < 0:
        return False
    if entry is None or not isinstance(entry.made_with, Mapping) or "pairs" not in entry.made_with:
        return None
    return bool(entry.made_with["pairs"])


def _known(step: Any) -> int | None:
    return int(step) if step >= 0 else None


def _dated(row: Mapping[str, Any], name: str) -> Dated | None:
    step, low, high = (int(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return Dated(step, low, high) if step >= 0 else None


def _decided(row: Mapping[str, Any]) -> Decided | None:
    if row["t_dec"] < 0:
        return None
    gain = (float(row[f"responsibility{end}"]) for end in ("", "_low", "_high"))
    return Decided(int(row["t_dec"]), int(row["t_dec_end"]) - 1, str(row["t_dec_by"]), *gain)


def _luck(row: Mapping[str, Any]) -> Lucky | None:
    if not row["luck_runs"]:
        return None
    rate, low, high = (float(row[f"luck{end}"]) for end in ("", "_low", "_high"))
    return Lucky(rate, low, high, int(row["luck_runs"]), kind_of_luck(row))


def _changes(steps: Mapping[str, Array]) -> tuple[Change, ...]:
    """Every turn of the predicates that are 0 or 1 throughout; success stands in the outcome."""
    found = []
    for name, values in steps.items():
        if not name.startswith(PREDICATES) or name == f"{PREDICATES}success":
            continue
        holds = np.asarray(values)
        if np.isin(holds, (0, 1)).all():
            for step in np.flatnonzero(np.diff(holds)) + 1:
                found.append(Change(name.removeprefix(PREDICATES), bool(holds[step]), int(step)))
    return tuple(sorted(found, key=lambda change: (change.step, change.predicate)))


def _reached(stage: Array, names: tuple[str, ...]) -> tuple[Reached, ...]:
    """When each stage was first reached; of a task whose names are not known, those stages that were, by number."""
    called = names or tuple(str(number) for number in range(int(stage.max(initial=0))))
    found = []
    for number, name in enumerate(called):
        behind = np.flatnonzero(stage > number)
        found.append(Reached(name, int(behind[0]) if len(behind) else None))
    return tuple(found)
