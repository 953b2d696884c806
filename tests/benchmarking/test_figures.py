"""Every figure against a number worked out by hand or by brute force, and intervals that hold what they promise."""

import dataclasses
import itertools
import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from workbench.benchmarking.columns import FRACTIONS, Columns
from workbench.benchmarking.figures import (
    alarm_test,
    at_false_alarm_rate,
    decisions,
    difference,
    figure,
    figures,
    ranking,
)
from workbench.benchmarking.judged import JudgedEpisode, elapsed
from workbench.benchmarking.metrics import DECISIONS, RANKING, metric_of
from workbench.benchmarking.own import alarm_rate, benchmark_row
from workbench.errors import UnknownNameError
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.stats.bootstrap import draws
from workbench.stats.proportions import clopper_pearson
from workbench.types import Threshold

DEADLINE = 100


def judged(margin=(-1.0,), length=DEADLINE, success=False, perturbed=False, t_on=-1, t_pnr=-1, every=10, **more):
    margin = np.array(margin, float)
    step = every * np.arange(len(margin))
    return JudgedEpisode(margin, step, length, success, perturbed, t_on, t_pnr, DEADLINE, **more)


def value(episodes, metric):
    return figure({0: episodes}, metric, resamples=0)["value"]


def highest(episode, fraction):
    return max(m for m, s in zip(episode.margin, episode.step, strict=True) if s <= fraction * episode.deadline)


def drawn(random, count=40, tasks=("a", "b"), calls=10, ties=False, seed_effect=0.0):
    """Episodes of some tasks, half of them perturbed with a nominal twin; failures run on and score higher."""
    episodes = []
    for task, number in itertools.product(tasks, range(count)):
        perturbed = number % 2 == 1
        success = bool(random.random() < (0.4 if perturbed else 0.8))
        length = int(random.integers(30, 90)) if success else DEADLINE
        margin = random.normal(size=1 + (length - 1) // (100 // calls)) - 1 + (1 + seed_effect) * (not success)
        episodes.append(
            judged(
                np.round(margin) if ties else margin, length, success, perturbed, every=100 // calls,
                t_on=-1 if success else int(random.integers(-1, 90)),
                t_pnr=-1 if success else int(random.integers(-1, 90)),
                uid=f"{task}{number}", task=task, family="action" if perturbed else "",
                twin=f"{task}{number - 1}" if perturbed else "",
            )
        )  # fmt: skip
    return episodes


# -- ranking at common times -----------------------------------------------------------------------------------------

numbers = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


def sides(positive, negative):
    return [judged([v]) for v in positive] + [judged([v], length=5, success=True) for v in negative]


@settings(deadline=None)
@given(numbers, numbers)
def test_auroc_counts_pairs_with_ties_as_half(positive, negative):
    won = [(a > b) + 0.5 * (a == b) for a in positive for b in negative]
    assert value(sides(positive, negative), "auroc@0.5") == pytest.approx(np.mean(won))


@settings(deadline=None)
@given(numbers, numbers)
def test_auprc_is_the_precision_at_every_failure(positive, negative):
    precisions = [sum(q >= p for q in positive) / sum(q >= p for q in positive + negative) for p in positive]
    assert value(sides(positive, negative), "auprc@1") == pytest.approx(np.mean(precisions))


def test_one_class_or_nothing_known_is_none():
    for episodes in (sides([1, 2], []), sides([], [1]), sides([1, np.nan], [0])):
        for name, found in ranking({0: episodes}, resamples=20).items():
            assert found["value"] is found["low"] is found["high"] is None, name
    assert value(sides([np.inf], [0]), "auroc@1") == 1.0


def test_scores_are_compared_by_the_highest_so_far():
    """At 0.25 the success is higher, at 0.5 they tie, from 0.75 on the failure is; what ended keeps its last."""
    episodes = [judged([0, 2, 5, 9, 1], every=25), judged([1, 3, 5], every=25, length=60, success=True)]
    assert [value(episodes, f"auroc@{f:g}") for f in FRACTIONS] == [0.0, 0.5, 1.0, 1.0]


def test_means_over_tasks_differ_from_all_together():
    """Within each task the failure is higher; together, the success of "b" outscores the failure of "a"."""
    episodes = [
        judged([v], success=s, task=task) for task, v, s in [("a", 1, 0), ("a", 0, 1), ("b", 11, 0), ("b", 10, 1)]
    ]
    assert value(episodes, "auroc@0.5") == 1.0
    assert value(episodes, "pooled_auroc@0.5") == 3 / 4
    assert value(episodes, "auprc@0.5") == 1.0
    assert value(episodes, "pooled_auprc@0.5") == pytest.approx((1 + 2 / 3) / 2)


def test_tasks_count_alike_however_many_episodes_and_one_sided_tasks_do_not():
    episodes = [judged([1], task="a"), judged([0], success=True, task="a")]
    episodes += [judged([0], task="b") for _ in range(9)] + [judged([1], success=True, task="b")]
    lost = [judged([5], task="c"), judged([np.nan], task="c")]
    assert figure({0: episodes + lost}, "auroc@1", resamples=0) == {"value": 0.5, "low": None, "high": None, "n": 12}


@pytest.mark.parametrize("length", [1, 7, 25, 60, 99, 100])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_elapsed_time_goes_through_the_same_function(length, fraction):
    sheet = Columns([elapsed(judged([0.0] * (1 + (length - 1) // 10), length=length))], 0, 0)
    assert sheet.at[fraction] == [min(length, int(fraction * DEADLINE))]


def test_elapsed_time_knows_the_outcome_at_the_end_and_nothing_at_a_common_time():
    episodes = [judged(length=DEADLINE) for _ in range(5)]
    episodes += [judged(length=n, success=True) for n in (40, 55, 60, 80, 81)]
    timed = [elapsed(e) for e in episodes]
    assert value(timed, "auroc@0.25") == value(timed, "early_auroc") == 0.5
    assert value(timed, "auroc@0.5") == pytest.approx((1 + 4 * 0.5) / 5)
    assert value(timed, "auroc@1") == value(timed, "whole_auroc") == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_matched_auroc_is_the_mean_over_pairs_while_both_ran(seed):
    def at(episode, step):
        return max(m for m, s in zip(episode.margin, episode.step, strict=True) if s <= step)

    episodes, means = drawn(np.random.default_rng(seed), count=20, ties=seed == 1), []
    for task in ("a", "b"):
        mine = [e for e in episodes if e.task == task]
        pairs = [(lost, won, min(50, won.length - 1)) for lost in mine for won in mine if won.success > lost.success]
        means.append(np.mean([
            (at(lost, step) > at(won, step)) + 0.5 * (at(lost, step) == at(won, step)) for lost, won, step in pairs
        ]))  # fmt: skip
    assert value(episodes, "matched_auroc@0.5") == pytest.approx(np.mean(means))
    assert value([elapsed(e) for e in episodes], "matched_auroc@1") == 0.5


def test_early_auroc_ends_with_the_shortest_episode_of_the_task():
    """The failure of "a" is seen at 20, when a success of "a" has ended; that of "b" at 10, in time."""
    a = [judged([0, 0, 9], task="a"), judged([1], length=20, success=True, task="a")]
    b = [judged([0, 9, 9], task="b"), judged([1], length=25, success=True, task="b")]
    assert [value(part, "early_auroc") for part in (a, b, a + b)] == [0.0, 1.0, 0.5]


def test_twins_are_compared_in_pairs_by_the_earlier_end():
    nominal = judged([1, 1, 5], length=30, success=True, uid="n")
    other = judged([4] * 10, success=True, uid="o")
    failed_nominal = judged([9], uid="f")
    pairs = [
        judged([1, 2, 2], perturbed=True, twin="n"),  # 2 against 5 by 30
        judged([1, 2, 2, 9], perturbed=True, twin="n"),  # its 9 comes at 30, when both are known, and half is 50
        judged([1, 2, 2, 2, 9], perturbed=True, twin="n"),  # too late
        judged([1, 2, 5], perturbed=True, twin="n"),  # a tie
        judged([1, 2, 2, 2, 9], perturbed=True, twin="o"),  # in time here
        judged([9] * 9, perturbed=True, twin="f"),  # its twin failed too
        judged([9] * 9, perturbed=True, twin="?"),  # its twin is not among the judged
        judged([9] * 9, perturbed=True, success=True, twin="n"),  # no failure
    ]
    found = figure({0: [*pairs, nominal, other, failed_nominal]}, "twin_accuracy@0.5", resamples=0)
    assert (found["value"], found["n"]) == ((0 + 1 + 0 + 0.5 + 1) / 5, 5)
    assert value([elapsed(e) for e in [*pairs, nominal, other, failed_nominal]], "twin_accuracy@0.5") == 0.5


def area_by_sweep(episodes):
    """AUCPDT from its definition, on a fine grid of thresholds and the exact precisions that occur."""
    failures = [e for e in episodes if not e.success]
    levels = sorted({float(m) for e in episodes for m in e.margin})
    points = []
    for threshold in [-math.inf, *levels]:
        alarms = [e.step[e.margin > threshold] for e in episodes]
        caught = [a for e, a in zip(episodes, alarms, strict=True) if len(a) and not e.success]
        if total := sum(len(a) > 0 for a in alarms):
            times = sum(a[0] / DEADLINE for a in caught) + len(failures) - len(caught)
            points.append((len(caught) / total, times / len(failures)))
    edges = sorted({0.0, 1.0, *(precision for precision, _ in points)})
    best = [min([t for p, t in points if p >= high], default=1.0) for high in edges[1:]]
    return sum(b * (high - low) for b, low, high in zip(best, edges, edges[1:], strict=False))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_detection_area_is_the_swept_one(seed, ties):
    episodes = drawn(np.random.default_rng(seed), count=15, tasks=("a", "b"), ties=ties)
    areas = [area_by_sweep([e for e in episodes if e.task == task]) for task in ("a", "b")]
    assert value(episodes, "precision_detection_area") == pytest.approx(np.mean(areas))


def test_detection_area_by_hand():
    successes = [judged([0, 0], length=20, success=True), judged([0, 2], length=20, success=True)]
    failures = [judged([0, 0, 3]), judged([0, 1, 1])]
    # threshold 2: precision 1, times (0.2 + 1) / 2; 1 (and below the 2 of a success): 1 of 2, no better than the next;
    # 0: precision 2 of 3, times (0.2 + 0.1) / 2; below all: precision 1 / 2, time 0
    area = 1 / 2 * 0 + (2 / 3 - 1 / 2) * 0.15 + (1 - 2 / 3) * 0.6
    assert value([*successes, *failures], "precision_detection_area") == pytest.approx(area)
    perfect = [judged([1]), judged([0], success=True)]
    assert value(perfect, "precision_detection_area") == 0.0
    assert value([judged([0])] + [judged([0], success=True)] * 3, "precision_detection_area") == 1 - 1 / 4


# -- alarms ----------------------------------------------------------------------------------------------------------

FAILURES = [
    judged([-1, -1, 2, 1], t_on=30, t_pnr=25),  # alarm at 20: 10 before the onset, in time
    judged([-1] * 6 + [1], t_on=40, t_pnr=60),  # alarm at 60: 20 after, too late by one
    judged([-1] * 9, t_on=20, t_pnr=50),  # missed
    judged([1, 1], t_on=-1, t_pnr=-1),  # alarm at 0, nothing measured
    judged([1, 1], t_on=0, t_pnr=0),  # lost from the start: an alarm at 0 is not before it
]
SUCCESSES = [
    judged([-1, -1], length=20, success=True),
    judged([-1, 0], length=20, success=True),
    judged([-1, 1], length=20, success=True),
    judged([1, 1], length=20, success=True, perturbed=True),
]
BOTH = [*FAILURES, *SUCCESSES]


def test_an_alarm_is_a_margin_above_zero_at_its_first_call():
    assert [e.alarm_step for e in FAILURES] == [20, 60, -1, 0, 0]
    assert [e.alarm_step for e in SUCCESSES] == [-1, -1, 10, 0]
    assert judged([np.nan, np.nan]).alarm_step == -1
    assert alarm_rate(FAILURES) | {"ci95": 0} == {"alarms": 4, "episodes": 5, "rate": 0.8, "ci95": 0}


@pytest.mark.parametrize(
    ("metric", "expected", "count"),
    [
        ("tpr", 4 / 5, 5),
        ("tnr", 2 / 4, 4),
        ("balanced_accuracy", (4 / 5 + 2 / 4) / 2, 9),
        ("detection_time", (0.2 + 0.6 + 0 + 0) / 4, 4),
        ("twa", 0.5 * ((0.8 + 0.4 + 0 + 1 + 1) / 5 + 2 / 4), 9),
        ("fpr_nominal", 1 / 3, 3),
        ("fpr_perturbed_success", 1.0, 1),
        ("delay_to_onset_steps", 0.0, 3),  # of -10, 0, 20
        ("lead_time_steps", 0.0, 3),  # of 5, 0, 0
        ("actionable_recall", 1 / 4, 4),
        ("id_success", (-1 + 0 + 1) / 3, 3),
        ("ood_success", 1.0, 1),
        ("id_failure", (2 - 1 - 1 + 1 + 1) / 5, 5),  # the second failure's alarm comes after half the deadline
        ("ood_failure", None, 0),
    ],
)
def test_figures_by_hand(metric, expected, count):
    found = decisions({0: BOTH}, resamples=0)[metric]
    assert found["value"] == (None if expected is None else pytest.approx(expected))
    assert found["n"] == count


@pytest.mark.parametrize("seed", range(3))
def test_medians_are_medians(seed):
    episodes = drawn(np.random.default_rng(seed), count=21 + seed)
    detected = [e for e in episodes if not e.success and e.alarm_step >= 0]
    delays = [e.alarm_step - e.t_on for e in detected if e.t_on >= 0]
    leads = [e.t_pnr - e.alarm_step for e in detected if e.t_pnr >= 0]
    assert value(episodes, "delay_to_onset_steps") == statistics.median(delays)
    assert value(episodes, "lead_time_steps") == statistics.median(leads)


def test_always_and_never_get_one_half():
    always = [judged([1], success=s) for s in (True, False, False)]
    never = [judged([-1], success=s) for s in (True, False, False)]
    assert value(always, "twa") == value(never, "twa") == value(always, "balanced_accuracy") == 0.5
    assert value(never, "detection_time") is None
    assert value(FAILURES, "twa") is value(SUCCESSES, "balanced_accuracy") is None


def test_names_are_exactly_those_of_the_leaderboard():
    at = ("0.25", "0.5", "0.75", "1")
    curves = {f"{p}{kind}@{f}" for p in ("", "pooled_") for kind in ("auroc", "auprc") for f in at}
    curves |= {f"matched_auroc@{f}" for f in at}
    assert set(RANKING) == curves | {"whole_auroc", "early_auroc", "precision_detection_area", "twin_accuracy@0.5"}
    assert set(figures({0: BOTH}, resamples=2)) == set(RANKING) | set(DECISIONS)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'auroc@0\.5'"):
        figure({0: BOTH}, "auroc@.5")


# -- an oracle's threshold -------------------------------------------------------------------------------------------


def test_oracle_threshold_lets_so_many_successes_alarm_and_no_more():
    successes = [judged([v], length=20, success=True) for v in range(10)]  # of 10, the 9 alone may alarm at 0.1
    failures = [
        judged([0, 8.5], t_pnr=50),  # above 8, at 10 < 50
        judged([0, 0, 0, 8.5], t_pnr=30),  # above it too, but on the point of no return
        judged([8.0], t_pnr=50),  # not above
        judged([9.5]),  # no point of no return
    ]
    found = at_false_alarm_rate({0: successes + failures}, 0.1, resamples=50)
    assert {name: (each["value"], each["n"]) for name, each in found.items()} == {
        "oracle_tpr@0.1": (3 / 4, 4),
        "oracle_actionable_recall@0.1": (pytest.approx(1 / 3), 3),
        "oracle_fpr@0.1": (0.1, 10),
    }
    none = at_false_alarm_rate({0: successes + failures}, 0.05, resamples=0)
    assert [none["oracle_fpr@0.05"]["value"], none["oracle_tpr@0.05"]["value"]] == [0.0, 1 / 4]
    every = at_false_alarm_rate({0: successes + failures}, 1.0, resamples=0)
    assert every["oracle_fpr@1"]["value"] == every["oracle_tpr@1"]["value"] == 1.0
    assert every["oracle_tpr@1"]["low"] == pytest.approx(clopper_pearson(4, 4)[0])
    thirds = figure({0: successes + failures}, "oracle_actionable_recall@0.1", resamples=50)
    assert thirds == found["oracle_actionable_recall@0.1"]
    assert thirds["low"] < thirds["value"] < thirds["high"]


def test_oracle_threshold_is_each_tasks_own():
    episodes = [judged([v + shift], success=True, task=task) for task, shift in (("a", 0), ("b", 50)) for v in range(4)]
    episodes += [judged([2.5], task="a"), judged([52.5], task="b")]
    found = at_false_alarm_rate({0: episodes}, 0.25, resamples=0)
    assert [found["oracle_tpr@0.25"]["value"], found["oracle_fpr@0.25"]["value"]] == [1.0, 0.25]


def test_ties_at_the_oracle_threshold_stay_silent():
    episodes = [judged([1], success=True) for _ in range(10)] + [judged([1])]
    found = at_false_alarm_rate({0: episodes}, 0.1, resamples=0)
    assert [found["oracle_tpr@0.1"]["value"], found["oracle_fpr@0.1"]["value"]] == [0.0, 0.0]


# -- resampling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [*RANKING, *DECISIONS, "oracle_tpr@0.2", "oracle_actionable_recall@0.2"])
@pytest.mark.parametrize("ties", [False, True])
def test_an_episode_of_weight_k_is_k_episodes(metric, ties):
    random = np.random.default_rng(3)
    episodes = drawn(random, count=25, ties=ties)
    columns, statistic = Columns(episodes, 0, 0), metric_of(metric)
    weights = random.integers(1, 4, size=(len(episodes), 5))
    columns.weights = weights.astype(float)
    copied = [[e for e, count in zip(episodes, column, strict=True) for _ in range(count)] for column in weights.T]
    expected = [statistic.samples(Columns(each, 0, 0))[0] for each in copied]
    assert statistic.samples(columns) == pytest.approx(expected, nan_ok=True)


def test_draws_have_the_variance_of_a_mean():
    """n - 1 draws give s^2 / n, with s^2 the unbiased variance; n draws would give (n - 1) / n of it."""
    values = np.array([0.0, 1.0, 5.0])
    means = values @ draws(3, 200_000, np.random.default_rng(0)) / 3
    assert means.mean() == pytest.approx(2.0, abs=0.02)
    assert means.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)
    assert (draws(1, 3, np.random.default_rng(0)) == 1).all()


def test_outcomes_and_tasks_keep_their_shares():
    """A score that is one constant has the failures' share as AUPRC; one that is the task, a fixed pooled AUROC."""
    random = np.random.default_rng(0)
    outcomes = [(task, random.random() < share) for task, share in (("a", 0.1), ("b", 0.7)) for _ in range(40)]
    blind = [judged([0], success=s, task=task) for task, s in outcomes]
    tasks = [judged([task == "b"], success=s, task=task) for task, s in outcomes]
    for episodes, metric in ((blind, "auprc@0.5"), (tasks, "pooled_auroc@0.5")):
        found = figure({0: episodes}, metric, resamples=200)
        assert found["low"] == pytest.approx(found["value"]) == found["high"]
        assert 0.1 < found["value"] < 0.9


RATES = ("tpr", "tnr", "fpr_nominal", "fpr_perturbed_success", "actionable_recall", "twin_accuracy@0.5")


def test_a_seed_that_is_repeated_adds_nothing_and_seeds_that_differ_widen():
    episodes = drawn(np.random.default_rng(1), count=40)
    once = figures({0: episodes}, resamples=200)
    thrice = figures({0: episodes, 1: episodes, 2: episodes}, resamples=200)
    for name, found in once.items():
        again = thrice[name]
        assert again["value"] == pytest.approx(found["value"]), name
        if name in RATES and found["value"] is not None:  # no narrower than the exact interval of one, nor much wider
            assert found["low"] - 0.06 < again["low"] < found["low"] + 1e-9, name
            assert found["high"] - 1e-9 < again["high"] < found["high"] + 0.06, name
        else:
            assert again == pytest.approx(found), name
    many = {seed: drawn(np.random.default_rng(1), count=400, seed_effect=e) for seed, e in enumerate((-1, 0, 1))}
    each = [value(many[seed], "auroc@0.5") for seed in many]
    found = figure(many, "auroc@0.5", resamples=500)
    assert found["value"] == pytest.approx(np.mean(each))
    # the share of one who would draw the worst seed twice of two draws is 1 in 9
    assert found["low"] < min(each) + 0.02
    assert found["high"] > max(each) - 0.02


def test_a_rollout_that_is_judged_in_two_folds_is_drawn_once():
    """Two folds that hold the same rollouts know no more than one; taken for others, they would seem to."""
    once = [dataclasses.replace(e, rolled=e.uid) for e in drawn(np.random.default_rng(1), tasks=("a",))]
    again = [dataclasses.replace(e, task="b", uid=e.uid + "'", twin=e.twin and e.twin + "'") for e in once]
    one, two = figures({0: once}, resamples=400), figures({0: once + again}, resamples=400)
    apart = figures({0: once + [dataclasses.replace(e, rolled=e.uid) for e in again]}, resamples=400)
    for name in ("auroc@0.5", "auprc@0.5", "early_auroc", "precision_detection_area", "twa", "id_success"):
        assert two[name] == pytest.approx(one[name]), name
        assert apart[name]["high"] - apart[name]["low"] < 0.85 * (one[name]["high"] - one[name]["low"]), name
        assert (one[name]["n"], apart[name]["n"]) == (two[name]["n"], 2 * one[name]["n"])
    for name in ("tpr", "fpr_nominal", "actionable_recall"):
        assert two[name] == pytest.approx(one[name], abs=0.04), name
        assert apart[name]["high"] - apart[name]["low"] < 0.85 * (one[name]["high"] - one[name]["low"]), name
    silent = [judged([-1], success=True, task=task, rolled=str(n)) for task in "ab" for n in range(20)]
    assert figure({0: silent}, "fpr_nominal", resamples=50)["high"] == pytest.approx(clopper_pearson(0, 20)[1])


def test_rates_of_one_seed_have_the_exact_interval():
    found = figure({0: BOTH}, "tpr", resamples=100)
    assert (found["low"], found["high"]) == pytest.approx(clopper_pearson(4, 5))
    silent = {seed: [judged([-1], success=True) for _ in range(20)] for seed in range(3)}
    found = figure(silent, "fpr_nominal", resamples=100)
    assert (found["value"], found["low"], found["high"]) == (0.0, 0.0, pytest.approx(clopper_pearson(0, 20)[1]))


def test_rates_of_seeds_that_disagree_are_less_sure():
    alarms = {0: [1] * 18 + [-1] * 2, 1: [1] * 10 + [-1] * 10, 2: [1] * 2 + [-1] * 18}
    found = figure({seed: [judged([m]) for m in margins] for seed, margins in alarms.items()}, "tpr", resamples=500)
    low, high = clopper_pearson(10, 20)
    assert found["value"] == 0.5
    assert found["low"] < low - 0.05
    assert found["high"] > high + 0.05


def test_a_perfect_auroc_of_few_is_not_certain():
    """Of 3 failures and 8 successes, 3 disjoint pairs are won: the bound is that of 3 in 3."""
    for metric in ("auroc@0.5", "pooled_auroc@0.5", "matched_auroc@0.5"):
        found = figure({0: sides([1, 2, 3], [0] * 8)}, metric, resamples=50)
        assert (found["value"], found["low"], found["high"]) == (1.0, pytest.approx(0.025 ** (1 / 3)), 1.0)
        found = figure({0: sides([0] * 8, [1, 2, 3])}, metric, resamples=50)
        assert (found["value"], found["low"], found["high"]) == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 3)))


def test_figures_are_reproducible_plain_and_ordered():
    data = {seed: drawn(np.random.default_rng(1), seed_effect=0.3 * seed) for seed in range(2)}
    once = figures(data, resamples=100, seed=4)
    assert once == figures(data, resamples=100, seed=4) != figures(data, resamples=100, seed=5)
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    for name, found in once.items():
        assert found["low"] <= found["value"] <= found["high"], name


def test_every_seed_is_judged_on_the_same_episodes():
    episodes = drawn(np.random.default_rng(1))
    with pytest.raises(ValueError, match="same episodes in the same order"):
        figures({0: episodes, 1: episodes[::-1]})
    with pytest.raises(ValueError, match="same episodes in the same order"):
        difference({0: episodes}, {0: episodes[::-1]}, "tpr")
    with pytest.raises(ValueError, match="same training seeds"):
        difference({0: episodes, 1: episodes}, {1: episodes, 2: episodes}, "tpr")
    with pytest.raises(ValueError, match="no training seed"):
        figures({})


# -- coverage --------------------------------------------------------------------------------------------------------

LOST, WON, REPEATS = 30, 60, 200


def binormal(random, signals, own=0.5):
    """Training seed -> episodes of known AUROC; part of what an episode scores is the same for all seeds."""
    failed = np.arange(LOST + WON) < LOST
    shared = random.normal(size=LOST + WON) * math.sqrt(1 - own)
    return [
        {
            seed: [
                judged([margin], success=not lost)
                for margin, lost in zip(
                    mean * failed + shared + math.sqrt(own) * random.normal(size=len(failed)), failed, strict=True
                )
            ]
            for seed, mean in enumerate(means)
        }
        for means in signals
    ]


def holds(found, truth):
    return found["low"] <= truth <= found["high"]


def test_intervals_hold_the_true_auroc_and_do_not_if_seeds_are_taken_for_episodes():
    random, held, wrong, spread = np.random.default_rng(0), 0, 0, 0.15
    truth = norm.cdf(1 / math.sqrt(2 + spread**2))
    for _ in range(REPEATS):
        (data,) = binormal(random, [1 + spread * random.normal(size=3)], own=0.2)
        held += holds(figure(data, "auroc@0.5", resamples=200), truth)
        wrong += holds(figure({0: [e for each in data.values() for e in each]}, "auroc@0.5", resamples=200), truth)
    assert 0.92 <= held / REPEATS <= 0.985
    assert wrong / REPEATS < 0.85


def test_paired_differences_hold_the_true_one_and_are_narrower_than_unpaired():
    random, held, rejected, widths, unpaired = np.random.default_rng(1), 0, 0, [], []
    truth = norm.cdf(1.2 / math.sqrt(2)) - norm.cdf(1.0 / math.sqrt(2))
    for repeat in range(REPEATS):
        first, second = binormal(random, [[1.2], [1.0]], own=0.1)
        gain = difference(first, second, "auroc@0.5", resamples=200)
        held += holds(gain["difference"], truth)
        rejected += gain["p_value"] < 0.05
        if repeat < 20:
            widths.append(gain["difference"]["high"] - gain["difference"]["low"])
            each = [figure(data, "auroc@0.5", resamples=200) for data in (first, second)]
            unpaired.append(math.hypot(*(found["high"] - found["low"] for found in each)))
    assert 0.91 <= held / REPEATS <= 0.985
    assert np.mean(widths) < 0.5 * np.mean(unpaired)
    assert rejected / REPEATS > 0.2


def test_equal_monitors_are_told_apart_no_more_often_than_promised():
    random, rejected = np.random.default_rng(2), 0
    for _ in range(REPEATS):
        first, second = binormal(random, [[1.0], [1.0]])
        rejected += difference(first, second, "auroc@0.5", resamples=200)["p_value"] < 0.05
    assert rejected / REPEATS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPEATS)


# -- pairs -----------------------------------------------------------------------------------------------------------


def test_difference_of_a_monitor_and_itself_is_nothing():
    data = {seed: drawn(np.random.default_rng(1), seed_effect=0.3 * seed) for seed in range(3)}
    for metric in ("auroc@0.5", "twa", "oracle_actionable_recall@0.1", "lead_time_steps"):
        gain = difference(data, data, metric, resamples=50)
        assert (gain["difference"]["value"], gain["difference"]["low"], gain["difference"]["high"]) == (0, 0, 0)
        assert gain["p_value"] == 1.0


def test_difference_turns_round_and_may_set_seeds_against_one():
    data = {seed: drawn(np.random.default_rng(1), seed_effect=0.5 * seed) for seed in range(3)}
    other = {0: [elapsed(e) for e in data[0]]}
    gain, loss = difference(data, other, "auroc@0.5", 200), difference(other, data, "auroc@0.5", 200)
    assert gain["difference"]["value"] == pytest.approx(
        figure(data, "auroc@0.5", 0)["value"] - figure(other, "auroc@0.5", 0)["value"]
    )
    assert gain["difference"]["low"] == pytest.approx(-loss["difference"]["high"])
    assert gain["p_value"] == loss["p_value"]


def test_difference_of_what_is_not_defined_is_none():
    silent = {0: [judged([-1]), judged([-1], success=True)]}
    gain = difference(silent, silent, "detection_time")
    assert gain["difference"]["value"] is gain["p_value"] is None


def test_alarms_are_compared_by_the_discordant_episodes():
    def with_alarms(lost, won):
        return [judged([m]) for m in lost] + [judged([m], success=True) for m in won]

    first = with_alarms([1] * 9 + [-1] + [1] * 5, [-1] * 4)
    second = with_alarms([-1] * 9 + [1] + [1] * 5, [1, -1, -1, -1])
    found = alarm_test(first, second)
    assert (found["failures"]["only_first"], found["failures"]["only_second"], found["failures"]["pairs"]) == (9, 1, 15)
    assert found["failures"]["p_value"] == pytest.approx(2 * (1 + 10) / 2**10)
    assert (found["successes"]["only_first"], found["successes"]["only_second"]) == (0, 1)


# -- the row ---------------------------------------------------------------------------------------------------------

META = {
    "score": "rnd",
    "window": "mean 2",
    "calibrator": "SplitConformal",
    "level": 0.1,
    "threshold_episodes": 33,
    "guarantee": "g",
}


def row_of(episodes, score="rnd"):
    threshold = Threshold(np.zeros(1), np.ones(1), META["level"], META["threshold_episodes"], META["guarantee"])
    fitted = FittedScore(score, None, frozenset(), 0)
    monitor = Monitor(f"{score}+{META['calibrator']}", fitted, Window("mean", 2), "", META["level"], threshold)
    return benchmark_row(monitor, episodes).record()


def test_row_is_plain_and_complete():
    row = row_of(BOTH)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert META.items() <= row.items()
    assert (row["tpr"], row["failures"], row["twa"]) == (0.8, 5, pytest.approx(0.57))
    assert row["fpr_nominal"] | {"ci95": 0} == {"alarms": 1, "episodes": 3, "rate": 1 / 3, "ci95": 0}
    assert row["fpr_perturbed_success"] | {"ci95": 0} == {"alarms": 1, "episodes": 1, "rate": 1.0, "ci95": 0}
    assert row["actionable_recall"] | {"ci95": 0} == {"alarms": 1, "episodes": 4, "rate": 0.25, "ci95": 0}
    assert row["delay_to_onset_steps"] == {"median": 0.0, "episodes": 3}
    assert list(row["auroc"]) == ["0.25", "0.5", "0.75", "1.0"]
    assert row["auroc"]["1.0"] == value(BOTH, "auroc@1")
    assert row["matched_auroc"]["0.5"] == value(BOTH, "matched_auroc@0.5")


def test_row_of_a_monitor_that_could_not_be_calibrated():
    silent = [judged([np.nan, np.nan], success=s) for s in (True, False)]
    row = row_of(silent)
    assert set(row["auroc"].values()) == {None}
    assert (row["tpr"], row["detection_time"], row["fpr_nominal"]["alarms"]) == (0.0, None, 0)
    json.dumps(row, allow_nan=False)


def test_row_of_elapsed_time_is_ranked_by_elapsed_time():
    episodes = [judged([-1], length=DEADLINE), judged([-1], length=30, success=True)]
    assert row_of(episodes)["auroc"]["1.0"] == 0.5
    clock = row_of(episodes, "elapsed")
    assert (clock["auroc"]["1.0"], clock["matched_auroc"]["1.0"]) == (1.0, 0.5)
