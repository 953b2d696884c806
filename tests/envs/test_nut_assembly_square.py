"""The task NutAssemblySquare: what it draws, judges and plans, and its physics beside robosuite's own."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from workbench.envs.robots import robosuite as robosuite_model
from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.nut_assembly_square import AWAY_M, NutAssemblySquare
from workbench.policies.expert import Expert
from workbench.types import Stream

STEPS = 100
SKY_M = 1000.0
"""Where the reference keeps the round nut, which we leave out: it falls 125 m in 100 steps and touches nothing."""
PEG_M = np.array([0.23, 0.10, 0.85])
HANDLE_TO_ROBOT = (0.0, 0.0, 0.0, 1.0)
"""Quaternion (w, x, y, z) of a flat nut whose handle points along -x."""


@pytest.fixture(scope="module")
def environment():
    return robosuite_model.make_environment("NutAssemblySquare", "Panda", 20)


@pytest.fixture(scope="module")
def task() -> NutAssemblySquare:
    return NutAssemblySquare()


@pytest.fixture(scope="module")
def scene(task) -> MujocoScene:
    return task.scene()


def act(task, scene, before):
    """The expert's action and the observation it used."""
    now = scene.truth().observation
    return Expert(task).action({key: np.stack([before[key], now[key]]) for key in now}), now


def solve(task, scene, limit: int) -> list[int]:
    """Stages from here until success or the limit."""
    before, stages = scene.truth().observation, [scene.truth().stage]
    for _ in range(limit):
        if scene.truth().success:
            break
        action, before = act(task, scene, before)
        scene.step(action)
        stages.append(scene.truth().stage)
    return stages


def test_only_the_square_nut_is_left(scene):
    bodies = {scene.model.body(body).name for body in range(scene.model.nbody)}
    assert {"SquareNut_main", "peg1", "peg2"} <= bodies
    assert not any("Round" in body for body in bodies)
    assert scene.model.nv == 7 + 2 + 6


def test_the_place_is_drawn_as_robosuite_draws_it(environment, scene):
    """Bounds, spread and height of the place, and every yaw, over 300 episodes."""
    theirs = np.array([environment.placement_initializer.sample()["SquareNut"][0] for _ in range(300)])
    seen = [scene.begin(Stream(5, episode)) for episode in range(300)]
    ours = np.array([each["nut_pos"] for each in seen])
    for places in (theirs, ours):
        assert np.all(places[:, :2] >= [-0.115, 0.11])
        assert np.all(places[:, :2] <= [-0.11, 0.225])
        assert np.ptp(places[:, 0]) > 0.0048
        assert np.ptp(places[:, 1]) > 0.112
        assert np.allclose(places[:, 2], 0.89, atol=1e-12)
    handles = np.array([each["nut_handle"] for each in seen])
    assert np.allclose(handles[:, 2], 0)
    counts = np.histogram(np.arctan2(handles[:, 1], handles[:, 0]), bins=8, range=(-np.pi, np.pi))[0]
    assert counts.min() > 20


def put_nut(scene, position_m, quaternion_wxyz=(1.0, 0.0, 0.0, 0.0)) -> None:
    """Put the nut somewhere, at rest, by restoring an edited state."""
    snapshot = scene.snapshot()
    scene.data.joint("SquareNut_joint0").qpos[:] = [*position_m, *quaternion_wxyz]
    scene.data.joint("SquareNut_joint0").qvel[:] = 0.0
    mujoco.mj_getState(scene.model, scene.data, snapshot.state, mujoco.mjtState.mjSTATE_INTEGRATION)
    scene.restore(snapshot)


def test_success_is_robosuites(environment, scene):
    """Against robosuite's own function on places around the peg's limits and around the gripper."""
    environment.reset()
    theirs = environment.sim.data
    body, grip = environment.obj_body_id["SquareNut"], environment.robots[0].eef_site_id["right"]
    rng, counts = np.random.default_rng(0), [0, 0]
    for _ in range(500):
        nut = PEG_M + rng.uniform([-0.04, -0.04, -0.03], [0.04, 0.04, 0.03])
        offset = rng.standard_normal(3)
        hand = nut + offset / np.linalg.norm(offset) * AWAY_M * rng.uniform(0.9, 1.4)
        theirs.body_xpos[body], theirs.site_xpos[grip] = nut, hand
        scene.data.xpos[scene.model.body("SquareNut_main").id] = nut
        scene.data.site_xpos[scene.model.site(scene.task.cell.arm.grip_site).id] = hand
        ours = bool(scene.task.predicates(scene.data)["success"])
        assert ours == bool(environment._check_success())
        counts[ours] += 1
    assert min(counts) > 40


def test_a_nut_on_edge_beside_the_peg_succeeds_in_robosuite_but_is_not_on_it(environment, scene):
    """Robosuite's rule looks at the nut's centre alone; the depth tells that the peg is not in the hole."""
    on_edge = (0.5**0.5, 0.5**0.5, 0.0, 0.0)  # a quarter turn about x: the handle stays level, the frame stands up
    place = PEG_M + np.array([0.0, -0.027, -0.0255])
    environment.reset()
    environment.sim.data.set_joint_qpos("SquareNut_joint0", np.array([*place, *on_edge]))
    environment.sim.forward()
    scene.begin(Stream(0, 0))
    put_nut(scene, place, on_edge)
    predicates = scene.truth().predicates
    pegs = scene.model.body("peg1").id
    bodies = scene.model.geom_bodyid[scene.data.contact.geom]
    assert not np.any(bodies == pegs)  # beside the peg, not in it
    assert environment._check_success()
    assert predicates["on_peg"] == predicates["success"] == 1.0
    assert predicates["peg_depth_m"] == 0.0
    put_nut(scene, PEG_M - np.array([0.0, 0.0, 0.02]), HANDLE_TO_ROBOT)
    assert scene.truth().predicates["success"] == 1.0
    assert scene.truth().predicates["peg_depth_m"] == pytest.approx(0.95 - 0.83, abs=1e-9)


def test_depth_and_yaw(scene):
    """Depth needs the peg in the hole, also of a tilted nut; yaw is modulo a quarter turn."""
    scene.begin(Stream(0, 0))
    for offset_m, depth_m in ((0.022, 0.03), (0.024, 0.0)):
        put_nut(scene, [PEG_M[0] + offset_m, PEG_M[1], 0.92])
        assert scene.truth().predicates["peg_depth_m"] == pytest.approx(depth_m, abs=1e-9)
    put_nut(scene, [*PEG_M[:2], 0.96])
    assert scene.truth().predicates["peg_depth_m"] == 0.0
    tilt = 0.5  # about y, the hole's middle 0.01 m beside the axis: the plane meets the axis off the middle
    put_nut(scene, [PEG_M[0] + 0.01, PEG_M[1], 0.92], (np.cos(tilt / 2), 0.0, np.sin(tilt / 2), 0.0))
    assert scene.truth().predicates["peg_depth_m"] == pytest.approx(0.03 - 0.01 * np.tan(tilt), abs=1e-9)
    for turn, error in ((0.1, 0.1), (np.pi / 2 - 0.1, 0.1), (np.pi + 0.3, 0.3), (-np.pi / 4, np.pi / 4)):
        put_nut(scene, [0.0, 0.0, 0.9], (np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)))
        assert scene.truth().predicates["nut_peg_yaw_rad"] == pytest.approx(error, abs=1e-9)


def test_stages(task):
    low = {
        "success": 0.0,
        "grasped": 0.0,
        "gripper_handle_distance_m": 0.031,
        "nut_height_m": 0.01,
        "nut_peg_distance_m": 0.005,
        "nut_peg_yaw_rad": 0.1,
    }
    assert task.reached(low) == 0
    assert task.reached({**low, "gripper_handle_distance_m": 0.029}) == 1
    held = {**low, "grasped": 1.0}
    assert task.reached(held) == 2
    high = {**held, "nut_height_m": 0.051}
    assert task.reached({**high, "nut_peg_distance_m": 0.007}) == 3
    assert task.reached({**high, "nut_peg_yaw_rad": 0.21}) == 3
    assert task.reached(high) == 4
    assert task.reached({**low, "success": 1.0}) == len(task.stages) == 5


def test_the_expert_passes_every_stage(task, scene):
    """Handles that point to the robot, away from it and to either side."""
    for episode in range(6):
        scene.begin(Stream(11, episode))
        stages = solve(task, scene, task.deadline)
        assert scene.truth().success, episode
        assert scene.truth().predicates["peg_depth_m"] > 0.07  # around the peg, not only beside it
        assert set(stages) == set(range(6))
        assert stages == sorted(stages)


def test_success_lasts_when_the_expert_goes_on(task, scene):
    """It lowers the nut, lets go and moves away, and the nut lies flat around the peg."""
    scene.begin(Stream(11, 0))
    solve(task, scene, task.deadline)
    before = scene.truth().observation
    for _ in range(60):
        action, before = act(task, scene, before)
        scene.step(action)
        assert scene.truth().success
    predicates = scene.truth().predicates
    assert predicates["grasped"] == 0.0
    assert predicates["peg_depth_m"] == pytest.approx(0.12, abs=1e-3)
    assert predicates["gripper_nut_distance_m"] > 0.1


def test_a_nut_in_reach_is_picked_up_again_wherever_it_lies(task, scene):
    """Dropped on the way, upside down, and hung crooked over the peg's end."""
    crooked = (np.cos(0.15) * np.array([0, 0, 0, 1]) + np.sin(0.15) * np.array([0, 0, 1, 0])).tolist()
    for place, quaternion in (
        ((0.05, 0.05, 0.84), (1.0, 0.0, 0.0, 0.0)),
        ((-0.11, 0.17, 0.84), (0.0, 1.0, 0.0, 0.0)),
        ((0.25, 0.11, 0.97), crooked),
    ):
        scene.begin(Stream(0, 0))
        put_nut(scene, place, quaternion)
        solve(task, scene, 2 * task.deadline)
        assert scene.truth().success, place
        assert scene.truth().predicates["peg_depth_m"] > 0.07


def test_the_plan(task, scene):
    """The whole of it; what is left with the nut down; and a crooked nut is dropped aside, not inserted."""
    scene.begin(Stream(0, 0))
    whole = task.plan(scene.truth().observation)
    assert [frame.closed for frame in whole] == [False] * 2 + [True] * 4 + [False] * 2
    assert whole[5].stage == "insert"
    put_nut(scene, PEG_M - np.array([0.0, 0.0, 0.015]), HANDLE_TO_ROBOT)
    rest = task.plan(scene.truth().observation)
    assert [(frame.stage, frame.closed) for frame in rest] == [("insert", False)] * 2
    assert np.array_equal(rest[0].position_m, scene.truth().observation["eef_pos"])
    put_nut(scene, PEG_M + np.array([0.0, 0.0, 0.02]), HANDLE_TO_ROBOT)
    assert len(task.plan(scene.truth().observation)) == 8  # on the peg, but not down
    put_nut(scene, PEG_M + np.array([0.02, 0.0, 0.09]), (np.cos(0.3), np.sin(0.3), 0.0, 0.0))
    assert {frame.stage for frame in task.plan(scene.truth().observation)} == {"reach", "grasp", "lift"}


def test_the_plan_brings_the_nut_over_the_peg_however_it_is_held(task, scene):
    """The align keyframe, applied as a rigid motion of hand and nut, puts nut's centre and handle where they belong."""
    observation = dict(scene.begin(Stream(0, 0)))
    for yaw in np.linspace(-np.pi, np.pi, 23):
        handle = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        observation["nut_handle"], observation["nut_pos"] = handle, np.array([-0.11, 0.15, 0.985])
        reach = task.plan(observation)[1]
        slip = np.array([0.004, -0.003, 0.005])
        observation["eef_pos"] = reach.position_m + slip
        observation["eef_quat"] = quaternion_of(reach.rotation)
        for _ in range(3):  # a large turn is asked for in parts
            align = next(frame for frame in task.plan(observation) if frame.stage == "align")
            motion = align.rotation @ matrix_of(observation["eef_quat"]).T
            nut = align.position_m + motion @ (observation["nut_pos"] - observation["eef_pos"])
            observation["nut_handle"], observation["nut_pos"] = motion @ observation["nut_handle"], nut
            observation["eef_pos"], observation["eef_quat"] = align.position_m, quaternion_of(align.rotation)
            assert np.allclose(nut, [0.23, 0.10, nut[2]], atol=1e-9)
            assert nut[2] > 0.96  # above the peg
        assert np.allclose(observation["nut_handle"], [-1, 0, 0], atol=1e-9)


def quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """(x, y, z, w) by MuJoCo."""
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    return np.roll(quaternion, -1)


def matrix_of(quaternion_xyzw: np.ndarray) -> np.ndarray:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.roll(quaternion_xyzw, 1))
    return matrix.reshape(3, 3)


def test_observation_matches_its_declaration(task, scene):
    """Sizes, and that the handle's direction is the whole yaw: half a turn is another observation."""
    observation = scene.begin(Stream(0, 1))
    assert {name: len(value) for name, value in observation.items()} == dict(task.observation_sizes)
    assert np.array_equal(observation["peg_pos"], PEG_M)
    put_nut(scene, (0.0, 0.0, 0.9), (np.cos(0.4), 0.0, 0.0, np.sin(0.4)))
    seen = scene.truth().observation
    assert np.allclose(seen["nut_handle"], [np.cos(0.8), np.sin(0.8), 0], atol=1e-12)
    assert np.allclose(seen["nut_up"], [0, 0, 1], atol=1e-12)
    handle_site = scene.data.site("SquareNut_handle_site").xpos
    assert np.allclose(seen["nut_pos"] + 0.054 * seen["nut_handle"], handle_site, atol=1e-12)


def test_shapes_show_the_square_nut_and_both_pegs(scene):
    scene.begin(Stream(0, 0))
    bodies = [shape.body for shape in scene.shapes()]
    assert bodies.count("SquareNut_main") == 5
    assert {"peg1", "peg2"} <= set(bodies)
    assert not any("Round" in body for body in bodies)
    assert set(bodies) <= set(scene.body_poses())
