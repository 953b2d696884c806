"""What acting at the calls of the highest predicted benefit alone is worth: the abstention curve of a strategy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.recovery.acting import SHARES
from workbench.recovery.gains import Gain, over_placebo
from workbench.recovery.tables import CounterfactualTable, one_call
from workbench.rollouts.arms import ACTS, leaves_acting
from workbench.store import Store
from workbench.types import Record


@dataclasses.dataclass(frozen=True)
class Abstention:
    """What the arm gains over the placebo where it acts.

    Attributes
    ----------
    threshold : predicted benefit from which on it acts.
    calibrated : whether that is the one that was calibrated; of the others nothing is promised.
    acted, alarmed : alarmed test episodes in which it acts, and all of them.
    gain : in those in which it acts, to the horizon.
    """

    threshold: float
    calibrated: bool
    acted: int
    alarmed: int
    gain: Gain

    def record(self) -> Record:
        """A row of the section ``abstention`` of ``metrics.json``."""
        return dataclasses.asdict(self)


def abstention(
    store: Store,
    table: CounterfactualTable,
    alarms: Mapping[str, int],
    strategies: Mapping[str, Any],
    arms: Mapping[str, Any],
) -> tuple[Abstention, ...]:
    """The curve of the strategy that leaves the acting to another one; none without it, or without that one's arm.

    Parameters
    ----------
    table : of the test episodes, with the placebo.
    alarms : uid -> control step of the first alarm; the table has these cells.
    strategies : name -> configuration, whole.
    arms : the same strategies, made.
    """
    for name, node in strategies.items():
        acting = [each for each, other in strategies.items() if leaves_acting(node) and other == node[ACTS]]
        if acting and alarms:
            return _curve(store, table, alarms, arms[name], acting[0])
    return ()


def _curve(
    store: Store, table: CounterfactualTable, alarms: Mapping[str, int], strategy: Any, arm: str
) -> tuple[Abstention, ...]:
    predicted = np.array([_predicted(store, uid, step, strategy, table.deadline) for uid, step in alarms.items()])
    rows, chosen = table.cells(alarms), strategy.benefit.threshold
    tried = {float(np.quantile(predicted, 1 - share)): False for share in SHARES}
    if chosen is not None:
        tried |= {chosen: True}
    return tuple(
        Abstention(
            threshold, calibrated, int((predicted >= threshold).sum()), len(rows),
            over_placebo(table, arm, rows[predicted >= threshold], table.horizon),
        )
        for threshold, calibrated in sorted(tried.items(), reverse=True)
    )  # fmt: skip


def _predicted(store: Store, uid: str, step: int, strategy: Any, deadline: int) -> float:
    """Benefit that is predicted at a call of an episode."""
    calls = store.calls(store.number_of(uid), strategy.needs)
    found: float = strategy.predicted(one_call(calls, int(np.searchsorted(calls.step, step))), deadline)
    return found
