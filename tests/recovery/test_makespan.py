"""The makespan in closed form against hand-computed cases, recursions, Markov generators and its simulation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from workbench.errors import ConfigError
from workbench.recovery.makespan import (
    Duration,
    Predictor,
    Trials,
    least_ratio,
    makespan,
    preemption,
    simulate_makespan,
)

exactly = Duration


def drawn(random, exponential=False):
    """A setting in which nothing is alike."""

    def duration():
        mean = random.uniform(1, 40)
        return Duration.exponential(mean) if exponential else Duration(mean, random.uniform(0, 1) * mean**2)

    trials = Trials(random.uniform(0.05, 0.9), duration(), duration(), random.uniform(0, 10))
    return trials, Predictor(random.uniform(0, 1), random.uniform(0, 0.8), *(duration() for _ in range(4)))


def test_by_hand():
    """Half of the attempts fail after 30 s, 5 s more until the next: one failure on average before 20 s of success."""
    trials = Trials(0.5, success=exactly(20), failure=exactly(30), restart_s=5)
    assert makespan(trials).mean_s == 55
    predictor = Predictor(0.9, 0.1, caught=exactly(8), false_alarm=exactly(8))
    # An attempt: .45 x 8 + .05 x 8 + .05 x 30 + .45 x 20 + 5 x .55 = 17.25 s, and .45 of them are the last.
    assert makespan(trials, predictor).mean_s == pytest.approx(17.25 / 0.45)
    assert makespan(trials, predictor).attempts == pytest.approx(1 / 0.45)
    found = preemption(trials, predictor)
    assert (found.pays, found.best) == (True, found.preemptive)


def test_by_hand_where_it_does_not_pay():
    trials = Trials(0.3, success=exactly(20), failure=exactly(25), restart_s=5)
    found = preemption(trials, Predictor(0.7, 0.2, caught=exactly(15), false_alarm=exactly(15)))
    assert found.to_the_end.mean_s == pytest.approx(20 + 3 / 7 * 30)
    assert found.preemptive.mean_s == pytest.approx(20.9 / 0.56)
    assert (found.pays, found.best) == (False, found.to_the_end)
    assert found.record()["pays"] is False


def test_limits():
    trials = Trials(0.4, success=Duration(12, 9), failure=Duration(30, 4), restart_s=3)
    silent = Predictor(0.0, 0.0, caught=exactly(1), false_alarm=exactly(1))
    assert makespan(trials, silent) == makespan(trials)
    at_once = Predictor(1.0, 0.0, caught=exactly(0), false_alarm=exactly(0))
    assert makespan(trials, at_once).mean_s == pytest.approx(12 + 0.4 / 0.6 * 3)
    never_fails = dataclasses.replace(trials, failure_rate=0.0)
    assert makespan(never_fails) == makespan(never_fails, at_once)
    assert dataclasses.astuple(makespan(never_fails)) == (12, 3, 1)
    always_fails, always_alarms = dataclasses.replace(trials, failure_rate=1.0), dataclasses.replace(silent, fpr=1.0)
    for hopeless in (makespan(always_fails), makespan(trials, always_alarms)):
        assert hopeless.mean_s == hopeless.deviation_s == math.inf
        assert hopeless.record()["mean_s"] is None


@pytest.mark.parametrize("seed", range(25))
def test_first_and_second_moment_solve_their_recursion(seed):
    """T = t if the attempt is the last, else t + c + T' with T' like T: iterated until nothing changes."""
    trials, predictor = drawn(np.random.default_rng(seed))
    fails, restart = trials.failure_rate, trials.restart_s
    cells = [
        (fails * predictor.tpr, predictor.caught, True),
        (fails * (1 - predictor.tpr), predictor.missed, True),
        ((1 - fails) * predictor.fpr, predictor.false_alarm, True),
        ((1 - fails) * (1 - predictor.fpr), predictor.passed, False),
    ]
    mean = second = 0.0
    for _ in range(20_000):
        mean, second = (
            sum(share * (time.mean_s + again * (restart + mean)) for share, time, again in cells),
            sum(
                share
                * (
                    time.variance_s2
                    + (time.mean_s + again * restart) ** 2
                    + again * (2 * (time.mean_s + restart) * mean + second)
                )
                for share, time, again in cells
            ),
        )
    found = makespan(trials, predictor)
    assert found.mean_s == pytest.approx(mean, rel=1e-9)
    assert found.deviation_s == pytest.approx(math.sqrt(second - mean**2), rel=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_a_markov_jump_process_is_absorbed_as_late(seed):
    """Exponential times: moments of the phase-type law, from the generator of the process."""
    trials, predictor = drawn(np.random.default_rng(100 + seed), exponential=True)
    trials = dataclasses.replace(trials, restart_s=0.0)
    fails, tpr, fpr = trials.failure_rate, predictor.tpr, predictor.fpr
    start = np.array([fails * tpr, fails * (1 - tpr), (1 - fails) * fpr, (1 - fails) * (1 - fpr)])
    times = (predictor.caught, predictor.missed, predictor.false_alarm, predictor.passed)
    rates = np.array([1 / time.mean_s for time in times])
    generator = np.outer(np.where([True, True, True, False], rates, 0.0), start) - np.diag(rates)
    once = np.linalg.solve(-generator, np.ones(4))
    mean, second = start @ once, 2 * start @ np.linalg.solve(-generator, once)
    found = makespan(trials, predictor)
    assert found.mean_s == pytest.approx(mean)
    assert found.deviation_s == pytest.approx(math.sqrt(second - mean**2))


@pytest.mark.parametrize("seed", range(20))
def test_the_break_even_is_where_both_take_as_long(seed):
    random = np.random.default_rng(seed)
    trials, _ = drawn(random)
    caught, false_alarm = random.uniform(0, 0.9) * trials.failure.mean_s, random.uniform(1, 30)
    ratio = least_ratio(trials, caught, false_alarm)
    assert ratio > 1
    tpr = random.uniform(0.1, 1.0)
    for factor, pays in ((0.99, True), (1.01, False)):
        predictor = Predictor(tpr, tpr / ratio * factor, exactly(caught), exactly(false_alarm))
        assert preemption(trials, predictor).pays == pays
    even = preemption(trials, Predictor(tpr, tpr / ratio, exactly(caught), exactly(false_alarm)))
    assert even.preemptive.mean_s == pytest.approx(even.to_the_end.mean_s)


def test_a_predictor_that_speaks_after_the_failure_never_pays():
    trials = Trials(0.5, exactly(20), exactly(30), 5)
    assert least_ratio(trials, 30, 10) == least_ratio(trials, 35, 10) == math.inf
    assert not preemption(trials, Predictor(1.0, 0.0, exactly(30), exactly(1))).pays
    assert least_ratio(trials, 0, 0) == pytest.approx((15 + 5) / 15)


@pytest.mark.parametrize("seed", range(6))
def test_simulation_and_closed_form_agree(seed):
    trials, predictor = drawn(np.random.default_rng(200 + seed))
    for spoken in (None, predictor):
        times, wanted = simulate_makespan(trials, spoken, runs=40_000, seed=seed), makespan(trials, spoken)
        assert times.mean() == pytest.approx(wanted.mean_s, abs=4 * wanted.deviation_s / 200)
        assert times.std() == pytest.approx(wanted.deviation_s, rel=0.05)


def test_the_simulation_is_what_it_is_asked_for():
    trials = Trials(0.5, exactly(20), exactly(30), 5)
    times = simulate_makespan(trials, runs=500, seed=1)
    assert set(np.unique((times - 20) / 35)) <= set(range(20))
    assert np.array_equal(times, simulate_makespan(trials, runs=500, seed=1))
    assert not np.array_equal(times, simulate_makespan(trials, runs=500, seed=2))
    with pytest.raises(ConfigError, match="no attempt can succeed"):
        simulate_makespan(dataclasses.replace(trials, failure_rate=1.0))
    with pytest.raises(ConfigError, match="no attempt can succeed"):
        simulate_makespan(trials, Predictor(0.5, 1.0, exactly(1), exactly(1)))


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="a duration of -1"):
        Duration(-1)
    with pytest.raises(ConfigError, match="a duration of nan"):
        Duration(math.nan)
    with pytest.raises(ConfigError, match=r"failure_rate=1\.5"):
        Trials(1.5, exactly(1), exactly(1))
    with pytest.raises(ConfigError, match=r"restart_s=inf"):
        Trials(0.5, exactly(1), exactly(1), math.inf)
    with pytest.raises(ConfigError, match=r"fpr=-0\.1"):
        Predictor(0.5, -0.1, exactly(1), exactly(1))
