"""Schemata: distances and carried-over onsets by hand, and no new failure is ever in the cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.synthetic import HEADER, episode, write_store
from workbench.attribution.conditions import Change
from workbench.attribution.schemata import Matches, Schema, align, match
from workbench.errors import StoreError, UnknownNameError
from workbench.store import Store, StoreWriter

SEEN = Schema(
    "0:1:nominal", (Change(2, "+reached"), Change(10, "+grasped"), Change(20, "-grasped")), 40, "drop", "slip", 22
)
OTHER = Schema("0:2:nominal", (Change(3, "+collision"),), 40, "collision", "push", 4)
DEADLINE = 100


def later(schema: Schema, steps: int) -> Schema:
    """The same failure that much later."""
    changes = tuple(Change(change.step + steps, change.what) for change in schema.changes)
    return dataclasses.replace(schema, uid="0:9:nominal", changes=changes, length=99, t_on=-1)


def test_a_failure_is_like_itself_and_like_nothing_else() -> None:
    assert align(SEEN.changes, SEEN.changes, DEADLINE) == (0.0, [(0, 0), (1, 1), (2, 2)])
    assert align(SEEN.changes, OTHER.changes, DEADLINE) == (1.0, [])
    assert align((), (), DEADLINE) == (0.0, [])


def test_time_apart_costs_and_the_distance_is_symmetric() -> None:
    distance, pairs = align(SEEN.changes, later(SEEN, 8).changes, DEADLINE)
    assert distance == pytest.approx(3 * 0.08 / 6)
    assert len(pairs) == 3
    mixed = (*SEEN.changes[:2], Change(12, "+collision"), SEEN.changes[2])
    assert align(SEEN.changes, mixed, DEADLINE) == (1 / 7, [(0, 0), (1, 1), (2, 3)])
    assert align(mixed, SEEN.changes, DEADLINE)[0] == 1 / 7


@pytest.mark.parametrize("steps", [0, 5, 31])
def test_the_onset_moves_with_the_changes_before_it(steps: int) -> None:
    found = match([OTHER, SEEN], later(SEEN, steps), DEADLINE)
    assert found.nearest is SEEN
    assert found.t_on == SEEN.t_on + steps


def test_only_changes_before_the_onset_move_it_and_it_lies_in_the_episode() -> None:
    early = dataclasses.replace(SEEN, t_on=1)
    assert match([early], later(SEEN, 30), DEADLINE).t_on == 1
    short = dataclasses.replace(later(SEEN, 0), length=15)
    assert match([SEEN], short, DEADLINE).t_on == 14


def test_of_equals_the_first_is_the_nearest() -> None:
    twin = dataclasses.replace(SEEN, uid="0:3:nominal")
    assert match([SEEN, twin], later(SEEN, 3), DEADLINE).nearest.uid == SEEN.uid
    assert match([twin, SEEN], later(SEEN, 3), DEADLINE).nearest.uid == twin.uid


def test_the_record_counts_by_hand() -> None:
    truth = [dataclasses.replace(later(SEEN, steps), t_on=SEEN.t_on + steps + off) for steps, off in ((0, 0), (4, 7))]
    found = Matches((SEEN, OTHER), tuple(match([SEEN, OTHER], each, DEADLINE) for each in truth)).record()
    assert (found["schemata"], found["failures"]) == (2, 2)
    nearest = found["onset"]["nearest schema"]
    assert [nearest["within"][steps]["right"] for steps in ("0", "5", "10")] == [1, 1, 2]
    assert nearest["mean_error"] == 3.5
    assert found["onset"]["first step"]["within"]["20"]["right"] == 0
    assert found["words"]["failure_mode"]["nearest schema"]["right"] == 2


def store_with_conditions(path: Path) -> Store:
    with StoreWriter.open(path, HEADER) as writer:
        for split in ("fit", "test"):
            for number in range(1, 9, 2):
                made = episode(split, number, "slip")
                made.steps["predicates/grasped"] = (np.arange(len(made.steps["stage"])) >= 3).astype(float)
                writer.append(made)
    return Store.open(path)


def test_cache_and_new_failures_are_disjoint_and_labelled(tmp_path: Path) -> None:
    store = store_with_conditions(tmp_path / "s.zarr")
    store.annotate(store.uids[0], t_on=-1)
    found = wb.match_failures(store)
    assert len(found.cache) == 3
    assert len(found.found) == 4
    assert not {schema.uid for schema in found.cache} & {each.failure.uid for each in found.found}
    blind = [dataclasses.replace(each.failure, t_on=-1, failure_mode="", fault="") for each in found.found]
    again = [match(found.cache, each, store.header.deadline) for each in blind]
    assert [each.t_on for each in again] == [each.t_on for each in found.found]  # what it is judged by is not read


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    store = Store.open(write_store(tmp_path / "s.zarr", counts={"fit": 2, "test": 2}))
    with pytest.raises(UnknownNameError, match="split"):
        wb.match_failures(store, seen="fitt")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="themselves"):
        wb.match_failures(store, seen="test")
    with pytest.raises(StoreError, match="no failure of split calibrate with a measured onset"):
        wb.match_failures(store, split="calibrate")
