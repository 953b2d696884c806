"""What an arm wins by how late it acts: each call dated by the labels of its own episode."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import workbench as wb
from tests.rollouts.test_guard import launch, monitor
from tests.toy import ToyExpert, ToyPolicy, ToyTask
from workbench.errors import ConfigError, OtherSettingsError, UnknownNameError
from workbench.policies.recovery.expert import Expert
from workbench.policies.recovery.placebo import Placebo
from workbench.recovery.dose import DoseRow, Moments, doses, every_call, window_names
from workbench.recovery.paired import Recovery
from workbench.recovery.tables import CounterfactualTable
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.store import Store
from workbench.types import Strategy

POINT, ONSET, LOST = 100, 60, 130
STEPS = (0, 49, 50, 59, 60, 79, 80, 99, 100, 101, 129, 130)
EPISODES = 20
LABELS = {f"e{number}": Moments(ONSET, POINT, LOST) for number in range(EPISODES)}


def table(wins_until: int = POINT) -> CounterfactualTable:
    """Failures alike: the arm wins before a control step and the placebo never; calls at ``STEPS``."""
    step = np.tile(STEPS, EPISODES)
    won = np.where(step < wins_until, 150, 0).astype(np.int16)[:, None]
    arms = {"placebo": np.zeros_like(won), "head": won, "expert": won, "continue": won, "ask": won}
    return CounterfactualTable(
        uids=tuple(LABELS), deadline=100, horizon=200, factual=np.zeros(EPISODES), waited=np.zeros(EPISODES),
        episode=np.repeat(np.arange(EPISODES), len(STEPS)), step=step, arms=arms,
        more_time={name: np.ones(len(step), bool) for name in arms},
    )  # fmt: skip


def by_group(rows: tuple[DoseRow, ...], arm: str = "head") -> dict[str, DoseRow]:
    return {row.group: row for row in rows if row.name == arm}


def at(step: int) -> dict[str, tuple[int]]:
    return dict.fromkeys(LABELS, (step,))


@pytest.mark.parametrize(
    ("step", "moment", "window", "lost"),
    [
        (0, "before the onset", "more than 50", None),
        (49, "before the onset", "more than 50", None),
        (50, "before the onset", "21 to 50", None),
        (59, "before the onset", "21 to 50", None),
        (60, "onset to point of no return", "21 to 50", None),
        (79, "onset to point of no return", "21 to 50", None),
        (80, "onset to point of no return", "1 to 20", None),
        (99, "onset to point of no return", "1 to 20", None),
        (100, "past the point of no return", "0 or less", "past it, not lost"),
        (129, "past the point of no return", "0 or less", "past it, not lost"),
        (130, "past the point of no return", "0 or less", "lost"),
    ],
)
def test_every_call_is_dated_to_the_step(step: int, moment: str, window: str, lost: str | None) -> None:
    """At the point of no return nothing is left: the expert wins from the step before, and fails from this one on."""
    rows = doses(table(), LABELS, at(step))
    assert {(row.by, row.group) for row in rows} == {
        ("moment", moment), ("window", window), *([("lost", lost)] if lost else []),
    }  # fmt: skip
    assert {row.name for row in rows} == {"head", "expert"}, "no control, and none that gives up"
    assert {row.median_left for row in rows} == {POINT - step}
    assert {row.episodes for row in rows} == {EPISODES}


def test_an_arm_that_wins_until_the_point_of_no_return_wins_in_every_window_before_it_and_in_none_behind() -> None:
    rows = by_group(doses(table(), LABELS, every_call(table())))
    gains = {group: (row.won, row.placebo, row.over_placebo.gain, row.episodes) for group, row in rows.items()}
    assert gains == {
        **{group: (20, 0, 1.0, 20) for group in ("before the onset", "onset to point of no return")},
        **{group: (20, 0, 1.0, 20) for group in ("more than 50", "21 to 50", "1 to 20")},
        **{group: (0, 0, 0.0, 20) for group in ("past the point of no return", "0 or less")},
        **{group: (0, 0, 0.0, 20) for group in ("past it, not lost", "lost")},
    }
    assert list(rows)[:3] == ["before the onset", "onset to point of no return", "past the point of no return"]
    assert list(rows)[-4:] == ["more than 50", "21 to 50", "1 to 20", "0 or less"]


@pytest.mark.parametrize("wins_until", [POINT - 1, POINT + 1])
def test_one_step_beside_the_point_of_no_return_shows(wins_until: int) -> None:
    """Of several calls of an episode in a window the last one counts: here those at 99, and at 100 alone."""
    calls = {uid: [step for step in STEPS if step <= POINT] for uid in LABELS}
    rows = by_group(doses(table(wins_until), LABELS, calls))
    assert rows["1 to 20"].won == (20 if wins_until > POINT else 0)
    assert rows["0 or less"].won == (20 if wins_until > POINT else 0)


def test_steps_are_counted_for_each_episode_by_its_own_labels() -> None:
    """The same control step is early in one episode and late in another; an onset may be missing."""
    labels = LABELS | {"e0": Moments(-1, 150), "e1": Moments(20, 70), "e2": Moments(0, 80)}
    rows = doses(table(), labels, {"e0": (79,), "e1": (79,), "e2": (79,), "e3": (79,)})
    assert {(row.group, row.median_left) for row in rows if row.name == "head"} == {
        ("before the point of no return, no onset", 71.0), ("more than 50", 71.0),
        ("past the point of no return", -9.0), ("0 or less", -9.0),
        ("onset to point of no return", 11.0), ("1 to 20", 1.0), ("21 to 50", 21.0),
    }  # fmt: skip


def test_p_values_are_corrected_for_all_rows_that_are_grouped_by_the_same() -> None:
    """Six pairs are shown by themselves (p = 0.03), and not where two arms are tried in three windows."""
    few = {uid: LABELS[uid] for uid in list(LABELS)[:6]}
    rows = doses(table(), few, dict.fromkeys(few, (0, 59, 99)))
    windows = [row for row in rows if row.by == "window"]
    assert {round(row.over_placebo.p_value, 5) for row in windows} == {0.03125}
    assert {round(row.p_vs_placebo, 5) for row in windows} == {round(6 * 0.03125, 5)}
    assert {round(row.p_vs_placebo, 5) for row in rows if row.by == "moment"} == {round(4 * 0.03125, 5)}


def test_windows_of_ones_own() -> None:
    assert window_names((50, 20, 0)) == ["more than 50", "21 to 50", "1 to 20", "0 or less"]
    assert window_names((8, 0, -8)) == ["more than 8", "1 to 8", "-7 to 0", "-8 or less"]
    rows = by_group(doses(table(), LABELS, every_call(table()), (8, 0, -8)))
    assert (rows["-7 to 0"].won, rows["-7 to 0"].median_left) == (0, -1.0)
    assert (rows["1 to 8"].won, rows["1 to 8"].median_left) == (20, 1.0)


HORIZON, POLICY = 80, ToyPolicy(lazy=0.4)
LAUNCHES = [launch(number, breaks=4 + 2 * number, rots=1000 if number % 3 else 0) for number in range(7)]
LAUNCHES += [launch(number, breaks=1000) for number in range(7, 14)]
ARMS: dict[str, Strategy] = {"placebo": Placebo(), "expert": Expert(ToyExpert(), steps=3)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Failures have a point of no return at 8, but for the first of them."""
    path = tmp_path / "a.zarr"
    write_episodes(path, Setup(ToyTask(), POLICY).header(0), Lockstep(ToyTask(), POLICY, 3), LAUNCHES)
    made = Store.open(path)
    failed = [uid for uid, won in zip(made.uids, made.episodes["success"], strict=True) if not won]
    made.annotate_many({uid: {"t_on": 4, "t_pnr": 8} for uid in failed[1:]})
    return Store.open(path)


def recovered(store: Store) -> Recovery:
    return wb.recover(store, monitor(1), cast(Mapping[str, Any], ARMS), ToyTask(), POLICY)


def test_recover_dates_its_first_alarms_and_says_what_it_left_out(store: Store) -> None:
    found = recovered(store)
    told, (expert,) = found.doses, [row for row in found.rows if row.name == "expert"]
    assert told.acted == expert.alarmed
    assert (told.succeeded, told.unlabelled) == (expert.kept[1], 1)
    windows = [row for row in told.rows if row.by == "window"]
    assert sum(row.episodes for row in windows) == told.acted - told.succeeded - told.unlabelled > 0
    assert told.silent == found.silent
    assert found.sections()["dose_response"] == told.record()
    assert len(told.table()) == len(told.rows)


def test_every_call_of_a_table_is_dated_by_the_same_function(store: Store) -> None:
    whole = wb.tabulate(store, cast(Mapping[str, Any], ARMS), ToyTask(), POLICY)
    everywhere = wb.dose_response(store, whole)
    alarms = recovered(store).doses
    assert (everywhere.acted, everywhere.silent) == (len(store), 0)
    assert {row.group for row in alarms.rows} <= {row.group for row in everywhere.rows}
    first = {uid: [steps[0]] for uid, steps in every_call(whole).items()}
    assert wb.dose_response(store, whole, first).rows[0].median_left == 8.0


def test_what_cannot_be_dated_is_refused(store: Store, tmp_path: Path) -> None:
    whole = wb.tabulate(store, cast(Mapping[str, Any], ARMS), ToyTask(), POLICY)
    for windows in ((), (0, 20), (20, 20)):
        with pytest.raises(ConfigError, match="must be falling control steps"):
            wb.dose_response(store, whole, windows=windows)
    with pytest.raises(ConfigError, match="no cell at step 3 of episode"):
        wb.dose_response(store, whole, {store.uids[0]: [3]})
    with pytest.raises(ConfigError, match="no cell at step 0 of episode 0000"):
        wb.dose_response(store, whole, {"0000": [0]})
    alone = dataclasses.replace(whole, arms={"expert": whole.arms["expert"]})
    with pytest.raises(UnknownNameError, match="placebo"):
        wb.dose_response(store, alone)
    other = tmp_path / "b.zarr"
    write_episodes(other, Setup(ToyTask(), POLICY).header(0), Lockstep(ToyTask(), POLICY, 3), LAUNCHES[:3])
    with pytest.raises(OtherSettingsError, match="take the table of"):
        wb.dose_response(Store.open(other), whole)
