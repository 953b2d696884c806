"""The likeliest failure on a surface whose nearest failing point is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from workbench.errors import ConfigError
from workbench.likely import FRESH, cost, find_likely_failure, sample_uniformly
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
        luck = np.array([np.random.default_rng([self.seed, number]).random() for number in numbers])
        return self.rate(severities)[:, None] > luck[None]


def test_the_likeliest_failure_is_found_and_uniform_sampling_is_further_off():
    found = [find_likely_failure(3, Surface(seed), budget=BUDGET, seed=seed) for seed in range(12)]
    drawn = [sample_uniformly(3, Surface(seed), budget=BUDGET, seed=seed) for seed in range(12)]
    distances = np.array([one.distance for one in found])
    assert np.all(distances > 0.8 * DISTANCE)
    assert np.mean(distances) < 1.12 * DISTANCE
    assert np.mean(distances) < np.mean([one.distance for one in drawn]) - 0.05
    along = [np.dot(one.severities, NEAREST) / (one.distance * DISTANCE) for one in found]
    assert np.mean(along) > 0.95


def test_the_interval_is_of_fresh_episodes_and_covers_although_the_point_was_chosen():
    covered = []
    for seed in range(40):
        surface = Surface(seed)
        one = find_likely_failure(3, surface, budget=BUDGET, seed=seed)
        point = np.array(one.severities)
        rolled = [(points, numbers) for points, numbers in surface.asked if np.array_equal(points[0], point)]
        assert rolled[-1][1] == range(rolled[-1][1].start, rolled[-1][1].start + int(FRESH * BUDGET) // 3)
        seen = [set(numbers) for _, numbers in surface.asked]
        assert sum(map(len, seen)) == len(set().union(*seen)), "no episode is used in two rounds"
        assert one.failures == int(surface(point[None], rolled[-1][1]).sum())
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
