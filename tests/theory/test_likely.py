"""The likeliest failure on a surface whose nearest failing point is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from workbench.errors import ConfigError
from workbench.stats.proportions import clopper_pearson
from workbench.synthesis.likely_failures import FRESH, Finding, cost, find_likely_failure, sample_uniformly
from workbench.types import Array

WEIGHTS = np.array([1.0, 0.6, 0.2])
NEAREST = 0.5 * WEIGHTS / (WEIGHTS @ WEIGHTS)
"""Failure is as likely as success on the plane WEIGHTS @ severities = 0.5; of its points this is nearest to none."""
DISTANCE = float(np.linalg.norm(NEAREST))
BUDGET = 600


@dataclasses.dataclass
class Surface:
    """Fails with probability 1 / (1 + exp(-25 (WEIGHTS @ severities - 0.5))); keeps what it was asked."""

    seed: int
    asked: list[tuple[Array, range]] = dataclasses.field(default_factory=list)

    def rate(self, severities: Array) -> Array:
        return 1 / (1 + np.exp(-25 * (severities @ WEIGHTS - 0.5)))

    def __call__(self, severities: Array, numbers: range) -> Array:
        self.asked.append((severities, numbers))
        return self.rate(severities)[:, None] > np.array([self.luck(number) for number in numbers])

    def luck(self, number: int) -> float:
        return float(np.random.default_rng([self.seed, number]).random())


SEEDS = range(24)


@pytest.fixture(scope="module")
def searched() -> list[tuple[Surface, Finding]]:
    surfaces = [Surface(seed) for seed in SEEDS]
    return [(one, find_likely_failure(3, one, budget=BUDGET, seed=one.seed)) for one in surfaces]


def test_the_likeliest_failure_is_found_and_uniform_sampling_is_further_off(searched, record_property):
    drawn = [sample_uniformly(3, Surface(seed), budget=BUDGET, seed=seed) for seed in SEEDS]
    distances = np.array([one.distance for _, one in searched], float) / DISTANCE
    by_chance = np.array([one.distance for one in drawn if one.distance is not None]) / DISTANCE
    record_property("excess_distance", [float(distances.mean()) - 1, float(by_chance.mean()) - 1])
    assert np.all(distances > 0.85)
    assert distances.mean() < 1.08
    assert distances.mean() - 1 < 0.6 * (by_chance.mean() - 1)
    along = [np.dot(one.severities, NEAREST) / (one.distance * DISTANCE) for _, one in searched]
    assert np.mean(along) > 0.95


def test_the_interval_is_of_fresh_episodes_and_covers_although_the_point_was_chosen(searched):
    covered = []
    for surface, one in searched:
        point = np.array(one.severities)
        (judged,) = [n for points, n in surface.asked if len(points) == 1 and np.array_equal(points[0], point)]
        seen = [set(numbers) for _, numbers in surface.asked]
        assert sum(map(len, seen)) == len(set().union(*seen)), "no episode is used in two rounds"
        assert len(judged) == one.fresh_episodes == int(FRESH * BUDGET) // 3
        assert one.failures == int((surface.rate(point) > [surface.luck(number) for number in judged]).sum())
        assert one.interval == clopper_pearson(one.failures, one.fresh_episodes, 1 - 0.05 / 3)
        covered.append(one.interval[0] <= surface.rate(point) <= one.interval[1])
    assert np.mean(covered) >= 0.95


@pytest.mark.parametrize("look", [find_likely_failure, sample_uniformly])
def test_the_budget_is_kept_and_counted(look):
    surface = Surface(3)
    one = look(3, surface, budget=BUDGET, seed=3)
    rolled = sum(len(points) * len(numbers) for points, numbers in surface.asked)
    assert one.episodes == rolled <= BUDGET
    assert rolled > 0.75 * BUDGET
    assert 0 < one.failed_episodes < rolled
    assert 0 < one.failing_points < one.points
    assert all(points.min() >= 0 and points.max() <= 1 for points, _ in surface.asked)


def test_boundary_points_lie_on_the_boundary():
    surface = Surface(5)
    boundary = find_likely_failure(3, surface, budget=BUDGET, seed=5).boundary
    points = np.array([point for point, _ in boundary])
    assert len(points) >= 5
    assert np.mean(np.abs(points @ WEIGHTS - 0.5)) < 0.08, "a drawn point is 0.3 off"
    distances = np.linalg.norm(points, axis=1)
    assert list(distances) == sorted(distances)


def test_a_seed_decides_everything():
    first, again, other = (find_likely_failure(3, Surface(0), budget=BUDGET, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("look", [find_likely_failure, sample_uniformly])
def test_nothing_is_claimed_where_nothing_fails(look):
    one = look(2, lambda points, numbers: np.zeros((len(points), len(numbers)), bool), budget=400, seed=0)
    assert (one.severities, one.distance, one.fresh_episodes, one.interval) == (None, None, 0, (0.0, 1.0))
    assert one.failing_points == one.failed_episodes == 0


def test_one_fault_alone_is_a_tolerance():
    one = find_likely_failure(1, lambda points, numbers: np.repeat(points > 0.6, len(numbers), 1), budget=400, seed=0)
    assert one.distance == pytest.approx(0.6, abs=0.08)


def test_failing_points_cost_less_than_others_and_near_ones_less_than_far_ones():
    near, far = np.array([0.2, 0.2]), np.array([1.0, 1.0])
    assert cost(near, 0.5) < cost(far, 1.0) < cost(near, 0.25) < cost(near, 0.0)
    assert cost(far, 0.0) < cost(near, 0.0), "where nothing fails, more severe is the way to go"


def test_a_budget_that_cannot_tell_anything_is_refused():
    with pytest.raises(ConfigError, match="at least 320"):
        find_likely_failure(2, Surface(0), budget=100, seed=0)
