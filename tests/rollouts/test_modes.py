"""Failure modes on arrays made by hand: what each definition says, and that none looks ahead."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from workbench.envs.robots.panda import PANDA
from workbench.rollouts import modes as definitions
from workbench.rollouts.modes import MODES, as_json, beginnings, failure_mode, lasting, latched, modes_of
from workbench.types import ROLES, Array, Robot

T = 60


@dataclass
class Hand:
    """A task of a hand with fingers whose predicates are called as their roles."""

    control_hz: float = 20.0
    deadline: int = 1000
    robot: Robot = PANDA
    commands_pose: bool = True
    roles: dict[str, str] = field(default_factory=lambda: {role: role for role in ROLES if not role.startswith("grip")})


def still(length: int = T, closed_from: int = 1000) -> dict[str, Array]:
    """A hand that creeps along above an object far from its target, so that nothing whatever is wrong."""
    time = np.arange(length, dtype=np.float64)
    row: dict[str, Any] = dict.fromkeys(ROLES, np.zeros(length))
    row |= {
        "hand_x": -0.2 + 0.002 * time, "hand_z": np.full(length, 0.1), "hand_object_distance": np.full(length, 0.3),
        "finger_gap": np.full(length, 0.08), "object_up": np.ones(length), "target_distance": np.full(length, 0.3),
    }  # fmt: skip
    action = np.zeros((length, 7))
    action[:, -1] = np.where(time >= closed_from, 1.0, -1.0)
    return {"action": action} | {f"predicates/{role}": np.array(values) for role, values in row.items()}


def rows_of(steps: dict[str, Array], mode: str, task: Any = None, **others: Any) -> list[int]:
    """Rows at which a mode is seen."""
    seen = modes_of(steps, task or Hand(), **others)
    assert seen.dtype == np.uint16
    assert seen.shape == (len(steps["action"]),)
    return np.flatnonzero(seen >> MODES.index(mode) & 1).tolist()


def anything(steps: dict[str, Array], task: Any = None) -> set[str]:
    return {mode for mode, _ in beginnings(modes_of(steps, task or Hand()))}


def grasp(steps: dict[str, Array], first: int, last: int, lifted_from: int | None = None) -> None:
    """Fingers told to close four rows before they hold the object; a little later it rises by 0.01 m a row."""
    rows = np.arange(len(steps["action"]))
    held = (rows >= first) & (rows < last)
    steps["predicates/held"][held] = 1.0
    steps["predicates/hand_object_distance"][rows >= first - 4] = 0.005
    steps["action"][(rows >= first - 4) & (rows < last), -1] = 1.0
    steps["predicates/finger_gap"][first - 4 : first] = 0.08 - 0.007 * np.arange(1, 5)
    steps["predicates/finger_gap"][rows >= first] = 0.052
    if lifted_from is not None:
        steps["predicates/height"] += np.clip((rows - lifted_from) * 0.01, 0, (last - 1 - lifted_from) * 0.01)


def fall(steps: dict[str, Array], first: int, by_m: float) -> None:
    """From row ``first`` the object falls by 0.02 m a row."""
    rows = np.arange(len(steps["action"]))
    steps["predicates/height"] -= np.clip((rows - first + 1) * 0.02, 0, by_m)


def test_nothing_is_seen_where_nothing_is_wrong():
    assert anything(still()) == set()
    steps = still()
    grasp(steps, 20, T, lifted_from=25)
    assert anything(steps) == set()


def test_a_missed_grasp_is_closed_fingers_that_have_stopped_near_the_object():
    steps = still(closed_from=20)
    steps["predicates/finger_gap"][20:31] = 0.08 - 0.007 * np.arange(1, 12)
    steps["predicates/finger_gap"][31:] = 0.003
    steps["predicates/hand_object_distance"][:] = 0.02
    # Row 30 is the last that moves them, so at row 32 they have stood still for two.
    assert rows_of(steps, "missed grasp") == list(range(32, T))
    steps["action"][50:, -1] = -1.0
    assert rows_of(steps, "missed grasp") == list(range(32, 50))
    away = {key: value.copy() for key, value in steps.items()}
    away["predicates/hand_object_distance"][:] = PANDA.fingers.near_m
    assert rows_of(away, "missed grasp") == []
    later = {key: value.copy() for key, value in steps.items()}
    later["predicates/held"][40] = 1.0
    assert rows_of(later, "missed grasp") == list(range(32, 40))


def test_fingers_that_do_not_obey_miss_too_but_not_at_once():
    steps = still(closed_from=20)
    steps["predicates/hand_object_distance"][:] = 0.02
    assert rows_of(steps, "missed grasp")[0] == 23
    steps["action"][22, -1] = -1.0
    assert rows_of(steps, "missed grasp")[0] == 26


def test_a_held_object_that_is_lost_while_the_fingers_close_slips_and_is_no_missed_grasp():
    steps = still()
    grasp(steps, 20, 30)
    steps["action"][30:45, -1] = 1.0
    assert rows_of(steps, "slip") == list(range(31, 45))
    assert rows_of(steps, "missed grasp") == []
    steps["action"][30:, -1] = -1.0  # told to open: let go
    assert rows_of(steps, "slip") == []


def test_a_pad_that_loses_touch_for_one_row_is_no_slip_and_a_brush_is_no_grasp():
    steps = still()
    grasp(steps, 20, T)
    steps["predicates/held"][30] = 0.0
    assert rows_of(steps, "slip") == []
    brush = still(closed_from=16)
    brush["predicates/held"][20:22] = 1.0
    assert rows_of(brush, "slip") == []


def test_an_object_that_moves_in_the_fingers_slips():
    steps = still()
    grasp(steps, 20, T)
    steps["predicates/hand_object_distance"][30:] += np.minimum(np.arange(1, T - 29) * 0.0021, 0.0105)
    assert rows_of(steps, "slip") == [32, 33, 34, 35, 36]  # more than 0.006 m since five rows before
    steps = still()
    grasp(steps, 20, T)
    steps["predicates/hand_object_distance"][30:] += np.minimum(np.arange(1, T - 29) * 0.001, 0.01)
    assert rows_of(steps, "slip") == []
    settling = still()
    grasp(settling, 20, T)
    settling["predicates/hand_object_distance"][20] = 0.015
    assert rows_of(settling, "slip") == []


@pytest.mark.parametrize("told", ["close", "open"])
def test_a_lifted_object_that_falls_away_from_its_target_is_dropped(told):
    steps = still()
    grasp(steps, 20, 40, lifted_from=25)
    fall(steps, 40, 0.14)
    steps["action"][40:, -1] = 1.0 if told == "close" else -1.0
    assert rows_of(steps, "drop") == list(range(40, T))
    assert rows_of(steps, "misplacement") == []
    again = {key: value.copy() for key, value in steps.items()}
    again["predicates/held"][50:] = 1.0
    assert rows_of(again, "drop") == list(range(40, 50))
    caught = {key: value.copy() for key, value in steps.items()}
    caught["predicates/at_target"][50:] = 1.0
    assert rows_of(caught, "drop") == list(range(40, 50))
    steps["predicates/at_target"][40:] = 1.0
    assert rows_of(steps, "drop") == []


def test_what_is_set_down_on_purpose_is_misplaced_wherever_that_is():
    steps = still()
    grasp(steps, 20, 40, lifted_from=25)
    steps["predicates/height"][36:] = definitions.SET_DOWN_M - 0.001 + steps["predicates/height"].min()
    fall(steps, 40, 0.04)
    steps["action"][40:, -1] = -1.0
    assert rows_of(steps, "drop") == []
    assert rows_of(steps, "misplacement")
    steps["action"][40:, -1] = 1.0  # nobody meant to
    assert rows_of(steps, "drop") == list(range(41, T))


def test_what_was_not_lifted_is_not_dropped_and_what_slips_from_the_hand_near_the_target_is():
    low = still()
    grasp(low, 20, 40, lifted_from=38)
    assert low["predicates/height"].max() < definitions.LIFTED_M
    fall(low, 40, 0.01)
    assert rows_of(low, "drop") == []
    near = still()
    grasp(near, 20, 40, lifted_from=25)
    fall(near, 40, 0.14)
    near["predicates/target_distance"][30:] = 0.05
    assert rows_of(near, "drop") == []  # let go on purpose, so it is a misplacement
    near["action"][40:, -1] = 1.0
    assert rows_of(near, "drop") == list(range(41, T))
    near["predicates/target_distance"][30:] = definitions.OVER_TARGET_M
    assert rows_of(near, "drop") == []


def test_a_slip_that_becomes_a_drop_is_called_drop():
    steps = still()
    grasp(steps, 20, 40, lifted_from=25)
    fall(steps, 41, 0.14)
    steps["action"][40:, -1] = 1.0
    assert rows_of(steps, "slip") == [41]
    assert rows_of(steps, "drop") == list(range(41, T))
    assert failure_mode(modes_of(steps, Hand())) == "drop"


def test_misplacement_is_let_go_near_the_target_and_at_rest_off_it():
    steps = still()
    grasp(steps, 20, 40, lifted_from=25)
    fall(steps, 40, 0.14)  # until row 46, and at rest for five rows from row 51 on
    steps["predicates/target_distance"][30:] = 0.05
    assert rows_of(steps, "misplacement") == list(range(51, T))
    assert failure_mode(modes_of(steps, Hand())) == "misplacement"
    there = {key: value.copy() for key, value in steps.items()}
    there["predicates/at_target"][45:] = 1.0
    assert rows_of(there, "misplacement") == []
    taken = {key: value.copy() for key, value in steps.items()}
    taken["predicates/held"][55:] = 1.0
    assert rows_of(taken, "misplacement") == list(range(51, 55))
    unlifted = still()
    grasp(unlifted, 20, 40)
    assert rows_of(unlifted, "misplacement") == []
    nowhere = Hand()
    del nowhere.roles["at_target"]
    assert rows_of(steps, "misplacement", nowhere) == []


def test_the_wrong_object_is_held_by_both_pads_for_longer_than_a_brush():
    steps = still()
    steps["predicates/other_held"][20:22] = 1.0
    assert rows_of(steps, "wrong object") == []
    steps["predicates/other_held"][20:30] = 1.0
    assert rows_of(steps, "wrong object") == list(range(22, 30))


def test_a_collision_is_what_the_task_says_it_is():
    steps = still()
    steps["predicates/collision"][[7, 8, 20]] = 1.0
    assert rows_of(steps, "collision") == [7, 8, 20]


def test_jam_is_commanded_motion_that_does_not_come_in_contact():
    steps = still()
    steps["predicates/hand_x"][20:] = steps["predicates/hand_x"][20]
    steps["predicates/obstructed"][:] = 1.0
    steps["action"][:, 2] = -definitions.COMMANDED
    # Row 21 is the first whose hand is where it was one row before; 0.5 s are ten rows.
    assert rows_of(steps, "jam") == list(range(30, T))
    assert rows_of(steps, "stall") == []
    free = {key: value.copy() for key, value in steps.items()}
    free["predicates/obstructed"][:] = 0.0
    assert rows_of(free, "jam") == []
    assert rows_of(free, "stall") == list(range(40, T))  # 1 s are 20 rows
    idle = {key: value.copy() for key, value in steps.items()}
    idle["action"][:, 2] *= 0.99
    assert rows_of(idle, "jam") == []
    turning = {key: value.copy() for key, value in steps.items()}
    turning["action"][:, 2], turning["action"][:, 4] = 0.0, 1.0
    assert rows_of(turning, "jam") == []


@pytest.mark.parametrize("moving", ["hand_z", "object_y", "finger_gap", "height"])
def test_stall_is_nothing_that_moves_without_success(moving):
    steps = still()
    steps["predicates/hand_x"][:] = 0.0
    assert rows_of(steps, "stall") == list(range(19, T))
    done = {key: value.copy() for key, value in steps.items()}
    done["predicates/success"][30:] = 1.0
    assert rows_of(done, "stall") == list(range(19, 30))
    steps[f"predicates/{moving}"] = 0.0015 * np.arange(T)
    assert rows_of(steps, "stall") == []
    if moving != "finger_gap":
        steps[f"predicates/{moving}"] = 0.0005 * np.arange(T)  # it creeps
        assert rows_of(steps, "stall") == []


def test_a_hand_overshoots_past_the_object_and_not_beside_or_before_it():
    steps = still()
    steps["predicates/hand_x"] = np.linspace(-0.2, 0.097, T)
    past = np.flatnonzero(steps["predicates/hand_x"] > definitions.BEYOND_M)
    assert rows_of(steps, "overshoot") == past.tolist()
    assert len(past) > 10
    held = {key: value.copy() for key, value in steps.items()}
    held["predicates/held"][45] = 1.0
    assert rows_of(held, "overshoot") == []
    away = {key: value.copy() for key, value in steps.items()}
    away["predicates/hand_x"] = np.linspace(-0.2, 0.395, T)
    place = away["predicates/hand_x"]  # no overshoot any more once it is as far from it as where it set out
    assert rows_of(away, "overshoot") == np.flatnonzero((place > definitions.BEYOND_M) & (place < 0.2)).tolist()
    assert place[-1] > 0.2
    back = {key: value.copy() for key, value in steps.items()}
    back["predicates/hand_x"] = np.linspace(-0.2, -0.5, T)
    assert rows_of(back, "overshoot") == []


def test_a_held_object_overshoots_where_it_is_further_from_where_it_was_than_its_target():
    steps = still()
    grasp(steps, 10, T)
    place = np.linspace(0.0, 0.59, T)  # by 0.01 m a row; the target is at 0.2
    steps["predicates/object_x"] = place
    steps["predicates/target_distance"] = np.abs(place - 0.2)
    taken = place[10]
    wanted = np.flatnonzero((place - taken > 0.2 - taken + definitions.BEYOND_M) & (place - 0.2 < 0.2 - taken))
    assert rows_of(steps, "overshoot") == wanted.tolist()
    assert 5 < len(wanted) < 20


def test_knocked_is_moved_or_toppled_before_it_was_ever_held():
    steps = still()
    steps["predicates/object_y"][30:] = 0.021
    assert rows_of(steps, "knocked") == list(range(30, T))
    steps["predicates/held"][40] = 1.0
    assert rows_of(steps, "knocked") == list(range(30, 40))
    steps["predicates/held"][20] = 1.0
    assert rows_of(steps, "knocked") == []
    little = still()
    little["predicates/object_y"][30:] = 0.019
    assert rows_of(little, "knocked") == []
    toppled = still()
    toppled["predicates/object_up"][30:] = 0.69
    assert rows_of(toppled, "knocked") == list(range(30, T))
    turned_over = still()
    turned_over["predicates/object_up"][30:] = -1.0
    assert rows_of(turned_over, "knocked") == []


def test_out_of_reach_is_off_the_table():
    steps = still()
    steps["predicates/height"][30:] = -0.09
    assert rows_of(steps, "out of reach") == []
    steps["predicates/height"][40:] = -0.11
    assert rows_of(steps, "out of reach") == list(range(40, T))


def test_timeout_stands_at_the_end_of_an_episode_that_ran_out_and_had_nothing_else():
    steps = still()
    assert rows_of(steps, "timeout") == []  # the deadline is not reached
    assert rows_of(steps, "timeout", Hand(deadline=T)) == [T - 1]
    assert rows_of(steps, "timeout", Hand(deadline=T), diverged=True) == []
    done = {key: value.copy() for key, value in steps.items()}
    done["predicates/success"][30] = 1.0
    assert rows_of(done, "timeout", Hand(deadline=T)) == []
    steps["predicates/collision"][3] = 1.0
    assert rows_of(steps, "timeout", Hand(deadline=T)) == []


def test_diverged_stands_at_the_last_row():
    steps = still()
    steps["predicates/collision"][:] = 1.0
    assert rows_of(steps, "diverged", diverged=True) == [T - 1]
    assert failure_mode(modes_of(steps, Hand(), diverged=True)) == "diverged"


def test_a_task_without_a_role_never_shows_what_needs_it():
    bare = Hand(roles={"success": "success"}, commands_pose=False)
    steps = {key: np.ones_like(value) for key, value in still().items()}
    assert anything(steps, bare) == set()
    assert modes_of({"action": np.zeros((0, 7)), "predicates/success": np.zeros(0)}, bare).shape == (0,)


def bits(**spans: tuple[int, int]) -> Array:
    seen = np.zeros(20, dtype=np.uint16)
    for mode, (first, last) in spans.items():
        seen[first:last] |= np.uint16(1 << MODES.index(mode.replace("_", " ")))
    return seen


@pytest.mark.parametrize(
    ("seen", "called"),
    [
        (bits(), "timeout"),
        (bits(slip=(3, 5)), "slip"),
        (bits(slip=(3, 5), collision=(8, 9)), "collision"),  # the first was mended, the second came last
        (bits(slip=(3, 9), stall=(5, 8)), "slip"),  # what came on top was its consequence
        (bits(slip=(3, 5), drop=(5, 20)), "drop"),
        (bits(drop=(5, 20), missed_grasp=(3, 5), stall=(10, 20)), "drop"),  # it has stood longest
        (bits(knocked=(2, 20), collision=(19, 20)), "knocked"),
        (bits(jam=(4, 20), collision=(4, 20)), "collision"),  # at once: the first of MODES
        (bits(collision=(2, 20), diverged=(19, 20)), "diverged"),
    ],
)
def test_an_episode_is_called_by_one_mode(seen, called):
    assert failure_mode(seen) == called


def test_beginnings_are_told_in_order():
    seen = bits(jam=(4, 8), collision=(4, 6), slip=(1, 2)) | bits(slip=(7, 9))
    told = [("slip", 1), ("collision", 4), ("jam", 4), ("slip", 7)]
    assert beginnings(seen) == told
    assert json.loads(as_json(seen)) == [{"mode": mode, "step": step} for mode, step in told]
    assert beginnings(seen[:0]) == []


def test_rows_in_a_row_and_states_that_stand():
    holds = np.array([1, 1, 0, 1, 1, 1, 1], bool)
    assert lasting(holds, 2).tolist() == [False, True, False, False, True, True, True]
    assert lasting(holds, 3).tolist() == [False, False, False, False, False, True, True]
    begins, ends = np.array([0, 1, 0, 0, 0, 1, 0], bool), np.array([0, 0, 0, 1, 0, 1, 0], bool)
    assert latched(begins, ends).tolist() == [False, True, True, False, False, False, False]


def wild(seed: int) -> dict[str, Array]:
    """An episode of wild numbers."""
    rng = np.random.default_rng(seed)
    steps = still(150)
    for role in ("held", "other_held", "at_target", "collision", "obstructed"):
        steps[f"predicates/{role}"] = np.repeat(rng.random(25) < 0.4, 6).astype(float)
    for role in ("hand_x", "object_x", "height", "hand_object_distance", "target_distance", "finger_gap", "hand_z"):
        steps[f"predicates/{role}"] = np.repeat(rng.normal(0, 0.06, 15), 10) + rng.choice([0, 0.001], 150)
    for role in ("hand_x", "hand_z", "object_x", "height", "finger_gap"):
        steps[f"predicates/{role}"][100:130] = 0.0
    steps["action"][:, -1] = np.repeat(rng.choice([-1.0, 1.0], 15), 10)
    steps["action"][:, 0] = rng.random()
    return steps


@pytest.mark.parametrize("seed", range(30))
def test_no_mode_looks_ahead(seed):
    """Cut anywhere, what stood before stands."""
    steps, task = wild(seed), Hand(deadline=150)
    whole = modes_of(steps, task)
    for cut in (1, 2, 40, 90, 149):
        part = modes_of({key: value[:cut] for key, value in steps.items()}, task)
        assert np.array_equal(part, whole[:cut])


def test_the_wild_numbers_bring_up_every_mode_but_the_ends():
    seen = set().union(*(anything(wild(seed)) for seed in range(30)))
    assert seen == set(MODES) - {"timeout", "diverged"}
