"""Full cumulative sum and CUSUM: closed forms, causality, online as offline, and where the drift comes from."""

import numpy as np
import pytest

from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.errors import CalibrationError, ConfigError, UnknownNameError
from workbench.monitoring.window import Window

WINDOWS = [
    Window("last"),
    Window("sum", 3),
    Window("mean", 3),
    Window("max", 3),
    Window("total"),
    Window("cusum", 1, 0.4),
]


def test_total_is_the_cumulative_sum():
    curve = np.random.default_rng(1).normal(size=200)
    np.testing.assert_allclose(Window("total").apply(curve), np.cumsum(curve), rtol=0, atol=1e-12)
    np.testing.assert_allclose(Window("total").apply(curve), Window("sum", 200).apply(curve), rtol=0, atol=1e-12)


@pytest.mark.parametrize("drift", [-0.3, 0.0, 0.7])
def test_cusum_is_the_largest_sum_of_what_came_last(drift):
    """Closed form of the recursion: ``S(t) = max(0, max over i <= t of sum from i to t of s - drift)``."""
    curve = np.random.default_rng(2).normal(size=60)
    above = curve - drift
    expected = [max(0.0, *(above[i : t + 1].sum() for i in range(t + 1))) for t in range(60)]
    found = Window("cusum", drift=drift).apply(curve)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert 0.0 in found
    assert not np.allclose(found, Window("total").apply(above))


@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: w.kind)
def test_online_is_offline_prefix_by_prefix_and_scene_by_scene(window):
    whole = np.random.default_rng(3).normal(size=(12, 5))
    memories = [window.begin() for _ in range(5)]
    online = np.array([window.update(memories, scores) for scores in whole])
    for scene in range(5):
        assert np.array_equal(window.apply(whole[:, scene]), online[:, scene])
        assert np.array_equal(window.apply(whole[:7, scene]), online[:7, scene])
    assert np.array_equal(window.apply(whole[:, 0]), online[:, 0]), "an episode is not forgotten"


@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: w.kind)
def test_nan_is_not_swallowed(window):
    assert np.isnan(window.apply(np.array([1.0, 2.0, np.nan]))[2])


@pytest.mark.parametrize("window", WINDOWS[-2:], ids=lambda w: w.kind)
def test_width_plays_no_part_without_a_window(window):
    curve = np.random.default_rng(4).normal(size=9)
    assert np.array_equal(Window(window.kind, 5, window.drift).apply(curve), window.apply(curve))


def test_settle_takes_the_drift_from_the_reference_alone():
    curves = [np.array([1.0, 2.0, 3.0]), np.array([4.0])]
    window = Window("cusum", 2)
    settled = window.settle(curves)
    assert settled.drift == pytest.approx(2.5 + np.sqrt(1.25) / 2)
    assert (settled.kind, settled.width) == ("cusum", 2)
    assert window.drift == 0.0, "a window that several monitors share was changed"
    assert settled.settle(curves).drift == settled.drift
    rebuilt = Window(settled.kind, settled.width, settled.drift)
    assert np.array_equal(rebuilt.apply(np.arange(9.0)), settled.apply(np.arange(9.0)))


def test_windows_without_a_drift_settle_to_themselves():
    for window in WINDOWS[:-1]:
        assert window.settle([]) is window


@pytest.mark.parametrize("curves", [[], [np.empty(0)], [np.array([1.0, np.nan])]])
def test_a_drift_from_nothing_is_refused(curves):
    with pytest.raises(CalibrationError, match="select split"):
        Window("cusum").settle(curves)


def test_impossible_windows_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'cusum'"):
        Window("cusun")
    for drift in (np.nan, np.inf):
        with pytest.raises(ConfigError, match="drift="):
            Window("cusum", drift=drift)


def test_cusum_finds_a_shift_that_the_last_score_does_not():
    """The reason for it: a small shift that lasts is drowned by the largest of single scores."""
    rng = np.random.default_rng(5)
    nominal = [rng.normal(size=60) for _ in range(400)]
    shifted = [rng.normal(size=60) + np.where(np.arange(60) >= 20, 0.8, 0.0) for _ in range(200)]
    cusum = Window("cusum").settle(nominal[:200])

    def found(window):
        threshold = SplitConformal().calibrate([window.apply(c) for c in nominal[200:]], 0.1)
        return np.mean([(threshold.margin(window.apply(c)) > 0).any() for c in shifted])

    assert found(cusum) > 0.9 > 0.6 > found(Window("last"))
