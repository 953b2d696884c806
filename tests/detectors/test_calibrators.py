"""Every calibrator against its closed form, and what it says when the episodes cannot carry the level."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.detectors.calibrators.fixed import Fixed
from workbench.detectors.calibrators.functional_band import FunctionalBand
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.detectors.learning.ranks import conformal_rank, episodes_needed
from workbench.errors import CalibrationError, ConfigError

LEVELS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)


def exact_rank(count, level):
    return math.ceil((count + 1) * (1 - Fraction(str(level))))


def random_curves(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.lognormal(size=rng.integers(3, 9)) for _ in range(count)]


def test_split_conformal_through_mapie_is_the_exact_order_statistic():
    rng, checked = np.random.default_rng(0), 0
    for count in [*range(2, 61), 79, 99, 100, 119, 139, 199, 200]:
        maxima = rng.normal(size=count)
        for level in LEVELS:
            rank = exact_rank(count, level)
            if rank <= count:
                threshold = SplitConformal().calibrate([np.array([m - 1.0, m]) for m in maxima], level)
                assert threshold.values.tolist() == [np.sort(maxima)[rank - 1]], (count, level)
                assert threshold.episodes == count
                checked += 1
    assert checked > 300


@pytest.mark.parametrize("level", LEVELS)
def test_too_few_episodes_are_refused_with_both_numbers(level):
    needed = math.ceil(1 / Fraction(str(level))) - 1
    SplitConformal().calibrate([np.array([float(i)]) for i in range(needed)], level)
    few = [np.array([float(i)]) for i in range(needed - 1)]
    with pytest.raises(CalibrationError, match=rf"at least {needed} .*there are {needed - 1}:"):
        SplitConformal().calibrate(few, level)


@settings(deadline=None)
@given(count=st.integers(1, 400), level=st.sampled_from(LEVELS))
def test_rank_exists_exactly_from_the_needed_number_on(count, level):
    assert conformal_rank(count, level) == exact_rank(count, level)
    assert (conformal_rank(count, level) <= count) == (count >= episodes_needed(level))


def band_by_hand(curves, level):
    """The band with loops, for comparison."""
    ranked, shaped = curves[0::2], curves[1::2]
    longest = max(map(len, shaped))
    held = np.array([[c[min(t, len(c) - 1)] for t in range(longest)] for c in shaped])
    mu = held.mean(axis=0)
    order = np.argsort(np.abs(held - mu).max(axis=1))
    kept = held[order[: min(exact_rank(len(shaped), level), len(shaped))]]
    sigma = np.abs(kept - mu).max(axis=0)
    sigma = np.maximum(sigma, 1e-3 * sigma.max())
    at = [np.minimum(np.arange(len(c)), longest - 1) for c in ranked]
    heights = [((c - mu[i]) / sigma[i]).max() for c, i in zip(ranked, at, strict=True)]
    return mu + np.sort(heights)[exact_rank(len(ranked), level) - 1] * sigma, sigma


@pytest.mark.parametrize(("count", "level"), [(17, 0.1), (18, 0.1), (39, 0.05), (60, 0.05), (60, 0.2)])
def test_functional_band_is_the_band_by_hand(count, level):
    curves = random_curves(count)
    threshold = FunctionalBand().calibrate(curves, level)
    values, sigma = band_by_hand(curves, level)
    np.testing.assert_allclose(threshold.values, values, rtol=1e-9)
    np.testing.assert_allclose(threshold.scale, sigma, rtol=1e-9)
    assert (threshold.scale > 0).all()


@pytest.mark.parametrize("level", [0.05, 0.1, 0.2])
def test_as_many_ranked_curves_touch_or_stay_below_the_band_as_its_rank_says(level):
    curves = random_curves(60)
    threshold = FunctionalBand().calibrate(curves, level)
    silent = sum(not (threshold.margin(curve) > 0).any() for curve in curves[0::2])
    assert silent == exact_rank(30, level)


def test_the_band_is_an_upper_one():
    """Dips below the usual course are no alarm however deep, rises are."""
    rng = np.random.default_rng(0)
    threshold = FunctionalBand().calibrate([rng.normal(size=10) for _ in range(60)], 0.1)
    assert (threshold.margin(np.full(10, -100.0)) < 0).all()
    assert (threshold.margin(np.full(10, 100.0)) > 0).all()


def test_the_band_holds_its_last_value():
    curves = random_curves(40)
    threshold = FunctionalBand().calibrate(curves, 0.1)
    assert len(threshold.values) == max(map(len, curves[1::2]))
    long = np.full(30, threshold.values[-1] + 0.5 * threshold.scale[-1])
    np.testing.assert_allclose(threshold.margin(long)[len(threshold.values) :], 0.5, rtol=1e-9)


def test_too_few_episodes_for_a_band_are_refused():
    FunctionalBand().calibrate(random_curves(17), 0.1)
    with pytest.raises(CalibrationError, match=r"at least 17 .*there are 16:"):
        FunctionalBand().calibrate(random_curves(16), 0.1)


@pytest.mark.parametrize("rule", [SplitConformal(), FunctionalBand()])
@pytest.mark.parametrize("value", [0.0, 0.1, 7.3])
def test_curves_that_all_agree_raise_no_alarm(rule, value):
    """A consistent policy scores 0 throughout; touching a threshold is not crossing it, whatever the rounding."""
    curves = [value * np.arange(1, 1 + length) for length in [5, 5, 7, 7, 6, 6, 9, 9] * 5]
    threshold = rule.calibrate(curves, 0.1)
    assert not any((threshold.margin(curve) > 0).any() for curve in curves)
    assert (threshold.scale > 0).all()
    assert np.isfinite(threshold.values).all()


@pytest.mark.parametrize("rule", [SplitConformal(), FunctionalBand()])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.tuples(st.sampled_from(LEVELS[2:]), st.sampled_from(LEVELS[2:])))
def test_a_stricter_level_alarms_no_more_often_on_the_calibration_episodes(rule, seed, levels):
    strict, lax = (rule.calibrate(random_curves(60, seed), level) for level in sorted(levels))
    ranked = random_curves(60, seed)[0::2]
    alarms = [sum((t.margin(c) > 0).any() for c in ranked) for t in (strict, lax)]
    assert alarms[0] <= alarms[1]


def test_thresholds_are_monotone_in_the_level():
    values = [SplitConformal().calibrate(random_curves(200), level).values[0] for level in LEVELS]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("rule", [SplitConformal(), FunctionalBand()])
def test_what_is_no_level_and_what_is_no_curve(rule):
    for level in (0.0, 0.5, 1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="level"):
            rule.calibrate(random_curves(60), level)
    for bad in (np.array([]), np.array([1.0, np.nan]), np.array([np.inf])):
        with pytest.raises(CalibrationError, match="curve 60"):
            rule.calibrate([*random_curves(60), bad], 0.1)


def test_the_guarantee_names_level_and_episodes():
    assert "<= 0.1" in SplitConformal().calibrate(random_curves(33), 0.1).guarantee
    assert "33 calibration" in SplitConformal().calibrate(random_curves(33), 0.1).guarantee
    band = FunctionalBand().calibrate(random_curves(33), 0.1)
    assert "17 ranked" in band.guarantee
    assert "16 others" in band.guarantee


def test_fixed_is_what_it_was_told_and_promises_nothing():
    threshold = Fixed(threshold=0.0).calibrate([], 0.1)
    assert (threshold.margin(np.ones(5)) == 1.0).all()
    assert threshold.guarantee.startswith("none")


def test_rounding_makes_no_alarm_of_a_curve_that_touches_the_band():
    """The curve that sets the band's height, met again, is as high as the band and not above it."""
    for seed in range(50):
        curves = random_curves(60, seed)
        threshold = FunctionalBand().calibrate(curves, 0.1)
        silent = sum(not (threshold.margin(curve) > 0).any() for curve in curves[0::2])
        assert silent >= exact_rank(30, 0.1)
