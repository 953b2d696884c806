"""Proportions, intervals and paired tests against numbers worked out by hand or by another route."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from workbench.stats.proportions import (
    clopper_pearson,
    confusion,
    of_effective,
    over_seeds,
    paired_gain,
    paired_test,
    proportion,
)

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
        other = clopper_pearson(int(won.sum()), 300)
        naive += other[0] <= rate <= other[1]
    assert held / 400 >= 0.94
    assert naive / 400 < 0.8


def test_no_trials_know_nothing():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert proportion(0, 0) == {"alarms": 0, "episodes": 0, "rate": None, "ci95": [0.0, 1.0]}


@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_of_whole_trials_the_effective_interval_is_clopper_and_pearsons(count):
    assert of_effective(count / 20, 20) == pytest.approx(clopper_pearson(count, 20))
    assert proportion(count, 20)["ci95"] == list(clopper_pearson(count, 20))


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_intervals_hold_their_proportion(count, more):
    total = count + more
    low, high = clopper_pearson(count, total)
    assert 0 <= low <= high <= 1
    if total:
        assert low - 1e-12 <= count / total <= high + 1e-12


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
