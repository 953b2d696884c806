"""Trial and error on stored episodes: executed sequences, the prediction from other episodes, and the clock."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tests.synthetic import COUNTS, HEADER, write_store
from workbench.errors import ConfigError, StoreError
from workbench.monitoring.fitting import fit
from workbench.monitoring.reading import offline
from workbench.recovery import attempts as attempts_module
from workbench.recovery.attempts import (
    Attempts,
    attempts_of,
    best_end,
    executed_against_predicted,
    makespans,
    trial_and_error,
)
from workbench.store import Store

NEVER = math.inf
THREE = Attempts(
    success=np.array([True, True, False]),
    length_s=np.array([10.0, 14.0, 30.0]),
    alarm_s=np.array([NEVER, 6.0, 8.0]),
)
"""One success, one success that is given up after 6 s, one failure that is given up after 8 s."""


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    """Less of what is drawn, for all but the figures of a user."""
    for name, number in (("RESAMPLES", 200), ("SEQUENCES", 300), ("OF_THE_DATA", 20_000)):
        monkeypatch.setattr(attempts_module, name, number)


def drawn(size, seed):
    random = np.random.default_rng(seed)
    success = random.random(size) < 0.6
    length = np.where(success, random.uniform(5, 12, size), 20.0)
    alarm = np.where(random.random(size) < np.where(success, 0.1, 0.8), random.uniform(1, length), NEVER)
    return Attempts(success, length, alarm)


def test_by_hand():
    """One attempt in three is the last; the other two take 6 s and 8 s, and 2 s more until the next."""
    assert THREE.takes_s.tolist() == [10, 6, 8]
    assert THREE.done.tolist() == [True, False, False]
    assert THREE.predicted(2.0).mean_s == pytest.approx(10 + 2 * (7 + 2))
    to_the_end = THREE.until(NEVER)
    assert to_the_end.predicted(2.0).mean_s == pytest.approx(12 + 0.5 * 32)
    assert THREE.until(12.0).done.tolist() == [True, False, False]
    trials, predictor = THREE.shares(2.0)
    assert (trials.failure_rate, predictor.tpr, predictor.fpr) == pytest.approx((1 / 3, 1, 0.5))
    assert (predictor.caught.mean_s, predictor.false_alarm.mean_s, predictor.passed.mean_s) == (8, 6, 10)


def test_an_alarm_at_the_end_gives_nothing_up():
    assert dataclasses.replace(THREE, alarm_s=THREE.length_s).done.tolist() == [True, True, False]


@pytest.mark.parametrize("seed", range(4))
def test_executed_sequences_take_what_the_closed_form_of_the_same_episodes_says(seed):
    arms = [drawn(30, seed), drawn(30, seed).until(NEVER), drawn(30, seed).until(9.0)]
    found = makespans(arms, 3.0, seed)
    for arm, samples in zip(arms, found, strict=True):
        wanted = arm.predicted(3.0)
        error = wanted.deviation_s / math.sqrt(attempts_module.OF_THE_DATA)
        assert samples[0] == pytest.approx(wanted.mean_s, abs=4.5 * error)


def test_resamples_are_executed_with_their_own_weights():
    """Resampled closed forms, from the same weights, lie beside the executed means of these resamples."""
    arm = drawn(25, 9)
    executed = makespans([arm], 3.0, 9)[0, 1:]
    weights = attempts_module.stratified_weights(np.zeros(25, int), np.arange(25), attempts_module.RESAMPLES, 9)
    cost = arm.takes_s + np.where(arm.done, 0.0, 3.0)
    wanted = (cost @ weights[:, 1:]) / (arm.done @ weights[:, 1:])
    assert np.corrcoef(executed, wanted)[0, 1] > 0.95
    assert (executed / wanted).mean() == pytest.approx(1, abs=0.01)


def test_all_arms_meet_the_same_episodes():
    arm = drawn(20, 3)
    found = makespans([arm, arm, arm.until(NEVER)], 3.0, 0)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert np.array_equal(found, makespans([arm, arm, arm.until(NEVER)], 3.0, 0))


def test_a_resample_without_a_success_never_ends():
    rare = Attempts(np.arange(6) == 0, np.full(6, 5.0), np.full(6, NEVER))
    found = makespans([rare], 1.0, 0)[0]
    assert math.isfinite(found[0])
    assert np.isinf(found[1:]).any()
    judged = executed_against_predicted({"m": rare}, {"m": rare}, restart_s=1.0)
    assert judged.rows[0].executed_ci95[1] == NEVER
    assert judged.rows[0].record()["executed_ci95"][1] is None


@pytest.mark.parametrize("seed", range(8))
def test_the_clock_ends_attempts_at_the_best_time(seed):
    arm = drawn(40, seed)
    found = arm.until(best_end(arm, 2.0)).predicted(2.0).mean_s
    assert found == min(
        arm.until(end).predicted(2.0).mean_s for end in [*np.linspace(5, 20, 300), *arm.length_s, NEVER]
    )


def test_the_clock_lets_them_run_where_nothing_fails():
    certain = Attempts(np.ones(4, bool), np.arange(4.0) + 1, np.full(4, NEVER))
    assert best_end(certain, 5.0) >= 4


def test_what_is_learned_and_what_is_executed_are_kept_apart():
    learned, judged = drawn(60, 0), drawn(60, 1)
    found = executed_against_predicted({"m": learned}, {"m": judged}, restart_s=3.0)
    assert [row.name for row in found.rows] == ["to the end", "clock", "m"]
    to_the_end, clock, monitor = found.rows
    assert found.clock_s == best_end(learned, 3.0)
    assert monitor.predicted == learned.predicted(3.0)
    assert monitor.closed_form == judged.predicted(3.0)
    assert clock.closed_form == judged.until(found.clock_s).predicted(3.0)
    assert (to_the_end.saved_s, to_the_end.saved_ci95, to_the_end.pays) == (0, (0, 0), False)
    assert monitor.pays == (learned.predicted(3.0).mean_s < learned.until(NEVER).predicted(3.0).mean_s)
    assert monitor.saved_s == pytest.approx(to_the_end.executed_s - monitor.executed_s)
    assert monitor.over_clock_s == pytest.approx(clock.executed_s - monitor.executed_s)
    counts = [(int((~each.success).sum()), int(each.success.sum())) for each in (learned, judged)]
    assert [found.learned, found.judged] == counts
    other = executed_against_predicted({"m": drawn(60, 2)}, {"m": judged}, restart_s=3.0)
    assert other.rows[2].executed_s == monitor.executed_s
    assert other.rows[2].predicted != monitor.predicted


def test_intervals_hold_the_true_makespan():
    """Of 60 draws of 50 episodes each, from a law whose makespan is known by a large draw."""
    truth = drawn(200_000, 1000).predicted(3.0).mean_s
    held = [
        low <= truth <= high
        for low, high in (
            attempts_module._interval(makespans([drawn(50, seed)], 3.0, seed)[0, 1:]) for seed in range(60)
        )
    ]
    assert np.mean(held) >= 0.85


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    store = Store.open(write_store(tmp_path_factory.mktemp("attempts") / "s.zarr"))
    return store, fit(store, ["mahalanobis"], level=0.2).monitors


def test_a_store_s_episodes_are_attempts_that_end_at_the_first_alarm(stored):
    store, monitors = stored
    (found,) = attempts_of(store, monitors, "test").values()
    numbers = [number for number in range(len(store)) if store.episodes["split"][number] == "test"]
    assert len(found.success) == len(numbers) == 4 * COUNTS["test"]
    for place, number in enumerate(numbers):
        (reading,) = offline(monitors, [store.calls(number)])[monitors[0].name]
        steps = store.calls(number).step[reading.alarm]
        assert found.alarm_s[place] == (steps[0] / HEADER.control_hz if len(steps) else NEVER)
        assert found.length_s[place] == store.episodes["length"][number] / HEADER.control_hz
        assert found.success[place] == store.episodes["success"][number]
    assert found.ended[~found.success].mean() > 0.8


def test_trial_and_error_of_a_store(stored):
    store, monitors = stored
    found = trial_and_error(store, monitors, restart_s=1.0)
    calibrate, test = (attempts_of(store, monitors, split)[monitors[0].name] for split in ("calibrate", "test"))
    assert found.rows[2].predicted == calibrate.predicted(1.0)
    assert found.rows[2].closed_form == test.predicted(1.0)
    assert found.judged == (int((~test.success).sum()), int(test.success.sum()))
    assert found.rows[1].saved_ci95[0] > 0
    assert found.record()["rows"][0]["caught_s"] is None
    assert list(found.table()["name"]) == ["to the end", "clock", monitors[0].name]


def test_what_cannot_be_judged_is_refused(stored, tmp_path):
    store, monitors = stored
    with pytest.raises(StoreError, match="has no success in the train split: attempts would never end"):
        trial_and_error(store, monitors, restart_s=1.0, learn="train")
    with pytest.raises(ConfigError, match=r"restart_s=-1"):
        trial_and_error(store, monitors, restart_s=-1.0)
    with pytest.raises(ConfigError, match="attempts of the same monitors"):
        executed_against_predicted({"a": THREE}, {"b": THREE}, restart_s=1.0)
