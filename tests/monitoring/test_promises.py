"""Promises in numbers: what each kind of monitor promises, and that it is kept with the monitor."""

import dataclasses

import numpy as np
import pytest

from workbench.detectors.calibrators.adaptive import AdaptiveConformal
from workbench.detectors.calibrators.fixed import Fixed
from workbench.detectors.calibrators.functional_band import FunctionalBand
from workbench.detectors.calibrators.leave_one_out import LeaveOneOut
from workbench.detectors.calibrators.mondrian import Mondrian
from workbench.detectors.calibrators.risk_control import FalseAlarmControl, RecallControl
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.detectors.calibrators.step_quantile import StepQuantile
from workbench.monitoring.monitor import And, Monitor, Or
from workbench.monitoring.promises import FALSE_ALARMS, MISSED, promise_of
from workbench.monitoring.window import Window
from workbench.types import RateLaw

CURVES = [np.array([float(number), number + 0.5]) for number in range(60)]


def leaf(threshold, name="m"):
    return Monitor(name, None, Window(), "any", threshold.level, threshold)


SPLIT = SplitConformal().calibrate(CURVES, 0.1)
BAND = FunctionalBand().calibrate(CURVES, 0.1)
RECALL = RecallControl().calibrate(CURVES, 0.1, failures=CURVES)
ADAPTIVE = AdaptiveConformal(step=0.05).calibrate(CURVES, 0.1)
QUANTILE = StepQuantile().calibrate(CURVES, 0.1)
STAGES = [np.array([0, 1])] * 60
TASKS = [np.full(2, number % 2) for number in range(60)]


@pytest.mark.parametrize(
    ("threshold", "laws"),
    [
        (SPLIT, (RateLaw(6, 60),)),  # rank 55 of 60, so six of the 61 blocks lie beyond it
        (BAND, (RateLaw(3, 30),)),  # the ranked half
        (LeaveOneOut().calibrate([], 0.1, held_out=CURVES[:19]), (RateLaw(2, 19),)),
        (FalseAlarmControl().calibrate(CURVES, 0.1), (RateLaw(3, 60),)),  # two alarms are certified: cdf(2) = 0.053
        (RECALL, (RateLaw(3, 60),)),
        (Mondrian(changes=True).calibrate(CURVES, 0.1, groups=STAGES), (RateLaw(6, 60),)),  # three shares of two
        (Mondrian(changes=False).calibrate(CURVES, 0.1, groups=TASKS), (RateLaw(3, 30, 0), RateLaw(3, 30, 1))),
        (QUANTILE, ()),
        (Fixed(1.0).calibrate(CURVES, 0.1), ()),
        (ADAPTIVE, ()),
    ],
)
def test_each_calibrator_states_the_law_of_its_rate(threshold, laws):
    assert threshold.laws == laws


@pytest.mark.parametrize(
    ("monitor", "errors", "level", "laws"),
    [
        (leaf(SPLIT), FALSE_ALARMS, 0.1, (SPLIT.laws,)),
        (leaf(RECALL), MISSED, 0.1, (RECALL.laws,)),
        (And("a", (leaf(SPLIT, "x"), leaf(BAND, "y"))), FALSE_ALARMS, 0.1, (SPLIT.laws, BAND.laws)),
        (Or("o", (leaf(SPLIT, "x"), leaf(SPLIT, "y"))), FALSE_ALARMS, 0.2, ((RateLaw(12, 60),),)),
        (And("a", (leaf(SPLIT, "x"), leaf(QUANTILE, "y"))), FALSE_ALARMS, 0.1, (SPLIT.laws,)),
    ],
)  # fmt: skip
def test_what_monitors_promise(monitor, errors, level, laws):
    promise = promise_of(monitor)
    assert (promise.errors, promise.level, promise.laws) == (errors, pytest.approx(level), laws)


@pytest.mark.parametrize(
    "monitor",
    [
        leaf(QUANTILE),
        leaf(Fixed(1.0).calibrate(CURVES, 0.1)),
        And("a", (leaf(RECALL, "x"), leaf(SPLIT, "y"))),
        Or("o", (leaf(SPLIT, "x"), leaf(QUANTILE, "y"))),
        Or("o", (leaf(SPLIT, "x"), leaf(BAND, "y"))),
        Or("o", (leaf(SPLIT, "x"), leaf(ADAPTIVE, "y"))),
        leaf(dataclasses.replace(SPLIT, laws=())),
        Monitor("m", None, Window(), "any", 0.1, None, reason="too few"),
    ],
    ids=[
        "quantile",
        "fixed",
        "all of recall",
        "any of nothing",
        "any of two counts",
        "any of two kinds",
        "old",
        "none",
    ],
)
def test_nothing_is_tested_of_what_promises_nothing_or_has_no_known_law(monitor):
    assert promise_of(monitor) is None


def test_groups_have_laws_of_their_own_and_strangers_none():
    promise = promise_of(leaf(Mondrian(changes=False).calibrate(CURVES, 0.1, groups=TASKS)))
    groups = np.array([0] * 30 + [1] * 10 + [-1] * 20 + [7] * 5)
    found = promise.verdict(np.ones(65, bool), groups)
    assert (found.count, found.episodes, found.broken) == (40, 40, True)
    few = promise.verdict(np.arange(65) < 4, groups)
    assert (few.count, few.broken) == (4, False)
    assert 0 < few.chance <= 0.05
    assert promise.verdict(np.zeros(2, bool), np.array([-1, 7])).episodes == 0


def test_an_adaptive_promise_is_about_every_sequence():
    promise = promise_of(leaf(ADAPTIVE))
    assert promise.allowance == pytest.approx((0.9 + 0.05) / 0.05)
    everything = np.full(200, -1)
    assert not promise.verdict(np.arange(200) < 39, everything).broken
    assert promise.verdict(np.arange(200) < 40, everything).broken
    assert promise.verdict(np.arange(200) < 40, everything).p_value is None


@pytest.mark.parametrize("episodes", [0, 1, 2])
def test_few_episodes_break_nothing(episodes):
    found = promise_of(leaf(SPLIT)).verdict(np.ones(episodes, bool), np.full(episodes, -1))
    assert (found.count, found.episodes) == (episodes, episodes)
    assert found.broken == (episodes == 2)  # two alarms of two: 0.6 % of kept promises


def test_a_split_conformal_verdict_by_hand():
    """One calibration episode in ten: its rate is uniform, so k errors of m are as probable for every k."""
    threshold = dataclasses.replace(SPLIT, laws=(RateLaw(1, 1),), level=0.49)
    found = promise_of(leaf(threshold)).verdict(np.arange(9) < 7, np.full(9, -1))
    assert found.p_value == pytest.approx(3 / 10)
