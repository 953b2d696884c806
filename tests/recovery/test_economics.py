"""The operating rule and pilot studies, against enumeration of every study there can be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial

from workbench.errors import ConfigError
from workbench.recovery.economics import Rates, chances, episodes_for_power, operating_rule, pilot

PAPER = Rates(failure_rate=0.89, rescue=0.12, disruption=0.56)
"""The pilot of 50 in arXiv 2602.03338: ALFWorld, from which it concludes that one should intervene."""


def pairs(both_failed=0, rescued=0, broken=0, both_succeeded=0):
    """Episodes without and with the intervention, by how many there are of each kind."""
    counts = both_failed, rescued, broken, both_succeeded
    return np.repeat([False, False, True, True], counts), np.repeat([False, True, False, True], counts)


def test_the_rule_is_the_sign_of_what_is_gained():
    random = np.random.default_rng(0)
    for _ in range(300):
        counts = random.integers(0, 12, 4)
        if not counts[1:3].any():
            continue
        rates = operating_rule(*pairs(*counts)).rates
        assert rates.gain == pytest.approx((counts[1] - counts[2]) / counts.sum())
        assert np.sign(np.round(rates.failure_rate - rates.break_even, 9)) == np.sign(counts[1] - counts[2]), counts


def test_it_gives_the_paper_back():
    assert PAPER.break_even == pytest.approx(0.82, abs=0.005)
    assert PAPER.gain == pytest.approx(0.045, abs=0.0005)
    rule = operating_rule(*pairs(both_failed=40, rescued=5, broken=3, both_succeeded=2))
    assert (rule.failures, rule.rescued, rule.successes, rule.broken) == (45, 5, 5, 3)
    assert rule.says == "cannot be told"
    assert rule.rates.failure_rate > rule.rates.break_even


def test_a_verdict_comes_from_counts_alone():
    assert operating_rule(*pairs(rescued=6)).says == "help"
    assert operating_rule(*pairs(rescued=5)).says == "cannot be told"
    assert operating_rule(*pairs(broken=6, both_failed=50)).says == "harm"
    nothing = operating_rule(*pairs(both_failed=3, both_succeeded=4))
    assert (nothing.says, nothing.share, nothing.p_value, nothing.episodes_needed) == (
        "cannot be told",
        None,
        1.0,
        None,
    )
    assert nothing.rates.break_even is None


@pytest.mark.parametrize("rescued", [0, 1, 3, 7, 12])
@pytest.mark.parametrize("broken", [0, 2, 5, 9])
def test_the_interval_and_the_exact_test_agree(rescued, broken):
    rule = operating_rule(*pairs(10, rescued, broken, 10))
    assert (rule.says != "cannot be told") == (rule.p_value < 0.05)


def test_a_verdict_is_rarely_wrong():
    """Over all studies of 24 episodes: where nothing is gained it is said in at most 5 %, the wrong sign in 2.5 %."""
    says = {
        (rescued, broken): operating_rule(*pairs(24 - rescued - broken, rescued, broken)).says
        for rescued in range(25)
        for broken in range(25 - rescued)
    }

    def said_of(rescued, broken):
        found = dict.fromkeys(("help", "harm", "cannot be told"), 0.0)
        law = multinomial(24, [rescued, broken, 1 - rescued - broken])
        for (first, second), said in says.items():
            found[said] += law.pmf([first, second, 24 - first - second])
        return found

    for share in (0.02, 0.1, 0.3, 0.5):
        equal = said_of(share, share)
        assert equal["help"] + equal["harm"] <= 0.05
        assert said_of(share, 0.9 * share)["harm"] <= 0.025
        assert said_of(0.9 * share, share)["help"] <= 0.025
    assert said_of(0.7, 0.02)["help"] > 0.99


@pytest.mark.parametrize("rescue", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("disruption", [0.05, 0.3])
def test_a_verdict_for_another_failure_rate_is_rarely_wrong(rescue, disruption):
    """Over all studies of 16 failures and 14 successes, at failure rates on both sides of the one that breaks even."""
    rules = [
        (operating_rule(*pairs(16 - r, r, d, 14 - d)), binom.pmf(r, 16, rescue) * binom.pmf(d, 14, disruption))
        for r in range(17)
        for d in range(15)
    ]
    even = disruption / (rescue + disruption)
    for failure_rate in (even, 0.5 * even, even + 0.5 * (1 - even)):
        truth = np.sign(np.round(failure_rate - even, 9))
        wrong = {1: ("harm",), -1: ("help",), 0: ("help", "harm")}[truth]
        assert sum(chance for rule, chance in rules if rule.says_at(failure_rate) in wrong) <= 0.05
    assert sum(chance for rule, chance in rules if rule.says_at(1.0) == "harm") == 0


def test_other_failure_rates_move_the_verdict():
    rule = operating_rule(*pairs(both_failed=20, rescued=80, broken=10, both_succeeded=90))
    assert [rule.says_at(rate) for rate in (0.01, 0.11, 0.5)] == ["harm", "cannot be told", "help"]
    low, high = rule.break_even_ci95
    assert low < rule.rates.break_even < high


def by_brute_force(rates, episodes, level):
    """Chances from every number of rescued and broken episodes, with the library's own exact test."""
    found = dict.fromkeys(("helps", "harms", "ties", "proves_help", "proves_harm"), 0.0)
    law = multinomial(episodes, [rates.rescued, rates.broken, 1 - rates.rescued - rates.broken])
    for rescued in range(episodes + 1):
        for broken in range(episodes + 1 - rescued):
            chance = law.pmf([rescued, broken, episodes - rescued - broken])
            sign = "helps" if rescued > broken else "harms" if broken > rescued else "ties"
            found[sign] += chance
            turned = rescued + broken
            if turned and binomtest(rescued, turned).pvalue <= level:
                found["proves_help" if rescued > broken else "proves_harm"] += chance
    return found


@pytest.mark.parametrize(
    "rates", [PAPER, Rates(0.3, 0.7, 0.1), Rates(0.2, 0.3, 0.3), Rates(1.0, 0.4, 0.0), Rates(0.5, 0.0, 0.0)]
)
@pytest.mark.parametrize(("episodes", "level"), [(1, 0.05), (14, 0.05), (21, 0.0625), (20, 0.2)])
def test_a_pilot_is_what_enumeration_says(rates, episodes, level):
    found, wanted = chances(rates, episodes, level), by_brute_force(rates, episodes, level)
    assert {name: getattr(found, name) for name in wanted} == pytest.approx(wanted, abs=1e-11)


def test_the_paper_s_pilot_had_little_power():
    found = pilot(0.89, 0.12, 0.56)
    assert found == chances(PAPER, 50)
    assert found.episodes_for_power == episodes_for_power(PAPER)
    assert (found.right, found.wrong, found.ties) == pytest.approx((0.73, 0.17, 0.10), abs=0.005)
    assert found.power == pytest.approx(0.058, abs=0.001)
    assert chances(PAPER, 606).power == pytest.approx(0.75, abs=0.005)


def test_a_pilot_of_what_harms_is_right_to_say_so():
    harmful = Rates(0.2, 0.1, 0.5)
    found = chances(harmful, 60)
    assert harmful.gain < 0
    assert (found.right, found.power) == (found.harms, found.proves_harm)
    nothing = chances(Rates(0.5, 0.2, 0.2), 60)
    assert (nothing.right, nothing.power) == (nothing.ties, 0.0)
    assert nothing.wrong == pytest.approx(1 - nothing.ties)


@pytest.mark.parametrize("rates", [PAPER, Rates(0.2, 0.1, 0.5), Rates(0.3, 0.7, 0.1), Rates(1.0, 1.0, 0.0)])
def test_so_many_episodes_have_the_power_and_all_larger_studies_too(rates):
    found = episodes_for_power(rates)
    assert all(chances(rates, episodes).power >= 0.8 for episodes in range(found, found + 60))
    assert chances(rates, found - 1).power < 0.8


@pytest.mark.parametrize("failure_rate", [0.6, 0.64, 0.68, 0.72, 0.76, 0.8, 0.84, 0.88, 0.92])
def test_power_goes_up_and_down_so_the_last_that_fails_counts(failure_rate):
    """Every episode is turned here, so the number of discordant pairs is no chance that would smooth it."""
    rates = Rates(failure_rate, rescue=1.0, disruption=1.0)
    reached = [chances(rates, episodes).power >= 0.8 for episodes in range(400)[1:]]
    first, last = reached.index(True) + 1, 399 - reached[::-1].index(False)
    assert first <= last + 1
    assert episodes_for_power(rates) == last + 1


def test_no_study_tells_what_is_not_there():
    assert episodes_for_power(Rates(0.5, 0.2, 0.2)) is None
    assert episodes_for_power(Rates(0.5, 0.2001, 0.2)) is None
    assert episodes_for_power(Rates(0.5, 0.0, 0.0)) is None


def test_what_is_no_share_is_refused():
    with pytest.raises(ConfigError, match=r"rescue=1\.2 must lie between 0 and 1"):
        Rates(0.5, 1.2, 0.1)
    with pytest.raises(ConfigError, match=r"failure_rate=nan"):
        operating_rule(*pairs(1, 1, 1, 1)).says_at(float("nan"))
    with pytest.raises(ConfigError, match="pairs of episodes"):
        operating_rule(np.ones(3), np.ones(4))
    with pytest.raises(ConfigError, match="at least 1 episode"):
        chances(PAPER, 0)
    with pytest.raises(ConfigError, match=r"power=1 must"):
        episodes_for_power(PAPER, power=1)


def test_records_are_plain():
    record = operating_rule(*pairs(both_failed=20, rescued=80, broken=10, both_succeeded=90)).record()
    assert record["share_ci95"][0] < record["share"] < record["share_ci95"][1]
    assert (record["says"], record["gain"]) == ("help", pytest.approx(0.35))
    assert chances(PAPER, 50).record()["power"] == chances(PAPER, 50).power
