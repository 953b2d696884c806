"""Every fault of ``conf/perturbation`` keeps its promises, on Lift."""

from __future__ import annotations

import importlib
import json
import math
import re
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from workbench.envs.perturbation import describe
from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.lift import TABLE_M, Lift
from workbench.errors import ConfigError
from workbench.types import Stream

ROOT = Path(__file__).parents[2]
PARTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf/perturbation").glob("*.yaml"))}
NAMES = list(PARTS)
STREAM = Stream(seed=5, episode=7)
START, DURATION, END = 14, 12, 45
CLOSING = 16
"""Schedule of these tests; in the nominal episode the fingers are first told to close at step 16, and hold at 23."""
LATER = {"start_step": 10_000, "stage": None, "predicate": None}
NOW = {"start_step": START, "stage": None, "predicate": None, "duration_steps": DURATION}


def build(name: str, **changes):
    """The specification of a yaml, as the command line would make it."""
    part = PARTS[name][name] | changes
    module, _, kind = part["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**{key: part[key] for key in part if key != "_target_"})


def magnitudes(name: str) -> list[str]:
    return [key for key in PARTS[name][name] if key not in ("_target_", "start_step", "stage", "predicate")]


class Reference:
    """The nominal episode: actions of a follower of the task's plan, and what came of them."""

    def __init__(self) -> None:
        self.task = Lift()
        self.scene = self.task.scene()
        self.scene.begin(STREAM)
        self.actions: list[np.ndarray] = []
        for _ in range(END):
            self.actions.append(follow(self.task, self.scene.truth().observation))
            self.scene.step(self.actions[-1])
        assert self.scene.truth().success
        self.trace = self.run([])
        assert [action[-1] > 0 for action in self.actions].index(True) == CLOSING

    def run(self, records, scene: MujocoScene | None = None) -> Trace:
        scene = scene or self.scene
        trace = Trace()
        trace.see(scene, scene.begin(STREAM, records))
        return trace.go_on(scene, self.actions)


class Trace:
    """What happened in one episode, control step by control step."""

    def __init__(self) -> None:
        self.seen: list[dict] = []
        self.true: list[dict] = []
        self.states: list[np.ndarray] = []
        self.memories: list[np.ndarray] = []
        self.applied: list[np.ndarray] = []

    def see(self, scene: MujocoScene, observation) -> None:
        snapshot = scene.snapshot()
        self.seen.append(dict(observation))
        self.true.append(dict(scene.truth().observation))
        self.states.append(snapshot.state)
        self.memories.append(snapshot.memory)

    def go_on(self, scene: MujocoScene, actions) -> Trace:
        for action in actions:
            observation, *_, info = scene.step(action)
            self.applied.append(info["applied"])
            self.see(scene, observation)
        return self

    def bytes(self, first: int = 0, last: int | None = None) -> list[bytes]:
        """Everything but the faults' own memory, from one step up to another."""
        parts = [*self.states[first:last], *self.applied[first:last]]
        parts += [value for seen in self.seen[first:last] for value in seen.values()]
        return [part.tobytes() for part in parts]


def follow(task: Lift, observation) -> np.ndarray:
    """One action towards the task's next keyframe; remembers nothing."""
    above, at, _, lifted = task.plan(observation)
    eef = observation["eef_pos"]
    beside = np.linalg.norm((eef - at.position_m)[:2]) > 0.015
    near = np.linalg.norm(eef - at.position_m) < 0.012
    held = near and observation["gripper_qpos"][0] < 0.03
    goal = lifted if held else above if beside else at
    return np.r_[np.clip((goal.position_m - eef) / 0.05, -1, 1), 0, 0, 0, 1.0 if near else -1.0]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.fixture(params=NAMES)
def record(request, reference):
    """One drawn fault, striking in the middle of the episode."""
    drawn = build(request.param).draw(STREAM, reference.task)
    return drawn | NOW | ({"duration_steps": 1} if drawn["duration_steps"] == 1 else {})


def begins(record) -> int:
    """First step of the fault: leaving out the grasp waits for the first closing command."""
    return CLOSING if record["name"] == "grasp_omitted" else START


def ends(record) -> int:
    return begins(record) + record["duration_steps"]


def model_bytes(model: mujoco.MjModel) -> bytes:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


# Configuration


@pytest.mark.parametrize("name", NAMES)
def test_yaml_names_one_part_after_itself(name):
    assert list(PARTS[name]) == [name]
    assert PARTS[name][name]["_target_"].startswith(f"workbench.envs.perturbations.{name}.")


def test_every_fault_has_its_yaml():
    files = {path.stem for path in (ROOT / "envs/perturbations").glob("*.py")} - {"__init__"}
    assert files == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_keys_are_refused(name):
    with pytest.raises(TypeError, match="sevrity"):
        build(name, sevrity=1.0)


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in NAMES for key in magnitudes(name)])
@pytest.mark.parametrize("value", [math.nan, 0, -1, 1e9, [math.nan, 1], "0.1", None, True, [0, 1e9], {}])
def test_impossible_magnitudes_are_refused(name, key, value):
    with pytest.raises(ConfigError, match=key):
        build(name, **{key: value})


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in NAMES for key in magnitudes(name)])
def test_bounds_out_of_order_are_refused(name, key):
    low, high = PARTS[name][name][key]
    assert low < high
    with pytest.raises(ConfigError, match=key):
        build(name, **{key: [high, low]})


@pytest.mark.parametrize("name", NAMES)
def test_a_magnitude_must_be_given(name):
    part = PARTS[name][name]
    assert magnitudes(name)
    for key in magnitudes(name):
        module, _, kind = part["_target_"].rpartition(".")
        with pytest.raises(TypeError, match=key):
            getattr(importlib.import_module(module), kind)(**{k: part[k] for k in part if k not in ("_target_", key)})


# Records


@pytest.mark.parametrize("name", NAMES)
def test_record_is_plain_and_says_its_units(name, reference):
    record = build(name).draw(STREAM, reference.task)
    assert json.loads(json.dumps(record)) == record
    assert record["name"] == name
    assert record["channel"] in {"keyframe", "action", "physics", "observation"}
    drawn = set(record) - {"name", "channel", "target", "stage", "predicate", "axis"}
    assert all(re.search(r"_(m|n|step|steps|fraction|scale|size|sizes)$", key) for key in drawn), drawn


@pytest.mark.parametrize("name", NAMES)
def test_draws_lie_within_the_yaml_and_differ(name, reference):
    records = [build(name).draw(Stream(0, episode), reference.task) for episode in range(50)]
    for key in magnitudes(name):
        low, high = PARTS[name][name][key]
        drawn = [record["duration_steps"] if key == "duration_steps" else record[key] for record in records]
        lengths = np.array([np.linalg.norm(value) for value in drawn])
        assert (lengths >= low * (1 - 1e-12)).all()
        assert (lengths <= high * (1 + 1e-12)).all()
        assert lengths.min() < low + 0.25 * (high - low)
        assert lengths.max() > high - 0.25 * (high - low)


@pytest.mark.parametrize("name", NAMES)
def test_draws_depend_on_seed_and_episode_alone(name, reference):
    first = build(name).draw(STREAM, reference.task)
    for other in NAMES:
        build(other).draw(STREAM, reference.task)
    assert build(name).draw(STREAM, reference.task) == first
    episodes = [build(name).draw(Stream(STREAM.seed, n), reference.task) for n in range(20)]
    seeds = [build(name).draw(Stream(n, STREAM.episode), reference.task) for n in range(20)]
    assert any(record != first for record in episodes)  # whole numbers of steps may well be drawn twice
    assert any(record != first for record in seeds)


def test_draws_are_the_same_in_every_process(reference):
    """Numbers that were drawn when this test was written: no hash of a string, clock or process has a part in them."""
    record = build("object_shift", offset_m=[0.05, 0.1], start_step=[5, 20]).draw(STREAM, reference.task)
    assert record["start_step"] == 6
    assert record["offset_m"] == pytest.approx([0.07352067780786671, -0.02409268793684661], rel=1e-12)


MAGNITUDES = {
    "slip": ("duration_steps", 23, "for 23 steps"),
    "grasp_omitted": ("duration_steps", 23, "for 23 steps"),
    "observation_freeze": ("duration_steps", 23, "for 23 steps"),
    "action_noise": ("std_fraction", 0.371, "0.371"),
    "action_bias": ("bias_fraction", [0.03, 0.0, 0.04], "0.05"),
    "latency": ("latency_steps", 17, "17 steps late"),
    "object_shift": ("offset_m", [-0.03, 0.04], "0.050 m"),
    "object_pose_bias": ("offset_m", [-0.03, 0.04], "0.050 m"),
    "object_pose_noise": ("std_m", 0.037, "0.037 m"),
    "friction": ("friction_scale", 0.0137, "0.0137"),
    "mass": ("mass_scale", 71.0, "71"),
    "push": ("force_n", [3.0, -4.0], "5 N"),
    "center_of_mass": ("offset_m", [0.0, 0.05, 0.0], "0.050 m"),
    "damping": ("damping_scale", 371.0, "371"),
    "distractors": ("count", 3, "3 distractors"),
    "hand_push": ("force_n", [30.0, -40.0], "50 N"),
    "object_pose": ("offset_m", [-0.03, 0.04], "0.050 m"),
    "object_size": ("size_scale", 1.37, "1.37"),
    "object_turn": ("angle_rad", -0.371, "0.371 rad"),
    "obstacle": ("height_m", 0.137, "0.137 m"),
    "occupied_receptacle": ("height_m", 0.137, "0.137 m"),
    "robot_start": ("angle_rad", [0.3, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0], "0.500 rad"),
    "support_height": ("offset_m", -0.037, "0.037 m"),
    "support_tilt": ("angle_rad", 0.371, "0.371 rad"),
    "trigger": ("size_m", 0.037, "0.037 m"),
}


@pytest.mark.parametrize("name", NAMES)
def test_description_tells_magnitude_and_schedule(name, reference):
    key, value, words = MAGNITUDES[name]
    record = build(name).draw(STREAM, reference.task) | {"start_step": 31, "stage": None, "predicate": None, key: value}
    line = describe(record)
    assert line.startswith(f"{name}: ")
    assert words in line
    assert "step 31" in line
    assert "\n" not in line
    assert "3 steps into stage grasp" in describe(record | {"start_step": 3, "stage": "grasp"})


# Laws of every fault at work


def test_fault_that_never_starts_is_the_identity(record, reference):
    late = reference.run([record | LATER])
    assert late.bytes() == reference.trace.bytes()
    assert reference.scene.injected() == -1


def test_nothing_happens_before_it_starts(record, reference):
    trace, start = reference.run([record]), begins(record)
    state_too = start + (record["channel"] != "physics")  # a struck state is already the one of that step
    assert trace.bytes(0, start) == reference.trace.bytes(0, start)
    assert [s.tobytes() for s in trace.states[:state_too]] == [s.tobytes() for s in reference.trace.states[:state_too]]


def test_it_happens_and_is_said_to(record, reference):
    trace, start = reference.run([record]), begins(record)
    assert reference.scene.injected() == start
    window = slice(start, ends(record) + 1)
    if record["channel"] in ("keyframe", "action"):
        kept, changed = trace.applied, reference.actions
    elif record["channel"] == "observation":
        kept, changed = ([np.concatenate(list(o.values())) for o in seen] for seen in (trace.seen, trace.true))
    else:
        kept, changed = trace.states, reference.trace.states
    assert not np.array_equal(kept[window], changed[window])


def test_it_is_over_when_its_time_is(record, reference):
    trace, end = reference.run([record]), ends(record)
    assert end < END
    if record["channel"] == "observation":
        for states in zip(trace.states, reference.trace.states, strict=True):
            assert np.array_equal(*states)
        for seen, true in zip(trace.seen[end:], trace.true[end:], strict=True):
            assert all(seen[key].tobytes() == true[key].tobytes() for key in true)
    for applied, asked in zip(trace.applied[end:], reference.actions[end:], strict=True):
        assert np.array_equal(applied, asked)


@pytest.mark.parametrize("episode", range(4))
def test_undo_is_exact(record, reference, episode):
    """Of several magnitudes: dividing by a factor undoes a product exactly for some of them only."""
    scene, stream = reference.scene, Stream(0, episode)
    again = build(record["name"]).draw(stream, reference.task)
    scene.begin(stream, [again | {key: record[key] for key in NOW}])
    before = model_bytes(scene.model)
    edited = False
    for action in reference.actions[: ends(record)]:
        scene.step(action)
        edited |= model_bytes(scene.model) != before
    assert edited == (record["name"] in ("friction", "mass"))
    assert model_bytes(scene.model) == before


def test_next_episode_is_clean(record, reference):
    endless = record | ({} if record["duration_steps"] == 1 else {"duration_steps": 10_000})
    reference.run([endless])
    assert reference.run([]).bytes() == reference.trace.bytes()


def test_stored_record_replays_bit_for_bit(record, reference):
    first = reference.run([record])
    again = reference.run([json.loads(json.dumps(record))], Lift().scene())
    assert again.bytes() == first.bytes()
    assert [m.tobytes() for m in again.memories] == [m.tobytes() for m in first.memories]


@pytest.mark.parametrize("after", [0, 5, DURATION])
@pytest.mark.parametrize("same_scene", [True, False])
def test_restoring_a_snapshot_is_bit_exact(record, reference, after, same_scene):
    scene, at = reference.scene, begins(record) + after
    whole = reference.run([record])
    scene.begin(STREAM, [record])
    for action in reference.actions[:at]:
        scene.step(action)
    snapshot = scene.snapshot()
    other = scene if same_scene else Lift().scene()
    dirty = [build(name).draw(Stream(9, 9), reference.task) | NOW for name in ("mass", "friction", "latency", "push")]
    if same_scene:
        for action in reference.actions[at : at + 4]:
            scene.step(-action)
    else:
        other.begin(Stream(9, 9), dirty)
        for action in reference.actions[: START + 2]:
            other.step(action)
    branch = Trace()
    branch.see(other, other.restore(snapshot))
    branch.go_on(other, reference.actions[at:])
    assert branch.bytes() == whole.bytes(at)
    assert [m.tobytes() for m in branch.memories] == [m.tobytes() for m in whole.memories[at:]]


def test_other_faults_leave_its_draws_and_noise_alone(record, reference):
    """With all the others beside it, before and behind, that never strike."""
    idle = [build(name).draw(STREAM, reference.task) | LATER for name in NAMES if name != record["name"]]
    assert reference.run([*idle[:6], record, *idle[6:]]).bytes() == reference.run([record]).bytes()


# What each one does


def drawn(name: str, reference: Reference, **parameters):
    return build(name).draw(STREAM, reference.task) | NOW | parameters


@pytest.mark.parametrize("name", ["slip", "grasp_omitted"])
def test_fingers_are_commanded_open_and_nothing_else(name, reference):
    record = drawn(name, reference)
    trace = reference.run([record])
    for step, (applied, asked) in enumerate(zip(trace.applied, reference.actions, strict=True)):
        opened = begins(record) <= step < ends(record)
        assert applied[-1] == (-1.0 if opened else asked[-1])
        assert np.array_equal(applied[:-1], asked[:-1])


def test_slip_drops_the_object_once_it_is_held(reference):
    scene = reference.scene
    scene.begin(STREAM, [build("slip").draw(STREAM, reference.task) | {"start_step": 1}])
    held = []
    for action in reference.actions:
        scene.step(action)
        held.append(bool(scene.truth().predicates["grasped"]))
    first = held.index(True) + 1
    assert scene.injected() == first + 1
    assert not any(held[first + 5 :])
    assert scene.truth().observation["cube_pos"][2] < TABLE_M + 0.03


def test_action_noise_is_gaussian_on_the_arm_and_new_every_step(reference):
    record = drawn("action_noise", reference, std_fraction=0.2, start_step=0, duration_steps=300)
    reference.scene.begin(STREAM, [record])
    noise = np.array([reference.scene.step(np.zeros(7))[4]["applied"] for _ in range(300)])
    assert not noise[:, 6].any()
    assert abs(noise[:, :6].std() - 0.2) < 0.01
    assert abs(noise[:, :6].mean()) < 0.02
    assert len({row.tobytes() for row in noise}) == 300


def test_action_noise_does_not_depend_on_what_happened_before(reference):
    """So that branches from one snapshot share it, whatever they do."""
    late = drawn("action_noise", reference, start_step=10)
    early = late | {"start_step": 3, "duration_steps": 40}
    beside = [drawn("object_pose_noise", reference, start_step=0), late]
    for records in ([early], beside):
        ours = reference.run(records).applied[10:14]
        assert np.array_equal(ours, reference.run([late]).applied[10:14])


def test_action_bias_is_the_stored_vector(reference):
    record = drawn("action_bias", reference, bias_fraction=[0.1, -0.2, 0.3])
    reference.scene.begin(STREAM, [record])
    applied = np.array([reference.scene.step(np.full(7, 0.25))[4]["applied"] for _ in range(END)])
    assert np.allclose(applied[START : START + DURATION] - 0.25, [0.1, -0.2, 0.3, 0, 0, 0, 0], atol=1e-15)


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("latency_steps", [1, 4])
def test_latency_executes_what_was_asked_k_steps_ago(reference, start, latency_steps):
    record = drawn("latency", reference, start_step=start, latency_steps=latency_steps, duration_steps=20)
    asked = np.random.default_rng(0).uniform(-1, 1, (30, 7))
    reference.scene.begin(STREAM, [record])
    applied = np.array([reference.scene.step(action)[4]["applied"] for action in asked])
    assert np.array_equal(applied[:start], asked[:start])
    fingers = asked[start - 1, -1] if start else 0.0
    assert np.array_equal(
        applied[start : start + latency_steps], np.tile([0, 0, 0, 0, 0, 0, fingers], (latency_steps, 1))
    )
    assert np.array_equal(applied[start + latency_steps : start + 20], asked[start : start + 20 - latency_steps])
    assert np.array_equal(applied[start + 20 :], asked[start + 20 :])


@pytest.mark.parametrize("angle_rad", np.arange(8) * np.pi / 4)
def test_object_shift_moves_it_by_the_stored_vector_and_it_rests_on_the_table(reference, angle_rad):
    """At the largest distance that is allowed."""
    offset_m = [float(0.2 * np.cos(angle_rad)), float(0.2 * np.sin(angle_rad))]
    scene = reference.scene
    scene.begin(STREAM, [drawn("object_shift", reference, start_step=8, duration_steps=1, offset_m=offset_m)])
    for _ in range(8):
        before = scene.truth().observation["cube_pos"]
        scene.step(np.zeros(7))
    after = scene.truth().observation["cube_pos"]
    assert np.allclose(after[:2] - before[:2], offset_m, atol=2e-3)
    assert not scene.data.joint("cube_joint0").qvel.any()
    for _ in range(30):
        scene.step(np.zeros(7))
    settled = scene.truth().observation["cube_pos"]
    assert TABLE_M + 0.019 < settled[2] < TABLE_M + 0.023
    assert np.allclose(settled[:2], after[:2], atol=2e-3)


def pad_frictions(scene: MujocoScene) -> set[float]:
    cube = scene.model.geom("cube_g0").id
    pads = {scene.model.geom(name).id for name in (*scene.task.cell.left_pads, *scene.task.cell.right_pads)}
    return {
        round(float(contact.friction[0]), 9)
        for contact in scene.data.contact
        if cube in contact.geom and pads & set(contact.geom.tolist())
    }


def test_friction_reaches_the_contacts_of_the_fingers(reference):
    for records, expected in ([], 2.0), ([drawn("friction", reference, friction_scale=0.5)], 1.0):
        reference.scene.begin(STREAM, records)
        for action in reference.actions[:24]:
            reference.scene.step(action)
        assert pad_frictions(reference.scene) == {expected}


def test_mass_leaves_the_model_as_mujoco_would_compute_it(reference):
    scene, scale = reference.scene, 37.0
    scene.begin(STREAM, [drawn("mass", reference, start_step=0, mass_scale=scale)])
    scene.step(np.zeros(7))
    model, expected = scene.model, Lift().scene().model
    scene.task.edit(expected, STREAM.child("scene").at())
    body = expected.body("cube_main").id
    expected.body_mass[body] *= scale
    expected.body_inertia[body] *= scale
    mujoco.mj_setConst(expected, mujoco.MjData(expected))
    for field in ("body_mass", "body_inertia", "body_invweight0", "dof_M0", "dof_invweight0"):
        np.testing.assert_allclose(getattr(model, field), getattr(expected, field), rtol=1e-9, err_msg=field)
    np.testing.assert_allclose(model.body_subtreemass[1:], expected.body_subtreemass[1:], rtol=1e-12)
    assert model.stat.meaninertia == pytest.approx(expected.stat.meaninertia, rel=1e-12)


def test_push_moves_the_object_its_way(reference):
    scene = reference.scene
    for force_n in ([4.0, 0.0], [0.0, -4.0]):
        scene.begin(STREAM, [drawn("push", reference, start_step=6, duration_steps=3, force_n=force_n)])
        for _ in range(6):
            scene.step(np.zeros(7))
        before = scene.truth().observation["cube_pos"][:2]
        for _ in range(3):
            scene.step(np.zeros(7))
            assert scene.data.body("cube_main").xfrc_applied[:3].tolist() == [*force_n, 0.0]
        way = scene.truth().observation["cube_pos"][:2] - before
        assert way @ force_n > 0.99 * np.linalg.norm(way) * np.linalg.norm(force_n)
        assert np.linalg.norm(way) > 0.05
        scene.step(np.zeros(7))
        assert not scene.data.xfrc_applied.any()


def test_seeing_the_object_elsewhere_leaves_it_where_it_is(reference):
    scene = reference.scene
    scene.begin(STREAM, [drawn(name, reference, start_step=0) for name in ("object_pose_bias", "object_pose_noise")])
    scene.step(reference.actions[0])
    assert scene.body_poses()["cube_main"][0].tobytes() == scene.truth().observation["cube_pos"].tobytes()


class LiftWithDerived(Lift):
    """Lift whose observation also holds the way from the gripper to the cube."""

    observation_sizes = Lift.observation_sizes | {"eef_to_cube": 3}

    def observation(self, data):
        observation = super().observation(data)
        return observation | {"eef_to_cube": observation["cube_pos"] - observation["eef_pos"]}


def test_object_pose_bias_is_the_stored_vector_in_all_that_derives_from_it(reference):
    scene = LiftWithDerived().scene()
    scene.begin(STREAM, [drawn("object_pose_bias", reference, offset_m=[0.03, -0.02])])
    for step, action in enumerate(reference.actions, start=1):
        seen, *_ = scene.step(action)
        true = scene.truth().observation
        active = START <= step < START + DURATION
        for key in true:
            if active and key in ("cube_pos", "eef_to_cube"):
                assert np.allclose(seen[key] - true[key], [0.03, -0.02, 0.0], atol=1e-15)
            else:
                assert seen[key].tobytes() == true[key].tobytes()


def test_object_pose_noise_is_new_every_step_and_the_same_on_every_look(reference):
    record = drawn("object_pose_noise", reference, std_m=0.05, start_step=0, duration_steps=300)
    scene = reference.scene
    scene.begin(STREAM, [record])
    errors = []
    for _ in range(300):
        seen, *_ = scene.step(np.zeros(7))
        assert np.array_equal(seen["cube_pos"], scene.observe()["cube_pos"])
        errors.append(seen["cube_pos"] - scene.truth().observation["cube_pos"])
    noise = np.array(errors)[:299]
    assert not noise[:, 2].any()
    assert abs(noise[:, :2].std() - 0.05) < 0.006
    assert len({row.tobytes() for row in noise}) == 299


def test_observation_freeze_shows_its_first_step(reference):
    record = drawn("observation_freeze", reference)
    trace = reference.run([record])
    for step, (seen, true) in enumerate(zip(trace.seen, trace.true, strict=True)):
        shown = trace.true[START] if START <= step < START + DURATION else true
        assert all(seen[key].tobytes() == shown[key].tobytes() for key in true)


def test_observation_freeze_keeps_what_earlier_faults_showed(reference):
    bias = drawn("object_pose_bias", reference, offset_m=[0.03, 0.0], start_step=0, duration_steps=40)
    trace = reference.run([bias, drawn("observation_freeze", reference)])
    for seen in trace.seen[START : START + DURATION]:
        assert np.allclose(seen["cube_pos"] - trace.true[START]["cube_pos"], [0.03, 0, 0], atol=1e-15)


@pytest.mark.parametrize("name", ["slip", "action_bias", "latency"])
def test_an_action_executed_as_asked_bypasses_the_fault_which_goes_on(reference, name):
    steps = {"slip": {"duration_steps": 20}, "latency": {"latency_steps": 3}}.get(name, {})
    record = drawn(
        name, reference, **({"start_step": 0, "predicate": None} if name == "slip" else {"start_step": 0}), **steps
    )
    scene, action = reference.task.scene(), np.array([0.3, -0.2, 0.1, 0, 0, 0, 1.0])
    scene.begin(Stream(1, 1), [record])
    assert not np.array_equal(scene.step(action)[-1]["applied"], action)
    assert np.array_equal(scene.step(2 * action, as_asked=True)[-1]["applied"], np.clip(2 * action, -1, 1))
    assert not np.array_equal(scene.step(action)[-1]["applied"], action)
    if name == "latency":  # what was executed as asked is in the queue, too
        assert np.array_equal(scene.step(action)[-1]["applied"], action)
        assert np.array_equal(scene.step(action)[-1]["applied"], np.clip(2 * action, -1, 1))
