"""The task Blocks: goals drawn by the episode alone and fulfilled by doing each alone, faults relative to them.

And what it is for: which instruction a policy followed, counted from a store.
"""

from __future__ import annotations

import collections
import functools
import importlib
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from workbench.attribution import instructions as followed
from workbench.envs.tasks.blocks import APART_M, COLOURS, GOALS, LEFT_M, Blocks, joint_of
from workbench.errors import ConfigError, UnknownNameError
from workbench.policies.expert import Expert
from workbench.reporting.report import instruction_rows, misled_rows, terminal_tables, write_report
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.modes import MODES, modes_of
from workbench.rollouts.worker import write_episodes
from workbench.store import Store, StoreHeader
from workbench.testing.task import check_task
from workbench.types import Stream, episode_index

ROOT = Path(__file__).parents[2]
FAULTS = sorted(path.stem for path in (ROOT / "conf/perturbation").glob("*.yaml"))


@pytest.fixture(scope="module")
def task() -> Blocks:
    return Blocks()


@functools.cache
def scene_of(goal: str | None):
    return Blocks(goal=goal).scene()


def build(name: str, **changes):
    part = yaml.safe_load((ROOT / f"conf/perturbation/{name}.yaml").read_text())[name] | changes
    module, _, kind = part.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind)(**part)


def done(scene) -> set[str]:
    """Goals that are fulfilled now."""
    return {name for name in GOALS if scene.truth().predicates[f"did_{name}"]}


def drive(scene, expert, steps: int = 100) -> dict[str, np.ndarray]:
    """What the expert does until the episode succeeds: steps as they are stored."""
    rows = collections.defaultdict(list)
    before = scene.observe()
    for _ in range(steps):
        now = scene.observe()
        pair = {key: np.stack([before[key], now[key]])[None] for key in now}
        told = {"instructions": [scene.instruction()]} if expert.listens else {}
        action = expert.plan(pair, [np.random.default_rng(0)], **told).chunk[0, 0]
        before = now
        info = scene.step(action)[-1]
        rows["action"].append(action)
        rows["stage"].append(info["stage"])
        for name, value in info["predicates"].items():
            rows[f"predicates/{name}"].append(value)
        if info["success"]:
            break
    return {name: np.array(values) for name, values in rows.items()}


def put(scene, **places) -> set[str]:
    """Goals that are fulfilled once cubes lie elsewhere, in the state as it is computed."""
    for colour, place in places.items():
        joint = scene.data.joint(joint_of(colour))
        joint.qpos[:3], joint.qpos[3:] = place, [1, 0, 0, 0]
    mujoco.mj_fwdPosition(scene.model, scene.data)
    found = scene.task.predicates(scene.data)
    assert found["success"] == found[f"did_{scene.task.goal}"]
    return {name for name in GOALS if found[f"did_{name}"]}


# Goals


def test_it_keeps_the_contract(task):
    check_task(task, seeds=(0,))
    check_task(Blocks(goal="push_blue_left", controller="joint_position"), seeds=(3,))


def test_goals_are_drawn_uniformly_and_by_the_stream_alone(task):
    drawn = [task.of_episode(Stream(4, episode)).goal for episode in range(1400)]
    counts = collections.Counter(drawn)
    assert set(counts) == set(GOALS)
    assert 150 < min(counts.values()) <= max(counts.values()) < 250  # 200 are expected, one standard deviation is 13
    assert drawn == [Blocks().of_episode(Stream(4, episode)).goal for episode in range(1400)]
    assert drawn != [task.of_episode(Stream(5, episode)).goal for episode in range(1400)]
    scene = task.scene()
    for episode in (3, 0, 3):
        seen = scene.begin(Stream(4, episode))
        goal = drawn[episode]
        assert scene.instruction() == GOALS[goal].instruction
        assert scene.task.goal == goal
        assert seen["goal"].tolist() == [float(name == goal) for name in GOALS]


def test_where_things_are_does_not_tell_the_goal():
    starts = [scene_of(goal).begin(Stream(1, 5)) for goal in (None, *GOALS)]
    for start in starts[1:]:
        for key in set(start) - {"goal"}:
            assert np.array_equal(start[key], starts[0][key])


def test_a_fixed_goal_is_every_episodes():
    fixed = Blocks(goal="push_green_left")
    assert {fixed.of_episode(Stream(0, episode)) for episode in range(9)} == {fixed}
    assert fixed.scene().instruction() == "push the green cube to the left"
    assert next(iter(fixed.goals)) == "push_green_left"


def test_an_unknown_goal_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="lift_red") as caught:
        Blocks(goal="lift_rad")
    assert "stack_red_on_green" in str(caught.value)
    with pytest.raises(UnknownNameError, match="goal of task blocks"):
        Blocks().as_if("win", {})


def test_cubes_start_apart_and_fulfil_nothing(task):
    scene, lanes = task.scene(), set()
    for episode in range(60):
        seen = scene.begin(Stream(2, episode))
        assert not done(scene)
        assert scene.truth().stage == 0
        places = np.array([seen[f"{colour}_pos"] for colour in COLOURS])
        apart = np.linalg.norm(places[:, None, :2] - places[None, :, :2], axis=2)[np.triu_indices(3, 1)]
        assert apart.min() > APART_M - 0.01
        assert places[:, 1].max() < LEFT_M - 0.05
        lanes.add(tuple(np.argsort(places[:, 0])))
    assert len(lanes) == 6  # any colour may lie in any lane


def test_a_snapshot_of_one_goal_is_taken_up_by_a_scene_of_another(task):
    one, other = task.scene(), task.scene()
    first, second = Stream(0, 0), next(
        stream for stream in (Stream(0, n) for n in range(1, 9))
        if task.of_episode(stream) is not task.of_episode(Stream(0, 0))
    )  # fmt: skip
    one.begin(first)
    other.begin(second)
    one.step(np.full(7, 0.3))
    other.restore(one.snapshot())
    assert other.task.goal == one.task.goal
    assert other.instruction() == one.instruction()
    for scene in (one, other):
        scene.step(np.full(7, -0.2))
    assert one.truth().predicates == other.truth().predicates


# Success


def test_each_goal_is_fulfilled_by_doing_it_alone():
    scene = scene_of("lift_blue")
    scene.begin(Stream(0, 1))
    table = 0.8225
    apart = {"red": [-0.08, -0.02, table], "green": [0.0, 0.0, table], "blue": [0.08, 0.02, table]}
    assert put(scene, **apart) == set()
    for colour in COLOURS:
        x, y, _ = apart[colour]
        assert put(scene, **apart | {colour: [x, y, 0.94]}) == {f"lift_{colour}"}
        assert put(scene, **apart | {colour: [x, y, 0.92]}) == set()
        assert put(scene, **apart | {colour: [x, 0.11, table]}) == {f"push_{colour}_left"}
        assert put(scene, **apart | {colour: [x, 0.095, table]}) == set()
        assert put(scene, **apart | {colour: [x, 0.11, table + 0.03]}) == set(), "carried to the left"
        assert put(scene, **apart | {colour: [x, 0.11, 0.5]}) == set(), "off the table"
    assert put(scene, **apart | {"red": [0.0, 0.005, 0.8675]}) == {"stack_red_on_green"}
    assert put(scene, **apart | {"red": [0.0, 0.03, 0.8675]}) == set()
    assert put(scene, **apart | {"red": [0.08, 0.02, 0.8675]}) == set(), "on the blue one"
    assert put(scene, **apart | {"green": [-0.08, -0.02, 0.8675]}) == set(), "the other way round"


def test_stacking_needs_letting_go():
    scene, goal = scene_of("stack_red_on_green"), "stack_red_on_green"
    scene.begin(Stream(1, 0))
    steps = drive(scene, Expert(scene.task, privileged=False))
    at, held = steps["predicates/at_target"] > 0, steps["predicates/grasped"] > 0
    assert (at & held).any()
    assert not (steps[f"predicates/did_{goal}"] > 0)[at & held].any()
    assert steps["predicates/success"][-1]


@pytest.mark.parametrize("goal", GOALS)
def test_expert_does_what_is_asked_and_nothing_else(goal):
    scene = scene_of(goal)
    for episode in range(4):
        scene.begin(Stream(6, episode))
        steps = drive(scene, Expert(scene.task, privileged=False))
        assert scene.truth().success, episode
        assert len(steps["action"]) < 80
        assert {name for name in GOALS if steps[f"predicates/did_{name}"].any()} == {goal}
        assert set(steps["stage"]) == {0, 1, 2, 3}
        assert not modes_of(steps, scene.task).any(), "an expert that succeeds shows no failure"


@pytest.mark.parametrize("goal", ["lift_red", "push_blue_left"])
def test_another_goal_done_is_seen_as_the_wrong_object(goal):
    other = {"lift_red": "lift_green", "push_blue_left": "push_red_left"}[goal]
    scene = scene_of(goal)
    scene.begin(Stream(6, 0), [build("wrong_object", goal=other, duration_steps=1000).draw(Stream(6, 0), scene.task)])
    steps = drive(scene, Expert(scene.task, privileged=False), 70)
    assert steps[f"predicates/did_{other}"].any()
    assert not steps[f"predicates/did_{goal}"].any()
    assert (modes_of(steps, scene.task) & (1 << MODES.index("wrong object"))).any()


# Faults


def test_faults_are_relative_to_the_episodes_goal(task):
    told = collections.defaultdict(set)
    for episode in range(60):
        stream = Stream(3, episode)
        own = task.of_episode(stream)
        for fault in ("wrong_instruction", "goal_change"):
            meant = task.ground(build(fault).draw(stream, task)["text"])
            assert meant in set(GOALS) - {own.goal}
            told[own.goal].add(meant)
        another = build("wrong_object").draw(stream, task)["goal"]
        assert GOALS[another].cube != own.asked.cube
        elsewhere = build("wrong_target").draw(stream, task)["goal"]
        assert elsewhere != own.goal
        assert GOALS[elsewhere].cube == own.asked.cube
        assert build("empty_instruction").draw(stream, task)["text"] == ""
        assert build("noun_swap").draw(stream, task)["text"] in (*own.wording.present_nouns, *own.wording.absent_nouns)
        assert build("verb_swap").draw(stream, task)["text"] in own.wording.other_verbs
        assert task.ground(build("typos", typo_count=1).draw(stream, task)["text"]) in (own.goal, None)
    assert set(told) == set(GOALS)
    assert min(map(len, told.values())) > 1


def test_a_given_goal_that_is_the_episodes_own_is_no_fault_there(task):
    """And it is an error only if no episode can have it."""
    drawn = {}
    for episode in range(40):
        stream = Stream(3, episode)
        drawn[task.of_episode(stream).goal] = build("wrong_object", goal="lift_red").draw(stream, task)["goal"]
    assert drawn["push_blue_left"] == "lift_red"
    assert GOALS[drawn["lift_red"]].cube != "red"
    with pytest.raises(UnknownNameError, match="win"):
        build("wrong_object", goal="win").draw(Stream(3, 0), task)


def test_words_mean_what_they_are_for(task):
    for goal in GOALS:
        own = Blocks(goal=goal)
        words = own.wording
        assert {own.ground(text) for text in words.paraphrases} == {goal, None}
        assert {own.ground(text) for text in (*words.properties, *words.places)} <= {goal, None}
        for text in (*words.present_nouns, *words.absent_nouns, *words.other_verbs, *words.ambiguous):
            assert own.ground(text) is None, text
        assert task.ground(own.instruction) == goal


@pytest.mark.parametrize(
    ("told", "goal"),
    [
        ("raise the azure block", "lift_blue"),
        ("slide the green brick to the left side", "push_green_left"),
        ("place the red cube onto the emerald one", "stack_red_on_green"),
        ("lift the red cube to the left", None),
        ("push the red cube to the right", None),
        ("stack the green cube on the red cube", None),
        ("lift the cube", None),
        ("lift the red cube and push the green cube to the left", None),
        ("", None),
    ],
)
def test_instruction_means(task, told, goal):
    assert task.ground(told) == goal


def test_spatial_references_say_which_lane(task):
    scene = task.scene()
    for episode in range(15):
        stream = Stream(0, episode)
        own, text = task.of_episode(stream), build("spatial_reference").draw(stream, task)["text"]
        seen = scene.begin(stream)
        lanes = dict(zip(sorted(seen[f"{colour}_pos"][0] for colour in COLOURS), ("near", "mid", "far"), strict=True))
        assert "{" not in text
        assert f"the {lanes[seen[f'{own.asked.cube}_pos'][0]]}" in text


def test_a_shifted_cube_never_comes_to_lie_in_another():
    scene = scene_of("lift_red")
    for episode in range(20):
        seen = scene.begin(Stream(0, episode))
        for angle in np.linspace(0, 6, 12):
            shift = scene.task.shift_m(scene.data, [0.09 * np.cos(angle), 0.09 * np.sin(angle)])
            assert np.hypot(*shift) == pytest.approx(0.09)
            gaps = [np.hypot(*(seen["red_pos"][:2] + shift - seen[f"{c}_pos"][:2])) for c in ("green", "blue")]
            assert min(gaps) > APART_M


def test_late_release_needs_a_goal_that_lets_go(task):
    with pytest.raises(ConfigError, match="late_release"):
        build("late_release").draw(Stream(0, 0), task)
    assert build("late_release").draw(Stream(0, 0), Blocks(goal="stack_red_on_green"))


def model_bytes(scene) -> bytes:
    buffer = np.zeros(mujoco.mj_sizeModel(scene.model), np.uint8)
    mujoco.mj_saveModel(scene.model, None, buffer)
    return buffer.tobytes() + scene.gains.tobytes()


def test_every_fault_is_refused_or_restored_bit_for_bit(task):
    """In another scene, which stood in an episode of another goal, with the fault at work; and it leaves no trace."""
    one, other = scene_of(None), task.scene()
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (9, 7))
    tried, untouched = 0, model_bytes(one)
    for number, name in enumerate(FAULTS):
        stream = Stream(8, number)
        try:
            record = build(name).draw(stream, task) | {"start_step": 2, "stage": None, "predicate": None}
        except (ConfigError, UnknownNameError):
            continue
        tried += 1
        one.begin(stream, [record])
        for action in actions[:5]:
            one.step(action)
        snapshot, futures = one.snapshot(), []
        other.begin(Stream(9, number))
        for scene in (one, other):
            scene.restore(snapshot)
            for action in actions[5:]:
                scene.step(action)
            futures.append((scene.snapshot().state.tobytes(), scene.instruction(), scene.truth().predicates))
        assert futures[0] == futures[1], name
        one.begin(stream)
        assert model_bytes(one) == untouched, name
    assert tried > 50


# Which instruction was followed


def test_of_several_goals_done_the_one_asked_for_counts_first():
    assert followed.followed("lift_red", {"lift_blue"}, ["lift_blue", "lift_red"]) == "asked"
    assert followed.followed("lift_red", {"lift_blue"}, ["lift_green", "lift_blue"]) == "told"
    assert followed.followed("lift_red", {"lift_blue"}, ["lift_green"]) == "another"
    assert followed.followed("lift_red", set(), ["lift_green"]) == "another"
    assert followed.followed("lift_red", {"lift_blue"}, []) == "none"


@pytest.fixture(scope="module")
def store(task, tmp_path_factory) -> Store:
    """Episodes of an expert that listens: two without faults, two that are told another goal, one that is told none."""
    path = tmp_path_factory.mktemp("stores") / "told.zarr"
    head = StoreHeader(task=task.name, control_hz=20.0, deadline=100, config={}, versions={}, seed=0)
    streams = [Stream(0, episode_index("test", number)) for number in range(5)]
    misled = [build(name, start_step=0, duration_steps=1000) for name in ("wrong_instruction", "empty_instruction")]
    records = [
        (),
        (),
        *[(misled[0].draw(stream, task),) for stream in streams[2:4]],
        (misled[1].draw(streams[4], task),),
    ]
    launches = [Launch(stream, drawn) for stream, drawn in zip(streams, records, strict=True)]
    write_episodes(path, head, Lockstep(task, Expert(task, privileged=False, listens=True), 5), launches)
    return Store.open(path)


def test_instructions_are_counted_from_a_store(store, task, tmp_path):
    counted = followed.summary(followed.told(store, task))
    nominal = [task.of_episode(Stream(0, episode_index("test", number))).instruction for number in range(2)]
    assert sorted(row["instruction"] for row in counted["instructions"]) == sorted(set(nominal))
    assert sum(row["episodes"] for row in counted["instructions"]) == 2
    assert sum(row["successes"] for row in counted["instructions"]) == 2
    assert counted["misled"] == [
        {"perturbation": "empty_instruction", "episodes": 1, "asked": 0, "told": 0, "another": 0, "none": 1},
        {"perturbation": "wrong_instruction", "episodes": 2, "asked": 0, "told": 2, "another": 0, "none": 0},
    ]
    page = write_report(tmp_path / "report.html", counted, title="told", curves={}).read_text()
    assert "What was told, and what was done" in page
    assert nominal[0] in page
    assert misled_rows(counted)[1] == ["wrong_instruction", "2", "0", "2", "0", "0"]
    assert instruction_rows(counted)[0]["count"] in ("1/1", "2/2")
    assert len(terminal_tables(counted, only=("instructions", "misled"))) == 2


def test_other_splits_and_other_tasks_have_no_such_table(store):
    from workbench.envs.tasks.stack import Stack

    assert followed.told(store, Blocks(), "fit") == []
    assert followed.told(store, Stack()) == []
    assert terminal_tables(followed.summary([]), only=("instructions", "misled")) == []
