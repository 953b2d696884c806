"""The task PickPlaceCan: what it draws, judges and plans, and its physics beside robosuite's own."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from workbench.envs.robots import robosuite as robosuite_model
from workbench.envs.scene import MujocoScene
from workbench.envs.sensors.observations import GRIPPER_DOWN
from workbench.envs.tasks import pick_place_can
from workbench.envs.tasks.pick_place_can import AWAY_M, TARGET_M, PickPlaceCan
from workbench.policies.expert import Expert
from workbench.types import Stream
from workbench.types.rotations import rotation_matrix

DRAWS = 10_000


@pytest.fixture(scope="module")
def environment():
    return robosuite_model.make_environment("PickPlaceCan", "Panda", 20)


@pytest.fixture(scope="module")
def task() -> PickPlaceCan:
    return PickPlaceCan()


@pytest.fixture(scope="module")
def scene(task) -> MujocoScene:
    return task.scene()


def test_only_the_can_is_left(task, scene):
    bodies = {scene.model.body(body).name for body in range(scene.model.nbody)}
    assert "Can_main" in bodies
    assert not any(word in body for body in bodies for word in ("Milk", "Bread", "Cereal", "Visual"))
    assert scene.model.nv == 7 + 2 + 6
    scene.begin(Stream(0, 0))
    for _ in range(20):
        scene.step(np.zeros(7))
    assert scene.data.ncon < 10


def test_the_place_is_drawn_as_robosuite_draws_it(environment, scene):
    """The other objects push the can outwards: two-sample tests of its distances from the bin's centre."""
    source = np.array(pick_place_can.SOURCE_M)
    np.random.seed(1)  # noqa: NPY002
    theirs = np.array([environment.placement_initializer.sample()["Can"][0][:2] for _ in range(DRAWS)]) - source
    ours = np.array([pick_place_can.can_place(np.random.default_rng(seed)) for seed in range(DRAWS)]) - source
    limit = 1.95 * np.sqrt(2 / DRAWS)  # Kolmogorov and Smirnov, at 0.001
    for distance in (lambda p: p[:, 0], lambda p: p[:, 1], lambda p: np.hypot(*p.T)):
        assert largest_gap(distance(theirs), distance(ours)) < limit
    uniform = np.random.default_rng(0).uniform(-1, 1, (DRAWS, 2)) * [0.12, 0.17]
    assert largest_gap(np.hypot(*theirs.T), np.hypot(*uniform.T)) > limit
    height = environment.placement_initializer.sample()["Can"][0][2]
    for episode in range(5):
        assert scene.begin(Stream(0, episode))["can_pos"][2] == pytest.approx(height, abs=1e-12)


def largest_gap(first, second) -> float:
    """Largest distance between two empirical distribution functions."""
    both = np.concatenate([first, second])
    below = [np.searchsorted(np.sort(values), both, side="right") / len(values) for values in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def put_can(scene, position_m, quaternion_wxyz=(1, 0, 0, 0)) -> None:
    """Put the can somewhere by restoring an edited state."""
    snapshot = scene.snapshot()
    scene.data.joint("Can_joint0").qpos[:] = [*position_m, *quaternion_wxyz]
    mujoco.mj_getState(scene.model, scene.data, snapshot.state, mujoco.mjtState.mjSTATE_INTEGRATION)
    scene.restore(snapshot)


def test_success_is_robosuites(environment, scene):
    """Against robosuite's own function on places around the quarter's borders and around the gripper."""
    environment.reset()
    theirs = environment.sim.data
    body, grip = environment.obj_body_id["Can"], environment.robots[0].eef_site_id["right"]
    rng, counts = np.random.default_rng(0), [0, 0]
    for _ in range(400):
        can = rng.uniform([0.08, 0.26, 0.79], [0.315, 0.545, 0.91])
        offset = rng.standard_normal(3)
        hand = can + offset / np.linalg.norm(offset) * AWAY_M * rng.uniform(0.9, 1.4)
        theirs.body_xpos[body], theirs.site_xpos[grip] = can, hand
        scene.data.xpos[scene.model.body("Can_main").id] = can
        scene.data.site_xpos[scene.model.site(scene.task.cell.arm.grip_site).id] = hand
        ours = bool(scene.task.predicates(scene.data)["success"])
        assert ours == bool(environment._check_success())
        counts[ours] += 1
    assert min(counts) > 40


def test_stages(task):
    low = {
        "success": 0.0,
        "grasped": 0.0,
        "gripper_can_distance_m": 0.031,
        "can_height_m": 0.0,
        "can_target_distance_m": 0.5,
    }
    assert task.reached(low) == 0
    assert task.reached({**low, "gripper_can_distance_m": 0.029}) == 1
    held = {**low, "grasped": 1.0}
    assert task.reached(held) == 2
    assert task.reached({**held, "can_height_m": 0.041}) == 3
    assert task.reached({**held, "can_target_distance_m": 0.05}) == 4
    assert task.reached({**low, "success": 1.0}) == len(task.stages) == 5


def test_the_expert_passes_every_stage(task, scene):
    for episode in range(3):
        scene.begin(Stream(11, episode))
        expert, before, stages = Expert(task), scene.truth().observation, [0]
        while not scene.truth().success and scene.step_index < task.deadline:
            now = scene.truth().observation
            scene.step(expert.action({key: np.stack([before[key], now[key]]) for key in now}))
            before = now
            stages.append(scene.truth().stage)
        assert scene.truth().success, episode
        assert set(stages) == set(range(6))
        assert stages == sorted(stages)


def test_after_letting_go_only_the_rest_of_the_plan_is_left(task, scene):
    scene.begin(Stream(0, 0))
    assert [frame.closed for frame in task.plan(scene.truth().observation)] == [False] * 2 + [True] * 4 + [False] * 2
    put_can(scene, TARGET_M)
    rest = task.plan(scene.truth().observation)
    assert [(frame.stage, frame.closed) for frame in rest] == [("place", False)] * 2
    assert np.array_equal(rest[0].position_m, scene.truth().observation["eef_pos"])
    assert rest[1].position_m[2] - rest[0].position_m[2] > AWAY_M
    put_can(scene, TARGET_M + np.array([0, 0, 0.02]))
    assert len(task.plan(scene.truth().observation)) == 8


def test_the_plan_closes_across_a_lying_can(task, scene):
    observation = dict(scene.begin(Stream(0, 0)))
    down = rotation_matrix(GRIPPER_DOWN)
    for angle in np.linspace(0, 2 * np.pi, 30):
        observation["can_axis"] = np.array([np.cos(angle), np.sin(angle), 0.1]) / np.hypot(1, 0.1)
        rotation = task.plan(observation)[1].rotation
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert rotation[:, 0] @ observation["can_axis"] == pytest.approx(0, abs=1e-12)
    for axis in ([0.0, 0, 1], [0.3, 0, -0.95]):
        observation["can_axis"] = np.array(axis)
        assert np.allclose(task.plan(observation)[1].rotation, down)


def test_observation_matches_its_declaration(task, scene):
    observation = scene.begin(Stream(0, 1))
    assert {name: len(value) for name, value in observation.items()} == dict(task.observation_sizes)
    put_can(scene, (0.1, -0.2, 0.9), (0.5**0.5, 0.5**0.5, 0, 0))  # a quarter turn about x: up becomes -y
    assert np.allclose(scene.truth().observation["can_axis"], [0, -1, 0], atol=1e-12)
