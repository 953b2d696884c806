"""Realised false alarms on exchangeable synthetic episodes, and that what is known to be wrong is seen to be wrong.

The curves: T ~ U{30..45} calls; x an AR(1) of coefficient 0.8 and innovation 0.6, with an offset of 0.5 N(0, 1) an
episode; skewed score exp(0.6 (x + offset)) (0.6 + 0.8 t / 45), symmetric score 10 + x + offset.
"""

import dataclasses
import math

import numpy as np
import pytest
from scipy.signal import lfilter

from workbench.detectors.calibrators.functional_band import FunctionalBand
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.detectors.scores.mahalanobis import Mahalanobis
from workbench.detectors.window import Window
from workbench.monitor import And, calibrate, curves, fit_score, offline
from workbench.types import EpisodeCalls

LONGEST = 45
TESTED = 200


def synthetic(rng, count, kind):
    """(count, 45) scores, NaN after an episode's end."""
    x = lfilter([1.0], [1.0, -0.8], 0.6 * rng.normal(size=(count, LONGEST + 40)), axis=1)[:, 40:]
    x += 0.5 * rng.normal(size=(count, 1))
    t = np.arange(LONGEST)
    scores = np.exp(0.6 * x) * (0.6 + 0.8 * t / 45) if kind == "skewed" else 10 + x
    scores[t >= rng.integers(30, LONGEST + 1, size=(count, 1))] = np.nan
    return scores


def ragged(scores):
    return [row[~np.isnan(row)] for row in scores]


def realised(rule, kind, episodes, level, repeats, seed=0):
    """Mean share of fresh episodes with an alarm, and its standard error over the draws of the calibration set."""
    rng, rates = np.random.default_rng(seed), []
    for _ in range(repeats):
        threshold = rule(ragged(synthetic(rng, episodes, kind)), level)
        at = np.minimum(np.arange(LONGEST), len(threshold) - 1)
        rates.append((synthetic(rng, TESTED, kind) > threshold[at]).any(axis=1).mean())
    return np.mean(rates), np.std(rates, ddof=1) / math.sqrt(repeats)


def split_conformal(scores, level):
    return SplitConformal().calibrate(scores, level).values


def functional_band(scores, level):
    return FunctionalBand().calibrate(scores, level).values


CASES = [
    (episodes, level)
    for episodes in (10, 19, 50, 200)
    for level in (0.05, 0.1, 0.2)
    if episodes >= math.ceil(1 / level) - 1
]


@pytest.mark.parametrize("kind", ["skewed", "symmetric"])
@pytest.mark.parametrize(("episodes", "level"), CASES)
def test_split_conformal_covers_and_wastes_at_most_one_rank(kind, episodes, level):
    rate, error = realised(split_conformal, kind, episodes, level, repeats=150)
    assert level - 1 / (episodes + 1) - 3 * error <= rate <= level + 3 * error


@pytest.mark.parametrize("kind", ["skewed", "symmetric"])
@pytest.mark.parametrize(("episodes", "level"), [(e, a) for e, a in CASES if e >= 2 * math.ceil(1 / a) - 3])
def test_functional_band_covers_and_wastes_at_most_one_rank(kind, episodes, level):
    rate, error = realised(functional_band, kind, episodes, level, repeats=150)
    assert level - 1 / (episodes // 2 + 1) - 3 * error <= rate <= level + 3 * error


# -- the known mistakes, each of which must be seen by the very same measurement ---------------------------------------


def uncorrected(scores, level):
    """Plain interpolated quantile of the maxima, as FIPER and Sentinel have it."""
    return np.array([np.quantile([s.max() for s in scores], 1 - level)])


def shape_of(scores, level):
    """Shape of the real band: what it adds its height to, and times."""
    band = FunctionalBand().calibrate(scores, level)
    longest = len(band.values)
    held = np.array([s[np.minimum(np.arange(longest), len(s) - 1)] for s in scores[1::2]])
    return held.mean(axis=0), band.scale


def flipped_band(scores, level):
    """The band with the sign of FAIL-Detect's first release and of FIPER."""
    mu, sigma = shape_of(scores, level)
    depths = np.sort([((mu[: len(s)] - s[: len(mu)]) / sigma[: len(s)]).max() for s in scores[0::2]])
    return mu + depths[math.ceil((len(depths) + 1) * (1 - level)) - 1] * sigma


def per_call_quantile(scores, level):
    """A quantile at every call, which is no bound over an episode (FIPER's time-varying threshold)."""
    padded = np.full((len(scores), LONGEST), np.nan)
    for row, s in zip(padded, scores, strict=True):
        row[: len(s)] = s
    return np.nanquantile(padded, 1 - level, axis=0)


@pytest.mark.parametrize(
    ("wrong", "episodes", "level", "at_least"),
    [(uncorrected, 10, 0.1, 0.14), (flipped_band, 50, 0.1, 0.3), (per_call_quantile, 50, 0.1, 0.5)],
)
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_known_mistakes_are_seen(wrong, episodes, level, at_least):
    rate, error = realised(wrong, "skewed", episodes, level, repeats=150)
    assert rate > level + 3 * error
    assert rate > at_least


# -- a score that fits its own episodes too well -----------------------------------------------------------------------


def embedded(rng, count, split, calls=6, size=48):
    return [
        EpisodeCalls(
            uid=f"{split}-{rng.integers(1 << 40)}",
            split=split,
            step=np.arange(calls),
            chunk=np.zeros((calls, 2, 2)),
            samples=None,
            embedding=rng.normal(size=size) + 0.5 * rng.normal(size=(calls, size)),
            execute=1,
        )
        for _ in range(count)
    ]


def false_alarms(threshold, score, fresh):
    return np.mean([(threshold.margin(curve) > 0).any() for curve in curves(score, fresh)])


def test_thresholds_from_the_fit_episodes_break_the_promise_and_held_out_ones_keep_it():
    """What :func:`workbench.monitor.calibrate` refuses, done by hand."""
    level, leaked, honest = 0.1, [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        fit = embedded(rng, 40, "fit")
        score = fit_score("mahalanobis", Mahalanobis(), fit, 0)
        fresh = embedded(rng, 100, "test")
        leaked.append(false_alarms(SplitConformal().calibrate(curves(score, fit), level), score, fresh))
        monitor = calibrate("m", score, Window(), SplitConformal(), embedded(rng, 40, "calibrate"), level)
        honest.append(false_alarms(monitor.threshold, score, fresh))
    assert np.mean(honest) <= level + 3 * np.std(honest, ddof=1) / 5
    assert np.mean(leaked) > 0.5


def test_the_conjunction_stays_below_each_leg_and_windows_keep_the_promise():
    level, rates = 0.2, {"sum": [], "mean": [], "both": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        score = fit_score("mahalanobis", Mahalanobis(), embedded(rng, 40, "fit"), 0)
        known = embedded(rng, 29, "calibrate")
        legs = (
            calibrate("sum", score, Window("sum", 4), SplitConformal(), known, level),
            calibrate("mean", score, Window("mean", 2), FunctionalBand(), known, level),
        )
        fresh = [dataclasses.replace(e, uid=str(i)) for i, e in enumerate(embedded(rng, 100, "test"))]
        for name, readings in offline([*legs, And("both", legs)], fresh).items():
            rates[name].append(np.mean([reading.alarm.any() for reading in readings]))
    for values in rates.values():
        assert np.mean(values) <= level + 3 * np.std(values, ddof=1) / math.sqrt(40)
    assert all(both <= min(legs) for both, *legs in zip(rates["both"], rates["sum"], rates["mean"], strict=True))
    assert np.mean(rates["both"]) > 0
