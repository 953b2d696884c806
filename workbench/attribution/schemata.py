"""Schemata of failures seen before, matched to new ones: what failed like this one, and where was it lost.

A schema is what changed when in a failed episode (predicates, stages), with its failure mode, its fault and its onset
as measured.  A new failure is aligned with each schema by edit distance, and the nearest one lends it mode, fault and
onset.  After CORRECT (2025), which keeps a cache of distilled error schemata and matches them at inference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.attribution.conditions import Change, changes_of, held_in
from workbench.errors import StoreError, UnknownNameError
from workbench.stats.proportions import clopper_pearson, paired_test
from workbench.store import Store
from workbench.types import SPLITS, Array, Record, Split

TOLERANCES = (0, 5, 10, 20)
"""Control steps within which a predicted onset counts as right."""


@dataclasses.dataclass(frozen=True)
class Schema:
    """A failure in short.

    Attributes
    ----------
    uid : of the episode.
    changes : what began and ended to hold, in order.
    length : control steps.
    failure_mode, fault : as measured, and as injected.
    t_on : measured onset.
    """

    uid: str
    changes: tuple[Change, ...]
    length: int
    failure_mode: str
    fault: str
    t_on: int


@dataclasses.dataclass(frozen=True)
class Match:
    """What the nearest schema says of a new failure.

    Attributes
    ----------
    failure : the new one.
    nearest : the schema.
    distance : of the two, 0 (the same changes at the same steps) .. 1 (none in common).
    t_on : where the onset of the new failure would be.
    """

    failure: Schema
    nearest: Schema
    distance: float
    t_on: int


@dataclasses.dataclass(frozen=True)
class Matches:
    """New failures and what the cache says of them.

    Attributes
    ----------
    cache : schemata of the failures seen before.
    found : a match for each new one.
    """

    cache: tuple[Schema, ...]
    found: tuple[Match, ...]

    def guesses(self) -> dict[str, Array]:
        """Who guesses the onset -> (N,) control steps; without the cache what needs no matching."""
        lengths = np.array([match.failure.length for match in self.found])
        last = [max((change.step for change in match.failure.changes), default=0) for match in self.found]
        return {
            "nearest schema": np.array([match.t_on for match in self.found]),
            "median of the cache": np.full(len(lengths), int(np.median([schema.t_on for schema in self.cache]))),
            "middle": lengths // 2,
            "first step": np.zeros(len(lengths), int),
            "last change": np.array(last),
        }

    def record(self) -> Record:
        """How far the guesses are from the measured onsets, and the words from the measured ones: plain data."""
        truth = np.array([match.failure.t_on for match in self.found])
        errors = {name: np.abs(guess - truth) for name, guess in self.guesses().items()}
        return {
            "schemata": len(self.cache),
            "failures": len(self.found),
            "onset": {name: _located(error, errors["nearest schema"]) for name, error in errors.items()},
            "words": {name: self._named(name) for name in ("failure_mode", "fault")},
        }

    def _named(self, name: str) -> Record:
        """Words of the nearest schema against the commonest word of the cache."""
        said = [getattr(schema, name) for schema in self.cache]
        commonest = max(sorted(set(said)), key=said.count)
        right = np.array([getattr(each.nearest, name) == getattr(each.failure, name) for each in self.found])
        other = np.array([commonest == getattr(each.failure, name) for each in self.found])
        return {
            "nearest schema": _share(right),
            "commonest": _share(other),
            "p_value": paired_test(right, other)["p_value"],
        }


def _located(error: Array, of_nearest: Array) -> Record:
    within = {str(steps): _share(error <= steps) for steps in TOLERANCES}
    tests = {str(steps): paired_test(of_nearest <= steps, error <= steps)["p_value"] for steps in TOLERANCES}
    return {"mean_error": float(error.mean()), "within": within, "p_values": tests}


def _share(right: Array) -> Record:
    count, total = int(right.sum()), len(right)
    return {"right": count, "of": total, "ci95": list(clopper_pearson(count, total))}


def match_failures(store: Store, *, seen: Split = "fit", split: Split = "test") -> Matches:
    """Match every labelled failure of a split to the schemata of those of another one.

    Parameters
    ----------
    seen : split of the failures that make the cache.
    split : of the new failures.

    Raises
    ------
    UnknownNameError
        if there is no such split.
    StoreError
        if both are the same, or either holds no failure with a measured onset.
    """
    for name in (seen, split):
        if name not in SPLITS:
            raise UnknownNameError("split", name, SPLITS)
    if seen == split:
        raise StoreError(f"failures of split {split} cannot be matched to themselves: choose another split for seen")
    rows = store.episodes
    numbers = {
        name: [
            number
            for number in range(len(store))
            if rows["split"][number] == name and not rows["success"][number] and rows["t_on"][number] >= 0
        ]
        for name in (seen, split)
    }
    if empty := [name for name, each in numbers.items() if not each]:
        raise StoreError(
            f"{store.path} holds no failure of split {empty[0]} with a measured onset; measure it with: workbench label"
        )
    made = schemata_of(store, [*numbers[seen], *numbers[split]])
    cache = tuple(made[: len(numbers[seen])])
    return Matches(cache, tuple(match(cache, each, store.header.deadline) for each in made[len(cache) :]))


def schemata_of(store: Store, numbers: Sequence[int]) -> list[Schema]:
    """Schemata of some failures of a store."""
    rows: Mapping[str, Array] = store.episodes
    return [
        Schema(
            store.uids[number],
            tuple(changes_of(held)),
            int(rows["length"][number]),
            str(rows["failure_mode"][number]),
            str(rows["perturbation"][number]),
            int(rows["t_on"][number]),
        )
        for number, held in zip(numbers, held_in(store, numbers), strict=True)
    ]


def match(cache: Sequence[Schema], failure: Schema, deadline: int) -> Match:
    """The nearest schema, of equals the first, and the onset that follows from the alignment with it."""
    aligned = [align(schema.changes, failure.changes, deadline) for schema in cache]
    best = int(np.argmin([distance for distance, _ in aligned]))
    nearest, (distance, pairs) = cache[best], aligned[best]
    return Match(failure, nearest, distance, carried_over(nearest, failure, pairs))


def align(first: Sequence[Change], second: Sequence[Change], deadline: int) -> tuple[float, list[tuple[int, int]]]:
    """Edit distance of two sequences of changes, 0 .. 1, and the pairs (i, j) of changes that match, in order.

    A change that only one of them has costs 1; one that both have costs as many deadlines as they lie apart in time.
    """
    cost = np.zeros((len(first) + 1, len(second) + 1))
    cost[:, 0], cost[0] = np.arange(len(first) + 1), np.arange(len(second) + 1)
    for i, mine in enumerate(first, 1):
        for j, theirs in enumerate(second, 1):
            apart = abs(mine.step - theirs.step) / deadline if mine.what == theirs.what else 2.0
            cost[i, j] = min(cost[i - 1, j] + 1, cost[i, j - 1] + 1, cost[i - 1, j - 1] + apart)
    pairs, i, j = [], len(first), len(second)
    while i and j:
        if cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        elif cost[i, j] == cost[i, j - 1] + 1:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return float(cost[-1, -1] / max(len(first) + len(second), 1)), pairs[::-1]


def carried_over(schema: Schema, failure: Schema, pairs: Sequence[tuple[int, int]]) -> int:
    """Onset of a schema, told from the last matched change before it, at the same distance in the new failure."""
    before = [(i, j) for i, j in pairs if schema.changes[i].step <= schema.t_on]
    moved = failure.changes[before[-1][1]].step - schema.changes[before[-1][0]].step if before else 0
    return int(np.clip(schema.t_on + moved, 0, failure.length - 1))
