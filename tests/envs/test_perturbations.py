"""What the first faults do, on Lift; what every fault promises is tested in ``test_every_perturbation.py``."""

from __future__ import annotations

import importlib
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.lift import TABLE_M, Lift
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


def test_draws_are_the_same_in_every_process(reference):
    """Numbers that were drawn when this test was written: no hash of a string, clock or process has a part in them."""
    record = build("object_shift", offset_m=[0.05, 0.1], start_step=[5, 20]).draw(STREAM, reference.task)
    assert record["start_step"] == 6
    assert record["offset_m"] == pytest.approx([0.07352067780786671, -0.02409268793684661], rel=1e-12)


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
    pads = {
        scene.model.geom(name).id for name in (*scene.task.cell.fingers.left_pads, *scene.task.cell.fingers.right_pads)
    }
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
