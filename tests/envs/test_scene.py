"""The scene: gymnasium's rules, determinism, and snapshots that decide the future."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import ClassVar

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import workbench.envs.scene as scene_module
from workbench.config.named import perturbation
from workbench.envs.faults.effect import Effect
from workbench.envs.tasks.lift import Lift
from workbench.errors import ActionError, DivergedError, SnapshotError, UnknownNameError
from workbench.types import Snapshot, Stream

ACTIONS = np.random.default_rng(7).uniform(-1, 1, (60, 7))


@pytest.fixture(scope="module")
def lift() -> Lift:
    return Lift()


@pytest.fixture
def scene(lift):
    return lift.scene()


class Shove(Effect):
    """Touches everything that an effect may touch, and remembers two numbers from step to step."""

    memory_size = 2
    log: ClassVar[list] = []

    def __init__(self, record, stream):
        super().__init__(record, stream)
        self.acted = 0.0
        self.seen = 0.0

    def edit(self, scene):
        self.log.append(("edit", scene.step_index))
        cube = scene.model.body("cube_main").id
        self.change(scene.model, "body_mass", cube, 3 * scene.model.body_mass[cube])

    def undo(self):
        if self._changed:
            self.log.append(("undo",))
        super().undo()

    def strike(self, scene):
        self.log.append(("strike", scene.step_index))
        scene.data.qvel[9] += 0.3

    def push(self, scene):
        self.log.append(("push", scene.step_index))
        scene.data.xfrc_applied[-1, 1] = 0.1

    def action(self, scene, action):
        self.log.append(("action", scene.step_index))
        self.acted += 1.0
        return action * (1 - 0.001 * self.acted)

    def observation(self, scene, observation):
        self.log.append(("observation", scene.step_index))
        self.seen += float(observation["cube_pos"][0])
        return {**observation, "cube_pos": observation["cube_pos"] + self.seen}

    def recall(self):
        return np.array([self.acted, self.seen])

    def remember(self, memory):
        self.acted, self.seen = memory


RECORD = {"name": "shove", "start_step": 5, "stage": None, "predicate": None, "duration_steps": 10}


@pytest.fixture
def shoved(monkeypatch):
    Shove.log = []
    monkeypatch.setattr(scene_module, "effect_of", lambda record, stream, task: Shove(record, stream))
    return (RECORD,)


def play(scene, actions) -> np.ndarray:
    """(steps, ...) state and observation after every action."""
    rows = []
    for action in actions:
        observation = scene.step(action)[0]
        rows.append(np.concatenate([scene.snapshot().state, scene.snapshot().memory, *observation.values()]))
    return np.array(rows)


def test_gymnasiums_checker_passes(scene, recwarn):
    check_env(scene, skip_render_check=True)
    assert not [str(w.message) for w in recwarn if "not within" in str(w.message)]


def test_same_stream_same_bytes(lift, scene):
    scene.begin(Stream(3, 4))
    first = play(scene, ACTIONS)
    scene.begin(Stream(9, 9))
    play(scene, ACTIONS[::-1])
    scene.begin(Stream(3, 4))
    assert play(scene, ACTIONS).tobytes() == first.tobytes()
    other = lift.scene()
    other.begin(Stream(3, 4))
    assert play(other, ACTIONS).tobytes() == first.tobytes()
    other.begin(Stream(3, 5))
    assert play(other, ACTIONS).tobytes() != first.tobytes()


def test_scenes_do_not_share_what_they_change(lift, scene):
    other = lift.scene()
    scene.begin(Stream(0, 1))
    other.begin(Stream(0, 2))
    assert not np.array_equal(scene.model.geom("cube_g0").size, other.model.geom("cube_g0").size)
    alone = play(scene, ACTIONS[:20])
    scene.begin(Stream(0, 1))
    other.begin(Stream(0, 2))
    interleaved = []
    for action in ACTIONS[:20]:
        interleaved.append(play(scene, [action])[0])
        other.step(-action)
    assert np.array(interleaved).tobytes() == alone.tobytes()


def test_reset_is_begin(lift, scene):
    observation, info = scene.reset(seed=3, options={"episode": 4})
    expected = lift.scene().begin(Stream(3, 4))
    assert all(np.array_equal(observation[name], expected[name]) for name in expected)
    assert info["stage"] == 0
    following = scene.reset()[0]
    expected = lift.scene().begin(Stream(3, 5))
    assert all(np.array_equal(following[name], expected[name]) for name in expected)


def test_effects_are_driven_in_the_documented_order(scene, shoved):
    scene.begin(Stream(0, 0), shoved)
    assert Shove.log == [("observation", 0)]
    assert scene.injected() == -1
    for _ in range(4):
        scene.step(np.zeros(7))
    Shove.log = []
    scene.step(np.zeros(7))
    assert Shove.log == [("action", 4), ("edit", 5), ("strike", 5), ("observation", 5)]
    assert scene.injected() == 5
    Shove.log = []
    scene.step(np.zeros(7))
    assert Shove.log == [("action", 5), ("push", 5), ("observation", 6)]
    assert scene.data.xfrc_applied[-1, 1] == 0.1
    for _ in range(8):
        scene.step(np.zeros(7))
    Shove.log = []
    scene.step(np.zeros(7))
    assert Shove.log == [("action", 14), ("push", 14), ("undo",), ("observation", 15)]
    scene.step(np.zeros(7))
    assert scene.data.xfrc_applied[-1, 1] == 0.0, "a push lasts for one control step"
    Shove.log = []
    scene.observe()
    scene.observe()
    assert Shove.log == [], "observing is free of consequences"
    assert scene.injected() == 5


def test_begin_removes_edits(lift, scene, shoved):
    scene.begin(Stream(0, 0), shoved)
    play(scene, ACTIONS[:8])
    assert scene.model.body("cube_main").mass[0] > 0.15, "three times the cube of 64 to 85 g"
    scene.begin(Stream(0, 0))
    assert scene.injected() == -1
    fresh = lift.scene()
    fresh.begin(Stream(0, 0))
    assert play(scene, ACTIONS).tobytes() == play(fresh, ACTIONS).tobytes()


def test_a_strike_is_seen_at_once(scene, shoved, monkeypatch):
    def strike(self, scene):
        scene.data.joint("cube_joint0").qpos[2] = 0.95

    monkeypatch.setattr(Shove, "strike", strike)
    scene.begin(Stream(0, 0), [{**RECORD, "start_step": 0}])
    assert scene.truth().observation["cube_pos"][2] == 0.95
    assert scene.truth().success


@pytest.mark.parametrize("perturbed", [False, True])
def test_replay_from_any_snapshot_is_exact(lift, scene, shoved, perturbed):
    """Within the scene, from a dirty one, and in a scene that never saw the episode."""
    records = shoved if perturbed else ()
    scene.begin(Stream(2, 8), records)
    snapshots, observations = [scene.snapshot()], [scene.observe()]
    rows = []
    for action in ACTIONS:
        rows.append(play(scene, [action])[0])
        snapshots.append(scene.snapshot())
        observations.append(scene.observe())
    rows = np.array(rows)
    dirty, other = lift.scene(), lift.scene()
    for step in (0, 3, 5, 9, 14, 15, 16, 40, 55):
        play(dirty, ACTIONS[:2])
        other.begin(Stream(0, step))
        for candidate in (scene, dirty, other, lift.scene()):
            seen = candidate.restore(snapshots[step])
            assert candidate.step_index == step
            for name, value in observations[step].items():
                assert np.array_equal(seen[name], value), (step, name)
            assert np.abs(play(candidate, ACTIONS[step:]) - rows[step:]).max() == 0.0, step


def test_replay_in_a_fresh_process_is_exact(scene):
    scene.begin(Stream(2, 8))
    play(scene, ACTIONS[:30])
    snapshot = scene.snapshot()
    expected = play(scene, ACTIONS[30:])
    sent = {
        "task": snapshot.task,
        "model": snapshot.model,
        "step": snapshot.step,
        "state": snapshot.state.tobytes().hex(),
        "memory": snapshot.memory.tobytes().hex(),
        "actions": ACTIONS[30:].tobytes().hex(),
    }
    done = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS], input=json.dumps(sent), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected[-1][: len(snapshot.state)].tobytes().hex()


FRESH_PROCESS = """
import json, sys
import numpy as np
from workbench.envs.tasks.lift import Lift
from workbench.types import Snapshot, Stream
sent = json.load(sys.stdin)
array = lambda name: np.frombuffer(bytes.fromhex(sent[name])).copy()
scene = Lift().scene()
scene.restore(Snapshot(sent["task"], sent["model"], sent["step"], array("state"), array("memory"), Stream(2, 8), ()))
for action in array("actions").reshape(-1, 7):
    scene.step(action)
print(scene.snapshot().state.tobytes().hex())
assert "robosuite" not in sys.modules, "robosuite was imported although its model is cached"
"""


@pytest.mark.parametrize("kind", ["qpos", "qvel", "warmstart", "gripper", "stage", "effect", "step", "stream"])
def test_every_saved_field_matters(lift, shoved, kind):
    """Leave any part out of a snapshot and what follows differs."""
    records = shoved if kind in ("effect", "step") else ()
    scene = lift.scene()
    scene.begin(Stream(2, 8), records)
    for action in ACTIONS[:8]:
        scene.step([*action[:6], -1.0])
    snapshot = scene.snapshot()
    if kind == "stage":
        snapshot = dataclasses.replace(snapshot, memory=np.array([*snapshot.memory[:2], 1.0]))
        scene.restore(snapshot)
    elif kind == "warmstart":  # in contact, so that the solver iterates
        snapshot = grasped(scene)
    expected = play(scene, ACTIONS[8:30])
    state, memory, stream = snapshot.state.copy(), snapshot.memory.copy(), snapshot.stream
    model, spec = scene.model, mujoco.mjtState
    if kind in ("qpos", "qvel", "warmstart"):
        part = {"qpos": spec.mjSTATE_QPOS, "qvel": spec.mjSTATE_QVEL, "warmstart": spec.mjSTATE_WARMSTART}[kind]
        blank = mujoco.MjData(model)
        mujoco.mj_setState(model, blank, state, spec.mjSTATE_INTEGRATION)
        mujoco.mj_setState(model, blank, np.zeros(mujoco.mj_stateSize(model, part)), part)
        mujoco.mj_getState(model, blank, state, spec.mjSTATE_INTEGRATION)
    elif kind == "gripper":
        memory[:2] = 0.0
    elif kind == "stage":
        memory[2] = 0.0
    elif kind == "effect":
        memory[3:] = [-1, -1, 0, 0]
    elif kind == "stream":
        stream = Stream(2, 9)
    step = 0 if kind == "step" else snapshot.step
    changed = dataclasses.replace(snapshot, state=state, memory=memory, stream=stream, step=step)
    other = lift.scene()
    other.restore(snapshot)
    assert np.abs(play(other, ACTIONS[8:30]) - expected).max() == 0.0
    other.restore(changed)
    assert np.abs(play(other, ACTIONS[8:30]) - expected).max() > 0.0


def grasped(scene) -> Snapshot:
    """Reach down to the cube and close, the gripper unturned."""
    for step in range(45):
        truth = scene.truth().observation
        scene.step([*(truth["cube_pos"] - truth["eef_pos"]) * 10, 0, 0, 0, 1.0 if step > 30 else -1.0])
    assert scene.data.ncon > 4
    return scene.snapshot()


def test_snapshot_of_something_else_is_refused(scene, shoved):
    scene.begin(Stream(1, 1))
    good = scene.snapshot()
    before = scene.snapshot().state.copy()
    for change, reason in (
        ({"task": "stack"}, "stack"),
        ({"model": "0123456789abcdef"}, "0123456789abcdef"),
        ({"state": good.state[:-1]}, "state has shape"),
        ({"memory": good.memory[:-1]}, "memory has shape"),
        ({"memory": np.zeros(9)}, "memory has shape"),
        ({"perturbations": shoved}, "memory has shape"),
    ):
        with pytest.raises(SnapshotError, match=reason):
            scene.restore(dataclasses.replace(good, **change))
        assert np.array_equal(scene.snapshot().state, before)
        assert scene.snapshot().perturbations == ()


def test_actions_are_clipped_and_reported_as_executed(lift, scene):
    wild = np.array([3.0, -5.0, 0.5, 0, 0, -9, 7])
    scene.begin(Stream(1, 1))
    applied = scene.step(wild)[4]["applied"]
    assert np.array_equal(applied, [1, -1, 0.5, 0, 0, -1, 1])
    other = lift.scene()
    other.begin(Stream(1, 1))
    other.step(np.clip(wild, -1, 1))
    assert np.array_equal(scene.snapshot().state, other.snapshot().state)


def test_applied_holds_what_a_perturbation_made_of_it(scene, shoved):
    scene.begin(Stream(1, 1), shoved)
    assert np.array_equal(scene.step(np.ones(7))[4]["applied"], np.full(7, 0.999))


@pytest.mark.parametrize("action", [np.full(7, np.nan), [0, 0, 0, 0, 0, np.inf, 0], np.zeros(6), np.zeros((1, 7))])
def test_bad_actions_are_refused_before_anything_moves(scene, action):
    before = scene.snapshot()
    with pytest.raises(ActionError):
        scene.step(action)
    assert np.array_equal(scene.snapshot().state, before.state)
    assert scene.step_index == before.step


def test_actions_out_of_range_are_clipped_or_refused(scene):
    strict = Lift(out_of_range="error").scene()
    beyond = np.array([0, 0, 1.5, 0, 0, 0, 0])
    for each in (scene, strict):
        each.begin(Stream(1, 1))
    assert scene.step(beyond)[4]["applied"][2] == 1.0
    before = strict.snapshot()
    with pytest.raises(ActionError, match=r"within -1\.\.1.*out_of_range=clip"):
        strict.step(beyond)
    assert np.array_equal(strict.snapshot().state, before.state)
    assert strict.step(beyond.clip(-1, 1))[4]["applied"][2] == 1.0
    with pytest.raises(UnknownNameError, match="clip"):
        Lift(out_of_range="wrap")


@pytest.mark.parametrize(
    ("part", "other", "reason"),
    [
        (0, "0123456789abcdef", "the scene's model is 0123456789abcdef, here"),
        (1, "mujoco-2.0.0", r"MuJoCo's version is mujoco-2\.0\.0, here mujoco-"),
        (2, "snapshot-1", "the snapshot's format is snapshot-1, here snapshot-"),
    ],
)
def test_a_foreign_snapshot_is_refused_with_the_reason(scene, part, other, reason):
    snapshot = scene.snapshot()
    parts = snapshot.model.split("/")
    parts[part] = other
    with pytest.raises(SnapshotError, match=reason):
        scene.restore(dataclasses.replace(snapshot, model="/".join(parts)))


@pytest.mark.parametrize("velocity", [np.nan, 1e12, 1e6])
def test_divergence_is_an_error_and_can_be_left(scene, velocity, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    scene.begin(Stream(1, 1))
    good = scene.snapshot()
    scene.data.qvel[3] = velocity
    scene.data.qvel[12] = velocity
    with pytest.raises(DivergedError, match="diverged in control step 0"):
        scene.step(np.zeros(7))
    assert not any(tmp_path.iterdir()), "MuJoCo's warnings are no business of the folder where it runs"
    scene.restore(good)
    after = play(scene, ACTIONS[:5])
    scene.begin(Stream(1, 1))
    assert np.array_equal(after, play(scene, ACTIONS[:5]))


def test_success_ends_and_the_deadline_truncates(lift, scene):
    scene.begin(Stream(1, 1))
    for _ in range(lift.deadline - 1):
        assert scene.step(np.zeros(7))[1:4] == (0.0, False, False)
    assert scene.step(np.zeros(7))[1:4] == (0.0, False, True)
    snapshot = scene.snapshot()
    scene.data.joint("cube_joint0").qpos[2] = 1.0
    assert scene.step(np.zeros(7))[1:4] == (1.0, True, True)
    scene.step(np.zeros(7))
    assert scene.restore(snapshot)["cube_pos"][2] < 0.83


def test_observations_cannot_be_spoilt(scene):
    observation = scene.observe()
    with pytest.raises(ValueError, match="read-only"):
        observation["cube_pos"][0] = 3.0
    observation["cube_pos"] = np.zeros(3)
    assert scene.observe()["cube_pos"][2] > 0.8


def test_shapes_stand_on_bodies_and_follow_the_draw(scene):
    scene.begin(Stream(1, 3))
    shapes = scene.shapes()
    poses = scene.body_poses()
    assert {shape.body for shape in shapes} <= set(poses)
    cube = next(shape for shape in shapes if shape.body == "cube_main")
    assert np.array_equal(cube.size_m, scene.model.geom("cube_g0").size)
    assert cube.rgba[0] > 2 * cube.rgba[1], "the cube is red"
    meshes = [shape for shape in shapes if shape.kind == "mesh"]
    assert len(meshes) > 40
    assert all(len(mesh.vertices_m) > mesh.faces.max() for mesh in meshes)
    position, quaternion = poses["cube_main"]
    assert np.array_equal(position, scene.truth().observation["cube_pos"])
    assert quaternion @ quaternion == pytest.approx(1)


def test_what_has_not_struck_can_be_left_out(lift):
    from workbench.envs.perturbations.object_shift import ObjectShift

    stream = Stream(4, 2)
    record = ObjectShift(offset_m=0.1, start_step=10).draw(stream, lift)
    scene, nominal = lift.scene(), lift.scene()
    scene.begin(stream, [record])
    nominal.begin(stream)
    for _ in range(5):
        scene.step(np.full(7, 0.3))
        nominal.step(np.full(7, 0.3))
    before = scene.without_pending(scene.snapshot())
    assert before.perturbations == ()
    np.testing.assert_array_equal(before.memory, nominal.snapshot().memory)
    for _ in range(8):
        scene.step(np.full(7, 0.3))
        nominal.step(np.full(7, 0.3))
    after = scene.without_pending(scene.snapshot())
    assert after.perturbations == (record,)
    assert np.array_equal(after.memory, scene.snapshot().memory)
    branched = lift.scene()
    branched.restore(before)
    for _ in range(8):
        branched.step(np.full(7, 0.3))
    np.testing.assert_array_equal(branched.snapshot().state, nominal.snapshot().state)
    assert not np.array_equal(scene.snapshot().state, nominal.snapshot().state)


def test_a_softened_controller_is_the_one_of_a_fault_and_is_stiff_again_afterwards(lift):
    """As controller_stiffness has it, step for step; and nothing of it is left."""
    record = perturbation("controller_stiffness", stiffness_scale=0.3, start_step=0).draw(Stream(1, 2), lift)
    scene, other, stiff = lift.scene(), lift.scene(), lift.scene()
    scene.begin(Stream(1, 2))
    other.begin(Stream(1, 2), [record])
    stiff.begin(Stream(1, 2))
    kept = scene.gains.copy()
    for action in ACTIONS[:20]:
        scene.stiffness = 0.3
        scene.step(action)
        other.step(action)
        stiff.step(action)
        np.testing.assert_array_equal(scene.gains, kept)
        np.testing.assert_array_equal(scene.snapshot().state, other.snapshot().state)
    assert not np.array_equal(scene.snapshot().state, stiff.snapshot().state)
    scene.restore(scene.snapshot())
    assert scene.stiffness == 1.0
    scene.stiffness = 0.3
    scene.begin(Stream(1, 2))
    assert scene.stiffness == 1.0
