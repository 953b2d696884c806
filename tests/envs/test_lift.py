"""The task Lift: what it draws, judges and plans."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from workbench.envs.faults.props import parked, with_props
from workbench.envs.robots.robosuite import INSIDE_M
from workbench.envs.sensors.observations import GRIPPER_DOWN, quarter_yaw, quaternion
from workbench.envs.stepper import copy_model
from workbench.envs.tasks.lift import Lift
from workbench.types import Stream
from workbench.types.rotations import rotation_matrix


@pytest.fixture(scope="module")
def lift() -> Lift:
    return Lift()


@pytest.fixture(scope="module")
def scene(lift):
    return lift.scene()


def place_cube(scene, position_m, yaw_rad=0.0) -> None:
    """Put the cube somewhere by restoring an edited state."""
    snapshot = scene.snapshot()
    scene.data.joint("cube_joint0").qpos[:] = [*position_m, np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2)]
    mujoco.mj_getState(scene.model, scene.data, snapshot.state, mujoco.mjtState.mjSTATE_INTEGRATION)
    scene.restore(snapshot)


@pytest.mark.parametrize("half_size_m", [(0.020, 0.021, 0.022), (0.022, 0.0213, 0.0201), (0.0207, 0.022, 0.0205)])
def test_resizing_is_compiling(lift, scene, half_size_m):
    """Every number of the model is what MuJoCo's compiler makes of a cube of that size."""
    specification = mujoco.MjSpec.from_string(with_props(lift.cell.xml, INSIDE_M))
    for mesh in specification.meshes:
        mesh.file = str(assets() / mesh.file)
    specification.geom("cube_g0").size = half_size_m
    compiled = parked(specification.compile())
    copy_model(scene.model, lift.cell.compiled())
    lift.resize(scene.model, np.array(half_size_m))
    mujoco.mj_setConst(scene.model, scene.data)
    checked = 0
    for name in dir(compiled):
        expected = getattr(compiled, name)
        if isinstance(expected, np.ndarray) and not name.startswith(("name", "path", "mesh", "text")):
            assert np.array_equal(expected, getattr(scene.model, name), equal_nan=True), name
            checked += 1
    assert checked > 200
    assert compiled.stat.meaninertia == scene.model.stat.meaninertia


def assets():
    from workbench.envs.robots.robosuite import assets_folder

    return assets_folder()


def test_draws_are_robosuites(lift, scene):
    """Bounds and moments of what varies, over 300 episodes."""
    sizes, places, yaws, arms = [], [], [], []
    for episode in range(300):
        observation = scene.begin(Stream(5, episode))
        sizes.append(scene.model.geom("cube_g0").size.copy())
        places.append(observation["cube_pos"].copy())
        quaternion_wxyz = scene.data.joint("cube_joint0").qpos[3:]
        yaws.append(2 * np.arctan2(quaternion_wxyz[3], quaternion_wxyz[0]) % (2 * np.pi))
        arms.append(scene.data.qpos[:7] - lift.cell.arm.home_rad)
        assert observation["cube_pos"][2] == pytest.approx(0.8 + 0.01 + sizes[-1][2], abs=1e-12)
    sizes, places, arms = np.array(sizes), np.array(places), np.array(arms)
    for values, low, high in ((sizes, 0.020, 0.022), (places[:, :2], -0.03, 0.03), (np.array(yaws), 0, 2 * np.pi)):
        spread = high - low
        assert values.min() >= low
        assert values.max() <= high
        assert np.ptp(values) > 0.97 * spread
        assert abs(values.mean() - (low + high) / 2) < 0.06 * spread
    assert np.abs(np.corrcoef(sizes.T) - np.eye(3)).max() < 0.2
    assert arms.std() == pytest.approx(0.02, rel=0.05)
    assert np.abs(arms.mean(axis=0)).max() < 0.005


def test_success_is_height(scene):
    scene.begin(Stream(1, 0))
    place_cube(scene, (0, 0, 0.8399))
    assert not scene.truth().success
    place_cube(scene, (0, 0, 0.8401))
    assert scene.truth().success
    assert scene.truth().predicates["cube_height_m"] == pytest.approx(0.0401)


def test_stages_are_reached_in_order_and_stay_reached(scene):
    scene.begin(Stream(1, 0))
    assert scene.truth().stage == 0
    grip = scene.truth().observation["eef_pos"]
    home = scene.truth().observation["cube_pos"]
    place_cube(scene, grip - [0, 0, 0.031])
    assert scene.truth().predicates["gripper_cube_distance_m"] == pytest.approx(0.031)
    scene.begin(Stream(1, 0))
    assert scene.truth().stage == 0
    low = {"success": 0.0, "grasped": 0.0, "gripper_cube_distance_m": 0.029}
    assert scene.task.reached(low) == 1
    assert scene.task.reached({**low, "gripper_cube_distance_m": 0.031}) == 0
    assert scene.task.reached({**low, "grasped": 1.0}) == 2
    place_cube(scene, (0, 0, 0.9))
    assert scene.truth().stage == 3
    place_cube(scene, home)
    assert scene.truth().stage == 3
    assert not scene.truth().success


def follow(scene, steps: int) -> list:
    """A plain follower of the plan: 4 keyframes, the fingers given time where they change."""
    truths = [scene.truth()]
    keyframes = scene.task.plan(truths[0].observation)
    at, closing = 0, 0
    for _ in range(steps):
        observation = scene.truth().observation
        goal = keyframes[at]
        offset = goal.position_m - observation["eef_pos"]
        turn = goal.rotation @ rotation_matrix(observation["eef_quat"]).T
        vector = 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
        action = np.array([*(offset * 10), *(vector * 2), 1.0 if goal.closed else -1.0])
        scene.step(action)
        truths.append(scene.truth())
        closing += goal.closed
        there = np.linalg.norm(offset) < goal.tolerance_m and np.linalg.norm(vector) < 0.1
        if there and at < 3 and (not goal.closed or closing > 12):
            at += 1
        if scene.truth().success:
            break
    return truths


def test_the_plan_lifts_the_cube(lift, scene):
    for episode in range(12):
        scene.begin(Stream(11, episode))
        truths = follow(scene, lift.deadline)
        assert truths[-1].success, episode
        assert truths[-1].predicates["grasped"], episode
        stages = [truth.stage for truth in truths]
        assert set(stages) == {0, 1, 2, 3}
        assert stages == sorted(stages)


def test_grasp_needs_both_pads(scene):
    """Contacts of the pads are seen one by one, as robosuite's ``_check_grasp`` sees them."""
    scene.begin(Stream(11, 0))
    truths = follow(scene, 100)
    for truth in truths:
        both = truth.predicates["left_contact"] and truth.predicates["right_contact"]
        assert truth.predicates["grasped"] == float(bool(both))
    names = {frozenset(scene.model.geom(int(geom)).name for geom in pair) for pair in scene.data.contact.geom}
    assert frozenset(("cube_g0", "gripper0_right_finger1_pad_collision")) in names
    scene.data.contact.geom[:] = 0
    assert scene.task.predicates(scene.data)["grasped"] == 0.0


def test_the_plan_turns_to_the_nearest_face(lift, scene):
    scene.begin(Stream(3, 0))
    observation = dict(scene.truth().observation)
    closing = rotation_matrix(observation["eef_quat"])[:, 0]
    for yaw in np.linspace(0, 2 * np.pi, 50):
        observation["cube_yaw"] = np.array([np.cos(4 * yaw), np.sin(4 * yaw)])
        rotation = lift.plan(observation)[1].rotation
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.linalg.det(rotation) == pytest.approx(1)
        face = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        aligned = abs(rotation[:, 0] @ face)
        assert min(aligned, abs(1 - aligned)) == pytest.approx(0, abs=1e-9)
        assert rotation[:, 0] @ closing > np.cos(np.pi / 4) - 0.05


def test_quaternion_law():
    rng = np.random.default_rng(0)
    for _ in range(500):
        q = rng.standard_normal(4)
        q /= np.linalg.norm(q)
        back = quaternion(rotation_matrix(q).ravel(), GRIPPER_DOWN)
        assert back @ GRIPPER_DOWN >= 0
        assert np.allclose(back, q if q @ GRIPPER_DOWN >= 0 else -q, atol=1e-12)


def test_cube_yaw_is_the_same_for_all_24_looks():
    rng = np.random.default_rng(1)
    quarter = {axis: rotation_matrix(np.array([*(np.eye(3)[axis] * 0.5**0.5), 0.5**0.5])) for axis in range(3)}
    for yaw in rng.uniform(0, 2 * np.pi, 20):
        rotation = rotation_matrix(np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)]))
        expected = [np.cos(4 * yaw), np.sin(4 * yaw)]
        for _ in range(24):
            rotation = rotation @ quarter[int(rng.integers(3))]
            assert np.allclose(quarter_yaw(np.ascontiguousarray(rotation).ravel()), expected, atol=1e-9)


def test_observation_matches_its_declaration(lift, scene):
    observation = scene.begin(Stream(0, 1))
    assert {name: len(value) for name, value in observation.items()} == dict(lift.observation_sizes)
    site = scene.model.site("gripper0_right_grip_site").id
    assert np.allclose(rotation_matrix(observation["eef_quat"]).ravel(), scene.data.site_xmat[site], atol=1e-12)
