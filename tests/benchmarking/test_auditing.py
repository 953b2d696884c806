"""Which episodes a promise is tested on, and what counts as an error."""

import numpy as np
import pytest

from workbench.benchmarking.auditing import false_alarms, same_faults, verdict_of
from workbench.benchmarking.judged import JudgedEpisode
from workbench.detectors.calibrators.adaptive import AdaptiveConformal
from workbench.detectors.calibrators.risk_control import RecallControl
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.detectors.calibrators.step_quantile import StepQuantile
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.window import Window

CURVES = [np.array([float(number)]) for number in range(60)]
SPLIT, ADAPTIVE = SplitConformal().calibrate(CURVES, 0.1), AdaptiveConformal().calibrate(CURVES, 0.1)
RECALL = RecallControl().calibrate(CURVES, 0.1, failures=CURVES)
QUANTILE = StepQuantile().calibrate(CURVES, 0.1)


def monitor(threshold):
    return Monitor("m", None, Window(), "any", 0.1, threshold)


def episodes(count, success, perturbed, alarms):
    margins = [np.array([1.0 if number < alarms else -1.0]) for number in range(count)]
    return [JudgedEpisode(margin, np.zeros(1, int), 1, success, perturbed, -1, -1, 10) for margin in margins]


SEEN = [*episodes(50, True, False, 6), *episodes(30, True, True, 30), *episodes(40, False, True, 10)]


@pytest.mark.parametrize(
    ("threshold", "errors", "count", "of", "broken"),
    [
        (SPLIT, "false alarms", 6, 50, False),  # nominal successes; those despite a fault are none
        (ADAPTIVE, "false alarms", 36, 80, True),  # every success
        (RECALL, "missed failures", 30, 40, True),  # every failure
    ],
)
def test_errors_are_counted_where_they_are_promised_to_be_few(threshold, errors, count, of, broken):
    found = verdict_of(monitor(threshold), SEEN, seen=True)
    assert (found.errors, found.count, found.episodes, found.broken) == (errors, count, of, broken)


def test_recall_is_tested_on_faults_that_calibration_has_seen_alone():
    found = verdict_of(monitor(RECALL), SEEN, seen=False)
    assert (found.count, found.episodes, found.tested, found.broken, found.p_value) == (30, 40, False, False, None)
    assert verdict_of(monitor(SPLIT), SEEN, seen=False).tested
    assert same_faults({"slip", "push"}, {"slip"})
    assert not same_faults({"slip"}, {"slip", "push"})


def test_what_promises_nothing_is_counted_and_not_tested():
    assert verdict_of(monitor(QUANTILE), SEEN, seen=True) is None
    found = false_alarms(SEEN)
    assert (found.count, found.episodes, found.p_value, found.broken) == (6, 50, None, False)
