"""What holds over a run of episodes: adaptive thresholds against an adversary, drift that is raised for a reason."""

import dataclasses
import warnings

import numpy as np
import pytest
from scipy.stats import ks_2samp

from workbench.detectors.calibrators.adaptive import AdaptiveConformal
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.monitoring.drift import Drift, FalseAlarmDrift

LEVEL = 0.1


def begun(step, count=40, seed=0):
    curves = [np.array([value]) for value in np.random.default_rng(seed).normal(size=count)]
    return AdaptiveConformal(step).calibrate(curves, LEVEL)


def clipped(threshold, highest, alarmed):
    """The step with the level held in 0..1, as MAPIE and others have it."""
    moved = threshold.after(highest, alarmed)
    current = min(max(moved.current, 0.0), 1.0)
    return dataclasses.replace(moved, current=current, values=moved.at(moved.recent, current))


def walked(threshold, choose, after=lambda threshold, *said: threshold.after(*said), count=600):
    """Whether each of a run of successful episodes was alarmed at; ``choose`` gives its highest score."""
    alarms = []
    for number in range(count):
        highest = choose(number, threshold)
        alarms.append(bool(threshold.margin(np.array([highest])) > 0))
        threshold = after(threshold, highest, alarms[-1])
    return np.array(alarms)


def beyond_bound(alarms, step):
    """By how much the share of alarms leaves the bound of Gibbs and Candes, at the worst of all times."""
    times = np.arange(1, len(alarms) + 1)
    share = np.cumsum(alarms) / times
    return (np.abs(share - LEVEL) - (max(LEVEL, 1 - LEVEL) + step) / (step * times)).max()


def adversary(number, threshold):
    """As high as it takes, wherever that is possible."""
    return float(np.nan_to_num(threshold.values[0], posinf=1e6, neginf=-1e6)) + 1.0


COURSES = {
    "adversary": adversary,
    "saint": lambda number, threshold: -1e9 + number,
    "rising": lambda number, threshold: 0.05 * number + np.sin(number),
    "jump": lambda number, threshold: np.sin(7.0 * number) + 5.0 * (number > 200),
}


@pytest.mark.parametrize("step", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("course", COURSES)
def test_adaptive_thresholds_keep_their_bound_whatever_comes(course, step):
    assert beyond_bound(walked(begun(step), COURSES[course]), step) <= 1e-9


def test_a_clipped_level_and_a_threshold_that_stays_break_the_bound():
    assert beyond_bound(walked(begun(0.5), adversary, after=clipped), 0.5) > 0.2
    for course in ("rising", "jump"):
        assert beyond_bound(walked(begun(0.05), COURSES[course], after=lambda threshold, *_: threshold), 0.05) > 0.2


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_adaptive_thresholds_follow_a_robot_that_changes(kind):
    """After a jump a fixed threshold alarms at nearly every success; this one is back at its level soon."""
    draw = getattr(np.random.default_rng(1), kind)
    scores = draw(size=1040) + 3.0 * (np.arange(1040) >= 340)
    curves = [np.array([score]) for score in scores[:40]]
    fixed = SplitConformal().calibrate(curves, LEVEL)
    adaptive = AdaptiveConformal(0.02).calibrate(curves, LEVEL)
    alarms = walked(adaptive, lambda number, _: scores[40 + number], count=1000)
    assert (scores[340:] > fixed.values[0]).mean() > 0.8
    assert abs(alarms[-500:].mean() - LEVEL) < 0.03
    assert abs(alarms[:300].mean() - LEVEL) < 0.05


def test_within_0_and_1_it_moves_as_mapies_does():
    from mapie.conformity_scores import AbsoluteConformityScore
    from mapie.regression import TimeSeriesRegressor
    from sklearn.dummy import DummyRegressor

    rng = np.random.default_rng(3)
    known, fresh, step = rng.random(60), 0.2 + rng.random(40), 0.01
    x = np.zeros((1, 1))
    zero = DummyRegressor(strategy="constant", constant=0.0).fit(np.zeros((60, 1)), known)
    theirs = TimeSeriesRegressor(zero, method="aci", cv="prefit", conformity_score=AbsoluteConformityScore(sym=True))
    theirs.fit(np.zeros((60, 1)), known)
    ours, levels = AdaptiveConformal(step).calibrate([np.array([k]) for k in known], LEVEL), []
    for highest in fresh:
        theirs.adapt_conformal_inference(x, np.array([highest]), gamma=step, confidence_level=1 - LEVEL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.update(x, np.array([highest]))
        ours = ours.after(highest, bool(ours.margin(np.array([highest])) > 0))
        levels.append(ours.current)
        assert ours.current == pytest.approx(theirs.current_alpha[LEVEL], abs=1e-12)
    assert min(levels) < LEVEL - 0.02
    assert min(levels) > 0


# -- after deployment ------------------------------------------------------------------------------------------------


def raised(make, shift, runs, count, known=50):
    """After how many episodes drift was said in each run, ``count + 1`` where it never was."""
    since = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 5])
        drift = make(seed, rng.lognormal(size=known))
        scores = rng.lognormal(size=count) + shift
        said = [drift(score) for score in scores]
        since.append(said.index(True) + 1 if any(said) else count + 1)
    return np.array(since)


def martingale(seed, known):
    drift = Drift(0.1, seed)
    drift.begin(known)
    return drift.update


def repeated_test(seed, known):
    """A two-sample test at the level after every episode, as if one looked but once."""
    seen = []

    def update(score):
        seen.append(score)
        return len(seen) % 5 == 0 and bool(ks_2samp(seen, known).pvalue < 0.1)

    return update


def test_drift_is_seldom_raised_for_nothing_however_long_one_looks():
    runs = 150
    share = (raised(martingale, 0.0, runs, 150) <= 150).mean()
    assert share <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / runs)
    often = (raised(repeated_test, 0.0, 40, 150) <= 150).mean()
    assert often > 0.1 + 3 * np.sqrt(0.1 * 0.9 / 40)


def test_drift_is_found_and_stays_found():
    since = raised(martingale, 1.5, 20, 100)
    assert np.median(since) < 40
    drift = Drift(0.1)
    drift.begin(np.arange(50.0))
    assert [drift.update(100.0) for _ in range(40)][-1]
    first = drift.since
    assert 5 < first < 40
    assert all(drift.update(25.0) for _ in range(20))
    assert (drift.since, drift.episodes) == (first, 60)
    drift.begin(np.arange(50.0))
    assert not drift.update(25.0)


def test_a_false_alarm_rate_above_the_promise_is_found_and_one_within_it_is_not():
    rng = np.random.default_rng(0)
    good = [FalseAlarmDrift(0.2) for _ in range(5)]
    assert not any(drift.update(bool(rng.random() < 0.2)) for drift in good for _ in range(40))
    bad = FalseAlarmDrift(0.1)
    for _ in range(80):
        bad.update(bool(rng.random() < 0.6))
    assert bad.since is not None
    assert 5 < bad.since < 60
