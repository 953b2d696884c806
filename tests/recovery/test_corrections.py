"""Corrections: each is what its replay came to, and luck stands beside it."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import workbench as wb
from workbench.attribution.branching import intervene
from workbench.attribution.labels import Settings
from workbench.errors import ConfigError, OtherSettingsError, StoreError, UnknownNameError
from workbench.execution.processes import Processes
from workbench.policies.recovery.motion.reach import Reach
from workbench.recovery import correcting
from workbench.recovery.correcting import (
    Batch,
    CorrectionSettings,
    Trial,
    calls_between,
    keep_corrections,
    pose_before,
    verify_corrections,
)
from workbench.recovery.corrections import KINDS, Corrections
from workbench.recovery.tables import NEVER, NOT_ROLLED, tabulate
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup
from workbench.store import Store, verify_store
from workbench.types import Policy, Task

from .lift import ALONE
from .lift import policy as policy
from .lift import task as task

SMALL = CorrectionSettings(episodes=2, before=1, beyond=1, targets=2, randoms=1, branches=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, task: Task, policy: Policy) -> Store:
    path: Path = tmp_path_factory.mktemp("corrections") / "a.zarr"
    for faults in ([], [wb.perturbation("object_pose_bias"), wb.perturbation("gripper_inverted")]):
        wb.rollout(task, policy, faults, episodes={"fit": 5}, into=path, one_each=bool(faults), samples=0, runner=ALONE)
    made = Store.open(path)
    wb.label(made, task, policy, settings=Settings((), 25, (8,), 0), runner=ALONE)
    return Store.open(path)


@pytest.fixture(scope="module")
def found(store: Store, task: Task, policy: Policy) -> Corrections:
    return verify_corrections(store, task, policy, settings=SMALL, horizon=1.0, runner=ALONE)


def test_every_kind_is_tried_from_every_call_beside_luck(found: Corrections) -> None:
    assert len(found)
    for cell in set(zip(found.episode.tolist(), found.step.tolist(), strict=True)):
        here = (found.episode == cell[0]) & (found.step == cell[1])
        kinds = [KINDS[kind] for kind in found.kind[here]]
        assert kinds.count("placebo") == 1
        assert kinds.count("twin") in (0, 2)  # none of a twin that fails, too
        assert kinds.count("random") == 1
    assert {KINDS[kind] for kind in found.kind} >= {*KINDS} - {"object", "corrector"}
    assert set(found.recoverable.tolist()) == {False, True}
    assert found.simulated > 0


def test_a_correction_that_is_carried_out_again_ends_alike(
    store: Store, task: Task, policy: Policy, found: Corrections
) -> None:
    """From the pose at the call and the seven numbers alone: the same control step of success in every branch."""
    lockstep = Lockstep(task, policy, 1)
    motions = np.flatnonzero(~np.isin([KINDS[kind] for kind in found.kind], ["placebo", "segment"]))
    for row in np.random.default_rng(0).permutation(motions)[:4]:
        episode, step = store.episode(store.number_of(found.uids[found.episode[row]])), int(found.step[row])
        here = pose_before(episode, step)
        asked = Reach(task).to(here, here.corrected(found.correction[row]))
        assert asked.steps == found.motion_steps[row]
        for branch, ended in enumerate(found.ended[row][:2]):
            launch = intervene(episode, step, asked, policy, horizon=found.horizon, branch=branch)
            (outcome,) = lockstep.outcomes([launch])
            assert (outcome.length if outcome.success else NEVER) == ended


def test_luck_is_the_placebo_of_a_counterfactual_table(
    store: Store, task: Task, policy: Policy, found: Corrections
) -> None:
    rows = np.flatnonzero(found.placebo)
    at = {
        found.uids[episode]: {int(found.step[row]) for row in part}
        for episode, part in itertools.groupby(rows, key=lambda row: found.episode[row])
    }
    table = tabulate(store, ["placebo"], task, policy, split="fit", at=at, branches=2, horizon=1.0, runner=ALONE)
    assert table.horizon == found.horizon
    for row in rows:
        (cell,) = table.cells({found.uids[found.episode[row]]: int(found.step[row])})
        assert table.arms["placebo"][cell].tolist() == found.ended[row][:2].tolist()


def test_a_pose_of_the_twin_is_moved_as_the_object_is(store: Store, task: Task, policy: Policy) -> None:
    """Beside a twin whose object lay 30 mm further along x, its poses are moved back by so much."""
    number = store.number_of(next(uid for uid in store.uids if uid.endswith("nominal")))
    episode = store.episode(number)
    aside = {"predicates/object_x_m": episode.steps["predicates/object_x_m"] + 0.03}
    twin = dataclasses.replace(episode, steps={**episode.steps, **aside})
    batch = Batch(Setup(task, policy, runner=ALONE), store.path, EXPERT, 100, SMALL, ())
    search = Trial(episode, twin, batch, Lockstep(task, batch.setup.expert(EXPERT), 1))
    moved = search._object_moved(20, 20)
    np.testing.assert_allclose(moved, [-0.03, 0, 0], atol=1e-6)
    kinds = [each.kind for each in search._candidates(20, None)]
    assert kinds.count("object") == kinds.count("twin") == 2
    here, (there, *_) = pose_before(episode, 20), search._twin_poses(20)
    assert search._to("twin", here, there).correction.tolist() == here.to(there).tolist()


def test_further_branches_are_rolled_only_where_one_of_the_first_wins(found: Corrections) -> None:
    never = (found.ended[:, :2] == NEVER).all(axis=1)
    assert ((found.ended[:, 2:] == NOT_ROLLED).all(axis=1) == never).all()
    assert never.any()
    assert not never.all()


def test_two_workers_find_the_same(store: Store, task: Task, policy: Policy, found: Corrections, monkeypatch) -> None:
    monkeypatch.setattr("workbench.recovery.correcting.EPISODES_PER_BATCH", 1)
    again = verify_corrections(store, task, policy, settings=SMALL, horizon=1.0, runner=Processes(2, 3))
    assert again.rows_of_table() == found.rows_of_table()


def test_they_are_kept_in_the_store_and_read_back(store: Store, found: Corrections, tmp_path: Path) -> None:
    copy = tmp_path / "a.zarr"
    shutil.copytree(store.path, copy)
    kept = Store.open(copy)
    with pytest.raises(UnknownNameError, match="corrections"):
        Corrections.load(kept)
    found.save(kept)
    assert Corrections.load(kept).rows_of_table() == found.rows_of_table()
    verify_store(copy)
    with pytest.raises(OtherSettingsError, match="overwrite=true replaces it"):
        found.save(kept)
    table = pq.read_table(found.write(tmp_path / "a.parquet")).to_pylist()
    assert len(table) == len(found)
    assert table[0]["uid"] == found.uids[0]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("kind", 7, "has kind outside 0..6"),
        ("episode", 99, "has episode outside"),
        ("ended", 999, "has ended outside -1.."),
        ("correction", np.nan, "corrections that are not 7 finite numbers"),
        ("kind", 0, "calls without a placebo"),
    ],
)
def test_rows_that_nothing_writes_are_refused(
    store: Store, found: Corrections, tmp_path: Path, column: str, value: float, said: str
) -> None:
    copy = tmp_path / "a.zarr"
    shutil.copytree(store.path, copy)
    broken = getattr(found, column).copy()
    broken[0] = value
    dataclasses.replace(found, **{column: broken}).save(Store.open(copy))
    with pytest.raises(StoreError, match=said):
        Corrections.load(Store.open(copy))


def test_the_same_again_is_kept_and_others_are_refused(
    store: Store, task: Task, policy: Policy, found: Corrections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a job ended behind the table; nothing is rolled before it is refused."""
    shutil.copytree(store.path, tmp_path / "a.zarr")
    copy = Store.open(tmp_path / "a.zarr")
    found.save(copy)
    monkeypatch.setattr(
        "workbench.recovery.correcting.verify_corrections", lambda *given, **more: pytest.fail("rolled")
    )
    kept = keep_corrections(copy, task, policy, settings=SMALL, horizon=1.0, runner=ALONE)
    assert kept.record() == found.record()
    other = dataclasses.replace(SMALL, randoms=2)
    with pytest.raises(OtherSettingsError, match=r"corrections in .*a\.zarr.*randoms.*overwrite=true"):
        keep_corrections(copy, task, policy, settings=other, horizon=1.0, runner=ALONE)


def test_what_is_kept_goes_by_the_defaults_of_what_is_made(
    store: Store, task: Task, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every default that decides is said in one place: corrections made without a word are kept without one."""
    monkeypatch.setattr(correcting, "correction_batch", lambda batch: [])
    monkeypatch.setattr(correcting, "joined", lambda *_: made_up([[0, 0]], ["placebo"]))
    monkeypatch.setattr(correcting, "_wanted", lambda *_: [])
    made = verify_corrections(store, task, policy, runner=ALONE)
    assert made.made_with == correcting.decided_by(store)
    decides = inspect.signature(correcting.decided_by).parameters
    for name in correcting.DECIDING:
        assert inspect.signature(verify_corrections).parameters[name].default is decides[name].default
    assert {*decides} == {"store", *correcting.DECIDING}
    monkeypatch.setattr(Corrections, "load", lambda _: made)
    assert keep_corrections(store, task, policy, runner=ALONE) is made
    with pytest.raises(OtherSettingsError, match="horizon"):
        keep_corrections(store, task, policy, horizon=1.5, runner=ALONE)


@pytest.mark.parametrize(
    ("effect", "onset", "begun"), [(30, 10, 30), (30, -1, 30), (-1, 10, 10), (-1, -1, None)], ids=str
)
def test_failures_without_a_fault_are_corrected_from_their_onset_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, effect: int, onset: int, begun: int | None
) -> None:
    number = next(n for n in range(len(store)) if not store.episodes["success"][n])
    known = {"t_eff": effect, "t_on": onset, "t_pnr": 1000}
    changed = {key: np.where(np.arange(len(store)) == number, value, -1) for key, value in known.items()}
    there = {**store.episodes, **changed}
    monkeypatch.setattr(Store, "episodes", property(lambda _: there))
    settings = CorrectionSettings(before=1000, beyond=0)
    if begun is None:
        with pytest.raises(StoreError, match="no failed episode of split fit with labels to correct"):
            correcting._wanted(store, ("fit",), settings)
        return
    ((found, steps, _),) = correcting._wanted(store, ("fit",), settings)
    calls = store.calls(number, ()).step
    assert (found, list(steps)) == (number, calls[calls >= begun].tolist())


def made_up(ended: list[list[int]], kinds: list[str]) -> Corrections:
    rows = len(ended)
    numbers = np.zeros(rows, int)
    kind = np.array([KINDS.index(each) for each in kinds])
    return Corrections(
        ("a",), ("slip",), "lift", 100, 200, numbers, numbers, kind, np.zeros((rows, 7)), numbers, np.array(ended),
        numbers, np.ones(rows, bool),
    )  # fmt: skip


def test_verified_is_more_than_luck_and_at_least_half() -> None:
    made = made_up(
        [[0, 0, 90, 0], [90, 150, 0, 0], [90, 90, 90, 0], [0, 0, -1, -1], [0, 150, 0, 0]],
        ["placebo", "twin", "expert", "random", "object"],
    )
    assert made.rate().tolist() == [0.25, 0.5, 0.75, 0.0, 0.25]
    assert made.luck().tolist() == [0.25] * 5
    assert made.verified().tolist() == [False, True, True, False, False]
    assert made.verified(100).tolist() == [False, False, True, False, False]
    lucky = made_up([[90, 90], [90, 90]], ["placebo", "twin"])
    assert lucky.verified().tolist() == [False, False]
    (placebo, twin) = [next(row for row in lucky.counts() if row["kind"] == kind) for kind in ("placebo", "twin")]
    assert (placebo["verified"], twin["verified"]) == (1, 0)
    assert [row["once"] for row in made.counts()] == [1, 0, 1, 0, 0]  # twin, object, expert, random, placebo


def test_calls_are_spread_on_both_sides_of_the_point_of_no_return() -> None:
    calls = np.arange(0, 100, 10)
    settings = CorrectionSettings(before=2, beyond=1)
    assert calls_between(calls, 15, 55, settings) == (30, 50, 80)
    assert calls_between(calls, 15, 25, settings) == (20, 60)
    assert calls_between(calls, 40, 0, settings) == (70,)  # lost before the fault shows: no way back from anywhere
    assert calls_between(calls, 95, 20, settings) == ()


def test_what_cannot_be_corrected_is_refused(tmp_path: Path, store: Store, task: Task, policy: Policy) -> None:
    with pytest.raises(StoreError, match=r"no failed episode of split test with labels.*workbench label"):
        verify_corrections(store, task, policy, splits=["test"], runner=ALONE)
    with pytest.raises(ConfigError, match=r"job.branches=1 must be at least 2"):
        CorrectionSettings(branches=1)
