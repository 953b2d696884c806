"""Calibrators with groups, failures, feedback or held-out curves: closed forms, what they refuse, what they say."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import binom

from workbench.detectors.calibrators.adaptive import AdaptiveConformal
from workbench.detectors.calibrators.leave_one_out import LeaveOneOut
from workbench.detectors.calibrators.mondrian import Mondrian
from workbench.detectors.calibrators.risk_control import FalseAlarmControl, RecallControl
from workbench.detectors.calibrators.split_conformal import SplitConformal
from workbench.detectors.calibrators.step_quantile import StepQuantile
from workbench.detectors.groups.stage import StageGroups
from workbench.detectors.groups.task import TaskGroups
from workbench.detectors.learning.ranks import conformal_rank, episodes_needed
from workbench.errors import CalibrationError, ConfigError, ScoreError
from workbench.monitoring.drift import Drift, FalseAlarmDrift
from workbench.types import EpisodeCalls, EpisodeTruth, PolicyCall

LEVEL = 0.2


def singles(values):
    return [np.array([float(value)]) for value in values]


def random_curves(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.lognormal(size=rng.integers(4, 9)) for _ in range(count)]


def kth(values, rank):
    return np.sort(values)[rank - 1]


def test_a_divided_level_keeps_its_exact_rank():
    assert episodes_needed(0.1, 3) == 29
    assert conformal_rank(29, 0.1, 3) == 29
    assert conformal_rank(28, 0.1, 3) == 29


# -- one threshold a group -------------------------------------------------------------------------------------------


def test_groups_that_are_never_left_each_get_their_own_order_statistic():
    curves = random_curves(33)
    tasks = [[0, 3][i % 3 == 0] for i in range(33)]
    groups = [np.full(len(c), g) for c, g in zip(curves, tasks, strict=True)]
    threshold = Mondrian(changes=False).calibrate(curves, LEVEL, groups=groups)
    highest = np.array([c.max() for c in curves])
    first, last = (highest[np.array(tasks) == g] for g in (0, 3))
    expected = [kth(first, math.ceil(23 * 0.8)), kth(last, math.ceil(12 * 0.8))]
    assert threshold.values[[0, 3]].tolist() == expected
    assert threshold.values[[1, 2, 4]].tolist() == [max(expected)] * 3
    assert "each of 2 groups" in threshold.guarantee
    margin = threshold.margin(np.full(4, 1.0), groups=np.array([0, 3, -1, 99]))
    np.testing.assert_allclose(margin * threshold.scale, 1.0 - np.array([*expected, max(expected), max(expected)]))
    with pytest.raises(ConfigError, match="groups are not given"):
        threshold.margin(np.ones(2))


def test_groups_that_are_passed_through_divide_the_level():
    curves = random_curves(60)
    groups = [np.minimum(np.arange(len(c)) // 2, 2) for c in curves]
    threshold = Mondrian(changes=True).calibrate(curves, LEVEL, groups=groups)
    rank = math.ceil(61 * (1 - LEVEL / 4) - 1e-9)
    for stage in range(3):
        highest = [max(c[g == stage], default=-np.inf) for c, g in zip(curves, groups, strict=True)]
        assert threshold.values[stage] == kth(highest, rank)
    assert threshold.values[3] == kth([c.max() for c in curves], rank)
    assert threshold.values[3] == threshold.values.max()
    assert "divided among 3 groups" in threshold.guarantee


def test_a_group_that_hardly_any_episode_visits_gets_the_cautious_threshold():
    curves = [np.array([1.0 + i, 2.0 + i]) for i in range(60)]
    groups = [np.array([0, int(i == 7)]) for i in range(60)]
    threshold = Mondrian(changes=True).calibrate(curves, LEVEL, groups=groups)
    assert threshold.values[1] == threshold.values[2] == threshold.values.max()


def test_what_mondrian_refuses():
    curves = random_curves(14)
    groups = [np.full(len(c), int(i < 3)) for i, c in enumerate(curves)]
    with pytest.raises(CalibrationError, match=r"of group 1: .*at least 4 .*there are 3:"):
        Mondrian(changes=False).calibrate(curves, LEVEL, groups=groups)
    with pytest.raises(CalibrationError, match=r"divided among 3 bounds needs at least 14 .*there are 13:"):
        Mondrian(changes=True).calibrate(curves[:13], LEVEL, groups=groups[:13])
    Mondrian(changes=True).calibrate(curves, LEVEL, groups=groups)
    mixed = [np.arange(len(c)) % 2 for c in curves]
    with pytest.raises(CalibrationError, match="episode 0 passes through several groups"):
        Mondrian(changes=False).calibrate(curves, LEVEL, groups=mixed)
    with pytest.raises(CalibrationError, match="group of every call"):
        Mondrian(changes=True).calibrate(curves, LEVEL, groups=groups[:-1])
    with pytest.raises(CalibrationError, match="known group"):
        Mondrian(changes=True).calibrate(curves, LEVEL, groups=[np.full(len(c), -1) for c in curves])


# -- rates with a confidence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "level"), [(n, a) for n in (22, 39, 59, 100) for a in (0.1, 0.2)] + [(25, 0.43)])
def test_controlled_rates_are_those_of_an_exact_binomial_test(count, level):
    """The last one certifies 7 of 25, which MAPIE alone would round up to 8 and refuse."""
    values = np.random.default_rng(count).permutation(count).astype(float)
    certified = max(k for k in range(count) if binom.cdf(k, count, level) <= 0.1)
    alarm = FalseAlarmControl(0.9).calibrate(singles(values), level)
    assert sum((alarm.margin(c) > 0).any() for c in singles(values)) == certified
    assert alarm.values[0] == count - 1 - certified
    recall = RecallControl(0.9).calibrate(singles(values), level, failures=singles(values))
    assert sum(not (recall.margin(c) > 0).any() for c in singles(values)) == certified
    assert count - certified > recall.values[0] > certified - 1e-6 - 1
    assert recall.on_failures
    assert not alarm.on_failures


def test_ties_are_certified_together_or_not_at_all():
    values = np.repeat([0.0, 1.0], [35, 5])
    assert FalseAlarmControl(0.9).calibrate(singles(values), 0.1).values[0] == 1.0
    assert FalseAlarmControl(0.9).calibrate(singles(values), 0.3).values[0] == 0.0
    same = singles(np.zeros(40))
    assert FalseAlarmControl(0.9).calibrate(same, 0.1).values[0] == 0.0
    assert (RecallControl(0.9).calibrate(same, 0.1, failures=same).margin(np.zeros(3)) > 0).all()


def test_too_few_episodes_for_a_confidence_are_refused_with_both_numbers():
    for level, confidence, needed in ((0.1, 0.9, 22), (0.05, 0.95, 59), (0.2, 0.9, 11)):
        FalseAlarmControl(confidence).calibrate(random_curves(needed), level)
        with pytest.raises(CalibrationError, match=rf"at least {needed} successful .*there are {needed - 1}:"):
            FalseAlarmControl(confidence).calibrate(random_curves(needed - 1), level)
        with pytest.raises(CalibrationError, match=rf"at least {needed} failed .*there are {needed - 1}:"):
            RecallControl(confidence).calibrate(random_curves(60), level, failures=random_curves(needed - 1))
    with pytest.raises(CalibrationError, match=r"at least 22 failed .*there are 0:"):
        RecallControl().calibrate(random_curves(60), 0.1, failures=[])
    with pytest.raises(CalibrationError, match="no success"):
        RecallControl().calibrate([], 0.1, failures=random_curves(60))
    for wrong in (0.0, 1.0, 9.0):
        with pytest.raises(ConfigError, match="confidence"):
            FalseAlarmControl(wrong)
        with pytest.raises(ConfigError, match="confidence"):
            RecallControl(wrong)


# -- adaptive, per step, held out ------------------------------------------------------------------------------------


def test_an_adaptive_threshold_begins_as_split_conformal_and_moves_by_the_formula():
    curves = random_curves(39)
    threshold = AdaptiveConformal(step=0.05).calibrate(curves, LEVEL)
    highest = np.array([c.max() for c in curves])
    assert threshold.values.tolist() == SplitConformal().calibrate(curves, LEVEL).values.tolist()
    alarmed = threshold.after(9.0, True)
    assert alarmed.current == pytest.approx(LEVEL + 0.05 * (LEVEL - 1))
    assert alarmed.recent.tolist() == [*highest[1:], 9.0]
    assert alarmed.values[0] == kth(alarmed.recent, math.ceil(40 * (1 - alarmed.current)))
    quiet = threshold.after(0.1, False)
    assert quiet.current == pytest.approx(LEVEL + 0.05 * LEVEL)
    assert quiet.values[0] == kth(quiet.recent, math.ceil(40 * (1 - quiet.current)))
    assert threshold.recent.tolist() == highest.tolist()
    assert threshold.at(highest, 0.0).tolist() == [np.inf]
    assert threshold.at(highest, 1.0).tolist() == [-np.inf]
    assert threshold.at(highest, -0.3).tolist() == [np.inf]
    nothing, everything = (dataclasses.replace(threshold, values=np.array([v])) for v in (np.inf, -np.inf))
    assert nothing.margin(highest).tolist() == [-1e30] * 39
    assert everything.margin(highest).tolist() == [1e30] * 39
    for wrong in (0.0, 1.5):
        with pytest.raises(ConfigError, match="step"):
            AdaptiveConformal(wrong)


def test_a_step_quantile_looks_at_those_that_reach_the_step_and_holds_its_last():
    curves = [np.arange(length) + 0.1 * i for i, length in enumerate([3, 5, 5, 4, 9, 5])]
    threshold = StepQuantile().calibrate(curves, LEVEL)
    assert len(threshold.values) == 9
    assert threshold.values[3] == np.quantile([3.1, 3.2, 3.3, 3.4, 3.5], 0.8)
    assert threshold.values[8] == curves[4][8]
    assert threshold.margin(np.array([8.5]), first_call=20) > 0
    assert threshold.guarantee.startswith("none")


def test_held_out_curves_take_the_place_of_calibration_curves():
    held_out = random_curves(30)
    threshold = LeaveOneOut().calibrate(random_curves(50, seed=1), LEVEL, held_out=held_out)
    assert threshold.values.tolist() == SplitConformal().calibrate(held_out, LEVEL).values.tolist()
    assert threshold.guarantee.startswith("approximately")
    with pytest.raises(CalibrationError, match="leave_one_out"):
        LeaveOneOut().calibrate(random_curves(50), LEVEL, held_out=[])


@pytest.mark.parametrize("rule", [AdaptiveConformal(), StepQuantile()])
def test_too_few_are_refused(rule):
    rule.calibrate(random_curves(4), LEVEL)
    with pytest.raises(CalibrationError, match=r"at least 4 .*there are 3:"):
        rule.calibrate(random_curves(3), LEVEL)


RULES = {
    "adaptive": AdaptiveConformal().calibrate,
    "step": StepQuantile().calibrate,
    "held out": lambda curves, level: LeaveOneOut().calibrate([], level, held_out=curves),
    "false alarms": FalseAlarmControl().calibrate,
    "recall": lambda curves, level: RecallControl().calibrate(random_curves(60), level, failures=curves),
    "task": lambda curves, level: Mondrian(False).calibrate(curves, level, [np.zeros(len(c)) for c in curves]),
    "stage": lambda curves, level: Mondrian(True).calibrate(curves, level, [np.arange(len(c)) % 2 for c in curves]),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_is_no_level_and_what_is_no_curve(rule):
    for level in (0.0, 0.5, float("nan")):
        with pytest.raises(ConfigError, match="level"):
            RULES[rule](random_curves(60), level)
    for bad in (np.array([]), np.array([1.0, np.nan]), np.array([np.inf])):
        with pytest.raises(CalibrationError, match="curve 60"):
            RULES[rule]([*random_curves(60), bad], 0.1)
    threshold = RULES[rule](random_curves(60), 0.1)
    assert threshold.guarantee
    assert (threshold.scale > 0).all()
    assert (threshold.level, threshold.episodes) == (0.1, 60)


@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"recall"}))
def test_a_stricter_level_never_has_a_lower_threshold(rule):
    strict, lax = (RULES[rule](random_curves(100), level).values for level in (0.05, 0.2))
    assert (strict >= lax).all()
    assert (strict > lax).any()


def test_recall_of_more_failures_needs_a_lower_threshold():
    strict, lax = (RULES["recall"](random_curves(100), level).values for level in (0.05, 0.2))
    assert strict < lax


def test_what_drift_cannot_be_measured_against():
    for wrong in (np.array([1.0]), np.array([1.0, np.nan]), np.ones((2, 2))):
        with pytest.raises(CalibrationError, match="at least 2 episodes"):
            Drift().begin(wrong)
    for make in (lambda: Drift(0.0), lambda: FalseAlarmDrift(0.7), lambda: FalseAlarmDrift(0.1, 0.5)):
        with pytest.raises(ConfigError, match="level"):
            make()


# -- groups ----------------------------------------------------------------------------------------------------------

D = 6


def episode(number, calls=6, instruction="lift it"):
    rng = np.random.default_rng(number)
    stage = np.sort(rng.integers(0, 3, calls))
    embedding = rng.normal(size=(calls, D)) + 4.0 * np.eye(D)[stage]
    return EpisodeCalls(
        f"e{number}", "fit", np.arange(calls), np.zeros((calls, 2, 2)), None, embedding, 1, instruction
    ), EpisodeTruth(f"e{number}", True, "", "", calls, 10, -1, -1, stage, np.zeros((0, 3)))


def call(episodes, number):
    return PolicyCall(
        np.array([e.step[number] for e in episodes]),
        np.stack([e.chunk[number] for e in episodes]),
        None,
        np.stack([e.embedding[number] for e in episodes]),
        1,
        [e.instruction for e in episodes],
    )


@pytest.fixture(scope="module")
def known():
    return [episode(i) for i in range(20)]


@pytest.fixture
def groups(known):
    stage, task = StageGroups(), TaskGroups()
    stage.fit([e for e, _ in known], 0, [t for _, t in known])
    task.fit([episode(0, instruction=said)[0] for said in ("push it", "lift it", "push it")], 0)
    return {"stage": stage, "task": task}


def test_stages_are_read_off_the_embedding(groups):
    fresh = [episode(100 + i) for i in range(30)]
    read = np.stack([groups["stage"].update([], call([e for e, _ in fresh], number)) for number in range(6)], axis=1)
    assert (read == np.stack([t.stage for _, t in fresh])).mean() > 0.95


def test_stages_keep_their_numbers_where_one_was_never_seen(known):
    late = [dataclasses.replace(t, stage=2 * t.stage) for _, t in known]
    stage = StageGroups()
    stage.fit([e for e, _ in known], 0, late)
    assert set(stage.update([], call([e for e, _ in known], 5)).tolist()) <= {0.0, 2.0, 4.0}
    with pytest.raises(ScoreError, match="at least two stages"):
        stage.fit([e for e, _ in known], 0, [dataclasses.replace(t, stage=0 * t.stage) for _, t in known])


def test_tasks_are_numbered_by_instruction_and_unknown_ones_are_minus_one(groups):
    told = [episode(i, instruction=said)[0] for i, said in enumerate(["push it", "lift it", "lift it up", ""])]
    assert groups["task"].update([], call(told, 0)).tolist() == [1, 0, -1, -1]
    with pytest.raises(ScoreError, match="what the robot was told"):
        TaskGroups().fit([episode(0, instruction="")[0]], 0)


@pytest.mark.parametrize("name", ["stage", "task"])
def test_groups_obey_the_laws_of_scores(groups, name):
    fresh = [episode(100 + i, instruction=["lift it", "push it"][i % 2])[0] for i in range(4)]
    together = groups[name].update([], call(fresh, 3))
    assert len(set(together.tolist())) > 1
    assert together.tolist() == [groups[name].update([], call([e], 3))[0] for e in fresh]
    again = type(groups[name])()
    again.load({key: value.copy() for key, value in groups[name].state().items()})
    assert again.update([], call(fresh, 3)).tolist() == together.tolist()
    assert all(np.array_equal(again.state()[key], value) for key, value in groups[name].state().items())


def test_a_stage_of_nan_is_nan_in_its_own_scene_and_a_missing_embedding_is_told(groups):
    fresh = [episode(100 + i)[0] for i in range(3)]
    fresh[1].embedding[2, 1] = np.nan
    read = groups["stage"].update([], call(fresh, 2))
    assert np.isnan(read).tolist() == [False, True, False]
    with pytest.raises(ScoreError, match=r"stage groups needs the policy's embedding.*PolicyOutput.embedding"):
        groups["stage"].update([], dataclasses.replace(call(fresh, 2), embedding=None))
