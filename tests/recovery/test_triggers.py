"""What ``make verify WHAT=triggers`` draws and counts: the same budget, whatever is drawn beside it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import workbench as wb
from tests.verify.recoveries import Subject
from tests.verify.triggers import ALWAYS, MATCHED, MONITOR, PERIODIC, RANDOM, Ends, behind, looked_up, rows_of, triggers

UIDS = tuple(f"{number:04x}" for number in range(40))
LENGTHS = {uid: 16 + 8 * (number % 10) for number, uid in enumerate(UIDS)}
ALARMS = {uid: 8 for uid in UIDS[:12]}


def subject(early: dict[str, int], alarms: dict[str, int] = ALARMS) -> Subject:
    """Forty episodes of 16 to 88 control steps, a policy call every 8."""
    store = SimpleNamespace(
        number_of=UIDS.index,
        calls=lambda number, needs: SimpleNamespace(step=np.arange(0, LENGTHS[UIDS[number]], 8)),
        episodes={"perturbations": ["[]" if number % 4 == 0 else "[{}]" for number in range(len(UIDS))]},
    )
    made = SimpleNamespace(
        seed=3, store=store, alarms=lambda split="test": alarms if split == "test" else early,
        task=SimpleNamespace(deadline=100),
    )  # fmt: skip
    return cast(Subject, made)


def test_every_trigger_acts_as_often_as_the_monitor_once_an_episode_at_a_call_that_there_is() -> None:
    found = triggers(subject({"a": 30, "b": 41}), UIDS)
    assert {name: len(at) for name, at in found.items()} == {
        MONITOR: 12, RANDOM: 12, PERIODIC: 12, MATCHED: 12, ALWAYS: 40,
    }  # fmt: skip
    assert all(step % 8 == 0 and 0 <= step < LENGTHS[uid] for at in found.values() for uid, step in at.items())
    assert found[MONITOR] == ALARMS
    assert found[MATCHED].keys() == ALARMS.keys()
    assert found[RANDOM].keys() != ALARMS.keys()
    shared = found[RANDOM].keys() & found[MATCHED].keys()
    assert shared
    assert all(found[RANDOM][uid] == found[MATCHED][uid] for uid in shared), "one draw of the call for both"
    assert len(set(found[RANDOM].values())) > 3


def test_the_fixed_time_is_that_of_the_calibrate_split_and_falls_on_a_call_of_an_episode_that_still_runs() -> None:
    """The median of 30 and 41 is 35.5: the first call from there on is at 40.  Test alarms play no part."""
    for alarms in (ALARMS, dict.fromkeys(UIDS[:12], 0)):
        found = triggers(subject({"a": 30, "b": 41}, alarms), UIDS)[PERIODIC]
        assert set(found.values()) == {40}
        assert all(LENGTHS[uid] > 40 for uid in found)
    assert set(triggers(subject({}), UIDS)[PERIODIC].values()) == {0}
    few = triggers(subject({"a": 80}, dict.fromkeys(UIDS, 0)), UIDS)[PERIODIC]
    assert few == {uid: 80 for uid in UIDS if LENGTHS[uid] > 80}, "fewer, where fewer are running"


def test_what_is_drawn_of_an_episode_depends_on_nothing_but_the_episode() -> None:
    forth = triggers(subject({"a": 30}), UIDS)
    back = triggers(subject({"a": 30}), UIDS[::-1])
    assert {name: dict(at) for name, at in forth.items()} == {name: dict(at) for name, at in back.items()}
    some = triggers(subject({"a": 30}), UIDS[:20])
    assert some[MATCHED] == forth[MATCHED]


def test_calls_are_drawn_alike_over_the_whole_episode() -> None:
    """Of 40 episodes with 2 to 11 calls: places scaled to 0 .. 1 are uniform (Kolmogorov and Smirnov)."""
    at = triggers(subject({}, dict.fromkeys(UIDS, 0)), UIDS)[RANDOM]
    assert len(at) == 40
    places = sorted((at[uid] / 8 + 0.5) / (LENGTHS[uid] / 8) for uid in UIDS)
    assert max(abs(place - (n + 0.5) / 40) for n, place in enumerate(places)) < 1.36 / np.sqrt(40)


def table(arms: dict[str, list[int]], uids: tuple[str, ...], step: int) -> wb.CounterfactualTable:
    return wb.CounterfactualTable(
        uids=uids, deadline=100, horizon=200, factual=np.array([50, 0, 0, 0])[: len(uids)],
        waited=np.array([50, 150, 0, 0])[: len(uids)], episode=np.arange(len(uids)), step=np.full(len(uids), step),
        arms={name: np.array(won, np.int16)[:, None] for name, won in arms.items()},
        more_time={name: np.ones(len(uids), bool) for name in arms},
    )  # fmt: skip


def ends() -> Ends:
    """Four episodes, the first of them nominal; the head wins all but the nominal one from step 8, and one from 0."""
    uids = UIDS[:4]
    tables = [
        table({"placebo": [40, 0, 0, 120], "head": [0, 90, 110, 120]}, uids, 8),
        table({"placebo": [0] * 4, "head": [0, 0, 160, 0]}, uids, 0),
    ]
    calls = {MONITOR: dict.fromkeys(uids[1:], 8), RANDOM: dict.fromkeys(uids[:3], 0)}
    return looked_up(subject({}), uids, calls, tables, ["placebo", "head"])


def test_where_nobody_acts_an_episode_ends_as_it_did_or_with_more_time() -> None:
    found = ends()
    assert found.nominal.tolist() == [True, False, False, False]
    assert found.in_time["nobody", "nobody"].tolist() == [True, False, False, False]
    assert found.to_horizon["nobody", "nobody"].tolist() == [True, True, False, False]
    assert found.in_time[MONITOR, "head"].tolist() == [True, True, False, False]
    assert found.to_horizon[MONITOR, "head"].tolist() == [True, True, True, True]
    assert found.to_horizon[RANDOM, "head"].tolist() == [False, False, True, False]


def test_gains_over_the_monitor_are_of_all_episodes_under_faults() -> None:
    rows = {(row.trigger, row.arm): row for row in rows_of(ends())}
    found = rows[RANDOM, "head"]
    assert (found.acted, found.nominal_acted, found.in_time, found.to_horizon, found.faulty) == (3, 1, 0, 1, 3)
    assert found.over_monitor is not None
    assert (found.over_monitor.only_arm, found.over_monitor.only_control, found.over_monitor.pairs) == (0, 2, 3)
    assert found.over_monitor.gain == pytest.approx(-2 / 3)
    assert (found.broken, found.won, found.nominal) == (1, 0, 1)
    assert rows[MONITOR, "head"].over_monitor is None
    over = rows[MONITOR, "head"].over_placebo
    assert over is not None
    assert (over.only_arm, over.only_control) == (2, 0)
    assert rows[RANDOM, "placebo"].p_value is None, "no recovery"
    assert not behind(found), "two pairs show nothing"


def test_a_trigger_is_behind_where_the_corrected_test_shows_it() -> None:
    nominal, won = np.zeros(40, bool), np.ones(40, bool)
    arms: dict[tuple[str, str], Any] = {
        ("nobody", "nobody"): ~won, **{(name, arm): won for name in (MONITOR, RANDOM) for arm in ("placebo", "head")},
    }  # fmt: skip
    found = Ends(nominal, {MONITOR: won, RANDOM: won}, arms, arms | {(RANDOM, "head"): ~won})
    rows = {(row.trigger, row.arm): row for row in rows_of(Ends.joined([found, found]))}
    assert rows[RANDOM, "head"].acted == 80
    assert behind(rows[RANDOM, "head"])
    better = Ends(nominal, found.acted, arms, arms | {(MONITOR, "head"): ~won})
    assert not any(map(behind, rows_of(better))), "ahead is not behind"
