"""What an arm wins over the placebo by how late it acts: before the onset, until the point of no return, or behind it.

A rescue is worth little without the axis of when it came.  Each call at which an arm acts is dated by the labels of its
own episode: by the moments that it lies between, and by how many control steps are left until the point of no return.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from workbench.config import shown
from workbench.errors import ConfigError, UnknownNameError
from workbench.recovery.bottleneck import ASK
from workbench.recovery.gains import CONTROLS, PLACEBO, Gain, over_placebo
from workbench.recovery.tables import NEVER, CounterfactualTable
from workbench.stats.multiple import holm
from workbench.store import Store
from workbench.types import Record
from workbench.types.results import Tabular

WINDOWS = (50, 20, 0)
"""Control steps left that part the windows: more than 50, 21 to 50, 1 to 20, and none, for the expert fails then."""
MOMENT, WINDOW, LOST = KINDS = ("moment", "window", "lost")
"""What calls are grouped by: the labels they lie between, the steps left, and whether more time would help."""
BEFORE_ONSET, AFTER_ONSET, NO_ONSET, BEHIND = MOMENTS = (
    "before the onset",
    "onset to point of no return",
    "before the point of no return, no onset",
    "past the point of no return",
)
NOT_LOST, IS_LOST = "past it, not lost", "lost"
Group = tuple[str, str]
"""What is grouped by, and which group."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """Labels of a failed episode, in control steps.

    Attributes
    ----------
    onset, lost : -1 where there is none, or where it was not measured.
    point : of no return.
    """

    onset: int
    point: int
    lost: int = -1


@dataclasses.dataclass(frozen=True)
class DoseRow:
    """What one arm came to where it acted at such a time.

    Attributes
    ----------
    by, group : ``moment``, ``window`` or ``lost``, and which of them.
    episodes : how many have such a call; of several calls of an episode the last one counts.
    median_left : control steps left until the point of no return at these calls.
    won, placebo : successes of the arm and of the placebo to the horizon.
    over_placebo : in the same episodes with the same noise and total time; its p-value is its own.
    p_vs_placebo : of ``over_placebo``, corrected for all rows that are grouped by the same (Holm).
    """

    by: str
    group: str
    name: str
    episodes: int
    median_left: float
    won: int
    placebo: int
    over_placebo: Gain
    p_vs_placebo: float

    def record(self) -> Record:
        """Plain data, as ``metrics.json`` holds it."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class DoseResponse(Tabular):
    """What arms win by how late they act, in failed episodes with labels.

    Attributes
    ----------
    acted : episodes with a call at which somebody acts.
    succeeded, unlabelled : of those, how many are left out: they succeeded, or have no point of no return.
    silent : failed episodes with a point of no return in which nobody acts.
    """

    rows: tuple[DoseRow, ...]
    acted: int
    succeeded: int
    unlabelled: int
    silent: int

    def rows_of_table(self) -> list[Record]:
        """One row a group and arm."""
        return [row.record() for row in self.rows]

    def record(self) -> Record:
        """The section ``dose_response`` of ``metrics.json``."""
        rest = {key: getattr(self, key) for key in ("acted", "succeeded", "unlabelled", "silent")}
        return {"rows": self.rows_of_table(), **rest}


def dose_response(
    store: Store,
    table: CounterfactualTable,
    at: Mapping[str, Collection[int]] | None = None,
    *,
    windows: Sequence[int] = WINDOWS,
) -> DoseResponse:
    """What every arm of a table wins over the placebo to its horizon, by how late it acts.

    Parameters
    ----------
    store : the table's, with measured labels.
    at : uid -> control steps of the policy calls at which somebody acts, such as first alarms; None for every call of
        the table.
    windows : falling numbers of control steps left that part the windows.

    Raises
    ------
    ConfigError
        if the windows do not fall, or the table has no such call.
    UnknownNameError
        if the table has no placebo.
    OtherSettingsError
        if the table is one of other episodes.
    """
    if not windows or any(earlier <= later for earlier, later in pairwise(windows)):
        raise ConfigError(f"windows={list(windows)} must be falling control steps, such as {list(WINDOWS)}")
    if PLACEBO not in table.arms:
        raise UnknownNameError("arm of the table", PLACEBO, table.arms)
    table.refuse_other_store(store, f"take the table of {shown(store.path)}")
    calls = every_call(table) if at is None else {uid: steps for uid, steps in at.items() if steps}
    labels = moments(store, table)
    success = dict(zip(table.uids, (table.factual > NEVER).tolist(), strict=True))
    _refuse_other_calls(table, calls)
    labelled = {uid: steps for uid, steps in calls.items() if uid in labels}
    return DoseResponse(
        rows=doses(table, labels, labelled, windows),
        acted=len(calls),
        succeeded=sum(success[uid] for uid in calls),
        unlabelled=sum(not success[uid] and uid not in labels for uid in calls),
        silent=sum(uid not in calls for uid in labels),
    )


def every_call(table: CounterfactualTable) -> dict[str, list[int]]:
    """Uid -> control steps of all calls of a table."""
    return {uid: table.step[table.episode == place].tolist() for place, uid in enumerate(table.uids)}


def moments(store: Store, table: CounterfactualTable) -> dict[str, Moments]:
    """Uid -> labels, of the failed episodes of a table that have a point of no return."""
    rows, found = store.episodes, {}
    for uid, step in zip(table.uids, table.factual, strict=True):
        number = store.number_of(uid)
        if step == NEVER and rows["t_pnr"][number] >= 0:
            onset, point, lost = (rows[f"t_{label}"][number] for label in ("on", "pnr", "lost"))
            found[uid] = Moments(int(onset), int(point), int(lost))
    return found


def doses(
    table: CounterfactualTable,
    labels: Mapping[str, Moments],
    calls: Mapping[str, Collection[int]],
    windows: Sequence[int] = WINDOWS,
) -> tuple[DoseRow, ...]:
    """Rows of every recovery in every group that has an episode, the earliest first.

    Parameters
    ----------
    calls : uid -> control steps, of episodes that have labels; the table has these cells.
    """
    order = [*((MOMENT, name) for name in MOMENTS), (LOST, NOT_LOST), (LOST, IS_LOST)]
    order += [(WINDOW, name) for name in window_names(windows)]
    last: dict[Group, dict[str, int]] = {group: {} for group in order}
    for uid, steps in calls.items():
        for step in sorted(steps):
            for group in _groups(labels[uid], step, windows):
                last[group][uid] = step
    arms = [arm for arm in table.arms if arm not in (*CONTROLS, ASK)]
    rows = [_row(table, labels, arm, group, at) for group, at in last.items() if at for arm in arms]
    corrected = np.array(holm([row.over_placebo.p_value for row in rows], [row.by for row in rows]), float)
    return tuple(dataclasses.replace(row, p_vs_placebo=float(p)) for row, p in zip(rows, corrected, strict=True))


def window_names(windows: Sequence[int]) -> list[str]:
    """Control steps left in every window, the longest first."""
    between = [f"{later + 1} to {earlier}" for earlier, later in pairwise(windows)]
    return [f"more than {windows[0]}", *between, f"{windows[-1]} or less"]


def _groups(of: Moments, step: int, windows: Sequence[int]) -> Iterator[Group]:
    """The groups of one call.  At the point of no return itself nothing is left: the expert fails from there on."""
    left = of.point - step
    yield WINDOW, window_names(windows)[sum(left <= edge for edge in windows)]
    if left > 0:
        yield MOMENT, NO_ONSET if of.onset < 0 else BEFORE_ONSET if step < of.onset else AFTER_ONSET
        return
    yield MOMENT, BEHIND
    if of.lost >= 0:
        yield LOST, IS_LOST if step >= of.lost else NOT_LOST


def _row(
    table: CounterfactualTable, labels: Mapping[str, Moments], arm: str, group: Group, at: Mapping[str, int]
) -> DoseRow:
    rows = table.cells(at)

    def won(name: str) -> int:
        return int((table.arms[name][rows, 0] > NEVER).sum())

    return DoseRow(
        *group,
        name=arm,
        episodes=len(at),
        median_left=float(np.median([labels[uid].point - step for uid, step in at.items()])),
        won=won(arm),
        placebo=won(PLACEBO),
        over_placebo=over_placebo(table, arm, rows, table.horizon),
        p_vs_placebo=1.0,
    )


def _refuse_other_calls(table: CounterfactualTable, calls: Mapping[str, Collection[int]]) -> None:
    """ConfigError if the table lacks one of these calls."""
    there: set[tuple[str, int]] = {
        (table.uids[place], int(step)) for place, step in zip(table.episode, table.step, strict=True)
    }
    for uid, steps in calls.items():
        if missing := [step for step in steps if (uid, step) not in there]:
            raise ConfigError(f"the table has no cell at step {missing[0]} of episode {uid}; tabulate that call, too")
