"""The skill with numbers: its path in metres, its phases, what it holds, and when it hands back."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from workbench.config import named
from workbench.errors import CheckpointError, ConfigError, ObservationError
from workbench.policies.expert import Expert
from workbench.policies.recovery.skill import PHASES, Skill, spiral_length_m, spiral_m
from workbench.policies.recovery.tuned_skill import TunedSkill
from workbench.rollouts.arms import built
from workbench.types import OVER, RECENT, Alarm, Array, Observation, Policy, PolicyCall, Record, Scene, Stream, Task
from workbench.types.reading import sealed_record
from workbench.types.tuning import Tried, Tuning

POLICY = cast(Policy, object())
LIFT = named.task("lift")


@pytest.mark.parametrize(("pitch", "turns"), [(0.001, 3.0), (0.002, 2.0), (0.01, 0.5)])
def test_the_spiral_has_its_pitch_its_radius_and_its_length(pitch: float, turns: float) -> None:
    length = spiral_length_m(pitch, turns)
    path = np.stack([spiral_m(along, pitch) for along in np.linspace(0, length, 4000)])
    radius = np.linalg.norm(path, axis=1)
    assert (np.diff(radius) >= 0).all()
    assert radius[0] == 0
    assert radius[-1] == pytest.approx(pitch * turns)
    walked = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert walked == pytest.approx(length, abs=pitch)
    turned = np.unwrap(np.arctan2(path[1:, 1], path[1:, 0]))
    one_on = np.interp(turned + 2 * np.pi, turned, radius[1:], right=np.nan)
    assert np.nanmax(np.abs(one_on - radius[1:] - pitch), initial=0) < 1e-6


def call_of(seen: Sequence[Observation]) -> PolicyCall:
    last = [seen[0]] * (RECENT - len(seen)) + list(seen[-RECENT:])
    observation = {key: np.stack([each[key] for each in last])[None] for key in last[0]}
    return PolicyCall(np.array([len(seen) - 1]), np.zeros((1, 8, 7)), None, None, 4, observation=observation)


@dataclasses.dataclass
class Work:
    """What the skill did: phase, place of the hand (3,), action and whether it was over, step by step."""

    phases: list[str]
    places: Array
    actions: Array
    over: bool
    told: Record

    def during(self, phase: str) -> Array:
        return self.places[[each == phase for each in self.phases]]


def carried_out(skill: Skill, scene: Scene, seen: Sequence[Observation]) -> Work:
    """An alarm now, and the skill's driver until it hands back or the episode succeeds."""
    asked = skill.act(skill.begin(), Alarm(call_of(seen), POLICY, 200))
    assert (asked.fresh_noise, asked.more_time) == (True, True)
    told, driver = cast(Record, copy.deepcopy(asked.memory)), cast(Any, asked.driver)
    phases, places, actions = [], [], []
    for _ in range(asked.steps or 0):
        now = {key: value[None, None] for key, value in scene.observe().items()}
        actions.append(driver.plan(now, [np.random.default_rng(0)], memories=[told]).chunk[0, 0])
        scene.step(actions[-1])
        phases.append(told["phase"])
        places.append(scene.observe()["eef_pos"])
        if told.get(OVER) or scene.truth().success:
            break
    return Work(phases, np.stack(places), np.stack(actions), bool(told.get(OVER)), told)


@functools.cache
def over_the_hole() -> tuple[Task, Any, tuple[Observation, ...]]:
    """PegInsertion, a moment at which the peg is held over the board, 3 mm beside the hole, and what was seen."""
    task = named.task("peg_insertion")
    scene, expert, seen = task.scene(), Expert(task), []
    scene.begin(Stream(0, 0))
    seen = [scene.observe()]
    while scene.truth().stage < 4:
        both = {key: np.stack([each[key] for each in [seen[0], *seen][-2:]])[None] for key in seen[0]}
        scene.step(expert.plan(both, [np.random.default_rng(0)]).chunk[0, 0])
        seen.append(scene.observe())
    wanted = seen[-1]["eef_pos"][:2] + np.array([0.003, 0.0])
    for _ in range(8):
        aside = np.clip(6 * (wanted - seen[-1]["eef_pos"][:2]) / 0.05, -1, 1)
        scene.step(np.array([*aside, 0, 0, 0, 0, 1.0]))
        seen.append(scene.observe())
    assert scene.truth().predicates["peg_hole_distance_m"] > 0.0025
    return task, scene.snapshot(), tuple(seen)


def beside_the_hole(**numbers: Any) -> tuple[Work, Scene, Array]:
    """The skill from there, in a scene of its own; and the place of the hand at the alarm."""
    task, moment, seen = over_the_hole()
    scene = task.scene()
    scene.begin(Stream(0, 0))
    scene.restore(moment)
    return carried_out(Skill(task, **numbers), scene, seen), scene, seen[-1]["eef_pos"]


@pytest.mark.parametrize("retract", [0.015, 0.05])
def test_it_rises_as_high_as_it_is_told_before_it_comes_down(retract: float) -> None:
    work, _, place = beside_the_hole(retract_m=retract, turns=0.0, dwell_steps=0, tries=1)
    risen = work.during("rise")[:, 2].max() - place[2]
    assert retract - 0.005 < risen < retract + 0.003
    assert work.over


@pytest.mark.parametrize(("pitch", "turns"), [(0.002, 1.5), (0.003, 2.0)])
def test_the_search_turns_about_its_middle_within_its_radius_and_presses(pitch: float, turns: float) -> None:
    """At a place where there is no hole: on the board, aside."""
    task, moment, seen = over_the_hole()
    scene = task.scene()
    scene.begin(Stream(0, 0))
    scene.restore(moment)
    shown = [{**each, "hole_pos": each["hole_pos"] + [0.02, 0.015, 0.0]} for each in seen]
    numbers: Record = {"pitch_m": pitch, "turns": turns, "press_m": 0.003, "tries": 1}
    work = carried_out(Skill(task, "hole_pos", **numbers), scene, shown)
    searched = work.during("search")[:, :2] - shown[-1]["hole_pos"][:2]
    radius = pitch * turns
    assert np.linalg.norm(searched, axis=1).max() < radius + 0.0015
    assert (np.ptp(searched, axis=0) > radius).all(), "it goes to all sides"
    assert abs(len(searched) - spiral_length_m(pitch, turns) / 0.001) <= 2
    assert (work.actions[[phase == "search" for phase in work.phases], 2] < 0).all()
    assert scene.truth().predicates["contact_force_n"] > 2
    assert scene.truth().predicates["insertion_depth_m"] == 0
    assert work.phases.count("dwell") == 8 + 1, "and the one with which it hands back"
    assert work.over


def test_a_search_finds_the_hole_that_a_press_alone_does_not() -> None:
    for turns in (0.0, 2.5):
        work, scene, _ = beside_the_hole(turns=turns, pitch_m=0.002, press_m=0.003, tries=1, dwell_steps=8)
        depth = scene.truth().predicates["insertion_depth_m"]
        assert (depth > 0.01) == (turns > 0)
        assert work.over or scene.truth().success
        assert work.phases.count("dwell") == 9 or turns, "what sinks is pressed on"
    assert work.phases[-1] == "dwell"


def test_what_has_sunk_is_not_pulled_out_to_try_again() -> None:
    """With so light a press it sticks half-way in; the policy may go on from there."""
    work, scene, _ = beside_the_hole(turns=2.0, pitch_m=0.002, press_m=0.002, tries=2)
    assert scene.truth().predicates["insertion_depth_m"] > 0.01
    assert not scene.truth().success
    assert work.over
    assert work.phases[-1] == "dwell"
    assert work.phases.count("rise") < 12


def test_it_tries_as_often_as_it_is_told_and_keeps_hold() -> None:
    work, scene, _ = beside_the_hole(turns=0.0, tries=2, press_m=0.002)
    begun = [phase for phase, before in zip(work.phases, ["", *work.phases], strict=False) if phase != before]
    assert [phase for phase in begun if phase in ("rise", "dwell")] == ["rise", "dwell"] * 2
    assert (work.actions[:, -1] == 1.0).all()
    assert scene.truth().predicates["grasped"] == 1.0


def test_a_hand_that_holds_nothing_opens_and_rises_and_that_is_all() -> None:
    scene = LIFT.scene()
    scene.begin(Stream(0, 0))
    seen = [scene.observe()]
    for _ in range(10):
        scene.step(np.array([0, 0, -0.4, 0, 0, 0, 1.0]))
        seen.append(scene.observe())
    work = carried_out(Skill(LIFT, "cube_pos", retract_m=0.05), scene, seen)
    assert work.over
    assert {*work.phases} == {"rise"}
    assert (work.actions[:, -1] == -1.0).all()
    assert 0.045 < work.places[-1, 2] - seen[-1]["eef_pos"][2] < 0.055
    assert np.abs(work.places[:, :2] - seen[-1]["eef_pos"][:2]).max() < 0.01


def test_it_sees_itself_and_the_place_that_is_named_alone() -> None:
    own = {"observation/eef_pos", "observation/eef_quat", "observation/gripper_qpos"}
    task, _, seen = over_the_hole()
    assert {*Skill(task).needs} == own
    strategy = Skill(task, "hole_pos")
    assert {*strategy.needs} == {*own, "observation/hole_pos"}
    assert strategy._driver.privileged is False
    call = call_of(seen)
    kept = {key: call.observation[key] for key in ("eef_pos", "eef_quat", "gripper_qpos", "hole_pos")}
    told = strategy.act({}, Alarm(dataclasses.replace(call, observation=kept), POLICY, 200)).memory
    assert told is not None
    assert np.array_equal(told["centre"], seen[-1]["hole_pos"][:2])
    assert told["phase"] == PHASES[0]
    blind = {**kept, "hole_pos": np.full_like(kept["hole_pos"], np.nan)}
    with pytest.raises(ObservationError, match="strategy skill searches at hole_pos, which is seen as"):
        strategy.act({}, Alarm(dataclasses.replace(call, observation=blind), POLICY, 200))


@pytest.mark.parametrize(
    "wrong",
    [
        {"retract_m": 0.2}, {"pitch_m": 0.0}, {"turns": float("nan")}, {"press_m": -0.001}, {"dwell_steps": 2.5},
        {"tries": 0}, {"steps": 0}, {"tries": True},
    ],
)  # fmt: skip
def test_a_number_out_of_its_bounds_is_refused_in_one_line(wrong: Record) -> None:
    with pytest.raises(ConfigError, match=f"strategy skill says {next(iter(wrong))}=.*, which must be a ") as caught:
        Skill(LIFT, **wrong)
    assert "\n" not in str(caught.value)


def test_a_place_that_is_not_seen_and_a_task_without_such_a_hand_are_refused() -> None:
    with pytest.raises(ConfigError, match="target=hole_pos is none of eef_pos, cube_pos of task lift"):
        Skill(LIFT, "hole_pos")
    with pytest.raises(ConfigError, match="moves a hand with fingers in space, and task push_t has none"):
        Skill(named.task("push_t"))
    with pytest.raises(ConfigError, match="strategy skill needs actions that translate the hand"):
        Skill(named.task("lift", controller="joint_position"))


def tuning(**changes: Any) -> Record:
    numbers = {"retract_m": 0.03, "tries": 3}
    made = Tuning(
        kind="tuning", task="lift", strategy="workbench.policies.recovery.skill.Skill", settings=numbers, monitor="m",
        states=2, branches=2, placebo=1, points=[Tried(numbers, 1, 1.3)], best=0, simulated=10, seed=0, made_with={},
    )  # fmt: skip
    return {**made.record(), **changes}


def test_what_was_tuned_is_what_it_does(tmp_path: Path) -> None:
    (tmp_path / "skill.json").write_text(json.dumps(sealed_record(tuning())))
    node: Any = {"tuned_skill": named.node_of("strategy", "tuned_skill")}
    found = cast(Any, built(node, LIFT, POLICY, {}, tmp_path / "head")["tuned_skill"])
    assert (found.name, found._tries, found._driver._numbers["retract_m"]) == ("tuned_skill", 3, 0.03)
    assert found._driver._numbers["pitch_m"] == Skill(LIFT)._driver._numbers["pitch_m"]
    with pytest.raises(ConfigError, match="goes by tuned numbers, and there are none; workbench tune makes them"):
        built(node, LIFT, POLICY, {}, tmp_path / "other" / "head")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "stack"}, "was tuned on task stack, not lift"),
        ({"settings": {"retract_m": 9.0}}, r"says retract_m=9.0, which must be a number of 0 \.\. 0.1"),
        ({"settings": {"tries": 2.0}}, "says tries=2.0, which must be a whole number"),
        ({"settings": {"reach": 1}}, "has 'reach', and may have"),
        ({"settings": {"task": "x"}}, "has 'task', and may have"),
        ({"best": 1}, "counts what it does not hold"),
        ({"placebo": 3}, "counts what it does not hold"),
        ({"kind": "table"}, "says kind='table'"),
        ({"points": []}, "says points=a list of 0"),
    ],
)
def test_a_file_that_no_tuning_writes_is_refused_in_one_line(tmp_path: Path, changes: Record, said: str) -> None:
    path = tmp_path / "skill.json"
    path.write_text(json.dumps(sealed_record(tuning(**changes))))
    with pytest.raises(CheckpointError, match=said) as caught:
        TunedSkill(LIFT, path)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path, whole = tmp_path / "skill.json", json.dumps(sealed_record(tuning()))
    unsealed = json.dumps(tuning())
    for content in (whole[:-20], whole.replace("0.03", "0.04"), "[]", "", unsealed, "\x00"):
        path.write_text(content)
        with pytest.raises(CheckpointError, match="the tuned skill ") as caught:
            TunedSkill(LIFT, path)
        assert "\n" not in str(caught.value)
