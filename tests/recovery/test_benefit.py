"""Net benefit by look-up against loops over every episode, threshold, call and branch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.synthetic import write_store
from workbench.benchmarking.figures import figure
from workbench.benchmarking.judged import JudgedEpisode
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.monitoring.fitting import fit
from workbench.monitoring.reading import offline
from workbench.recovery.benefit import Outcomes, Terms, first_alarms, net_benefit, recommended_threshold
from workbench.recovery.ranking import margins, rank_detectors
from workbench.store import Store

DEADLINE, ALLOWED, HORIZON = 40, 60, 80
TERMS = Terms("head", deadline=DEADLINE, allowed=ALLOWED)


def drawn(number, seed=0, weight=1.0):
    """An episode with calls every four steps, two arms of three branches each, some of them not run."""
    random = np.random.default_rng([seed, number])
    success = bool(random.random() < 0.5)
    length = int(random.integers(12, DEADLINE)) if success else DEADLINE
    step = np.arange(0, length, 4)

    def arm(rate):
        by = np.where(random.random((len(step), 3)) < rate, step[:, None] + random.integers(1, 50, (len(step), 3)), 0)
        by[by > HORIZON] = 0
        by[:, 2][random.random(len(step)) < 0.3] = -1
        return by.astype(np.int16)

    arms = {"placebo": arm(0.4 + 0.4 * success), "head": arm(0.7)}
    return Outcomes(f"e{seed}:{number}", step, success, length, arms, HORIZON, weight)


def curve_of(episode, seed, skill=1.0):
    """A score that rises for failures by its skill."""
    random = np.random.default_rng([seed, int(episode.uid.split(":")[1])])
    return random.normal(size=len(episode.step)) + skill * (not episode.success)


def episodes_of(size, seed=0):
    episodes = [drawn(number, seed) for number in range(size)]
    return episodes, [curve_of(episode, seed + 1) for episode in episodes]


def by_loops(episodes, curves, threshold, terms):
    """Net benefit over both references, episode by episode and branch by branch."""
    totals, weight = [0.0, 0.0], 0.0
    for episode, curve in zip(episodes, curves, strict=True):
        weight += episode.weight
        for call, score in enumerate(curve):
            if score > threshold:
                arms = (episode.succeeded_by[name][call] for name in (terms.arm, "placebo"))
                arm, placebo = ([by for by in each if by >= 0] for each in arms)
                for place, until in enumerate((terms.deadline, terms.allowed)):
                    shares = [np.mean([0 < by <= until for by in each]) for each in (arm, placebo)]
                    totals[place] += episode.weight * (shares[0] - shares[1])
                break
    return [100 * total / weight for total in totals]


def test_by_hand():
    """The alarm at step 4: head wins one of two by the deadline and both by 60, placebo both, but only by 60."""
    lost = Outcomes("a", np.array([0, 4]), False, 40, {
        "placebo": np.array([[0, 0], [50, 50]]), "head": np.array([[30, 40], [39, 41]])
    }, HORIZON)  # fmt: skip
    won = Outcomes("b", np.array([0]), True, 4, {"placebo": np.array([[4]]), "head": np.array([[0]])}, HORIZON)
    curve = net_benefit(
        [lost, won], [np.array([0.0, 2.0]), np.array([1.0])], TERMS, thresholds=[-np.inf, 0.5, 1.5, 2.0]
    )
    assert [row.over_redraw.value for row in curve.rows] == [0.0, -25.0, 25.0, 0.0]
    assert [row.over_placebo.value for row in curve.rows] == [0.0, -50.0, 0.0, 0.0]
    assert [row.alarmed_failures for row in curve.rows] == [1, 1, 1, 0]
    assert [row.alarmed_successes for row in curve.rows] == [1, 1, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_every_threshold_is_what_loops_say(seed):
    episodes, curves = episodes_of(25, seed)
    episodes = [dataclasses.replace(episode, weight=1 + number % 3) for number, episode in enumerate(episodes)]
    found = net_benefit(episodes, curves, TERMS)
    assert found.rows[0].threshold == -np.inf
    assert found.rows[0].alarmed_failures == found.rows[0].alarmed_successes == 1
    assert found.rows[-1].alarmed_failures == found.rows[-1].alarmed_successes == 0
    for row in found.rows:
        wanted = by_loops(episodes, curves, row.threshold, TERMS)
        assert [row.over_redraw.value, row.over_placebo.value] == pytest.approx(wanted, abs=1e-9)
    between = [by_loops(episodes, curves, threshold, TERMS)[1] for threshold in np.linspace(-4, 5, 400)]
    assert found.best().over_placebo.value >= max(between) - 1e-9


def test_always_is_the_first_call_even_of_what_no_number_is_below():
    assert first_alarms([np.array([-np.inf, 1.0])], np.array([-np.inf, 0.0, 1.0])).tolist() == [[0], [1], [-1]]


def test_the_clock_is_a_score_like_any_other():
    episodes, _ = episodes_of(30)
    found = net_benefit(episodes, [episode.step for episode in episodes], TERMS, thresholds=[-np.inf, 15])
    late = [episode for episode in episodes if episode.length > 16]
    worth = [TERMS.gains(episode)["placebo"][4] for episode in late]
    assert found.rows[1].over_placebo.value == pytest.approx(100 * sum(worth) / 30)
    always = np.mean([TERMS.gains(episode)["placebo"][0] for episode in episodes])
    assert found.rows[0].over_placebo.value == pytest.approx(100 * always)


def test_time_is_total_time():
    """Arm and reference have the same: the deadline beside the redraw, what is allowed beside the placebo."""
    (episode,) = [drawn(3)]
    short = dataclasses.replace(TERMS, deadline=20)
    assert np.array_equal(short.gains(episode)["placebo"], TERMS.gains(episode)["placebo"])
    assert not np.array_equal(short.gains(episode)["redraw"], TERMS.gains(episode)["redraw"])
    longer = dataclasses.replace(TERMS, allowed=HORIZON)
    assert np.array_equal(longer.gains(episode)["redraw"], TERMS.gains(episode)["redraw"])
    assert not np.array_equal(longer.gains(episode)["placebo"], TERMS.gains(episode)["placebo"])
    equal = Terms("head", DEADLINE, DEADLINE).gains(episode)
    assert np.array_equal(equal["redraw"], equal["placebo"])
    assert not Terms("placebo", DEADLINE, ALLOWED).gains(episode)["placebo"].any()


def test_intervals_are_over_episodes():
    episodes, curves = episodes_of(400)
    (row,) = net_benefit(episodes, curves, TERMS, thresholds=[0.8]).rows
    worth = np.array([
        TERMS.gains(episode)["placebo"][np.argmax(curve > 0.8)] if (curve > 0.8).any() else 0.0
        for episode, curve in zip(episodes, curves, strict=True)
    ])  # fmt: skip
    half = 196 * worth.std(ddof=1) / np.sqrt(len(worth))
    assert row.over_placebo.value == pytest.approx(100 * worth.mean())
    assert row.over_placebo.high - row.over_placebo.low == pytest.approx(2 * half, rel=0.12)
    assert row.over_placebo.low < row.over_placebo.value < row.over_placebo.high


def test_many_candidates_are_thinned():
    episodes, curves = episodes_of(400)
    found = net_benefit(episodes, curves, TERMS)
    thresholds = [row.threshold for row in found.rows]
    assert len(found.rows) == 202
    assert thresholds == sorted(thresholds)
    assert len(found.table()) == 202


def test_the_recommended_threshold_is_chosen_on_some_episodes_and_judged_on_others():
    choosing, choosing_curves = episodes_of(60, 5)
    judging, judging_curves = episodes_of(60, 6)
    found = recommended_threshold(choosing, choosing_curves, judging, judging_curves, TERMS, given=1.0)
    best = net_benefit(choosing, choosing_curves, TERMS).best()
    assert found.threshold == best.threshold == found.chosen.threshold
    assert found.chosen.over_placebo == best.over_placebo
    others = net_benefit(judging, judging_curves, TERMS, thresholds=[-np.inf, 1.0, best.threshold]).rows
    by_threshold = {row.threshold: row for row in others}
    for mine, threshold in ((found.judged, best.threshold), (found.given, 1.0), (found.always, -np.inf)):
        assert mine.over_redraw == pytest.approx(by_threshold[threshold].over_redraw)
        assert mine.alarmed_failures == by_threshold[threshold].alarmed_failures
    clock = net_benefit(choosing, [episode.step for episode in choosing], TERMS).best().threshold
    (timed,) = net_benefit(judging, [episode.step for episode in judging], TERMS, thresholds=[clock]).rows
    assert found.clock.over_placebo == pytest.approx(timed.over_placebo)
    for name, other in (("given", found.given), ("always", found.always), ("clock", found.clock)):
        ahead = found.judged.over_placebo.value - other.over_placebo.value
        assert found.ahead[name].value == pytest.approx(ahead)
        assert found.ahead[name].low <= ahead <= found.ahead[name].high
    assert [row["name"] for row in found.rows_of_table()] == [
        "where it was chosen", "recommended", "given", "always", "clock",
    ]  # fmt: skip


def test_never_is_recommended_where_no_alarm_is_worth_anything():
    harmful = [
        dataclasses.replace(each, succeeded_by={**each.succeeded_by, "head": np.zeros((len(each.step), 1), int)})
        for each in episodes_of(30, 1)[0]
    ]
    curves = [curve_of(episode, 2) for episode in harmful]
    found = recommended_threshold(harmful[:15], curves[:15], harmful[15:], curves[15:], TERMS)
    assert found.threshold == np.inf
    assert found.judged.over_placebo.value == 0
    assert found.always.over_placebo.value < 0
    assert found.given is None
    assert found.judged.record()["threshold"] is None


def detectors(episodes):
    """Curves by detector, from blind to clear-sighted, and the clock."""
    skilled = {f"skill {skill:g}": [curve_of(each, 7, skill) - 1.5 for each in episodes] for skill in (0, 0.7, 1.5, 4)}
    return {**skilled, "elapsed": [each.step - 17.0 for each in episodes]}


def test_detectors_are_ranked_beside_their_auroc():
    episodes, _ = episodes_of(80, 3)
    curves = detectors(episodes)
    found = rank_detectors(episodes, curves, TERMS)
    worth = [row.benefit.over_placebo.value for row in found.rows]
    assert worth == sorted(worth, reverse=True)
    assert {row.benefit.name for row in found.rows} == {*curves, "always"}
    rows = {row.benefit.name: row for row in found.rows}
    for name, each in curves.items():
        judged = [
            JudgedEpisode(curve, episode.step, episode.length, episode.success, False, -1, -1, DEADLINE, episode.uid)
            for episode, curve in zip(episodes, each, strict=True)
        ]
        for mine, metric in ((rows[name].auroc, "auroc@0.5"), (rows[name].matched_auroc, "matched_auroc@0.5")):
            assert mine.value == pytest.approx(figure({0: judged}, metric, resamples=0)["value"]), name
        assert [rows[name].benefit.over_redraw.value, rows[name].benefit.over_placebo.value] == pytest.approx(
            by_loops(episodes, each, 0.0, TERMS)
        )
    assert rows["elapsed"].matched_auroc.value == 0.5
    assert rows["elapsed"].matched_auroc == pytest.approx((0.5, 0.5, 0.5))
    assert rows["always"].auroc.value == 0.5
    assert rows["always"].benefit.over_placebo.value == pytest.approx(
        by_loops(episodes, curves["elapsed"], -99, TERMS)[1]
    )
    areas = [rows[name].matched_auroc.value for name in curves]
    benefits = [rows[name].benefit.over_redraw.value for name in curves]
    assert found.spearman["matched_auroc and redraw"].value == pytest.approx(spearmanr(areas, benefits).statistic)
    assert set(found.spearman) == {
        f"{kind} and {over}" for kind in ("auroc", "matched_auroc") for over in ("redraw", "placebo")
    }
    assert len(found.table()) == 6
    assert found.record()["terms"]["allowed"] == ALLOWED


def test_a_better_auroc_can_be_worth_less():
    """Failures that only an early alarm can save: the surer a detector waits to be, the less its alarms are worth."""
    episodes = []
    for number in range(60):
        failed, step = number % 2 == 0, np.arange(0, 40, 4)
        head = np.where((step < 8) | (not failed), 39, 0)[:, None]
        placebo = np.full((10, 1), 0 if failed else 39)
        arms = {"head": head, "placebo": placebo}
        episodes.append(Outcomes(f"x:{number}", step, not failed, 40 if failed else 39, arms, HORIZON))
    curves = {}
    for place, (name, sure_from) in enumerate((("early", 4), ("later", 8), ("late", 12))):
        noise = np.random.default_rng(place).normal(size=60) * (2, 0.7, 0)[place]
        curves[name] = [
            np.where(episode.step >= sure_from, 1.0 * (not episode.success) + noise[number], -9.0)
            for number, episode in enumerate(episodes)
        ]
    found = rank_detectors(episodes, curves, TERMS, thresholds={"early": 0.2})
    assert found.spearman["auroc and placebo"].value < 0
    assert found.rows[0].benefit.name == "always"
    assert found.rows[0].benefit.over_placebo.value == 50
    assert {row.benefit.name: row.benefit.over_placebo.value for row in found.rows}["late"] == 0


def test_monitors_of_a_store_are_ranked_by_their_own_margins(tmp_path):
    store = Store.open(write_store(tmp_path / "s.zarr", counts={"fit": 8, "select": 2, "calibrate": 12, "test": 8}))
    monitors = fit(store, ["mahalanobis", "entropy", "elapsed"], ["split_conformal"], level=0.3).monitors
    numbers = [number for number in range(len(store)) if store.episodes["split"][number] == "test"]
    arms = {"placebo": 0, "head": 40}
    episodes = []
    for number in numbers:
        step, rows = store.calls(number).step, store.episodes
        success, length = rows["success"][number], rows["length"][number]
        succeeded_by = {arm: np.full((len(step), 1), by) for arm, by in arms.items()}
        episodes.append(Outcomes(store.uids[number], step, bool(success), int(length), succeeded_by, 48))
    found = rank_detectors(episodes, margins(store, monitors, episodes), Terms("head", deadline=48, allowed=48))
    for row in found.rows[1:]:
        (monitor,) = [each for each in monitors if each.name == row.benefit.name]
        readings = offline([monitor], [store.calls(number) for number in numbers])[monitor.name]
        alarmed = np.mean([reading.alarm.any() for reading in readings])
        assert row.benefit.over_placebo.value == pytest.approx(100 * alarmed)
    assert (found.rows[0].benefit.name, found.rows[0].benefit.over_placebo.value) == ("always", 100)
    moved = dataclasses.replace(episodes[0], step=episodes[0].step + 1)
    with pytest.raises(StoreError, match="has other policy calls in"):
        margins(store, monitors, [moved])


def test_two_detectors_have_no_rank_correlation():
    episodes, _ = episodes_of(20, 3)
    curves = dict(list(detectors(episodes).items())[:2])
    assert set(rank_detectors(episodes, curves, TERMS).spearman.values()) == {(None, None, None)}


def test_what_cannot_be_judged_is_refused():
    episodes, curves = episodes_of(20)
    with pytest.raises(ConfigError, match="branched until control step 80: success by 90 is not known"):
        net_benefit(episodes, curves, Terms("head", 40, 90))
    with pytest.raises(ConfigError, match="allowed=30 control steps in all must be at least deadline=40"):
        Terms("head", 40, 30)
    with pytest.raises(UnknownNameError, match=r"unknown arm of episode e0:0 'had'.*head"):
        net_benefit(episodes, curves, Terms("had", 40, 60))
    with pytest.raises(ConfigError, match="a monitor without threshold has no net benefit"):
        net_benefit(episodes, [np.full(len(curve), np.nan) for curve in curves], TERMS)
    with pytest.raises(ConfigError, match="one number for every policy call"):
        net_benefit(episodes, curves[::-1], TERMS)
    with pytest.raises(ConfigError, match="one number for every policy call"):
        net_benefit(episodes, curves[:-1], TERMS)
    with pytest.raises(ConfigError, match="at least two, each of them once"):
        net_benefit(episodes[:1] * 2, curves[:1] * 2, TERMS)
    with pytest.raises(ConfigError, match=r"not on e0:\d+ too"):
        recommended_threshold(episodes, curves, episodes[3:], curves[3:], TERMS)
    failures = [episode for episode in episodes if not episode.success]
    with pytest.raises(ConfigError, match="one of the two is missing"):
        rank_detectors(failures, {"m": [episode.step for episode in failures]}, TERMS)
    with pytest.raises(ConfigError, match="always is added"):
        rank_detectors(episodes, {"always": curves}, TERMS)
    with pytest.raises(UnknownNameError, match="unknown detector 'n'"):
        rank_detectors(episodes, {"m": curves}, TERMS, thresholds={"n": 1.0})


def test_a_call_from_which_nothing_was_run_is_refused_only_where_it_is_asked_for():
    episodes, curves = episodes_of(20)
    by = episodes[4].succeeded_by["head"].copy()
    by[1] = -1
    episodes[4] = dataclasses.replace(episodes[4], succeeded_by={**episodes[4].succeeded_by, "head": by})
    curves[4] = np.arange(len(curves[4]), dtype=float)
    assert net_benefit(episodes, curves, TERMS, thresholds=[-np.inf, 2.5]).rows[1].over_placebo.value is not None
    with pytest.raises(StoreError, match="episode e0:4 has an alarm at policy call 1, from which no arm was run"):
        net_benefit(episodes, curves, TERMS, thresholds=[0.5])
    short = dataclasses.replace(episodes[4], succeeded_by={"head": by[:-1], "placebo": by})
    with pytest.raises(StoreError, match="arm head"):
        net_benefit([*episodes[:4], short], curves[:5], TERMS)
