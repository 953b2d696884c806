"""Faults of goal, sequence and language do what they say, and what they rest on: goals, grounding, detours."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from workbench.envs.faults.specification import describe
from workbench.envs.tasks.door import Door
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.nut_assembly_square import NutAssemblySquare, is_on_peg
from workbench.envs.tasks.peg_insertion import PegInsertion
from workbench.envs.tasks.pick_place_can import PickPlaceCan, in_bin
from workbench.envs.tasks.push_t import PushT
from workbench.envs.tasks.stack import Stack
from workbench.envs.words.grounding import slips
from workbench.errors import ConfigError, UnknownNameError
from workbench.policies.expert import Expert
from workbench.types import Stream

ROOT = Path(__file__).parents[2]
TASKS = {kind.name: kind for kind in (Lift, Stack, PickPlaceCan, NutAssemblySquare, Door, PegInsertion, PushT)}
STREAM = Stream(3, 0)
SEQUENCE = ("step_omitted", "step_duplicated", "wrong_order")


@functools.cache
def task_of(name: str):
    return TASKS[name]()


def build(name: str, **changes):
    part = yaml.safe_load((ROOT / f"conf/perturbation/{name}.yaml").read_text())[name] | changes
    module, _, kind = part.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind)(**part)


def drive(scene, policy, steps: int, before=None):
    """The actions that were asked for and executed, and what was seen last but one."""
    asked, applied = [], []
    scene.privileged = policy.privileged
    for _ in range(steps):
        now = scene.truth().observation if policy.privileged else scene.observe()
        pair = {key: np.stack([(before or now)[key], now[key]])[None] for key in now}
        told = {"instructions": [scene.instruction()]} if policy.listens else {}
        asked.append(policy.plan(pair, [np.random.default_rng(0)], **told).chunk[0, 0])
        applied.append(scene.step(asked[-1])[-1]["applied"])
        before = now
    return np.array(asked), np.array(applied), before


def episode(task, records, steps: int | None = None, **expert):
    scene = task.scene()
    scene.begin(STREAM, records)
    asked, applied, _ = drive(scene, Expert(task, **({"privileged": False} | expert)), steps or task.deadline)
    return scene, asked, applied


def stands_on(top, below) -> bool:
    return bool(0.04 < top[2] - below[2] < 0.05 and np.hypot(*(top - below)[:2]) < 0.025)


# Goals


@pytest.mark.parametrize("name", TASKS)
def test_first_goal_is_the_tasks_own_and_changes_nothing(name):
    task = task_of(name)
    assert next(iter(task.goals.values())) == task.instruction
    observation = task.scene().begin(STREAM)
    assert task.as_if(next(iter(task.goals)), observation) is observation
    with pytest.raises(UnknownNameError, match="goal of task"):
        task.as_if("win", observation)


@pytest.mark.parametrize("name", TASKS)
def test_every_other_goal_changes_the_plan(name):
    task = task_of(name)
    observation = task.scene().begin(STREAM)
    own = np.array([keyframe.position_m for keyframe in task.plan(observation)]) if len(task.goals) > 1 else None
    for goal in list(task.goals)[1:]:
        other = task.as_if(goal, observation)
        assert {key: value.shape for key, value in other.items()} == {k: v.shape for k, v in observation.items()}
        assert not np.allclose(own, [keyframe.position_m for keyframe in task.plan(other)], atol=0.01)


def test_wrong_object_puts_the_green_cube_on_the_red_one():
    task = task_of("stack")
    record = build("wrong_object", duration_steps=1000).draw(STREAM, task)
    scene, *_ = episode(task, [record])
    now = scene.truth().observation
    assert record["goal"] == "green_on_red"
    assert stands_on(now["cube_b_pos"], now["cube_a_pos"])
    assert np.ptp(now["gripper_qpos"]) > 0.07
    assert not scene.truth().success


@pytest.mark.parametrize("goal", ["near_left", "far_right", "near_right"])
def test_wrong_target_puts_the_can_into_another_quarter(goal):
    task = task_of("pick_place_can")
    scene, *_ = episode(task, [build("wrong_target", duration_steps=1000, goal=goal).draw(STREAM, task)])
    now, quarter = scene.truth().observation, {"near": -1, "far": 1, "left": 1, "right": -1}
    x, y = (quarter[word] for word in goal.split("_"))
    assert x * (now["can_pos"][0] - 0.1) > 0.02
    assert y * (now["can_pos"][1] - 0.28) > 0.02
    assert now["can_pos"][2] < 0.88
    assert np.linalg.norm(now["can_pos"] - now["eef_pos"]) > 0.05
    assert not in_bin(now["can_pos"])


def test_wrong_target_puts_the_nut_over_the_round_peg():
    task = task_of("nut_assembly_square")
    record = build("wrong_target", duration_steps=1000).draw(STREAM, task)
    scene, *_ = episode(task, [record])
    assert record["goal"] == "round_peg"
    nut = scene.truth().observation["nut_pos"]
    assert is_on_peg(nut, scene.data.body("peg2").xpos)
    assert not scene.truth().success


def test_wrong_object_is_shown_while_active_alone_and_not_to_a_reference():
    task = task_of("stack")
    scene = task.scene()
    seen = scene.begin(STREAM, [build("wrong_object", duration_steps=3, start_step=2).draw(STREAM, task)])
    for step in range(7):
        true = scene.truth().observation
        mine, other = ("cube_b_pos", "cube_a_pos") if 2 <= step < 5 else ("cube_a_pos", "cube_b_pos")
        assert np.array_equal(seen["cube_a_pos"], true[mine])
        assert np.array_equal(seen["cube_b_pos"], true[other])
        assert np.array_equal(true["cube_a_pos"], scene.data.body("cubeA_main").xpos)
        seen, *_ = scene.step(np.zeros(7))


def test_reference_expert_is_not_misled_by_a_wrong_object():
    task = task_of("stack")
    records = [build("wrong_object", duration_steps=1000).draw(STREAM, task)]
    scene, *_ = episode(task, records, steps=90, privileged=True)
    assert scene.truth().success


def test_relabelling_keeps_what_other_faults_showed():
    task = task_of("stack")
    bias = build("object_pose_bias", offset_m=0.02).draw(STREAM, task)
    for order in (1, -1):
        scene = task.scene()
        records = [bias, build("wrong_object", duration_steps=9).draw(STREAM, task)][::order]
        seen, true = scene.begin(STREAM, records), scene.truth().observation
        biased = "cube_b_pos" if order > 0 else "cube_a_pos"  # the object's entry, wherever that is shown
        source = "cube_a_pos" if order > 0 else "cube_b_pos"
        assert np.allclose((seen[biased] - true[source])[:2], bias["offset_m"], atol=1e-12)


@pytest.mark.parametrize(("fault", "name"), [("wrong_object", "pick_place_can"), ("wrong_target", "stack")])
def test_goals_of_the_other_kind_are_refused(fault, name):
    with pytest.raises(ConfigError, match=f"task {name} has none"):
        build(fault).draw(STREAM, task_of(name))


def test_unknown_goal_is_refused():
    with pytest.raises(UnknownNameError, match="near_left"):
        build("wrong_target", goal="near_lift").draw(STREAM, task_of("pick_place_can"))


def test_goals_are_drawn_among_the_alternatives():
    spec = build("wrong_target")
    drawn = {spec.draw(Stream(0, number), task_of("pick_place_can"))["goal"] for number in range(40)}
    assert drawn == {"near_left", "far_right", "near_right"}


# Grounding


@pytest.mark.parametrize(
    ("name", "told", "goal"),
    [
        ("lift", "Lift the red cube!", "lift"),
        ("lift", "pick up the crimson block", "lift"),
        ("lift", "raise the thing with six faces", "lift"),
        ("lift", "lift the green cube", None),
        ("lift", "lift", None),
        ("lift", "red cube", None),
        ("lift", "do not lift the red cube", None),
        ("stack", "stack the scarlet box onto the emerald one", "red_on_green"),
        ("stack", "set the green block on top of the red block", "green_on_red"),
        ("stack", "put the green cube under the red cube", "red_on_green"),
        ("stack", "on the red cube put the green cube", "green_on_red"),
        ("stack", "put the bigger cube on the smaller cube", "green_on_red"),
        ("stack", "put the cube on the green cube", "red_on_green"),
        ("stack", "put the cube on the other cube", None),
        ("stack", "pick up the red cube", None),
        ("stack", "put the red cube on the red cube", None),
        ("pick_place_can", "place the tin into its place", "far_left"),
        ("pick_place_can", "move the soda into the near right corner of the bin", "near_right"),
        ("pick_place_can", "put the can into the left quarter", None),
        ("nut_assembly_square", "slip the nut onto the circular post", "round_peg"),
        ("nut_assembly_square", "put the nut over the peg on the right", "round_peg"),
        ("nut_assembly_square", "put the nut over the peg", None),
        ("door", "open the door", "door"),
        ("door", "close the door", None),
        ("peg_insertion", "insert the rod into the opening", "peg_insertion"),
        ("push_t", "shove the grey tee onto the green one", None),
        ("push_t", "shove the grey tee onto the green outline", "push_t"),
        *((name, "", None) for name in TASKS),
    ],
)
def test_instruction_means(name, told, goal):
    assert task_of(name).ground(told) == goal


@pytest.mark.parametrize("name", TASKS)
def test_words_of_a_task_mean_what_they_are_for(name):
    task = task_of(name)
    own, words = next(iter(task.goals)), task.wording
    for goal, told in task.goals.items():
        assert task.ground(told) == goal
    for texts in (words.paraphrases, words.properties):
        assert {task.ground(text) for text in texts} == {own, None}  # some are understood, none is misunderstood
    assert {task.ground(text) for text in words.places} <= {own, None}
    for text in (*words.present_nouns, *words.absent_nouns, *words.other_verbs, *words.ambiguous):
        assert task.ground(text) is None, text
    assert set(words.meanings) == set(task.goals)


@pytest.mark.parametrize("name", TASKS)
def test_one_slip_in_a_long_word_is_forgiven(name):
    task = task_of(name)
    for goal, told in task.goals.items():
        for word in (word for word in told.split() if len(word) > 4):
            assert {task.ground(told.replace(word, slip)) for slip in slips(word)} == {goal}


@pytest.mark.parametrize("name", TASKS)
def test_typos_are_never_taken_for_another_goal(name):
    task, own = task_of(name), next(iter(task_of(name).goals))
    spec = build("typos", typo_count=[1, 4])
    records = [spec.draw(Stream(0, number), task) for number in range(60)]
    meant = [task.ground(record["text"]) for record in records]
    assert set(meant) == {own, None}
    few = [goal for record, goal in zip(records, meant, strict=True) if record["typo_count"] == 1]
    many = [goal for record, goal in zip(records, meant, strict=True) if record["typo_count"] == 4]
    assert few.count(own) / len(few) > many.count(own) / len(many)


def test_typos_leave_out_or_swap_letters_as_often_as_drawn():
    for count in (1, 3, 8):
        record = build("typos", typo_count=count).draw(STREAM, task_of("stack"))
        told = task_of("stack").instruction
        assert record["text"] != told
        assert len(told) - count <= len(record["text"]) <= len(told)
        assert len(record["text"].split()) >= len(told.split()) - 1
    assert build("typos", typo_count=1).draw(STREAM, task_of("stack"))["text"] in slips(told)


def test_many_typos_still_leave_a_text():
    assert build("typos", typo_count=20).draw(STREAM, task_of("lift"))["text"].strip()


# The expert that listens, and what it is told


@pytest.mark.parametrize("name", ["lift", "stack", "door"])
def test_listening_changes_nothing_while_nothing_else_is_told(name):
    task = task_of(name)
    trained = yaml.safe_load((ROOT / "conf/policy/expert.yaml").read_text())
    assert trained["listens"] is True
    _, deaf, _ = episode(task, [], steps=40)
    _, listening, _ = episode(task, [], steps=40, listens=True)
    assert deaf.tobytes() == listening.tobytes()


def test_it_obeys_a_wrong_instruction_and_so_fails():
    task = task_of("stack")
    record = build("wrong_instruction", duration_steps=1000).draw(STREAM, task)
    scene, *_ = episode(task, [record], listens=True)
    now = scene.truth().observation
    assert record["text"] == "put the green cube on the red cube"
    assert stands_on(now["cube_b_pos"], now["cube_a_pos"])
    assert not scene.truth().success
    assert episode(task, [record])[0].truth().success  # one that does not listen does not notice


def test_it_changes_its_goal_when_it_is_told():
    task = task_of("nut_assembly_square")
    record = build("goal_change", start_step=40, duration_steps=1000).draw(STREAM, task)
    scene, asked, _ = episode(task, [record], listens=True)
    _, nominal, _ = episode(task, [], listens=True)
    assert asked[:40].tobytes() == nominal[:40].tobytes()
    assert is_on_peg(scene.truth().observation["nut_pos"], scene.data.body("peg2").xpos)


@pytest.mark.parametrize("fault", ["empty_instruction", "noun_swap", "verb_swap", "ambiguous"])
def test_it_stands_still_while_it_does_not_understand(fault):
    task = task_of("lift")
    scene = task.scene()
    scene.begin(STREAM, [build(fault, duration_steps=20).draw(STREAM, task)])
    before = scene.truth().observation["eef_pos"]
    asked, _, _ = drive(scene, Expert(task, privileged=False, listens=True), 20)
    assert not asked.any()
    assert np.linalg.norm(scene.truth().observation["eef_pos"] - before) < 0.005
    asked, _, _ = drive(scene, Expert(task, privileged=False, listens=True), 50)
    assert asked.any()
    assert scene.truth().success


def test_text_is_heard_while_active_alone_and_not_by_a_reference():
    task = task_of("stack")
    record = build("wrong_instruction", start_step=2, duration_steps=3).draw(STREAM, task)
    scene = task.scene()
    scene.begin(STREAM, [record])
    heard = []
    for _ in range(7):
        heard.append(scene.instruction())
        scene.privileged = True
        assert scene.instruction() == task.instruction
        scene.privileged = False
        scene.step(np.zeros(7))
    assert heard == [task.instruction] * 2 + [record["text"]] * 3 + [task.instruction] * 2
    assert record["text"] in describe(record)


LANGUAGE = ("paraphrase", "property_reference", "spatial_reference", "noun_swap", "verb_swap", "ambiguous")


@pytest.mark.parametrize("fault", LANGUAGE)
@pytest.mark.parametrize("name", TASKS)
def test_texts_are_drawn_from_the_tasks_words(fault, name):
    task = task_of(name)
    texts = {build(fault).draw(Stream(0, number), task)["text"] for number in range(12)}
    assert len(texts) > 1
    assert task.instruction not in texts
    assert not any("{" in text for text in texts)


@pytest.mark.parametrize("present", [True, False])
def test_noun_swap_is_of_something_that_is_there_or_not(present):
    task = task_of("stack")
    spec = build("noun_swap", present=present)
    texts = {spec.draw(Stream(0, number), task)["text"] for number in range(40)}
    assert texts == set(task.wording.present_nouns if present else task.wording.absent_nouns)


def test_spatial_reference_says_where_the_cubes_are():
    task, seen = task_of("stack"), set()
    for number in range(30):
        stream = Stream(0, number)
        told = build("spatial_reference").draw(stream, task)["text"].split()
        first, second = (word for word in told if word in ("left", "right", "near", "far"))
        observation = task.scene().begin(stream)
        x, y, _ = observation["cube_a_pos"] - observation["cube_b_pos"]
        along = {"left": y, "right": -y, "near": -x, "far": x}
        assert along[first] > 0
        assert along[first] == max(along.values())
        assert along[second] == min(along.values())
        seen.add(first)
    assert seen == {"left", "right", "near", "far"}


@pytest.mark.parametrize("fault", ["wrong_instruction", "goal_change"])
def test_other_goals_cannot_be_told_where_there_are_none(fault):
    with pytest.raises(ConfigError, match="no words for task lift"):
        build(fault).draw(STREAM, task_of("lift"))


# Sequence


def test_stages_of_each_route():
    stack = task_of("stack")
    omitted = build("step_omitted", omitted="lift").draw(STREAM, stack)
    assert (omitted["stage"], omitted["route"]) == ("lift", ["place", "release"])
    repeated = build("step_duplicated", repeated="lift").draw(STREAM, stack)
    assert (repeated["stage"], repeated["route"]) == ("place", ["lift"])
    swapped = build("wrong_order", swapped=["place", "grasp"]).draw(STREAM, stack)
    assert (swapped["stage"], swapped["route"]) == ("grasp", ["place", "lift", "grasp", "release"])
    assert swapped["swapped"] == ["grasp", "place"]


@pytest.mark.parametrize("fault", SEQUENCE)
def test_schedule_of_ones_own_is_kept(fault):
    stack = task_of("stack")
    assert build(fault, predicate="grasped").draw(STREAM, stack)["stage"] is None
    assert build(fault, stage="reach", start_step=4).draw(STREAM, stack)["stage"] == "reach"


@pytest.mark.parametrize(("fault", "key"), [("step_omitted", "omitted"), ("step_duplicated", "repeated")])
def test_any_stage_but_the_last_is_drawn(fault, key):
    stack = task_of("stack")
    assert {build(fault).draw(Stream(0, n), stack)[key] for n in range(40)} == {"reach", "grasp", "lift", "place"}
    for wrong in ("release", "fly"):
        with pytest.raises(UnknownNameError, match=wrong):
            build(fault, **{key: wrong}).draw(STREAM, stack)


def test_swapped_must_be_two_stages_of_the_task():
    for wrong in (["grasp"], ["grasp", "grasp"], "grasp", ["reach", "grasp", "lift"]):
        with pytest.raises(ConfigError, match="two stages"):
            build("wrong_order", swapped=wrong)
    with pytest.raises(UnknownNameError, match="fly"):
        build("wrong_order", swapped=["grasp", "fly"]).draw(STREAM, task_of("stack"))


@pytest.mark.parametrize("fault", SEQUENCE)
def test_detours_need_an_arm_whose_pose_is_commanded(fault):
    for task in (task_of("push_t"), Lift(controller="joint_position")):
        with pytest.raises(ConfigError, match=r"fingers|pose"):
            build(fault).draw(STREAM, task)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "push_t"])
def test_without_the_grasp_nothing_is_grasped(name):
    task = task_of(name)
    record = build("step_omitted", omitted="grasp", duration_steps=1000).draw(STREAM, task)
    scene = task.scene()
    scene.begin(STREAM, [record])
    grasped, applied = [], []
    expert, before = Expert(task, privileged=False), None
    for _ in range(60):
        _, last, before = drive(scene, expert, 1, before)
        grasped.append(scene.truth().predicates["grasped"])
        applied.append(last[0])
    assert scene.injected() >= 0
    assert not any(grasped)
    assert max(np.array(applied)[scene.injected() :, -1]) < 0
    nominal, *_ = episode(task, [], steps=60)
    assert nominal.truth().stage >= 2


def test_without_the_lift_the_cube_is_dragged_straight_over():
    task = task_of("stack")
    heights = {}
    for name, records in {"nominal": [], "omitted": [build("step_omitted", omitted="lift")]}.items():
        scene = task.scene()
        scene.begin(STREAM, [spec.draw(STREAM, task) for spec in records])
        start = scene.truth().observation["cube_a_pos"]
        before, heights[name] = None, 0.0
        for _ in range(60):
            *_, before = drive(scene, Expert(task, privileged=False), 1, before)
            cube = scene.truth().observation["cube_a_pos"]
            if np.hypot(*(cube - start)[:2]) < 0.02:
                heights[name] = max(heights[name], cube[2] - start[2])
    assert heights["omitted"] < 0.6 * heights["nominal"]


def test_a_repeated_approach_goes_up_and_down_with_open_fingers():
    task = task_of("lift")
    record = build("step_duplicated", repeated="reach", duration_steps=60).draw(STREAM, task)
    scene = task.scene()
    scene.begin(STREAM, [record])
    heights, before, expert = [], None, Expert(task, privileged=False)
    while scene.injected() < 0:
        *_, before = drive(scene, expert, 1, before)
    for _ in range(60):
        _, applied, before = drive(scene, expert, 1, before)
        assert applied[0][-1] == -1.0
        now = scene.truth().observation
        heights.append(now["eef_pos"][2] - now["cube_pos"][2])
    low, high = np.array(heights) < 0.012, np.array(heights) > 0.065
    assert sum(high[1:] & ~high[:-1]) >= 2
    assert sum(low[1:] & ~low[:-1]) >= 2


def test_a_grasp_after_the_lift_leaves_the_cube_on_the_table_in_closed_fingers():
    task = task_of("lift")
    record = build("wrong_order", swapped=["grasp", "lift"], duration_steps=1000).draw(STREAM, task)
    scene = task.scene()
    start = scene.begin(STREAM, [record])["cube_pos"]
    before, expert, events = None, Expert(task, privileged=False), []
    for _ in range(60):
        *_, before = drive(scene, expert, 1, before)
        now, predicates = scene.truth().observation, scene.truth().predicates
        events += ["up"] if now["eef_pos"][2] > 0.9 and scene.injected() >= 0 else []
        events += ["grasped"] if predicates["grasped"] else []
    assert "up" in events
    assert events.index("grasped") > max(at for at, event in enumerate(events) if event == "up")
    assert abs(scene.truth().observation["cube_pos"][2] - start[2]) < 0.02


def test_control_returns_when_the_time_is_over():
    task = task_of("lift")
    record = build("step_omitted", omitted="grasp", duration_steps=25).draw(STREAM, task)
    scene, asked, applied = episode(task, [record], steps=80)
    start = scene.injected()
    assert not np.array_equal(applied[start : start + 25], asked[start : start + 25])
    assert np.array_equal(applied[start + 25 :], asked[start + 25 :])
    assert np.array_equal(applied[:start], asked[:start])
    assert scene.truth().success


@pytest.mark.parametrize("fault", SEQUENCE)
def test_a_reference_is_not_led_astray(fault):
    task = task_of("lift")
    scene, asked, applied = episode(task, [build(fault).draw(STREAM, task)], steps=60, privileged=True)
    assert np.array_equal(asked, applied)
    assert scene.truth().success


def test_a_stage_is_repeated_though_the_plan_has_dropped_it():
    """Stack's plan is only to let go once A stands on B; the repeated stage is taken from just before."""
    task = task_of("stack")
    record = build("step_duplicated", repeated="place", duration_steps=30).draw(STREAM, task)
    scene, asked, applied = episode(task, [record], steps=100)
    start = scene.injected()
    assert start > 0
    assert not np.array_equal(applied[start : start + 30], asked[start : start + 30])


@pytest.mark.parametrize("fault", [*SEQUENCE, "wrong_object", "goal_change"])
@pytest.mark.parametrize("at", [4, 17, 33, 48])
def test_restoring_in_the_middle_is_exact(fault, at):
    task = task_of("stack")
    changes = {"start_step": 10} if fault in ("wrong_object", "goal_change") else {}
    record = build(fault, duration_steps=40, **changes).draw(Stream(3, 5), task)
    expert, scene = Expert(task, privileged=False, listens=True), task.scene()
    scene.begin(STREAM, [record])
    *_, before = drive(scene, expert, at)
    snapshot = scene.snapshot()
    _, first, _ = drive(scene, expert, 40, before)
    end = scene.snapshot()
    for other in (scene, task.scene()):
        other.begin(Stream(8, 8), [build("wrong_order", duration_steps=9).draw(STREAM, task)])
        drive(other, expert, 7)
        other.restore(snapshot)
        _, again, _ = drive(other, expert, 40, before)
        assert again.tobytes() == first.tobytes()
        assert other.snapshot().state.tobytes() == end.state.tobytes()
        assert other.snapshot().memory.tobytes() == end.memory.tobytes()


def test_a_policy_that_does_not_listen_is_refused():
    with pytest.raises(ConfigError, match="does not listen"):
        build("typos").suits(Expert(Lift(), privileged=False))
    build("typos").suits(Expert(Lift(), privileged=False, listens=True))
