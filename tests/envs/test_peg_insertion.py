"""The task PegInsertion: its gap is real and stiff, its wrist weighs and remembers, and the expert solves it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml
from hydra.utils import instantiate
from scipy.spatial.transform import Rotation

from workbench.envs.tasks.peg_insertion import (
    BOARD_HALF_M,
    GRIP_ABOVE_M,
    HOLE_DEPTH_M,
    INSERTED,
    PEG_HALF_M,
    TABLE_M,
    PegInsertion,
    misfit,
    quarter_between,
    quarter_turn,
    tilt_of,
)
from workbench.errors import ConfigError, SnapshotError
from workbench.policies.expert import Expert
from workbench.types import Array, Stream

FAULTS = ("action_bias", "action_noise", "friction", "grasp_omitted", "latency", "mass", "object_pose_bias",
          "object_pose_noise", "object_shift", "observation_freeze", "push", "slip")  # fmt: skip
PERTURBATIONS = [Path(__file__).parents[2] / "conf" / "perturbation" / f"{name}.yaml" for name in FAULTS]
STANDING_M = TABLE_M + PEG_HALF_M[2]
GRAVITY = 9.81
UP = np.array([0.0, 0.0, 1.0])
GRIPPER_KG = 0.3 + 2 * (0.1 + 0.01)
"""Robosuite's Panda gripper: hand, fingers and tips."""


@pytest.fixture(scope="module")
def task() -> PegInsertion:
    return PegInsertion()


@pytest.fixture(scope="module")
def scene(task):
    return task.scene()


def follow(task, scene, until, steps: int | None = None) -> int:
    """Let the expert act until a condition on the truth holds; returns the number of steps, -1 if it never did."""
    before = scene.truth().observation
    for step in range(task.deadline if steps is None else steps):
        if until(scene.truth()):
            return step
        now = scene.truth().observation
        scene.step(Expert(task).action({key: np.stack([before[key], now[key]]) for key in now}))
        before = now
    return task.deadline if until(scene.truth()) else -1


def put_peg(task, scene, position_m, rotation: Array | None = None) -> dict[str, float]:
    """Put the peg into a pose, at rest, and judge; returns the predicates."""
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, (np.eye(3) if rotation is None else rotation).ravel())
    joint = scene.data.joint(task.object_joint)
    joint.qpos[:] = np.concatenate([position_m, quaternion])
    joint.qvel[:] = 0.0
    mujoco.mj_fwdPosition(scene.model, scene.data)
    scene._judge()
    return scene.truth().predicates


def hole_frame(scene) -> tuple[Array, Array]:
    """Place (3,) of the hole's mouth and rotation (3, 3) of the board."""
    body = scene.data.body("board_main")
    return body.xpos + HOLE_DEPTH_M * UP, body.xmat.reshape(3, 3)


def pressed(clearance_m: float, force_n, at_m, peg_half_m: float = 0.01) -> tuple[Array, float]:
    """Place (3,) of a peg of some half width after 1 s of a force on it, and how deep it was in the board at most."""
    task = PegInsertion(clearance_m=clearance_m)
    size = 'size="0.01 0.01 0.05"'
    assert task.cell.xml.count(size) == 1
    xml = task.cell.xml.replace(size, f'size="{peg_half_m} {peg_half_m} 0.05"')
    model = dataclasses.replace(task.cell, xml=xml).compiled()
    data = mujoco.MjData(model)
    board = [model.geom(name).id for name in task.board_geoms]
    data.joint(task.object_joint).qpos[:3] = at_m
    deepest = 0.0
    for step in range(500):
        data.qpos[task.arm_qpos], data.qvel[:9] = task.cell.arm.home_rad, 0.0
        data.body(task.object_body).xfrc_applied[:3] = force_n
        mujoco.mj_step(model, data)
        if step > 250:  # after the impact
            touching = np.isin(data.contact.geom, board).any(axis=1)
            deepest = max([deepest, *(-data.contact.dist[touching])])
    return data.joint(task.object_joint).qpos[:3].copy(), deepest


@pytest.mark.parametrize("clearance_m", [0.0002, 0.0005, 0.003])
def test_the_gap_is_the_one_asked_for(clearance_m):
    """Measured with the compiled model: how far a peg in the hole's middle is from each of the four walls."""
    task = PegInsertion(clearance_m=clearance_m)
    for model in (task.cell.compiled(), task.cell.compiled_visual()):
        data = mujoco.MjData(model)
        data.joint(task.object_joint).qpos[:3] = 0, 0, STANDING_M
        mujoco.mj_kinematics(model, data)
        peg, points = model.geom(task.object_geoms[0]).id, np.empty(6)
        gaps = [mujoco.mj_geomDistance(model, data, peg, model.geom(name).id, 1.0, points) for name in task.board_geoms]
        np.testing.assert_allclose(gaps, clearance_m, atol=1e-9)
        tops = [data.geom(name).xpos[2] + model.geom(name).size[2] for name in task.board_geoms]
        np.testing.assert_allclose(tops, TABLE_M + HOLE_DEPTH_M)


def test_the_visual_model_has_the_same_bodies_and_joints(task):
    small, visual = task.cell.compiled(), task.cell.compiled_visual()
    # robosuite's two markers of where the gripper is to go are mocap bodies, and only looked at
    shown = [visual.body(n).name for n in range(visual.nbody) if visual.body_mocapid[n] < 0]
    assert shown == [small.body(n).name for n in range(small.nbody)]
    assert [visual.joint(n).name for n in range(visual.njnt)] == [small.joint(n).name for n in range(small.njnt)]
    assert (visual.nuserdata, small.nuserdata) == (0, 9)
    board = {shape.name for shape in task.scene().shapes() if shape.body == task.board_body}
    assert board == {f"{name}_vis" for name in task.board_geoms}


def test_another_clearance_is_another_model(task):
    other = PegInsertion(clearance_m=0.001)
    assert other.cell.digest != task.cell.digest
    assert PegInsertion(clearance_m=0.0005).cell.digest == task.cell.digest
    with pytest.raises(SnapshotError, match="the scene's model is"):
        other.scene().restore(task.scene().snapshot())


@pytest.mark.parametrize("clearance_m", [0.0001, 0.0051, float("nan"), True, "0.001"])
def test_a_wrong_clearance_is_refused(clearance_m):
    with pytest.raises(ConfigError, match="clearance_m"):
        PegInsertion(clearance_m=clearance_m)


@pytest.mark.parametrize("clearance_m", [0.0002, 0.0005])
@pytest.mark.parametrize(("wider", "goes_in"), [(0.95, True), (1.3, False)])
def test_only_a_peg_that_fits_goes_in(clearance_m, wider, goes_in):
    """Pressed with 20 N, standing over the hole, its half width larger by a part of the clearance."""
    above = 0, 0, STANDING_M + HOLE_DEPTH_M + 1e-5
    at, _ = pressed(clearance_m, [0, 0, -20], above, 0.01 + wider * clearance_m)
    depth = STANDING_M + HOLE_DEPTH_M - at[2]
    assert (depth > 0.99 * HOLE_DEPTH_M) == goes_in
    assert goes_in or depth < 0.0005


@pytest.mark.parametrize("force_n", [20, 50])
def test_contacts_are_stiff_beside_the_clearance(force_n):
    """The peg is pushed against a wall, and onto the board; a tenth of the default clearance is the most it gives."""
    _, sideways = pressed(0.0005, [force_n, 0, 0], (0, 0, STANDING_M))
    _, down = pressed(0.0005, [0, 0, -force_n], (0.02, 0, STANDING_M + HOLE_DEPTH_M))
    assert 1e-6 < sideways < 6e-5
    assert 1e-6 < down < 6e-5


def hold_still(task, scene) -> None:
    """Follow the expert until the peg hangs above the hole, then let the gripper come to rest."""
    assert follow(task, scene, lambda truth: truth.stage == 4) > 0
    for _ in range(30):
        scene.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert scene.truth().predicates["grasped"]


def test_the_wrist_weighs_gripper_and_peg(task, scene):
    """At rest in the air: the gripper's weight, and with it that of the peg once it is lifted."""
    scene.begin(Stream(1, 0))
    np.testing.assert_array_equal(scene.observe()["wrench"], 0.0)
    for _ in range(30):
        scene.step(np.zeros(7))
    empty = scene.observe()["wrench"]
    hold_still(task, scene)
    loaded = scene.observe()["wrench"]
    peg_kg = scene.model.body(task.object_body).mass[0]
    assert peg_kg == pytest.approx(0.314)
    assert np.linalg.norm(empty[:3]) == pytest.approx(GRIPPER_KG * GRAVITY, rel=0.01)
    assert np.linalg.norm(loaded[:3]) == pytest.approx((GRIPPER_KG + peg_kg) * GRAVITY, rel=0.01)
    site = scene.data.site("gripper0_right_ft_frame").xmat.reshape(3, 3)
    assert (site @ loaded[:3])[2] == pytest.approx((GRIPPER_KG + peg_kg) * GRAVITY, rel=0.01)  # it holds them up


def test_contact_is_felt(task, scene):
    """The peg, lowered onto the board beside the hole, takes weight off the wrist: what the board carries."""
    scene.begin(Stream(1, 0))
    hold_still(task, scene)
    free = scene.truth()
    assert free.predicates["contact_force_n"] == 0.0
    hole, board = hole_frame(scene)
    beside = hole + 0.02 * board[:, 0]
    for height_m in np.linspace(0.01, -0.01, 30):
        way = beside + (height_m + PEG_HALF_M[2]) * UP - scene.truth().observation["peg_pos"]
        scene.step(np.concatenate([np.clip(way / 0.05, -0.3, 0.3), [0, 0, 0, 1.0]]))
    truth = scene.truth()
    up = scene.data.site("gripper0_right_ft_frame").xmat.reshape(3, 3)[2]
    carried = up @ (free.observation["wrench"][:3] - truth.observation["wrench"][:3])
    assert truth.predicates["board_contact"]
    assert truth.predicates["insertion_depth_m"] == 0
    assert truth.predicates["contact_force_n"] > 5
    assert carried == pytest.approx(truth.predicates["contact_force_n"], rel=0.1)


def test_the_wrench_survives_a_snapshot(task, scene):
    """Taken in contact: the same in this scene and a fresh one, then the same future, to the last bit."""
    scene.begin(Stream(1, 2))
    assert follow(task, scene, lambda truth: truth.predicates["insertion_depth_m"] > 0.005) > 0
    for _ in range(3):
        scene.step(np.array([0.3, 0, 0, 0, 0, 0, 1]))
    assert scene.truth().predicates["contact_force_n"] > 1
    snapshot, felt, truth = scene.snapshot(), scene.observe()["wrench"], scene.truth()
    action = np.array([0.2, -0.1, -0.5, 0, 0.1, 0, 1])
    future = [scene.step(action)[0]["wrench"] for _ in range(5)]
    for other in (scene, task.scene()):
        np.testing.assert_array_equal(other.restore(snapshot)["wrench"], felt)
        assert other.truth().predicates == truth.predicates
        for expected in future:
            np.testing.assert_array_equal(other.step(action)[0]["wrench"], expected)


def test_draws(task, scene):
    """Bounds and spread over 200 episodes; peg and board stand apart, and the hole is seen where it is."""
    pegs, holes = [], []
    for episode in range(200):
        seen = scene.begin(Stream(5, episode))
        assert seen["peg_pos"][2] == STANDING_M
        assert not scene.truth().predicates["board_contact"]
        hole, rotation = hole_frame(scene)
        np.testing.assert_array_equal(seen["hole_pos"], hole)
        np.testing.assert_allclose(seen["hole_yaw"], quarter_turn(rotation.ravel()), atol=1e-12)
        pegs.append([*seen["peg_pos"][:2], *seen["peg_yaw"]])
        holes.append([*hole[:2], *seen["hole_yaw"]])
    peg, board = np.array(pegs), np.array(holes)
    for drawn, low in ((peg, 0.08), (board, 0.09)):
        assert np.abs(drawn[:, 0]).max() <= 0.08
        assert low <= np.abs(drawn[:, 1]).min() <= np.abs(drawn[:, 1]).max() <= 0.12
        assert np.ptp(drawn[:, 0]) > 0.15
        assert 60 < (drawn[:, 1] > 0).sum() < 140
        assert np.abs(drawn[:, 2:].mean(axis=0)).max() < 0.2  # the yaw is uniform
    assert (peg[:, 1] * board[:, 1] < 0).all()
    corners = np.sqrt(2) * (BOARD_HALF_M + PEG_HALF_M[0])
    assert np.linalg.norm(peg[:, :2] - board[:, :2], axis=1).min() > corners + 0.09  # object_shift's longest


def test_success_is_depth_in_the_hole(task, scene):
    """Not depth beside the board, nor a peg over the hole; released or not does not matter."""
    scene.begin(Stream(3, 0))
    hole, rotation = hole_frame(scene)
    for depth_m, success in ((INSERTED * HOLE_DEPTH_M - 1e-4, 0), (INSERTED * HOLE_DEPTH_M + 1e-4, 1)):
        at = hole + (PEG_HALF_M[2] - depth_m) * UP
        for turn in (np.eye(3), np.diag([1.0, -1.0, -1.0])):  # either end goes in
            predicates = put_peg(task, scene, at, rotation @ turn)
            assert predicates["success"] == success
            assert predicates["insertion_depth_m"] == pytest.approx(depth_m, abs=1e-9)
            assert not predicates["board_contact"]
            assert max(predicates["yaw_error_rad"], predicates["tilt_rad"]) == pytest.approx(0, abs=1e-7)
    beside = put_peg(task, scene, [hole[0], hole[1] - np.copysign(0.1, hole[1]), STANDING_M])
    assert beside["insertion_depth_m"] == beside["success"] == 0
    over = put_peg(task, scene, hole + (PEG_HALF_M[2] + 0.001) * UP, rotation)
    assert over["insertion_depth_m"] == over["success"] == 0
    assert over["peg_hole_distance_m"] == pytest.approx(0, abs=1e-9)
    tilted = put_peg(task, scene, hole + 0.2 * UP, tilt_of(np.array([0.6, 0, 0.8])))
    assert tilted["tilt_rad"] == pytest.approx(np.arccos(0.8))


def test_the_peg_is_seen_alike_however_it_is_turned():
    """The yaw seen does not tell the peg's eight looks apart, and does not jump when it is nearly on its head."""
    for yaw, direction, angle in ((0.3, 1.0, 0.4), (-1.1, 2.5, 1.2), (0.7, -0.4, 0.0)):
        tilt = Rotation.from_rotvec(angle * np.array([np.cos(direction), np.sin(direction), 0]))
        rotation = (tilt * Rotation.from_rotvec([0, 0, yaw])).as_matrix()
        seen = quarter_turn(rotation.ravel())
        np.testing.assert_allclose(seen, [np.cos(4 * yaw), np.sin(4 * yaw)], atol=1e-12)
        quarter = Rotation.from_rotvec([0, 0, np.pi / 2]).as_matrix()
        for look in (quarter, quarter @ quarter, np.diag([1.0, -1.0, -1.0])):
            np.testing.assert_allclose(quarter_turn((rotation @ look).ravel()), seen, atol=1e-9)


def test_a_quarter_is_no_turn():
    def looks(yaw):
        return np.array([np.cos(4 * yaw), np.sin(4 * yaw)])

    assert quarter_between(looks(0.1), looks(0.3)) == pytest.approx(0.2)
    assert quarter_between(looks(0.1), looks(0.3 + np.pi / 2)) == pytest.approx(0.2)
    assert quarter_between(looks(0.1), looks(-0.2)) == pytest.approx(-0.3)


def test_misfit_is_what_keeps_a_peg_out(task, scene):
    """Moved along the board's axes it is the way, turned it is what the corners gain."""
    scene.begin(Stream(3, 0))
    hole, rotation = hole_frame(scene)
    above = hole + (PEG_HALF_M[2] + 0.001) * UP
    put_peg(task, scene, above + rotation @ [0.0003, -0.0001, 0], rotation)
    assert misfit(dict(scene.truth().observation)) == pytest.approx(0.0003)
    turned = rotation @ Rotation.from_rotvec([0, 0, 0.02]).as_matrix()
    put_peg(task, scene, above, turned)
    corner = turned @ [0.01, 0.01, 0]
    reach = np.abs(rotation.T @ corner)[:2].max() - 0.01
    assert misfit(dict(scene.truth().observation)) == pytest.approx(reach)


def test_expert_inserts(task, scene):
    for episode in range(8):
        scene.begin(Stream(11, episode))
        stages = [0]
        follow(task, scene, lambda truth, stages=stages: stages.append(truth.stage) or truth.success)
        assert scene.truth().success, episode
        assert stages == sorted(stages)
        assert {0, 1, 2, 3, 4, 5} == set(stages)


def test_expert_recovers_from_a_kick_in_the_hole(task, scene):
    """Eight random actions with the peg in the hole tilt and jam it; the expert comes out of it or goes on."""
    rng = np.random.default_rng(0)
    jammed = []
    for episode in range(4):
        scene.begin(Stream(12, episode))
        assert follow(task, scene, lambda truth: truth.predicates["insertion_depth_m"] > 0.005) > 0
        for _ in range(8):
            scene.step(np.append(rng.uniform(-1, 1, 6), 1.0))
        jammed.append(scene.truth().predicates["contact_force_n"])
        if not scene.truth().success:
            assert follow(task, scene, lambda truth: truth.success, 250) > 0, episode
    assert max(jammed) > 1


def test_expert_stands_up_a_peg_that_lies(task, scene):
    """From where the arm can turn it; elsewhere it tries in vain (see the task's limits)."""
    scene.begin(Stream(50, 11))
    at = scene.truth().observation["peg_pos"][:2]
    turn = Rotation.from_rotvec([0, 0, 0.81]).as_matrix()
    predicates = put_peg(task, scene, [*at, TABLE_M + 0.0102], turn @ tilt_of(np.array([1.0, 0, 0])))
    assert predicates["tilt_rad"] == pytest.approx(np.pi / 2)
    assert follow(task, scene, lambda truth: truth.success, 320) > 0


def test_plan_corrects_for_how_the_peg_is_held(task, scene):
    """A peg held 3 mm aside, turned and tilted: at the align keyframe it would stand over the hole, faces parallel."""
    scene.begin(Stream(13, 0))
    assert follow(task, scene, lambda truth: truth.stage >= 3) > 0
    grip = scene.data.site_xpos[task.grip_site].copy()
    hand = scene.data.site_xmat[task.grip_site].reshape(3, 3)
    rotation = Rotation.from_rotvec([0.05, -0.08, 0.1]).as_matrix() @ scene.data.body(task.object_body).xmat.reshape(
        3, 3
    )
    put_peg(task, scene, grip + np.array([0.003, -0.002, 0]) - GRIP_ABOVE_M * rotation[:, 2], rotation)
    observation = scene.truth().observation
    frame = next(frame for frame in task.plan(observation) if frame.stage == "align")
    motion = frame.rotation @ hand.T
    peg = frame.position_m + motion @ (observation["peg_pos"] - grip)
    hole, board = hole_frame(scene)
    assert np.abs(peg - hole)[:2].max() < 0.0021  # it insists by at most 2 mm
    np.testing.assert_allclose((motion @ rotation)[:, 2], [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(np.abs(board.T @ motion @ rotation).max(axis=0), 1, atol=1e-9)


@pytest.mark.parametrize("path", PERTURBATIONS, ids=lambda path: path.stem)
def test_faults_act_on_it(path, task, scene):
    """Each is drawn, strikes, and changes what the expert, who goes by what it sees, brings about."""
    ((name, part),) = yaml.safe_load(path.read_text()).items()
    fault = instantiate(part, _convert_="all")
    stream = Stream(21, 0)

    def play(records):
        scene.begin(stream, records)
        before = scene.observe()
        for _ in range(60):
            now = scene.observe()
            scene.step(Expert(task).action({key: np.stack([before[key], now[key]]) for key in now}))
            before = now
        return scene.data.qpos.copy()

    nominal = play([])
    perturbed = play([fault.draw(stream, task)])
    assert scene.injected() >= 0, name
    assert np.abs(perturbed - nominal).max() > 1e-4


def test_object_shift_never_moves_the_peg_into_the_board(task, scene):
    part = yaml.safe_load(next(path for path in PERTURBATIONS if path.stem == "object_shift").read_text())
    fault = instantiate(part["object_shift"], _convert_="all")
    for episode in range(40):
        stream = Stream(22, episode)
        record = fault.draw(stream, task) | {"start_step": 0}
        scene.begin(stream, [record])
        assert scene.injected() == 0
        assert not scene.truth().predicates["board_contact"]
