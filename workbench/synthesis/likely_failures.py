"""The likely failure: of all combinations of faults that make a policy fail, the one nearest to no fault at all.

A combination is a point of severities in ``[0, 1]^d``.  Each severity is given a half-normal prior, all of one width,
so a point is the likelier the nearer it lies to the origin, whatever the width.  The most likely failing combination
is thus the nearest point at which failure is as likely as success: the *design point* of structural reliability
(Hasofer and Lind, Journal of the Engineering Mechanics Division 1974), with a black box that answers by episodes.

The budget is spent in three parts: CMA-ES (Hansen and Ostermeier, Evolutionary Computation 2001) goes to the nearest
failing region; a Gaussian process then asks where the failure rate is uncertain and near one half (the straddle rule
of Bryan et al., NeurIPS 2005; the boundary-focused sampling of ROBOGATE, 2026, has the same aim); and what looks
likeliest is judged on fresh episodes, which neither of them used.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable

import numpy as np

from workbench.errors import ConfigError
from workbench.stats.proportions import clopper_pearson
from workbench.synthesis.tolerances import HALF
from workbench.types import Array

Fails = Callable[[Array, range], Array]
"""(P, d) severities and E episode numbers -> (P, E) bool, which of them fail."""

EPISODES = 4
"""Episodes a point while searching: many points with few episodes each tell more than few points with many."""
POINTS = 8
"""Points a round."""
FRESH = 0.3
"""Share of the budget that is kept for judging."""
SEARCHED = 0.4
"""Share of the budget that CMA-ES gets; the boundary gets the rest."""
AIMS = (0.6, 0.75, 0.9)
"""Predicted failure rates of the points that are judged, one after the other, until one fails as predicted; at one
half itself, judging would be tossing a coin."""
APART = 0.1
"""Distance below which two points are one."""
NEARER = 0.9
"""Share of its distance that a point which fails is moved to, to see whether it fails there as well."""
DRAWN = 2000
"""Points at which the Gaussian process is asked."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one way of looking found.

    Attributes
    ----------
    severities : (d,) of the likeliest combination that failed in at least half of the fresh episodes; None without.
    distance : of that combination from the origin; the smaller, the likelier.
    failures, fresh_episodes, interval : how often it failed on episodes that no search used.  The chance of error is
        shared by all points that may be judged, so the interval is not too short for having been chosen.
    boundary : pairs (severities, failure rate) of points whose rate is predicted near one half, the likeliest first.
    points, failing_points : combinations that were tried, and those of which at least half of the episodes failed.
    episodes, failed_episodes : that were rolled, and that failed.
    """

    severities: tuple[float, ...] | None
    distance: float | None
    failures: int
    fresh_episodes: int
    interval: tuple[float, float]
    boundary: tuple[tuple[tuple[float, ...], float], ...]
    points: int
    failing_points: int
    episodes: int
    failed_episodes: int


def find_likely_failure(size: int, fails: Fails, *, budget: int, seed: int, confidence: float = 0.95) -> Finding:
    """Search for the most likely failing combination of ``size`` faults with at most ``budget`` episodes.

    Deterministic for a seed, if ``fails`` is.
    """
    table = _Table(size, fails, budget)
    rng = np.random.default_rng([seed, 1])
    _approach(table, int(SEARCHED * budget), seed)
    while table.fits(POINTS * EPISODES, spare=int(FRESH * budget)):
        table.ask(_straddling(table, rng))
    drawn = np.concatenate([_prior(rng, DRAWN, size), table.severities])
    predicted, _ = _predict(table, drawn)
    return _judge(table, drawn, predicted, _near_half(drawn, predicted), confidence)


def sample_uniformly(size: int, fails: Fails, *, budget: int, seed: int, confidence: float = 0.95) -> Finding:
    """The baseline: as many episodes at points drawn uniformly, and the nearest that fail judged alike."""
    table = _Table(size, fails, budget)
    rng = np.random.default_rng([seed, 2])
    while table.fits(POINTS * EPISODES, spare=int(FRESH * budget)):
        table.ask(rng.random((POINTS, size)))
    boundary = _near_half(table.severities, table.rates)
    return _judge(table, table.severities, table.rates, boundary, confidence)


class _Table:
    """Points that were tried, with their failures; numbers its episodes from 0 on, each round with new ones."""

    def __init__(self, size: int, fails: Fails, budget: int) -> None:
        if size < 1 or budget < 10 * POINTS * EPISODES:
            raise ConfigError(
                f"a search over {size} faults with {budget} episodes is impossible: it needs a fault and at least "
                f"{10 * POINTS * EPISODES} episodes (job.budget)"
            )
        self.fails, self.budget = fails, budget
        self.severities: Array = np.zeros((0, size))
        self.failures: Array = np.zeros(0, int)
        self.episodes = self.failed_episodes = self.next_number = 0

    @property
    def rates(self) -> Array:
        """(P,) failure rate of each point that was tried while searching."""
        return self.failures / EPISODES

    def fits(self, episodes: int, spare: int = 0) -> bool:
        """Whether so many more episodes leave ``spare`` of the budget."""
        return self.episodes + episodes <= self.budget - spare

    def roll(self, points: Array, count: int) -> Array:
        """(P,) failures in ``count`` new episodes, the same for every point."""
        numbers = range(self.next_number, self.next_number + count)
        failures: Array = np.asarray(self.fails(points, numbers)).reshape(len(points), count).sum(1)
        self.next_number += count
        self.episodes += count * len(points)
        self.failed_episodes += int(failures.sum())
        return failures

    def ask(self, points: Array) -> Array:
        """(P,) failure rates of new points, which are kept."""
        failures = self.roll(points, EPISODES)
        self.severities = np.concatenate([self.severities, points])
        self.failures = np.concatenate([self.failures, failures])
        return failures / EPISODES


def _approach(table: _Table, budget: int, seed: int) -> None:
    """Go to the nearest failing region by CMA-ES."""
    from cmaes import CMA

    size = table.severities.shape[1]
    bounds = np.tile([0.0, 1.0], (size, 1))
    # One dimension is none for the library; a second one that nothing depends on does no harm.
    search = CMA(
        np.full(max(size, 2), HALF),
        0.3,
        bounds=np.resize(bounds, (max(size, 2), 2)),
        seed=(seed + 1) % 2**32,  # the library takes 32 bits
        population_size=POINTS,
    )
    while table.episodes + POINTS * EPISODES <= budget:
        asked = [search.ask() for _ in range(POINTS)]
        points = np.array(asked)[:, :size]
        search.tell(
            [(one, cost(point, rate)) for one, point, rate in zip(asked, points, table.ask(points), strict=True)]
        )


def cost(point: Array, rate: float) -> float:
    """What is minimised: the squared distance of points that fail, and above all of those the want of failure.

    Feasible before infeasible (Deb, Computer Methods in Applied Mechanics and Engineering 2000).  Among points that
    never fail, the more severe are preferred: they lead on to failure.
    """
    if rate >= HALF:
        return float(point @ point)
    return len(point) + (HALF - rate) + HALF * (1 - float(point.mean()))


def _prior(rng: np.random.Generator, count: int, size: int) -> Array:
    """(count, size) severities from the half-normal prior of width one half, folded into 0..1."""
    folded: Array = np.abs(rng.normal(0, HALF, (count, size)))
    return np.where(folded > 1, rng.random((count, size)), folded)


def _predict(table: _Table, points: Array) -> tuple[Array, Array]:
    """(P,) predicted failure rates and their standard deviations, by a Gaussian process over what was tried."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    size = points.shape[1]
    smoothed = (table.failures + HALF) / (EPISODES + 1)
    kernel = ConstantKernel(0.25, (0.05, 2.0)) * RBF(np.full(size, 0.5), (0.15, 5.0))
    process = GaussianProcessRegressor(kernel, alpha=smoothed * (1 - smoothed) / EPISODES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a width at its bound: a fault that does not matter
        process.fit(table.severities, smoothed - HALF)
    mean, deviation = process.predict(points, return_std=True)
    return mean + HALF, deviation


def _straddling(table: _Table, rng: np.random.Generator) -> Array:
    """(POINTS, d) new points, likely ones first, where the rate is uncertain and near one half."""
    drawn = _prior(rng, DRAWN, table.severities.shape[1])
    predicted, deviation = _predict(table, drawn)
    order = np.argsort(np.abs(predicted - HALF) - 1.96 * deviation)
    return np.array(spaced(drawn[order], POINTS))


def spaced(points: Array, count: int) -> list[Array]:
    """The first ``count`` points of which none is near one before it; fewer where there are no more."""
    chosen: list[Array] = []
    for point in points:
        if len(chosen) < count and all(np.linalg.norm(point - other) >= APART for other in chosen):
            chosen.append(point)
    return chosen


def _near_half(points: Array, rates: Array) -> tuple[tuple[tuple[float, ...], float], ...]:
    """Up to ten points with rates near one half, the nearest to the origin first."""
    near = np.flatnonzero(np.abs(rates - HALF) <= 0.1)
    order = near[np.argsort(np.linalg.norm(points[near], axis=1))]
    rate_of = {tuple(points[place].tolist()): float(rates[place]) for place in order}
    return tuple((key, rate_of[key]) for key in (tuple(point.tolist()) for point in spaced(points[order], 10)))


def _judge(
    table: _Table,
    candidates: Array,
    predicted: Array,
    boundary: tuple[tuple[tuple[float, ...], float], ...],
    confidence: float,
) -> Finding:
    """Judge candidates on fresh episodes: for each aim the nearest to the origin, until one fails in half of them.

    One that fails is followed by the point a little nearer to the origin, as long as there is budget.
    """
    tried, failing = len(table.severities), int((table.rates >= HALF).sum())
    each = int(FRESH * table.budget) // len(AIMS)
    chosen, failures = None, 0
    for aim in AIMS:
        near = candidates[predicted >= aim]
        if chosen is None and not len(near):
            break
        point = near[np.argmin(np.linalg.norm(near, axis=1))] if chosen is None else NEARER * chosen
        failed = int(table.roll(point[None], each)[0])
        if failed >= HALF * each:
            chosen, failures = point, failed
        elif chosen is not None:
            break
    fresh = each if chosen is not None else 0
    return Finding(
        severities=None if chosen is None else tuple(chosen.tolist()),
        distance=None if chosen is None else math.dist(chosen, np.zeros(len(chosen))),
        failures=failures,
        fresh_episodes=fresh,
        interval=clopper_pearson(failures, fresh, 1 - (1 - confidence) / len(AIMS)) if fresh else (0.0, 1.0),
        boundary=boundary,
        points=tried,
        failing_points=failing,
        episodes=table.episodes,
        failed_episodes=table.failed_episodes,
    )
