"""The ceiling of AUROC given luck, against distributions of the chance of failure with a known answer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from workbench.stats.ceiling import auroc_ceiling, estimated_ceiling
from workbench.types import Array

EPISODES = 800


def test_closed_forms() -> None:
    assert auroc_ceiling((np.arange(2000) + 0.5) / 2000) == pytest.approx(5 / 6, abs=1e-6), "uniform"
    for chance in (0.1, 0.3, 0.5):
        assert auroc_ceiling(np.array([chance, 1 - chance])) == pytest.approx(1 - chance), "two kinds"
    assert auroc_ceiling(np.full(7, 0.3)) == pytest.approx(0.5), "nothing can be told apart"
    assert auroc_ceiling(np.array([0.0, 1.0, 1.0])) == 1.0
    assert np.isnan(auroc_ceiling(np.zeros(3)))
    assert np.isnan(auroc_ceiling(np.ones(3)))


def test_it_is_the_mean_over_all_pairs() -> None:
    random = np.random.default_rng(0)
    failing, weights = random.choice([0.0, 0.2, 0.5, 0.9], 12), random.random(12)
    pairs = list(itertools.product(range(12), repeat=2))
    weight = [weights[i] * weights[j] * failing[i] * (1 - failing[j]) for i, j in pairs]
    right = [(failing[i] > failing[j]) + (failing[i] == failing[j]) / 2 for i, j in pairs]
    assert auroc_ceiling(failing, weights) == pytest.approx(np.average(right, weights=weight))


def test_no_score_of_drawn_outcomes_is_better_but_by_chance() -> None:
    random = np.random.default_rng(1)
    failing = random.beta(0.4, 0.6, 3000)
    failed = random.random(3000) < failing
    for score in (failing, failing + random.normal(0, 0.3, 3000), random.random(3000)):
        higher = score[failed][:, None] > score[~failed][None]
        assert higher.mean() < auroc_ceiling(failing) + 0.01


@pytest.mark.parametrize("runs", [16, 64])
@pytest.mark.parametrize(
    ("name", "truth"), [("uniform", 5 / 6), ("two kinds", 0.9), ("one kind", 0.5), ("law alone", 1.0)]
)
def test_counts_estimate_it_where_the_counts_themselves_promise_too_much(name: str, truth: float, runs: int) -> None:
    random = np.random.default_rng(2)
    draw = {"uniform": random.random, "one kind": lambda n: np.full(n, 0.5)}
    choices = {"two kinds": [0.1, 0.9], "law alone": [0.0, 1.0]}
    failing = draw[name](EPISODES) if name in draw else random.choice(choices[name], EPISODES)
    failures, runs_each = random.binomial(runs, failing), np.full(EPISODES, runs)
    found, low, high = estimate(failures, runs_each)
    assert found == pytest.approx(truth, abs=0.03)
    assert low <= found <= high
    naive = auroc_ceiling(failures / runs_each)
    assert abs(found - truth) <= abs(naive - truth) + 0.002
    if name == "one kind":
        assert naive > truth + 0.05


def test_when_the_reruns_stop_plays_no_part() -> None:
    random = np.random.default_rng(3)
    failing = random.random(EPISODES)
    first, more = random.binomial(16, failing), random.binomial(48, failing)
    stops = (first > 5) & (first < 11)
    failures, runs = np.where(stops, first, first + more), np.where(stops, 16, 64)
    found, low, high = estimate(failures, runs)
    assert low <= 5 / 6 <= high
    assert found == pytest.approx(5 / 6, abs=0.02)


def test_weights_stand_for_episodes_that_were_not_measured() -> None:
    random = np.random.default_rng(4)
    failing = np.concatenate([np.full(400, 0.9), np.full(400, 0.1)])
    failures = random.binomial(64, failing)
    weights = np.concatenate([np.full(400, 1.0), np.full(400, 9.0)])
    truth = auroc_ceiling(np.array([0.9, 0.1]), np.array([1.0, 9.0]))
    found, _, _ = estimated_ceiling(failures, np.full(800, 64), weights, (failing < 0.5).astype(int))
    assert found == pytest.approx(truth, abs=0.02)
    unweighted, _, _ = estimate(failures, np.full(800, 64))
    assert abs(unweighted - truth) > 0.03


def estimate(failures: Array, runs: Array) -> tuple[float, ...]:
    return estimated_ceiling(failures, runs, np.ones(len(runs)), np.zeros(len(runs), int))
