"""Interventions judged in paired branches: from the same alarm, with the same noise, beside a placebo."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.attribution.branching import intervene
from workbench.config import build, parameters_of
from workbench.config.named import nodes
from workbench.config.parts import load_policy
from workbench.errors import ConfigError
from workbench.execution.executor import Executor, batches
from workbench.execution.processes import Processes
from workbench.execution.progress import progress
from workbench.monitoring.episodes import diverged, sound
from workbench.monitoring.monitor import AnyMonitor, needs_of
from workbench.monitoring.reading import offline
from workbench.rollouts.launch import Outcome
from workbench.rollouts.setup import EXPERT, Recording, Setup, refuse_other_source
from workbench.stats.proportions import paired_test
from workbench.store import Store
from workbench.types import Array, Policy, Record, Strategy, Task
from workbench.types.results import Tabular

PLACEBO, CONTINUE = "placebo", "continue"
"""The strategies without which nothing can be judged: luck with the same extra time, and nothing at all."""
EPISODES_PER_BATCH = 15
BRANCH_ARRAYS = ("obs/*", "state", "action")


@dataclasses.dataclass(frozen=True)
class StrategyRow:
    """What a strategy came to.

    Attributes
    ----------
    alarmed : episodes with an alarm, from which it was branched.
    rescued : of the episodes that would have failed, how many succeeded, and how many there are.
    kept : the same of those that would have succeeded.
    p_vs_placebo : of the exact paired test of its successes against the placebo's; None for the placebo.
    median_steps : control steps at which its branches ended; None where there are none.
    """

    name: str
    alarmed: int
    rescued: tuple[int, int]
    kept: tuple[int, int]
    p_vs_placebo: float | None
    median_steps: float | None

    def record(self) -> Record:
        """Plain data, as ``metrics.json`` holds it."""
        return {**dataclasses.asdict(self), "rescued": list(self.rescued), "kept": list(self.kept)}


@dataclasses.dataclass(frozen=True)
class Recovery(Tabular):
    """Strategies judged behind the first alarms of one monitor.

    Attributes
    ----------
    diverged : test episodes that were left out because their physics diverged.
    """

    monitor: str
    rows: tuple[StrategyRow, ...]
    diverged: int

    def rows_of_table(self) -> list[Record]:
        """One row a strategy."""
        return self.record()

    def record(self) -> list[Record]:
        """The section ``strategies`` of ``metrics.json``."""
        return [row.record() for row in self.rows]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Episodes for one worker, each with the control step of its alarm."""

    setup: Setup
    store: Path
    strategies: Mapping[str, Record]
    expert: Record
    head: Path | None
    allowance_steps: int
    alarms: Sequence[tuple[int, int]]


def recover(
    store: Store,
    monitor: AnyMonitor,
    strategies: Iterable[str] | Mapping[str, Record],
    task: Task,
    policy: Policy,
    *,
    allowance_steps: int = 100,
    expert: Mapping[str, Any] = EXPERT,
    head: Path | None = None,
    runner: Executor | None = None,
    until: str = "success",
) -> Recovery:
    """Branch from a monitor's first alarm in every test episode, with every strategy.

    Parameters
    ----------
    strategies : names, or name -> configuration; ``continue`` and ``placebo`` are needed.
    task, policy : those that the store was rolled with.
    allowance_steps : control steps that an intervention has from the alarm on; the placebo has them too.
    expert : configuration of the reference that some strategies hand over to.
    head : folder of the recovery head's weights, for those that hand over to it.

    Raises
    ------
    ConfigError
        if a strategy is missing without which nothing can be judged.
    """
    if allowance_steps < 1:
        raise ConfigError(f"job.allowance_steps={allowance_steps} must be at least 1")
    chosen = nodes("strategy", strategies)
    refuse_without_reference(chosen)
    setup = Setup(task, policy, Recording(until=until), runner or Processes())
    refuse_other_source(store, setup)
    alarms = first_alarms(store, monitor)
    shared = setup, store.path, chosen, dict(expert), head, allowance_steps
    judged: list[dict[str, Outcome]] = []
    with progress("alarms", len(alarms)) as advance:
        items = [Batch(*shared, part) for part in batches(alarms, EPISODES_PER_BATCH)]
        for found in setup.map_unordered(judge_batch, items):
            judged += found
            advance(len(found))
    return Recovery(monitor.name, compared(list(chosen), judged), diverged(store, "test"))


def refuse_without_reference(strategies: Collection[str]) -> None:
    """ConfigError if a strategy is missing without which nothing can be judged."""
    for needed in (CONTINUE, PLACEBO):
        if needed not in strategies:
            raise ConfigError(f"strategy must include {needed!r}: nothing can be judged without it")


def first_alarms(store: Store, monitor: AnyMonitor) -> list[tuple[int, int]]:
    """Test episodes with an alarm, and the control step of their first one; none whose physics diverged."""
    found = []
    for number in sound(store, "test"):
        calls = store.calls(number, needs_of([monitor]))
        (reading,) = offline([monitor], [calls])[monitor.name]
        if reading.alarm.any():
            found.append((number, int(calls.step[int(np.argmax(reading.alarm))])))
    return found


def judge_batch(batch: Batch) -> list[dict[str, Outcome]]:
    """Outcome of every strategy from the alarm of every episode of a batch."""
    setup, store = batch.setup, Store.open(batch.store)
    episodes = [store.episode(number, steps=BRANCH_ARRAYS, calls=("step", "chunk")) for number, _ in batch.alarms]
    outcomes: dict[str, list[Outcome]] = {}
    for name, strategy in built(batch.strategies, setup, batch.expert, batch.head).items():
        launches = [
            intervene(episode, step, strategy, setup.policy, batch.allowance_steps)
            for episode, (_, step) in zip(episodes, batch.alarms, strict=True)
        ]
        lockstep = setup.lockstep(f"strategy {name}", strategy.driver(setup.policy))
        outcomes[name] = lockstep.outcomes(launches)
    return [{name: ended[place] for name, ended in outcomes.items()} for place in range(len(batch.alarms))]


def built(strategies: Mapping[str, Record], setup: Setup, expert: Record, head: Path | None) -> dict[str, Strategy]:
    """Strategies by name, each given what its constructor asks for: the expert, the head, or nothing."""
    found = {}
    for name, node in strategies.items():
        wanted = parameters_of(node["_target_"])
        parts: dict[str, Policy] = {}
        if "expert" in wanted:
            parts["expert"] = setup.expert(expert)
        if "head" in wanted:
            if head is None:
                raise ConfigError(f"strategy {name} hands over to a recovery head, and none is given; train one first")
            parts["head"] = load_policy(type(setup.policy), head, setup.task)
        found[name] = build(node, **parts)
    return found


def needs_head(strategies: Mapping[str, Record]) -> bool:
    """Whether any strategy is driven by a learned head."""
    return any("head" in parameters_of(node["_target_"]) for node in strategies.values())


def compared(names: Sequence[str], judged: Sequence[Mapping[str, Outcome]]) -> tuple[StrategyRow, ...]:
    """Rescued and kept episodes of every strategy, and its paired test against the placebo."""
    would_fail = ~_successes(CONTINUE, judged)
    placebo = _successes(PLACEBO, judged)
    rows = []
    for name in names:
        won = _successes(name, judged)
        rows.append(
            StrategyRow(
                name=name,
                alarmed=len(judged),
                rescued=(int(won[would_fail].sum()), int(would_fail.sum())),
                kept=(int(won[~would_fail].sum()), int((~would_fail).sum())),
                p_vs_placebo=None if name == PLACEBO else paired_test(won, placebo)["p_value"],
                median_steps=float(np.median([each[name].length for each in judged])) if judged else None,
            )
        )
    return tuple(rows)


def _successes(name: str, judged: Sequence[Mapping[str, Outcome]]) -> Array:
    return np.array([each[name].success for each in judged], dtype=bool)
