"""How often a promise that is kept is marked as broken: at most the stated 5 %, over the draw of all episodes.

Exactly where the law is known in closed form, by simulation of real calibrators on the curves of
:mod:`tests.theory.test_coverage`; ``tests/verify/promises.py`` does both at length.
"""

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy.stats import betabinom

from tests.theory.test_coverage import ragged, stages, synthetic
from workbench.detectors.calibrators.adaptive import AdaptiveConformal
from workbench.detectors.calibrators.functional_band import FunctionalBand
from workbench.detectors.calibrators.leave_one_out import LeaveOneOut
from workbench.detectors.calibrators.mondrian import Mondrian
from workbench.detectors.calibrators.risk_control import FalseAlarmControl, RecallControl
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.monitoring.monitor import And, Monitor, Or
from workbench.monitoring.promises import MISSED, Promise, promise_of
from workbench.monitoring.reading import read_windowed
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.stats.promises import STATED
from workbench.stats.proportions import clopper_pearson
from workbench.types import RateLaw

GROUPS = FittedScore("groups", None, frozenset(), 0)


def drawn(rng, count, kind):
    """Curves of two scores that have to do with one another, and the task of every episode."""
    first = synthetic(rng, count, kind.partition(" ")[0])
    second = np.where(np.isnan(first), np.nan, 0.5 * first + 0.5 * synthetic(rng, count, "symmetric")[:, :1])
    second = np.where(np.isnan(second) & ~np.isnan(first), first, second)
    if kind.endswith("rounded"):
        first, second = np.round(2 * first) / 2, np.round(2 * second) / 2
    tasks = rng.integers(0, 2, size=count)
    return ragged(first), ragged(second), tasks


def leaf(name, threshold, grouped=False):
    """A monitor with that threshold, of no score in particular."""
    return Monitor(name, None, Window(), "any", threshold.level, threshold, groups=GROUPS if grouped else None)


def alone(calibrator):
    def made(first, second, tasks, level):
        return leaf("first", calibrator().calibrate(first, level))

    return made


def by_task(first, second, tasks, level):
    told = [np.full(len(curve), task) for curve, task in zip(first, tasks, strict=True)]
    return leaf("first", Mondrian(changes=False).calibrate(first, level, groups=told), grouped=True)


def by_stage(first, second, tasks, level):
    return leaf("first", Mondrian(changes=True).calibrate(first, level, groups=stages(first)), grouped=True)


def recall(first, second, tasks, level):
    return leaf("first", RecallControl().calibrate([np.array([0.0, 1.0])], level, failures=first))


def held_out(first, second, tasks, level):
    return leaf("first", LeaveOneOut().calibrate([], level, held_out=first))


def both(first, second, tasks, level):
    legs = (
        leaf("first", SplitConformal().calibrate(first, level)),
        leaf("second", FunctionalBand().calibrate(second, level)),
    )
    return And("both", legs)


def either(calibrator):
    def made(first, second, tasks, level):
        legs = [calibrator().calibrate(curves, level / 2) for curves in (first, second)]
        return Or("either", tuple(leaf(name, each) for name, each in zip(("first", "second"), legs, strict=True)))

    return made


RULES = {
    "split_conformal": alone(SplitConformal),
    "functional_band": alone(FunctionalBand),
    "per_task": by_task,
    "per_stage": by_stage,
    "false_alarm_control": alone(FalseAlarmControl),
    "recall_control": recall,
    "adaptive": alone(AdaptiveConformal),
    "leave_one_out, of curves as new as any": held_out,
    "all of split_conformal and functional_band": both,
    "any of split_conformal": either(SplitConformal),
    "any of functional_band": either(FunctionalBand),
    "any of false_alarm_control": either(FalseAlarmControl),
}


def verdict(rule, rng, kind, calibrated, judged, level):
    """What is said of a monitor that keeps its promise: all episodes are drawn alike."""
    monitor = rule(*drawn(rng, calibrated, kind), level)
    first, second, tasks = drawn(rng, judged, kind)
    leaves = [each.name for each in monitor.leaves()]
    windowed = {name: curves for name, curves in (("first", first), ("second", second)) if name in leaves}
    told = stages(first) if rule is by_stage else [np.full(len(c), task) for c, task in zip(first, tasks, strict=True)]
    readings = read_windowed([monitor], windowed, {"first": told}, [True] * judged)[monitor.name]
    alarms, promise = np.array([reading.alarm.any() for reading in readings]), promise_of(monitor)
    return promise.verdict(~alarms if promise.errors == MISSED else alarms, tasks)


def marked(rule, kind, calibrated, judged, level, repeats, seed=0):
    """Share of marks, and its standard error were it the stated one."""
    rng = np.random.default_rng(seed)
    found = [verdict(rule, rng, kind, calibrated, judged, level).broken for _ in range(repeats)]
    return np.mean(found), math.sqrt(STATED * (1 - STATED) / repeats)


@pytest.mark.parametrize("kind", ["skewed", "symmetric", "skewed rounded"])
@pytest.mark.parametrize("name", RULES)
def test_a_kept_promise_is_marked_at_most_as_often_as_stated(name, kind):
    share, error = marked(RULES[name], kind, calibrated=80, judged=60, level=0.1, repeats=150)
    assert share <= STATED + 3 * error


# -- exactly -----------------------------------------------------------------------------------------------------------


def blocks(level, ranked):
    """Of the exact rank: floor((n + 1) level), in whole numbers."""
    return (ranked + 1) * round(100 * level) // 100


@functools.cache
def chance(level, ranked, judged):
    """Exact chance of a mark for split conformal prediction with so many calibration and judged episodes."""
    promise = Promise("false alarms", level, ((RateLaw(blocks(level, ranked), ranked),),))
    return promise.verdict(np.zeros(judged, bool), np.full(judged, -1)).chance


@functools.cache
def chance_of_an_interval(level, ranked, judged):
    """The same for a mark where the interval of the judged episodes alone lies wholly above the level."""
    least = next((k for k in range(judged + 1) if clopper_pearson(k, judged)[0] > level), None)
    if least is None:
        return 0.0
    return float(betabinom.sf(least - 1, judged, blocks(level, ranked), ranked + 1 - blocks(level, ranked)))


def cells(ranked, judged, levels=(0.05, 0.1, 0.2, 0.3)):
    return [(level, n, m) for level in levels for n in ranked for m in judged if blocks(level, n)]


def test_the_exact_chance_of_a_mark_is_at_most_the_stated_one():
    found = [chance(*cell) for cell in cells(range(10, 201, 10), range(20, 201, 20))]
    assert max(found) <= STATED
    assert np.mean(found) > 0.6 * STATED, "and not far below, or marks would miss what is broken"


def test_an_interval_of_the_judged_episodes_alone_marks_two_to_three_times_as_many():
    """The rule before 0.2; the worst where few calibration episodes meet many judged ones."""
    found = {cell: chance_of_an_interval(*cell) for cell in cells((50, 100), (100, 200))}
    assert max(found.values()) > 0.12
    assert chance_of_an_interval(0.1, 100, 100) == pytest.approx(0.07, abs=0.01)


@pytest.mark.parametrize("kind", ["skewed", "symmetric"])
@pytest.mark.parametrize(("calibrated", "judged", "level"), [(20, 50, 0.1), (59, 200, 0.05), (100, 30, 0.3)])
def test_the_exact_chance_is_that_of_real_thresholds(kind, calibrated, judged, level):
    share, error = marked(RULES["split_conformal"], kind, calibrated, judged, level, repeats=300, seed=1)
    assert share == pytest.approx(chance(level, calibrated, judged), abs=3.5 * error)


# -- and what is broken is seen ----------------------------------------------------------------------------------------


def three_times_the_level(first, second, tasks, level):
    """With the promise of split conformal prediction at the level."""
    kept, wrong = (SplitConformal().calibrate(first, each) for each in (level, 3 * level))
    return leaf("first", dataclasses.replace(kept, values=wrong.values))


def test_a_broken_promise_is_marked():
    share, _ = marked(three_times_the_level, "skewed", 100, 100, 0.1, repeats=60)
    assert share > 0.9


def test_errors_below_the_level_break_nothing_however_rare_they_should_be():
    """Learn then Test with few episodes is stricter than its level; more errors than that are no broken promise."""
    threshold = FalseAlarmControl().calibrate([np.array([float(n)]) for n in range(37)], 0.1)
    promise = promise_of(leaf("first", threshold))
    assert threshold.laws == (RateLaw(beyond=1, ranked=37),)
    found = promise.verdict(np.arange(200) < 19, np.full(200, -1))
    assert found.p_value < 0.05
    assert not found.broken
    assert promise.verdict(np.arange(200) < 25, np.full(200, -1)).broken
