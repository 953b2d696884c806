"""Every metric against a number worked out by hand or by another route."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from workbench.metrics import (
    FRACTIONS,
    JudgedEpisode,
    actionable_recall,
    alarm_rate,
    auroc,
    auroc_at,
    clopper_pearson,
    confusion,
    delays_to_onset,
    detection_time,
    elapsed,
    margin_at,
    monitor_row,
    over_seeds,
    paired_gain,
    paired_test,
    timeliness_weighted_accuracy,
    wilson,
)

DEADLINE = 100


def judged(margin=(-1.0,), length=DEADLINE, success=False, perturbed=False, t_on=-1, t_pnr=-1, every=10):
    margin = np.array(margin, float)
    return JudgedEpisode(margin, every * np.arange(len(margin)), length, success, perturbed, t_on, t_pnr, DEADLINE)


numbers = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


@settings(deadline=None)
@given(numbers, numbers)
def test_auroc_counts_pairs_with_ties_as_half(positive, negative):
    pairs = [(a > b) + 0.5 * (a == b) for a in positive for b in negative]
    assert auroc(np.array(positive), np.array(negative)) == pytest.approx(np.mean(pairs))


def test_auroc_of_one_class_or_of_nothing_known_is_none():
    assert auroc(np.array([]), np.array([1.0])) is None
    assert auroc(np.array([1.0]), np.array([])) is None
    assert auroc(np.array([1.0, np.nan]), np.array([0.0])) is None
    assert auroc(np.array([np.inf]), np.array([0.0])) == 1.0


def test_margin_at_is_the_highest_so_far_and_step_zero_always_counts():
    e = judged([3.0, 1.0, 5.0, 2.0, 9.0], every=25)
    assert [margin_at(e, f) for f in (0.0, 0.1, 0.25, 0.49, 0.5, 0.75, 1.0)] == [3, 3, 3, 3, 5, 5, 9]


def test_an_episode_that_ended_keeps_its_last_value():
    e = judged([1.0, 4.0, 2.0], length=25, success=True)
    assert [margin_at(e, f) for f in FRACTIONS] == [4, 4, 4, 4]


@pytest.mark.parametrize("length", [1, 7, 25, 60, 99, 100])
@pytest.mark.parametrize("fraction", [*FRACTIONS, 0.333])
def test_elapsed_time_goes_through_the_same_function(length, fraction):
    e = judged([0.0] * (1 + (length - 1) // 10), length=length)
    assert margin_at(elapsed(e), fraction) == min(length, int(fraction * DEADLINE))


def test_elapsed_time_knows_the_outcome_at_the_deadline_and_nothing_before_the_first_success():
    episodes = [judged(length=DEADLINE) for _ in range(5)]
    episodes += [judged(length=n, success=True) for n in (40, 55, 60, 80, 81)]
    timed = [elapsed(e) for e in episodes]
    assert auroc_at(timed, 0.25) == 0.5
    assert auroc_at(timed, 0.5) == pytest.approx((1 + 4 * 0.5) / 5)
    assert auroc_at(timed, 1.0) == 1.0


def test_elapsed_time_between_calls_counts():
    """Both have calls at 0 and 10 alone; that one ended at 15 and the other goes on is known at 0.2."""
    assert auroc_at([elapsed(judged([0, 0], length=20)), elapsed(judged([0, 0], length=15, success=True))], 0.2) == 1.0


# -- intervals -------------------------------------------------------------------------------------------------------


def test_clopper_pearson_by_hand():
    low, high = clopper_pearson(0, 20)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 20))
    low, high = clopper_pearson(20, 20)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert clopper_pearson(3, 50) == (pytest.approx(0.01255, abs=1e-4), pytest.approx(0.16548, abs=1e-4))


def test_over_seeds_is_the_exact_interval_where_seeds_are_many_and_alike():
    alike = over_seeds((9,) * 2000, 10)
    assert alike == pytest.approx(clopper_pearson(18000, 20000), abs=2e-5)
    assert over_seeds((97,), 100) == (0.0, 1.0)


def test_over_seeds_by_hand():
    # Two seeds, 8 and 6 of 10: share 0.7, variance of the rates 0.02 against 0.021 by chance, so no design effect.
    # One degree of freedom: t = 12.706, so the effective episodes are 20 (1.95996 / 12.7062)^2 = 0.47587.
    low, high = over_seeds((8, 6), 10)
    effective = 20 * (1.959964 / 12.706205) ** 2
    assert beta.cdf(low, 0.7 * effective, 0.3 * effective + 1) == pytest.approx(0.025, abs=1e-5)
    assert beta.cdf(high, 0.7 * effective + 1, 0.3 * effective) == pytest.approx(0.975, abs=1e-5)
    assert over_seeds((100, 100, 100), 100) == pytest.approx((0.942, 1.0), abs=1e-3)
    assert over_seeds((0, 0, 0), 100) == pytest.approx((0.0, 0.058), abs=1e-3)


def test_over_seeds_covers_where_episodes_taken_as_independent_do_not():
    random, rate, held, naive = np.random.default_rng(0), 0.85, 0, 0
    for _ in range(400):
        won = random.binomial(100, random.beta(rate * 20, (1 - rate) * 20, size=3))  # seeds differ: deviation 0.08
        low, high = over_seeds(tuple(won), 100)
        held += low <= rate <= high
        other = wilson(int(won.sum()), 300)
        naive += other[0] <= rate <= other[1]
    assert held / 400 >= 0.94
    assert naive / 400 < 0.8


def test_wilson_by_hand():
    z, n, p = 1.959963985, 50, 3 / 50
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(3, 50) == pytest.approx(((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)))


def test_no_trials_know_nothing():
    assert clopper_pearson(0, 0) == wilson(0, 0) == (0.0, 1.0)
    assert alarm_rate([]) == {"alarms": 0, "episodes": 0, "rate": None, "ci95": [0.0, 1.0]}


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_intervals_hold_their_proportion(count, more):
    total = count + more
    for low, high in (clopper_pearson(count, total), wilson(count, total)):
        assert 0 <= low <= high <= 1
        if total:
            assert low - 1e-12 <= count / total <= high + 1e-12


# -- rates and times -------------------------------------------------------------------------------------------------

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


def test_an_alarm_is_a_margin_above_zero_at_its_first_call():
    assert [e.alarm_step for e in FAILURES] == [20, 60, -1, 0, 0]
    assert [e.alarm_step for e in SUCCESSES] == [-1, -1, 10, 0]
    assert judged([np.nan, np.nan]).alarm_step == -1


def test_detection_time_is_of_detected_failures():
    assert detection_time([*FAILURES, *SUCCESSES]) == pytest.approx((0.2 + 0.6 + 0 + 0) / 4)
    assert detection_time([FAILURES[2], *SUCCESSES]) is None


def test_timeliness_weighted_accuracy_by_hand():
    assert timeliness_weighted_accuracy([*FAILURES, *SUCCESSES]) == pytest.approx(
        0.5 * ((0.8 + 0.4 + 1 + 1) / 5 + 2 / 4)
    )
    assert timeliness_weighted_accuracy(FAILURES) is None
    assert timeliness_weighted_accuracy(SUCCESSES) is None


def test_always_and_never_get_one_half():
    always = [judged([1], success=s) for s in (True, False, False)]
    never = [judged([-1], success=s) for s in (True, False, False)]
    assert timeliness_weighted_accuracy(always) == timeliness_weighted_accuracy(never) == 0.5


def test_actionable_recall_is_of_failures_with_a_measured_point_of_no_return():
    recall = actionable_recall([*FAILURES, *SUCCESSES])
    assert (recall["alarms"], recall["episodes"], recall["rate"]) == (1, 4, 0.25)


def test_delays_are_signed():
    assert delays_to_onset([*FAILURES, *SUCCESSES]).tolist() == [-10, 20, 0]


# -- pairs -----------------------------------------------------------------------------------------------------------


def test_paired_test_is_the_sign_test_of_the_discordant_pairs():
    first = np.array([1] * 9 + [0] * 1 + [1] * 20 + [0] * 10, bool)
    second = np.array([0] * 9 + [1] * 1 + [1] * 20 + [0] * 10, bool)
    result = paired_test(first, second)
    assert (result["only_first"], result["only_second"], result["pairs"]) == (9, 1, 40)
    assert result["p_value"] == pytest.approx(2 * (1 + 10) / 2**10)
    assert paired_test(second, first)["p_value"] == pytest.approx(result["p_value"])
    assert paired_test(first, first)["p_value"] == 1.0
    with pytest.raises(ValueError, match="pairs"):
        paired_test(first, second[1:])


# -- the row ---------------------------------------------------------------------------------------------------------

META = {
    "score": "rnd",
    "window": "mean 2",
    "calibrator": "SplitConformal",
    "level": 0.1,
    "threshold_episodes": 33,
    "guarantee": "g",
}


def test_row_is_plain_and_complete():
    row = monitor_row([*FAILURES, *SUCCESSES], **META)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert META.items() <= row.items()
    assert row["tpr"] == 0.8
    assert row["failures"] == 5
    assert row["fpr_nominal"] | {"ci95": 0} == {"alarms": 1, "episodes": 3, "rate": 1 / 3, "ci95": 0}
    assert row["fpr_perturbed_success"] | {"ci95": 0} == {"alarms": 1, "episodes": 1, "rate": 1.0, "ci95": 0}
    assert row["delay_to_onset_steps"] == {"median": 0.0, "episodes": 3}
    assert list(row["auroc"]) == ["0.25", "0.5", "0.75", "1.0"]
    assert row["auroc"]["1.0"] == auroc_at([*FAILURES, *SUCCESSES], 1.0)


def test_row_of_a_monitor_that_could_not_be_calibrated():
    silent = [judged([np.nan, np.nan], success=s) for s in (True, False)]
    row = monitor_row(silent, **META)
    assert set(row["auroc"].values()) == {None}
    assert (row["tpr"], row["detection_time"], row["fpr_nominal"]["alarms"]) == (0.0, None, 0)
    json.dumps(row, allow_nan=False)


def test_row_of_elapsed_time_is_ranked_by_elapsed_time():
    episodes = [judged([-1], length=DEADLINE), judged([-1], length=30, success=True)]
    assert monitor_row(episodes, **META)["auroc"]["1.0"] == 0.5
    assert monitor_row(episodes, **META, ranked=[elapsed(e) for e in episodes])["auroc"]["1.0"] == 1.0


def pairs(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = (both, only_first, only_second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_paired_gain_is_newcombes():
    gain, low, high = paired_gain(*pairs(36, 12, 2, 0))  # the example of Newcombe 1998, method 10
    assert (gain, round(low, 4), round(high, 4)) == (pytest.approx(0.2), 0.0569, 0.3404)


@pytest.mark.parametrize("counts", [(3, 5, 0, 8), (0, 16, 0, 0), (8, 7, 1, 0), (20, 0, 0, 30), (5, 5, 5, 5)])
def test_paired_gain_turns_round_with_its_arms(counts):
    first, second = pairs(*counts)
    gain, low, high = paired_gain(first, second)
    assert -1 <= low <= gain <= high <= 1
    assert paired_gain(second, first) == pytest.approx((-gain, -high, -low))


def test_paired_gain_needs_pairs():
    for one, two in (([], []), ([True], [True, False])):
        with pytest.raises(ValueError, match="pairs are needed"):
            paired_gain(np.array(one), np.array(two))


def test_confusion_counts_what_was_injected_against_what_was_seen():
    columns = {
        "perturbation": np.array(["slip", "", "slip", "push+slip", "slip", ""], dtype=object),
        "failure_mode": np.array(["drop", "", "drop", "", "", "stall"], dtype=object),
    }
    rows = confusion(columns)
    assert [(row["perturbation"], row["failure_mode"], row["episodes"]) for row in rows] == [
        ("", "", 1), ("", "stall", 1), ("push+slip", "", 1), ("slip", "", 1), ("slip", "drop", 2),
    ]  # fmt: skip
    assert sum(row["episodes"] for row in rows) == 6
    assert confusion({"perturbation": [], "failure_mode": []}) == []
    assert all(type(row["episodes"]) is int and type(row["failure_mode"]) is str for row in rows)
