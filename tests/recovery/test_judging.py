"""A corrector is judged where it never learned: by what it says, and by what its motions come to when they are made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench.attribution.branching import intervene
from workbench.errors import CheckpointError, ConfigError, StoreError
from workbench.execution.processes import Processes
from workbench.policies.learning.corrector import Corrector, train
from workbench.recovery.corrections import KINDS, Corrections
from workbench.recovery.judging import (
    BEFORE,
    BEHIND,
    SUCCEEDED,
    CorrectorJudgement,
    _best_of,
    _commonest,
    abstention,
    judge_corrector,
    judged_call,
    mean_over,
)
from workbench.recovery.tables import NEVER, tabulate
from workbench.rollouts.loop import Lockstep
from workbench.stats.proportions import proportion
from workbench.store import Store
from workbench.types import Array, Policy, Task

from .lift import ALONE
from .lift import policy as policy
from .lift import task as task
from .test_corrections import found as found
from .test_corrections import made_up
from .test_corrections import store as store
from .test_corrector import LEFT, lessons, with_column

CORRECT = {"_target_": "workbench.policies.recovery.correct.Correct", "least": 0.0}
PLACEBO = {"_target_": "workbench.policies.recovery.placebo.Placebo"}
MODES = ("knocked", "slip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Path:
    """Of a corrector that knows nothing of this store, by its embedding alone."""
    size = store.calls(0, ("embedding",)).embedding.shape[1]
    inputs = np.random.default_rng(0).normal(size=(400, size))
    failing = inputs[:, 0] > 0
    right = [np.stack([LEFT]) if lost else np.zeros((0, 7)) for lost in failing]
    made = lessons(inputs, failing, np.where(failing, (inputs[:, 1] > 0).astype(int), -1), right)
    into: Path = tmp_path_factory.mktemp("judged") / "corrector"
    train(made, task="lift", folder=into, seed=0, iterations=50, hidden=8)
    return into


@pytest.fixture(scope="module")
def told(store: Store) -> dict[str, Array]:
    """Columns of episodes of which all but the first failure and some successes are of the test split."""
    failed = np.flatnonzero(~store.episodes["success"].astype(bool))
    split = np.array(["test" if number % 2 else "fit" for number in range(len(store))], dtype=object)
    split[failed], split[failed[0]] = "test", "fit"
    mode = store.episodes["failure_mode"].copy()
    mode[failed] = ["slip", *(MODES[number % 2] for number in range(len(failed) - 1))]
    return {"split": split, "failure_mode": mode}


@pytest.fixture
def tested(store: Store, told: dict[str, Array], monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, values in told.items():
        with_column(store, monkeypatch, name, values)
    return store


@pytest.fixture
def judged(tested: Store, folder: Path, task: Task, policy: Policy) -> CorrectorJudgement:
    return judge_corrector(tested, folder, task, policy, episodes=1, branches=3, horizon=1.0, runner=ALONE)


def rows_of(replays: Corrections, kind: str) -> Array:
    return np.flatnonzero(replays.kind == KINDS.index(kind))


def test_what_is_replayed_is_what_the_strategy_does_in_a_table(
    judged: CorrectorJudgement, tested: Store, folder: Path, task: Task, policy: Policy
) -> None:
    replays = judged.replays
    said, placebo = rows_of(replays, "corrector"), rows_of(replays, "placebo")
    assert len(said) == len(placebo) == len(replays.uids)
    assert {replays.uids[episode] for episode in replays.episode[said]} == set(replays.uids)
    assert {tested.episodes["split"][tested.number_of(uid)] for uid in replays.uids} == {"test"}
    at = {replays.uids[replays.episode[row]]: {int(replays.step[row])} for row in said}
    arms, branches = {"corrector": CORRECT, "placebo": PLACEBO}, 2
    head = folder.parent / "head"
    table = tabulate(tested, arms, task, policy, at=at, branches=branches, horizon=1.0, head=head, runner=ALONE)
    for arm, rows in (("corrector", said), ("placebo", placebo)):
        for row in rows:
            (cell,) = table.cells({replays.uids[replays.episode[row]]: int(replays.step[row])})
            assert table.arms[arm][cell].tolist() == replays.ended[row][:branches].tolist()


def test_a_motion_at_random_goes_as_far_and_elsewhere(judged: CorrectorJudgement) -> None:
    replays = judged.replays
    said, random = (replays.correction[rows_of(replays, kind)] for kind in ("corrector", "random"))
    for part in (slice(0, 3), slice(3, 6)):
        one, other = (np.linalg.norm(each[:, part], axis=1) for each in (said, random))
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert (np.abs(said[:, :3] - random[:, :3]).max(axis=1) > 1e-3).all()


def test_what_it_says_is_counted_at_one_call_of_every_episode(
    judged: CorrectorJudgement, tested: Store, folder: Path
) -> None:
    rows, corrector = tested.episodes, Corrector.load(folder)
    said: dict[bool, list[bool]] = {True: [], False: []}
    right = []
    for number in np.flatnonzero(rows["split"] == "test"):
        calls = tested.calls(int(number), ("embedding",))
        success = bool(rows["success"][number])
        if success:
            place = len(calls.step) // 2
        else:
            between = (calls.step >= rows["t_eff"][number]) & (calls.step < rows["t_pnr"][number])
            first = int(np.argmax(calls.step >= rows["t_eff"][number]))
            place = int(np.flatnonzero(between)[between.sum() // 2]) if between.any() else first
        chance, modes, _ = corrector.say({"embedding": calls.embedding})
        said[success].append(bool(chance[place] >= 0.5))
        if not success:
            right.append(corrector.modes[modes[place].argmax()] == rows["failure_mode"][number])
    assert judged.failing == proportion(sum(said[False]), len(said[False]))
    assert judged.false_failing == proportion(sum(said[True]), len(said[True]))
    assert judged.mode == proportion(sum(right), len(right))


def test_the_majority_is_that_of_the_fit_split(judged: CorrectorJudgement, tested: Store) -> None:
    """Of which the test split has one of three: a majority that was looked up there would be another."""
    assert judged.majority_mode == _commonest(tested) == "slip"
    assert (judged.majority["alarms"], judged.majority["episodes"]) == (1, 3)
    assert judged.mode_over_majority.pairs == 3


def test_two_workers_judge_the_same(
    judged: CorrectorJudgement, tested: Store, folder: Path, task: Task, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.recovery.judging.EPISODES_PER_BATCH", 1)
    again = judge_corrector(
        tested, folder, task, policy, episodes=1, branches=3, horizon=1.0, runner=Processes(2, 3)
    ).record()
    assert {**again, "seconds": 0} == {**judged.record(), "seconds": 0}


def test_a_known_motion_stands_beside_it_under_noises_that_chose_nothing(
    tested: Store, folder: Path, task: Task, policy: Policy, found: Corrections
) -> None:
    taught = np.isin([KINDS[kind] for kind in found.kind], ["twin", "object", "expert"])
    lucky = dataclasses.replace(found, ended=np.where(taught[:, None], 40, np.zeros_like(found.ended)))
    judged = judge_corrector(
        tested, folder, task, policy, episodes=3, branches=2, corrections=lucky, horizon=1.0, runner=ALONE
    )
    replays, first = judged.replays, found.ended.shape[1]
    known = np.flatnonzero([KINDS[kind] in ("twin", "object", "expert") for kind in replays.kind])
    assert len(known)
    assert sum(row.calls for row in judged.rows if row.arm == "verified") == len(known)
    best = _best_of(lucky)
    lockstep = Lockstep(task, policy, 1)
    for row in known:
        uid, step = replays.uids[replays.episode[row]], int(replays.step[row])
        kind, correction = best[uid, step]
        assert KINDS[replays.kind[row]] == kind
        np.testing.assert_allclose(replays.correction[row], correction, atol=1e-9)
    for row in rows_of(replays, "placebo"):
        episode = tested.episode(tested.number_of(replays.uids[replays.episode[row]]))
        for number, ended in enumerate(replays.ended[row]):
            asked = wb.Intervention(fresh_noise=True, more_time=True)
            launch = intervene(
                episode, int(replays.step[row]), asked, policy, horizon=replays.horizon, branch=first + number
            )
            (outcome,) = lockstep.outcomes([launch])
            assert (outcome.length if outcome.success else NEVER) == ended


def test_of_verified_motions_the_one_that_won_most_is_the_best() -> None:
    made = made_up(
        [[0, 0, 0, 0], [90, 90, 0, 0], [90, 90, 90, 0], [90, 90, 90, 90]], ["placebo", "twin", "expert", "random"]
    )
    assert {cell: kind for cell, (kind, _) in _best_of(made).items()} == {("a", 0): "expert"}


def test_a_failure_is_judged_before_its_point_of_no_return() -> None:
    calls = np.arange(0, 100, 8)
    assert judged_call(calls, 10, 50, "a", {}) == (32, BEFORE)
    assert judged_call(calls, 10, 50, "a", {("a", 16): 0, ("b", 24): 0, ("a", 64): 0}) == (16, BEFORE)
    assert judged_call(calls, 50, 20, "a", {}) == (56, BEHIND)
    assert judged_call(calls, 50, 20, "a", {("a", 64): 0}) == (56, BEHIND)


def replayed(won: list[float], luck: list[float]) -> Corrections:
    """Ten branches of each of some episodes, by corrector and placebo, of which these shares succeed in time."""
    count = len(won)
    made = made_up([[0]] * 2 * count, ["placebo"] * count + ["corrector"] * count)
    ended = np.where(np.arange(10) < 10 * np.array([*luck, *won])[:, None], 90, 0)
    uids = tuple("abcdefghij"[:count])
    return dataclasses.replace(
        made, uids=uids, modes=("slip",) * count, episode=np.tile(np.arange(count), 2), ended=ended
    )


def test_where_it_abstains_it_is_the_placebo() -> None:
    """It helps in the two episodes of which it is surest, and harms in the others."""
    replays = replayed([1.0, 1.0, 0.0, 0.0], [0.5, 0.0, 1.0, 0.5])
    places, chance = np.array([BEFORE, BEFORE, SUCCEEDED, BEHIND]), np.array([0.9, 0.8, 0.3, 0.2])
    curve = {row.least: row for row in abstention(replays, places, chance, seed=0)}
    assert list(curve) == [0.2, 0.3, 0.8, 0.9]
    assert [row.won for row in curve.values()] == [0.5, 0.625, 0.875, 0.625]
    assert [row.over_placebo.value for row in curve.values()] == [0.0, 0.125, 0.375, 0.125]
    assert curve[0.8].acted == {BEFORE: 2, BEHIND: 0, SUCCEEDED: 0}
    assert curve[0.3].acted == {BEFORE: 2, BEHIND: 0, SUCCEEDED: 1}
    assert curve[0.3].calls == {BEFORE: 2, BEHIND: 1, SUCCEEDED: 1}


def test_within_the_deadline_less_may_succeed() -> None:
    replays = replayed([1.0, 1.0], [0.0, 0.0])
    late = dataclasses.replace(replays, ended=np.where(replays.ended > 0, [150] * 5 + [90] * 5, 0))
    (row, *_) = abstention(late, np.array([BEFORE, BEFORE]), np.array([0.9, 0.9]), seed=0)
    assert (row.won, row.in_time) == (1.0, 0.5)


def test_an_interval_of_numbers_that_are_alike_is_none() -> None:
    assert mean_over(np.array([0.25]), 0) == (0.25, None, None)
    assert mean_over(np.zeros(5), 0) == (0.0, None, None)
    value, low, high = mean_over(np.array([0.0, 0.0, 1.0, 1.0, 1.0]), 0)
    assert low < value < high


def test_what_cannot_be_judged_is_refused(
    tmp_path: Path, store: Store, tested: Store, folder: Path, task: Task, policy: Policy
) -> None:
    with pytest.raises(ConfigError, match="learns from the fit split and is judged on another, such as split='test'"):
        judge_corrector(tested, folder, task, policy, split="fit", runner=ALONE)
    with pytest.raises(StoreError, match=r"no failed episode of split select with labels.*workbench label"):
        judge_corrector(tested, folder, task, policy, split="select", runner=ALONE)
    with pytest.raises(ConfigError, match="branches=1 must be at least 2"):
        judge_corrector(tested, folder, task, policy, branches=1, runner=ALONE)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        judge_corrector(tested, tmp_path / "none", task, policy, runner=ALONE)
