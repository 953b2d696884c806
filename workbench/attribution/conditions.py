"""What holds at each control step of stored episodes, and how it changes: predicates that are true or false, stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.store import Store
from workbench.types import Array

PREDICATES = "predicates/"


@dataclasses.dataclass(frozen=True)
class Held:
    """What holds in one episode.

    Attributes
    ----------
    names : of the P predicates, the same for all episodes that were read together.
    true : (T, P) bool.
    stage : (T,) index of the first stage not yet reached, after each control step.
    """

    names: tuple[str, ...]
    true: Array
    stage: Array


@dataclasses.dataclass(frozen=True)
class Change:
    """One change: ``+grasped`` begins to hold, ``-grasped`` ends, ``stage 2`` is entered."""

    step: int
    what: str


def held_in(store: Store, numbers: Sequence[int]) -> list[Held]:
    """What holds in some episodes of a store: of their predicates those that are 0 or 1 at every step of each."""
    known = [{name for name in store.step_names(number) if name.startswith(PREDICATES)} for number in numbers]
    common = sorted(set.intersection(*known)) if known else []
    read = [store.episode(number, steps=(*common, "stage"), calls=()).steps for number in numbers]
    names = [name for name in common if all(np.isin(steps[name], (0, 1)).all() for steps in read)]
    return [
        Held(
            tuple(name.removeprefix(PREDICATES) for name in names),
            np.stack([steps[name] > 0 for name in names], axis=1)
            if names
            else np.zeros((len(steps["stage"]), 0), bool),
            np.asarray(steps["stage"], int),
        )
        for steps in read
    ]


def changes_of(held: Held) -> list[Change]:
    """Every change, in order; of one control step by name, the stage last.  At step 0 it is what holds."""
    before = np.vstack([np.zeros((1, held.true.shape[1]), bool), held.true[:-1]])
    stage_before = np.concatenate([[0], held.stage[:-1]])
    found = []
    for step in range(len(held.true)):
        for column in np.flatnonzero(held.true[step] != before[step]):
            found.append(Change(step, f"{'+' if held.true[step, column] else '-'}{held.names[column]}"))
        if held.stage[step] != stage_before[step]:
            found.append(Change(step, f"stage {held.stage[step]}"))
    return found
