"""Pairs are compared while both were running."""

import numpy as np
import pytest

from workbench.stats.concordance import concordance, matched_auroc, peaks_by_step, weighted_mean


def episodes(seed, count=30, deadline=40):
    rng = np.random.default_rng(seed)
    failed = np.arange(count) % 3 == 0
    lengths = np.where(failed, deadline, rng.integers(8, 30, count))
    steps = [np.sort(rng.choice(length, size=max(2, length // 4), replace=False)) for length in lengths]
    for step in steps:
        step[0] = 0
    margins = [rng.normal(size=len(step)) + 0.4 * bad for step, bad in zip(steps, failed, strict=True)]
    return steps, margins, lengths, failed


def brute_force(steps, margins, lengths, failed, until):
    wins = []
    for i in np.flatnonzero(failed):
        for j in np.flatnonzero(~failed):
            common = min(lengths[i] - 1, lengths[j] - 1, until)
            mine, other = (max(m for s, m in zip(steps[k], margins[k], strict=True) if s <= common) for k in (i, j))
            wins.append(1.0 if mine > other else 0.5 if mine == other else 0.0)
    return np.mean(wins)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("until", [0, 7, 20, 100])
def test_it_is_that_of_all_pairs_at_common_times(seed, until):
    given = episodes(seed)
    assert matched_auroc(*given, until) == pytest.approx(brute_force(*given, until))


@pytest.mark.parametrize("until", [5, 20, 40])
def test_elapsed_time_knows_nothing(until):
    """At common times, exactly one half; compared by the deadline alone it would look like a detector."""
    lengths = np.array([40, 40, 40, 10, 15, 22])
    failed = lengths == 40
    steps = [np.arange(0, length, 2) for length in lengths]
    margins = [step.astype(float) for step in steps]
    assert matched_auroc(steps, margins, lengths, failed, until) == 0.5
    by_deadline = np.array([max(s for s in step if s <= 40) for step in steps])
    assert by_deadline[failed].min() > by_deadline[~failed].max()


def test_what_grows_with_calls_alone_knows_nothing():
    """The maximum of pure noise: failures have more draws, so it leaks their length unless pairs are cut."""
    rng = np.random.default_rng(0)
    matched, leaking = [], []
    for _ in range(60):
        lengths = np.r_[np.full(20, 40), rng.integers(5, 12, 20)]
        failed = lengths == 40
        steps = [np.arange(length) for length in lengths]
        margins = [rng.normal(size=length) for length in lengths]
        matched.append(matched_auroc(steps, margins, lengths, failed, 39))
        whole = np.array([margin.max() for margin in margins])
        leaking.append((whole[failed][:, None] > whole[~failed][None]).mean())
    assert abs(np.mean(matched) - 0.5) < 0.03
    assert np.mean(leaking) > 0.75


def test_weights_count_episodes_that_often():
    rng = np.random.default_rng(3)
    higher = rng.random((4, 5))
    failures, successes = rng.integers(1, 4, (4, 7)).astype(float), rng.integers(1, 4, (5, 7)).astype(float)
    for column in range(7):
        repeated = higher.repeat(failures[:, column].astype(int), axis=0).repeat(
            successes[:, column].astype(int), axis=1
        )
        assert weighted_mean(higher, failures, successes)[column] == pytest.approx(repeated.mean())


def test_peaks_are_known_from_their_call_on():
    peaks = peaks_by_step(np.array([1, 3]), np.array([2.0, 1.0]), 5)
    assert peaks.tolist() == [-np.inf, 2.0, 2.0, 2.0, 2.0]
    nan = peaks_by_step(np.array([0, 2]), np.array([1.0, np.nan]), 4)
    assert np.isnan(nan).tolist() == [False, False, True, True]


def test_ties_are_one_half():
    ones = np.ones((2, 3))
    assert concordance(ones, ones, np.array([3, 3]), np.array([2, 3]), 9).tolist() == [[0.5, 0.5], [0.5, 0.5]]
