"""Shields: what each lets through, against what can be counted by hand; and that every yaml keeps the contract."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

import workbench as wb
from workbench.config import build
from workbench.errors import ConfigError, UnknownNameError
from workbench.policies.shields.authorisation import MODES, NORMAL, RESUME, RETREAT, SLOW, STOP, Authorisation, Rules
from workbench.policies.shields.force import Force
from workbench.policies.shields.motion.channels import Channels
from workbench.policies.shields.motion.contact import Disturbance
from workbench.policies.shields.plan_gate import PlanGate
from workbench.policies.shields.reflex import Reflex
from workbench.policies.shields.speed import Speed
from workbench.policies.shields.workspace import Workspace
from workbench.testing import check_shield
from workbench.types import Moment, Note, PolicyCall

LIFT, PEG = wb.task("lift"), wb.task("peg_insertion")
YAMLS = sorted((Path(__file__).parents[2] / "conf/shield").glob("*.yaml"))
LOW, HIGH = np.array([-0.3, -0.2, 0.82]), np.array([0.3, 0.25, 1.1])


class Margins:
    """A judge that gives the margins that it was made of, one a call."""

    needs = frozenset({"chunk"})

    def __init__(self, *margins):
        self.margins = margins

    def begin(self):
        return {"calls": 0}

    def margin(self, memory, call):
        memory["calls"] += 1
        return self.margins[(memory["calls"] - 1) % len(self.margins)]


def moment(action, hand=(0.0, 0.0, 1.0), before=None, step=0, **said):
    seen = {"eef_pos": np.array(hand), "wrench": np.array([*said.pop("force", (0.0, 0.0, 0.0)), 0.0, 0.0, 0.0])}
    return Moment(step, np.array(action, float), seen, None if before is None else np.array(before, float), **said)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_yaml_keeps_the_contract(path):
    task = PEG if path.stem == "force" else LIFT
    node = yaml.safe_load(path.read_text())[path.stem]
    judge = {"judge": Margins(-1.0, 0.5, -1.0)} if "monitor" in node else {}
    check_shield(build(node, task=task, **judge) if judge else wb.shield(path.stem, task), task)


# -- limits ----------------------------------------------------------------------------------------------------------


def test_the_hand_is_never_asked_out_of_its_box():
    shield, rng = Workspace(LIFT, list(LOW), list(HIGH)), np.random.default_rng(0)
    cuts = 0
    for _ in range(2000):
        hand, action = rng.uniform(LOW - 0.03, HIGH + 0.03), rng.uniform(-1, 1, 7)
        passed = shield.act({}, moment(action, hand))
        goal = hand + passed.action[:3] * 0.05
        inside = (hand >= LOW) & (hand <= HIGH)
        assert ((goal >= LOW - 1e-12) & (goal <= HIGH + 1e-12))[inside].all()
        assert (np.abs(passed.action) <= 1).all()
        assert (passed.action[3:] == action[3:]).all(), "turn and fingers are as asked"
        asked = hand + action[:3] * 0.05
        leaves = ((asked < LOW) | (asked > HIGH)).any()
        assert (passed.note is not None) == leaves
        assert leaves or (passed.action is not None and (passed.action == action).all())
        cuts += leaves
        if passed.note:
            assert passed.note.vetoed == (not inside.all())
    assert 200 < cuts < 1800


def test_a_hand_outside_of_its_box_is_asked_back_in():
    shield = Workspace(LIFT, [None, None, 0.82], [None, None, None])
    passed = shield.act({}, moment([0.2, 0, -1, 0, 0, 0, 1], (0.0, 0.0, 0.80)))
    np.testing.assert_allclose(passed.action, [0.2, 0, 0.4, 0, 0, 0, 1])
    assert passed.note == Note("z", True, pytest.approx(0.75), 0.82)
    assert shield.act({}, moment([1, 1, 0.5, 0, 0, 0, 1], (9.0, 9.0, 0.82))).note is None


def test_speed_and_its_change_are_bounded_and_the_fingers_are_free():
    shield, rng = Speed(LIFT, 0.6, 4.0, 0.5), np.random.default_rng(0)
    before, bounds = None, np.array([0.6] * 3 + [0.4] * 3)
    for _ in range(500):
        action = rng.uniform(-1, 1, 7)
        passed = shield.act({}, moment(action, before=before))
        last = np.zeros(6) if before is None else before[:6]
        assert (np.abs(passed.action[:6]) <= bounds + 1e-12).all()
        assert (np.abs(passed.action[:6] - last) <= 0.5 + 1e-12).all()
        assert passed.action[6] == action[6]
        within = (np.abs(action[:6]) <= bounds).all() and (np.abs(action[:6] - last) <= 0.5).all()
        assert (passed.note is None) == bool(within)
        before = passed.action
    note = Speed(LIFT, 0.6, 4.0, 9.0).act({}, moment([0, 0.9, 0, 0, 0, 0, 0])).note
    assert note == Note("translation", False, pytest.approx(0.9), pytest.approx(0.6)), "in metres a second"
    note = Speed(LIFT, 0.6, 4.0, 9.0).act({}, moment([0, 0, 0, 0, 1, 0, 0])).note
    assert note == Note("rotation", False, pytest.approx(10.0), pytest.approx(4.0)), "in radians a second"
    note = Speed(LIFT, 1.0, 10.0, 0.5).act({}, moment([0, 0, 1, 0, 0, 0, 0], before=[0, 0, -1, 0, 0, 0, 0])).note
    assert note == Note("change", False, 2.0, 0.5)


def test_joints_have_a_speed_of_their_own():
    joints = wb.task("lift", controller="joint_position")
    passed = Speed(joints, 1.0, 0.5, 2.0).act({}, moment([1.0] * 8))
    np.testing.assert_allclose(passed.action, [0.5] * 7 + [1.0])  # 0.05 rad in 0.05 s for an action of one


def test_force_backs_off_the_way_the_hand_came():
    shield = Force(PEG, 50.0, back_steps=3, back_m_s=0.2)
    memory = shield.begin()
    for x in (0.00, 0.01, 0.02, 0.03):
        assert shield.act(memory, moment([1, 0, 0, 0, 0, 0, 1], (x, 0, 1), force=(0, 30, 40))).note is None
    before = [1, 0, 0, 0.3, 0, 0, -1]
    passed = shield.act(memory, moment([1, 0, 0, 0.3, 0, 0, 1], (0.03, 0, 1), before, force=(0, 31, 40)))
    np.testing.assert_allclose(passed.action, [-0.2, 0, 0, 0, 0, 0, -1])
    assert passed.note == Note("force", True, pytest.approx(np.hypot(31, 40)), 50.0)


# -- reflex ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_a_disturbance_is_read_off_the_motion_exactly(scale):
    """Against the controller's equation, integrated in small steps."""
    observer, rng = Disturbance(Channels(LIFT, "test"), 150.0, 2.0), np.random.default_rng(0)
    rate, memory, place, velocity, before = np.sqrt(150.0 * scale), observer.begin(), np.zeros(3), np.zeros(3), None
    expected = 0.0
    for step in range(12):
        found = observer.force_n(memory, moment(np.zeros(7), place, before), scale)
        assert found == pytest.approx(2.0 * expected, abs=0.02)
        push, before = rng.uniform(-10, 10, 3) * (step % 3 > 0), np.append(rng.uniform(-1, 1, 6), 1)
        goal, expected, pieces = place + before[:3] * 0.05, np.linalg.norm(push), 4_000
        for _ in range(pieces):
            velocity = velocity + (rate**2 * (goal - place) - 2 * rate * velocity + push) * (0.05 / pieces)
            place = place + velocity * (0.05 / pieces)


def test_the_reflex_acts_on_what_is_predicted_and_holds():
    shield = Reflex(PEG, 50.0, lead=2.0, stiffness_scale=0.3, motion_scale=0.5, hold_steps=2)
    memory, soft = shield.begin(), []
    for force in (10, 10, 24, 24, 24, 24, 24):  # 24 + 2 * 14 = 52: before 50 is felt
        passed = shield.act(memory, moment([0.4, 0, 0, 0.2, 0, 0, 1], force=(force, 0, 0)))
        soft.append((passed.stiffness, round(float(passed.action[0]), 9), passed.action[6]))
    stiff, yielding = (1.0, 0.4, 1.0), (0.3, 0.2, 1.0)
    assert soft == [stiff, stiff, yielding, yielding, stiff, stiff, stiff]


# -- gates on the plan -----------------------------------------------------------------------------------------------


def test_a_vetoed_plan_is_held_until_the_next_call():
    call = PolicyCall(np.array([0]), np.zeros((1, 8, 7)), None, None, 4)
    for scale, arm, vetoed in ((0.0, 0.0, True), (0.25, 0.25, False)):
        shield = PlanGate(LIFT, "m", Margins(-1.0, 0.7, -0.1), motion_scale=scale)
        memory, asked, before = shield.begin(), [1, 1, 0, 0, 0, 1, -1], [0, 0, 0, 0, 0, 0, 1]
        assert shield.act(memory, moment(asked)).note is None, "before the first plan nothing is vetoed"
        for margin in (-1.0, 0.7, -0.1):
            shield.plan(memory, call)
            for _ in range(3):
                passed = shield.act(memory, moment(asked, before=before))
                if margin < 0:
                    assert passed.note is None
                    assert (passed.action == asked).all()
                else:
                    assert passed.note == Note("plan", vetoed, 0.7, 0.0)
                    fingers = before[6] if vetoed else asked[6]
                    np.testing.assert_allclose(passed.action, [arm, arm, 0, 0, 0, arm, fingers])


# -- authorisation: the whole automaton ------------------------------------------------------------------------------

SAID = list(itertools.product((False, True), repeat=2))


def reachable(rules):
    """(mode, count) -> what follows each input, of all that can be reached from normal."""
    found, open_ = {}, [(NORMAL, 0)]
    while open_:
        state = open_.pop()
        if state not in found:
            found[state] = {said: rules.following(*state, *said) for said in SAID}
            open_ += found[state].values()
    return found


@pytest.mark.parametrize("rules", [Rules(), Rules(1, 1, 1, 1, 1), Rules(3, 2, 5, 1, 2)])
def test_the_whole_automaton_is_safe_and_comes_back(rules):
    states = reachable(rules)
    assert {mode for mode, _ in states} == set(MODES)
    assert len(states) <= sum((rules.concern_steps, rules.calm_steps, rules.stop_steps, rules.retreat_steps)) + 6
    for (mode, count), following in states.items():
        for (vetoed, _), (after, _) in following.items():
            if vetoed:
                assert after in (STOP, RETREAT), f"a veto in {mode} {count} leads to {after}"
            if mode in (STOP, RETREAT):
                assert after in (STOP, RETREAT, RESUME), "nothing runs at full speed behind a stop"
            if after == NORMAL:
                assert mode in (NORMAL, SLOW, RESUME)
        quiet, steps = (mode, count), 0
        while quiet != (NORMAL, 0):
            quiet, steps = rules.following(*quiet, False, False), steps + 1
            assert steps <= rules.stop_steps + rules.retreat_steps + rules.resume_steps + rules.calm_steps
        hazard = (mode, count)
        seen = set()
        for _ in range(3 * len(states)):
            hazard = rules.following(*hazard, True, False)
            seen.add(hazard[0])
        assert seen == {STOP, RETREAT}, "a hazard that does not end is backed off from again and again"


def test_what_runs_in_each_mode():
    shield = Authorisation(LIFT, 0.5, concern_steps=1, calm_steps=2, stop_steps=2, retreat_steps=2, resume_steps=2)
    memory, asked = shield.begin(), [1, 0, 0, 0, 0, 0, 1]
    changed, vetoed = (("speed", Note("change", False, 1, 1)),), (("force", Note("force", True, 1, 1)),)
    script = [
        ((), 0.00, None, 1.0), (changed, 0.01, SLOW, 0.5), ((), 0.02, SLOW, 0.5), ((), 0.03, None, 1.0),
        (vetoed, 0.04, STOP, 0.0), (vetoed, 0.04, STOP, 0.0), (vetoed, 0.04, RETREAT, 0.0),
        (vetoed, 0.04, RETREAT, -0.2), ((), 0.03, RESUME, 0.5), ((), 0.03, RESUME, 0.75), ((), 0.03, None, 1.0),
    ]  # fmt: skip
    for place, (notes, x, mode, share) in enumerate(script):
        passed = shield.act(memory, moment(asked, (x, 0, 1), asked, notes=notes))
        assert (passed.note.reason if passed.note else None) == mode, place
        assert passed.action[0] == pytest.approx(share), place
        assert passed.action[6] == 1
        if passed.note:
            assert passed.note.vetoed == (mode in (STOP, RETREAT))


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: wb.shield("force", LIFT), "task lift shows eef_pos"),
        (lambda: wb.shield("reflex", wb.task("push_t")), "task push_t shows no eef_pos"),
        (lambda: wb.shield("workspace", wb.task("push_t")), "for each of the 2 axes"),
        (lambda: wb.shield("workspace", wb.task("lift", controller="joint_position")), "command joints and gripper"),
        (lambda: wb.shield("workspace", LIFT, low_m=[0, 0, 2.0]), "must lie below high_m"),
        (lambda: wb.shield("speed", LIFT, change=0.0), "change=0.0 must be above 0"),
        (lambda: wb.shield("force", PEG, most_n=-1.0), "most_n=-1.0"),
        (lambda: wb.shield("reflex", LIFT, stiffness_scale=0.0), "stiffness_scale=0.0"),
        (lambda: wb.shield("authorisation", LIFT, stop_steps=0), "stop_steps=0 must be at least 1"),
        (lambda: wb.shield("authorisation", LIFT, slow_scale=1.0), "slow_scale=1.0"),
        (lambda: wb.shield("novelty_gate", LIFT), "no monitors are given"),
        (lambda: PlanGate(LIFT, "m", Margins(0.0), motion_scale=1.0), "motion_scale=1.0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(make, said):
    with pytest.raises(ConfigError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_wrong_name_lists_the_right_ones():
    with pytest.raises(UnknownNameError, match="authorisation, force"):
        wb.shield("wrkspace", LIFT)
    with pytest.raises(UnknownNameError, match="mahalanobis"):
        wb.shield("novelty_gate", LIFT, monitors={"rnd+fixed": object()})
