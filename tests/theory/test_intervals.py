"""How often intervals of a proportion hold it: every count enumerated, for n = 5 to 200 and p in steps of 1/2000."""

import functools

import numpy as np
import pytest
from scipy.stats import binom, norm

from workbench.stats.proportions import clopper_pearson, of_effective

P = np.arange(1, 2000) / 2000


def wilson(count, total):
    """Score interval (Wilson, JASA 1927), which success tables had before."""
    z, share = norm.ppf(0.975), count / total
    centre, half = share + z * z / (2 * total), z * np.sqrt(share * (1 - share) / total + (z / total) ** 2 / 4)
    return (centre - half) / (1 + z * z / total), (centre + half) / (1 + z * z / total)


def wald(count, total):
    """The textbook's interval, which is known to be wrong."""
    half = norm.ppf(0.975) * np.sqrt(count / total * (1 - count / total) / total)
    return count / total - half, count / total + half


@functools.cache
def coverage(interval, total):
    """P(the interval of a count out of ``total`` holds p), exactly, at every p of the grid."""
    # That of the other count is the mirror image, as the last test has it.
    half = np.array([interval(count, total) for count in range(total // 2 + 1)])
    low, high = np.concatenate([half, 1 - half[: (total + 1) // 2, ::-1][::-1]]).T
    first, last = np.searchsorted(high, P - 1e-12), np.searchsorted(low, P + 1e-12, side="right") - 1
    return binom.cdf(last, total, P) - binom.cdf(first - 1, total, P)


def figures(interval, totals):
    """Smallest and mean coverage of all totals."""
    held = [coverage(interval, total) for total in totals]
    return min(each.min() for each in held), np.mean(held)


def test_every_interval_of_clopper_and_pearson_holds_its_proportion():
    lowest, mean = figures(clopper_pearson, range(5, 201))
    assert lowest >= 0.95
    assert mean == pytest.approx(0.967, abs=0.001)


def test_wilsons_do_not():
    """And are better on average, which is no help where a task is nearly always or never solved."""
    lowest, mean = figures(wilson, range(5, 201))
    assert lowest == pytest.approx(0.8325, abs=0.0005)
    assert mean == pytest.approx(0.951, abs=0.001)
    assert figures(wilson, range(20, 101))[0] == pytest.approx(0.838, abs=0.001)
    assert figures(wald, range(20, 101))[0] < 0.1


@pytest.mark.parametrize("effective", [0.5, 3.7, 60.0])
def test_intervals_of_an_effective_number_of_episodes_are_monotone_and_hold_their_share(effective):
    shares = np.linspace(0, 1, 41)
    bounds = np.array([of_effective(share, effective) for share in shares])
    assert (np.diff(bounds, axis=0) >= 0).all()
    assert (bounds[:, 0] <= shares).all()
    assert (shares <= bounds[:, 1]).all()


@pytest.mark.parametrize("interval", [clopper_pearson, wilson, wald])
@pytest.mark.parametrize(("count", "total"), [(0, 5), (2, 5), (3, 7), (13, 40), (99, 200)])
def test_failures_have_the_mirror_image_of_the_interval_of_successes(interval, count, total):
    low, high = interval(count, total)
    assert interval(total - count, total) == pytest.approx((1 - high, 1 - low), abs=1e-9)
