"""The tolerance of policies whose response to a fault is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.errors import ConfigError
from workbench.synthesis.axis import Scale
from workbench.synthesis.tolerances import Tolerance, Trial, contradictions, find_tolerance

AXIS = Scale(0.01, 10.0)
SEARCHES = 400


def response(scale: Scale, tolerance: float, slope: float, seed: int, same: bool = True):
    """Episodes that fail with probability 1 / (1 + exp(-slope (severity - tolerance)))."""
    rng = np.random.default_rng(seed)
    latent = rng.logistic(size=500)  # with common random numbers, every episode has a threshold of its own

    def fails(magnitude: float, numbers: range) -> list[bool]:
        beyond = scale.severity(magnitude) - tolerance
        thresholds = latent[numbers.start : numbers.stop] if same else rng.logistic(size=len(numbers))
        return [beyond >= 0 if math.isinf(slope) else slope * beyond >= one for one in thresholds]

    return fails


@pytest.mark.parametrize("same", [True, False], ids=["common random numbers", "fresh ones"])
@pytest.mark.parametrize(
    ("slope", "width", "episodes"), [(4, 0.6, 480), (15, 0.2, 330), (60, 0.08, 200), (math.inf, 0.05, 90)]
)
def test_the_interval_contains_the_tolerance(slope, width, episodes, same, record_property):
    """400 searches a curve, from shallow to a step: at least 95 % of intervals cover, and they are of use."""
    covered, widths, costs, errors = [], [], [], []
    for seed in range(SEARCHES):
        truth = float(np.random.default_rng([9, seed]).uniform(0.1, 0.9))
        found = find_tolerance(AXIS, response(AXIS, truth, slope, seed, same))
        low, high = (AXIS.severity(bound) for bound in found.interval)
        covered.append(low <= truth <= high)
        widths.append(high - low)
        costs.append(found.episodes)
        errors.append(abs(AXIS.severity(found.magnitude) - truth) if found.magnitude else np.nan)
        assert found.interval[0] <= (found.magnitude or found.interval[0]) <= found.interval[1]
    record_property("expected_episodes", float(np.mean(costs)))
    record_property("median_error_of_severity", float(np.nanmedian(errors)))
    assert np.mean(covered) >= 0.95
    assert np.mean(widths) < width
    assert np.mean(costs) < episodes
    assert np.nanmedian(errors) < 0.06


def test_looking_often_is_paid_for():
    """A policy that fails exactly as often as not, everywhere: some look would clear one half if each were at 95 %."""
    rng = np.random.default_rng(0)
    verdicts = [
        find_tolerance(AXIS, lambda _, numbers: rng.random(len(numbers)) < 0.5, batch=1, most=60).verdict
        for _ in range(SEARCHES)
    ]
    assert np.mean([verdict in ("never fails", "always fails") for verdict in verdicts]) <= 0.05


def test_every_magnitude_sees_the_same_episodes():
    asked: dict[float, list[int]] = {}
    inner = response(AXIS, 0.5, 10, 1)

    def fails(magnitude: float, numbers: range) -> list[bool]:
        asked.setdefault(magnitude, []).extend(numbers)
        return inner(magnitude, numbers)

    found = find_tolerance(AXIS, fails, batch=10, most=35)
    assert all(numbers == list(range(len(numbers))) and len(numbers) <= 35 for numbers in asked.values())
    assert max(map(len, asked.values())) == 35
    assert {trial.magnitude: trial.episodes for trial in found.trials} == {m: len(n) for m, n in asked.items()}
    assert found.episodes == sum(map(len, asked.values()))


@pytest.mark.parametrize(("failing", "verdict"), [(False, "never fails"), (True, "always fails")])
def test_a_policy_that_never_or_always_fails_has_no_tolerance(failing, verdict):
    found = find_tolerance(AXIS, lambda _, numbers: [failing] * len(numbers))
    end = 10.0 if not failing else 0.01
    assert (found.verdict, found.magnitude, found.at(0.25)) == (verdict, None, None)
    assert found.interval == (end, end)
    assert found.episodes <= 36


@pytest.mark.parametrize(("tolerance", "verdict"), [(0.0, "unclear at the mildest"), (1.0, "unclear at the worst")])
def test_a_tolerance_at_an_end_is_not_claimed_to_be_inside(tolerance, verdict):
    found = find_tolerance(AXIS, response(AXIS, tolerance, 3, 4))
    assert found.verdict == verdict
    assert (0.01 if tolerance == 0 else 10.0) in found.interval


@pytest.mark.parametrize("worse", ["larger", "smaller"])
@pytest.mark.parametrize("first", [1, 2, 7, 30])
def test_whole_magnitudes_stay_whole_and_the_first_that_fails_is_named(worse, first):
    scale = Scale(1, 30, worse, whole=True)

    def fails(magnitude: float, numbers: range) -> list[bool]:
        assert magnitude.is_integer()
        return [magnitude >= first if worse == "larger" else magnitude <= first] * len(numbers)

    found = find_tolerance(scale, fails, resolution=0.001)
    if first == (1 if worse == "larger" else 30):
        assert found.verdict == "always fails"
    else:
        beside = first - 1 if worse == "larger" else first + 1
        assert found.magnitude == first
        assert found.interval == tuple(sorted((first, beside)))
        assert found.trials[0].rate == 0
        assert found.trials[-1].rate == 1


def test_a_reversed_axis_is_reported():
    found = find_tolerance(AXIS, lambda m, numbers: [m < 1.0 and m > 0.05] * len(numbers))
    assert found.verdict == "never fails"
    assert found.contradictions == ((AXIS.magnitude(0.5), 10.0),)
    assert not find_tolerance(AXIS, response(AXIS, 0.5, 8, 0)).contradictions


def test_a_slight_reversal_is_no_contradiction():
    assert not contradictions([Trial(1.0, 30, 48), Trial(2.0, 25, 48)], 0.95)
    assert contradictions([Trial(1.0, 40, 48), Trial(2.0, 10, 48)], 0.95) == ((1.0, 2.0),)


def test_other_rates_are_read_off_a_monotone_fit():
    trials = tuple(Trial(magnitude, failures, 40) for magnitude, failures in ((2, 0), (4, 20), (6, 12), (8, 40)))
    found = Tolerance(Scale(2, 8), trials, "found", (2, 8))
    assert found.at(0.4) == pytest.approx(5.0), "20 and 12 of 40 are pooled to 16: a stretch from 4 to 6"
    assert found.at(0.2) == pytest.approx(3.0)
    assert found.at(0.7) == pytest.approx(7.0)
    assert found.at(0.999) == pytest.approx(8.0, abs=0.01)
    reversed_axis = Tolerance(Scale(2, 8, "smaller"), trials[::-1], "found", (2, 8))
    assert reversed_axis.at(0.9) is None, "at the worst end, 2, nothing fails"


def test_a_fit_weighs_trials_by_their_episodes():
    few = Tolerance(Scale(1, 4), (Trial(1, 0, 40), Trial(2, 6, 8), Trial(3, 10, 40), Trial(4, 40, 40)), "found", (1, 4))
    assert few.at(1 / 3) == pytest.approx(2.5), "6 of 8 and 10 of 40 are 16 of 48"


@pytest.mark.parametrize("worse", ["larger", "smaller"])
@pytest.mark.parametrize(("low", "high"), [(2.0, 8.0), (0.01, 10.0)])
def test_scales_go_there_and_back(low, high, worse):
    scale = Scale(low, high, worse)
    assert [scale.magnitude(0), scale.magnitude(1)] == ([low, high] if worse == "larger" else [high, low])
    assert scale.logarithmic == (high / low > 10)
    for severity in np.linspace(0, 1, 11):
        assert scale.severity(scale.magnitude(severity)) == pytest.approx(severity)
    middle = math.sqrt(low * high) if scale.logarithmic else (low + high) / 2
    assert scale.magnitude(0.5) == pytest.approx(middle)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"batch": 60}, {"resolution": 0.0}, {"confidence": 1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        find_tolerance(AXIS, lambda _, numbers: [True] * len(numbers), **wrong)
    with pytest.raises(ConfigError, match="rise"):
        Scale(1.0, 1.0)
