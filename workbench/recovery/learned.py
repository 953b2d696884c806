"""All that strategies act by and that has to be learned: a recovery head, a corrector, a predicted benefit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.monitoring.monitor import AnyMonitor
from workbench.recovery.corrections import Corrections
from workbench.recovery.corrector import train_corrector
from workbench.recovery.judging import judge_corrector
from workbench.recovery.learning import train_head
from workbench.recovery.when import learn_benefit
from workbench.rollouts.arms import beside, needs_benefit, needs_corrector, needs_head
from workbench.store import Store
from workbench.types import Policy, Record, Task


def learn_parts(
    store: Store,
    demonstrations: Path,
    monitor: AnyMonitor,
    strategies: Mapping[str, Any],
    task: Task,
    policy: Policy,
    *,
    head: Path,
    horizon: float,
    taught: Mapping[str, Any],
    corrector: Mapping[str, Any],
    judged: int,
    benefit: Mapping[str, Any],
    again: Mapping[str, Any],
    rolled: Mapping[str, Any],
) -> Record:
    """Learn what some strategies act by; what is there already, of the same settings, is kept.

    Parameters
    ----------
    demonstrations : path of the store on which the policy was trained; read for the head alone.
    head : folder of the recovery head; the others lie beside it.
    horizon : deadlines that branches last at most.
    taught, corrector, benefit : settings of the three trainings.
    judged : failures of each mode, and successes, in which the corrector is judged on the test split.
    again : ``seed`` and ``overwrite`` of all of them.
    rolled : ``expert``, ``runner`` and ``shields`` of what is rolled for them.

    Returns
    -------
    Sections of ``metrics.json``.
    """
    found: Record = {}
    if needs_head(strategies):
        ours = copy.deepcopy(policy)  # it is the head afterwards
        learnt = train_head(store, Store.open(demonstrations), task, ours, into=head, **taught, **again, **rolled)
        found |= {"head": learnt.record()} if learnt is not None else {}
    if needs_corrector(strategies):
        into = beside(head, "corrector")
        train_corrector(store, Corrections.load(store), task, policy, into=into, trainer=corrector, **again)
        found["corrector"] = judge_corrector(
            store, into, task, policy, episodes=judged, horizon=horizon, **rolled
        ).record()
    if needs_benefit(strategies):
        settings: Record = {"head": head, "horizon": horizon, **benefit, **again, **rolled}
        found["benefit"] = learn_benefit(store, monitor, strategies, task, policy, **settings).record()
    return found
