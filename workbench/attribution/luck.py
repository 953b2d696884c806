"""Luck or law: whether the same episode would end the same way again.

An episode is rolled again from step 0: the same start, the same faults as they were drawn, other noise of the policy.
The share of these reruns that succeed is its *luck*.  It differs from V(0) in the faults: V leaves out what has not
struck yet.

An episode is *law* where the interval of its luck lies below ``LAW`` or above 1 - ``LAW``: whoever runs it again sees
the same.  No number of reruns below 42 can show it, so they are looked at twice, at a quarter of them and at all; the
5 % are shared by the two looks, as in :class:`workbench.attribution.branching.Value`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.attribution.branching import Search, Value, drive
from workbench.attribution.optional import AskedLabel, Found
from workbench.errors import ConfigError
from workbench.execution.ledger import Ledger
from workbench.rollouts.launch import Launch
from workbench.rollouts.setup import Setup
from workbench.store import Store
from workbench.types import Record, Stream
from workbench.types.faults import faults_in

LABEL = AskedLabel("luck", ["luck_runs", *(f"luck{end}" for end in ("", "_low", "_high"))])
LAW = 0.1
"""Luck below which an episode fails by law, and 1 less than that from which it succeeds by law."""
LEAST, MOST = 4, 4096
"""Reruns of an episode."""
EPISODES_PER_BATCH = 10


@dataclasses.dataclass(frozen=True)
class Batch:
    """Episodes for one worker."""

    setup: Setup
    store: Path
    reruns: int
    numbers: list[int]


def luck_with(reruns: int) -> Record:
    """What decides the label, as the ledger keeps it."""
    return {"reruns": reruns}


def looks_of(reruns: int) -> tuple[int, ...]:
    """Rising numbers of reruns at which they are looked at; ConfigError for a number that cannot be meant."""
    if not LEAST <= reruns <= MOST:
        raise ConfigError(
            f"job.luck={reruns} must be 0, or {LEAST} to {MOST} reruns of an episode; from 42 on they can show a law"
        )
    return (reruns // 4, reruns)


def measure_luck(store: Store, setup: Setup, reruns: int, ledger: Ledger) -> int:
    """Measure the luck of every failure, and of as many successes, that have none.

    Returns
    -------
    Control steps that were simulated for it, also by earlier calls.
    """

    def batch(numbers: list[int]) -> Batch:
        return Batch(setup, store.path, reruns, numbers)

    numbers = episodes_of_interest(store.episodes)
    return LABEL.measure(store, setup, luck_with(reruns), ledger, numbers, batch, luck_batch, EPISODES_PER_BATCH)


def episodes_of_interest(rows: Mapping[str, Any]) -> list[int]:
    """Numbers of all failures and of as many successes, drawn by seed and index alone, in the order of the store."""
    failed = [number for number, success in enumerate(rows["success"]) if not success]
    succeeded = [number for number, success in enumerate(rows["success"]) if success]

    def drawn(number: int) -> float:
        return float(_stream(rows, number).child(LABEL.name).at().random())

    return sorted([*failed, *sorted(succeeded, key=drawn)[: len(failed)]])


def luck_batch(batch: Batch) -> dict[str, Found]:
    """Of one batch in this process: uid -> its luck, and control steps that were simulated for it."""
    setup, rows = batch.setup, Store.open(batch.store).episodes
    searches = [
        find_luck(
            _stream(rows, number),
            faults_in(rows["perturbations"][number], f"perturbations of {rows['uid'][number]}"),
            bool(rows["success"][number]),
            batch.reruns,
        )
        for number in batch.numbers
    ]
    found = drive(searches, setup.lockstep("branches", setup.policy))
    return {
        str(rows["uid"][number]): (columns_of(value), steps)
        for number, (value, steps) in zip(batch.numbers, found, strict=True)
    }


def find_luck(stream: Stream, faults: tuple[Record, ...], success: bool, reruns: int) -> Search[Value]:
    """Rerun an episode until its luck is clear of the law that would explain its outcome, or the reruns are used up.

    Parameters
    ----------
    stream, faults : of the episode, whose own noise is none of the reruns'.
    success : how it ended.
    """
    looks = looks_of(reruns)
    value = Value(0, 0, len(looks))
    for total in looks:
        numbers = range(value.branches, total)
        outcomes = yield [Launch(stream, faults, noise=stream.child(LABEL.name, str(number))) for number in numbers]
        value = Value(value.successes + sum(outcome.success for outcome in outcomes), total, len(looks))
        low, high = value.interval
        bound = 1 - LAW if success else LAW
        if high < bound or low > bound:
            break
    return value


def columns_of(value: Value) -> Record:
    """The store's columns of a measured luck."""
    low, high = value.interval
    return {"luck": value.rate, "luck_low": low, "luck_high": high, "luck_runs": value.branches}


def _stream(rows: Mapping[str, Any], number: int) -> Stream:
    return Stream(int(rows["seed"][number]), int(rows["index"][number]))
