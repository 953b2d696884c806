"""The task PushT: exact coverage, walls that hold, a T that rests, draws, faults, an expert that covers the goal."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.envs.controllers.planar import Planar
from workbench.envs.pushing.coverage import corners, coverage, in_frame, in_world, nearest, outside
from workbench.envs.pushing.search import PLACES, ROUNDABOUTS_M, search, shove
from workbench.envs.pushing.tee import AREA_M2, ARENA_M, CENTRE_M, GOAL, GYRATION_M, RECTANGLES_M
from workbench.envs.robots.disc import DISC, DISC_M
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.push_t import PushT, apart
from workbench.errors import ConfigError
from workbench.policies.expert import Expert
from workbench.policies.learning import planar_expert
from workbench.types import Keyframe, Stream

ROOT = Path(__file__).parents[2]
PARTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf/perturbation").glob("*.yaml"))}
FINGERS = ("slip", "grasp_omitted")
OTHERS = ("action_bias", "action_noise", "friction", "latency", "mass", "object_pose_bias", "object_pose_noise",
          "object_shift", "observation_freeze", "push")  # fmt: skip
STREAM = Stream(3, 1)
POSES = st.builds(lambda *pose: np.array(pose), st.floats(0.12, 0.4), st.floats(0.12, 0.4), st.floats(-np.pi, np.pi))


@pytest.fixture(scope="module")
def task() -> PushT:
    return PushT()


@pytest.fixture(scope="module")
def scene(task):
    return task.scene()


def put(scene, pose, pusher_m) -> None:
    """Begin an episode with T and disc where they are said to be."""
    scene.begin(STREAM)
    scene.data.joint("block").qpos[:] = [*pose[:2], 0.0, np.cos(pose[2] / 2), 0.0, 0.0, np.sin(pose[2] / 2)]
    scene.data.joint("pusher_x").qpos[:] = pusher_m[0]
    scene.data.joint("pusher_y").qpos[:] = pusher_m[1]
    mujoco.mj_fwdPosition(scene.model, scene.data)
    scene._judge()


def pose_of(observation) -> np.ndarray:
    cos, sin = observation["block_yaw"]
    return np.array([*observation["block_pos"], np.arctan2(sin, cos)])


def act(task, scene) -> np.ndarray:
    return Expert(task).action({key: np.stack([value, value]) for key, value in scene.truth().observation.items()})


def drive(task, scene, steps: int | None = None) -> list[int]:
    """Let the expert push until it succeeds; returns the stages."""
    stages = [scene.truth().stage]
    for _ in range(steps or task.deadline):
        scene.step(act(task, scene))
        stages.append(scene.truth().stage)
        if scene.truth().success:
            break
    return stages


# Geometry


def covered_by_counting(pose, goal, number: int = 400_000) -> float:
    """Part of random points of the goal's T that lie in the T at the pose; standard error below 0.0008."""
    rng = np.random.default_rng(0)
    bar = rng.random(number) < 3600 / 6300
    x, y, half_x, half_y = np.where(bar[:, None], RECTANGLES_M[0], RECTANGLES_M[1]).T
    points = np.stack([x + half_x * rng.uniform(-1, 1, number), y + half_y * rng.uniform(-1, 1, number)])
    world = np.array([[np.cos(goal[2]), -np.sin(goal[2])], [np.sin(goal[2]), np.cos(goal[2])]]) @ points
    offset = world + (goal[:2] - pose[:2])[:, None]
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    x, y = np.array([[cos, sin], [-sin, cos]]) @ offset
    inside = (np.abs(x) <= 0.06) & (y >= 0) & (y <= 0.03) | (np.abs(x) <= 0.015) & (y > 0.03) & (y <= 0.12)
    return float(inside.mean())


@pytest.mark.parametrize(
    "offset",
    [
        (0, 0, 0.02),
        (0.003, -0.002, 0),
        (0.02, 0.01, 0.5),
        (-0.03, 0.04, np.pi / 2),
        (-0.06, 0.07, np.pi),
        (-0.04, 0.05, 2.5),
    ],
)
def test_coverage_is_what_counting_points_gives(offset):
    pose = GOAL + offset
    expected = covered_by_counting(pose, GOAL)
    assert 0.05 < expected < 0.99
    assert coverage(pose, GOAL) == pytest.approx(expected, abs=0.003)


def test_coverage_in_closed_form():
    """Of T's that are not turned against each other, and of one on the goal."""
    assert coverage(GOAL, GOAL) == pytest.approx(1.0, abs=1e-12)
    level = np.array([0.2, 0.2, 0.0])
    for d in (0.001, 0.0026, 0.01):
        assert coverage(np.add(level, [d, 0, 0]), level) == pytest.approx(1 - 120 * d / 6.3, abs=1e-9)
        assert coverage(np.add(level, [0, d, 0]), level) == pytest.approx(1 - 120 * d / 6.3, abs=1e-9)
    assert coverage(np.add(level, [0.13, 0, 0]), level) == 0.0


@given(POSES, POSES, st.floats(-3, 3), st.floats(-0.1, 0.1))
@settings(max_examples=100, deadline=None)
def test_coverage_is_symmetric_and_moves_along(first, second, turn, shift):
    """Which T is the goal plays no part, nor does where both are together."""
    value = coverage(first, second)
    assert 0.0 <= value <= 1 + 1e-12
    assert coverage(second, first) == pytest.approx(value, abs=1e-9)
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    moved = [rotation @ pose + np.array([shift, -shift, turn]) for pose in (first, second)]
    assert coverage(*moved) == pytest.approx(value, abs=1e-9)


def test_the_t_is_the_originals():
    """Bar 120 x 30 and stem 30 x 90 pixels of a millimetre; the derived numbers follow from them."""
    assert np.allclose(corners(np.zeros(3), 0), [[-0.06, 0], [0.06, 0], [0.06, 0.03], [-0.06, 0.03]])
    assert np.allclose(corners(np.zeros(3), 1), [[-0.015, 0.03], [0.015, 0.03], [0.015, 0.12], [-0.015, 0.12]])
    areas = 4 * RECTANGLES_M[:, 2] * RECTANGLES_M[:, 3]
    assert areas.sum() == pytest.approx(AREA_M2)
    assert areas @ RECTANGLES_M[:, :2] / AREA_M2 == pytest.approx(CENTRE_M)
    moments = (RECTANGLES_M[:, 2:] ** 2).sum(1) / 3 + ((RECTANGLES_M[:, :2] - CENTRE_M) ** 2).sum(1)
    assert np.sqrt(areas @ moments / AREA_M2) == pytest.approx(GYRATION_M, rel=1e-3)


def test_distance_to_the_t():
    for x, y, distance, normal in [
        (0.0, -0.01, 0.01, (0, -1)), (0.07, 0.015, 0.01, (1, 0)), (0.063, -0.004, 0.005, (0.6, -0.8)),
        (0.02, 0.08, 0.005, (1, 0)), (0.0, 0.13, 0.01, (0, 1)), (0.0, 0.005, -0.005, (0, -1)),
    ]:  # fmt: skip
        found, nx, ny = nearest(x, y)
        assert found == pytest.approx(distance)
        assert (nx, ny) == pytest.approx(normal)


@given(POSES, st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
@settings(max_examples=50, deadline=None)
def test_frames_are_inverse(pose, x, y):
    assert in_frame(pose, *in_world(pose, x, y)) == pytest.approx((x, y), abs=1e-12)


def test_outside():
    assert outside(np.array([0.1, 0.2, 0.0])) == pytest.approx(-0.04)
    assert outside(np.array([0.2, 0.4, 0.0])) == pytest.approx(0.008)


# Scene


def test_a_t_at_rest_does_not_creep(scene):
    """From the first step on, over a whole episode, not by a thousandth of a millimetre."""
    for episode in range(3):
        scene.begin(Stream(8, episode))
        before = pose_of(scene.truth().observation)
        height = scene.data.joint("block").qpos[2]
        for _ in range(300):
            scene.step(np.zeros(2))
        assert np.abs(pose_of(scene.truth().observation) - before).max() < 1e-6
        assert abs(scene.data.joint("block").qpos[2] - height) < 1e-5


def test_repeated_actions_move_the_disc_at_a_steady_pace(scene):
    put(scene, [0.4, 0.35, 0.3], [0.05, 0.05])
    places = []
    for _ in range(12):
        places.append(scene.step(np.array([0.5, 1.0]))[0]["pusher_pos"])
    assert np.allclose(np.diff(places, axis=0)[2:], [0.5 * DISC.action_m, DISC.action_m], atol=2e-5)
    for _ in range(4):
        seen = scene.step(np.zeros(2))[0]["pusher_pos"]
    assert np.abs(scene.step(np.zeros(2))[0]["pusher_pos"] - seen).max() < 1e-6


def test_the_smallest_pushes_arrive(scene):
    """Steps of one millimetre against the T's friction: no dead zone, else it could not be placed."""
    put(scene, [0.256, 0.2, 0.0], [0.256, 0.2 - DISC_M - 0.0005])
    for _ in range(20):
        scene.step(np.array([0.0, 0.04]))
    assert 0.016 < scene.truth().observation["block_pos"][1] - 0.2 < 0.0205


def test_a_t_stops_soon(scene):
    """Pushed at full speed and left by the disc: quasi-static enough to be planned for."""
    put(scene, [0.256, 0.1, 0.0], [0.256, 0.1 - DISC_M - 0.001])
    for _ in range(5):
        scene.step(np.array([0.0, 1.0]))
    left = scene.truth().observation["block_pos"][1]
    for _ in range(10):
        scene.step(np.array([0.0, -0.5]))
    coasted = scene.truth().observation["block_pos"][1] - left
    assert 0.0 < coasted < 0.008


@pytest.mark.parametrize("way", [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1)])
def test_walls_hold_disc_and_t(scene, way):
    """Whatever the disc's force; the T is pushed along, and squeezed against the wall."""
    direction = np.array(way) / np.linalg.norm(way)
    yaw = np.arctan2(-direction[0], direction[1])
    pose = np.array([0.256, 0.256, yaw])
    put(scene, pose, in_world(pose, 0.0, -DISC_M - 0.003))
    for _ in range(30):
        scene.step(np.array(way))
        seen = scene.truth().observation
        assert outside(pose_of(seen)) < 0.002
        assert ((seen["pusher_pos"] > DISC_M - 0.002) & (seen["pusher_pos"] < ARENA_M - DISC_M + 0.002)).all()
    assert outside(pose_of(seen)) > -0.002  # the T did get there
    put(scene, [0.4, 0.1, 0.0], [0.2, 0.3])
    for _ in range(30):
        seen = scene.step(np.array([-1.0, 1.0]))[0]
    assert seen["pusher_pos"] == pytest.approx([DISC_M, ARENA_M - DISC_M], abs=0.001)


def test_draws_are_the_originals(scene):
    """Bounds and spread over 300 episodes, and never an overlap."""
    draws = [scene.begin(Stream(5, episode)) for episode in range(300)]
    pusher, block = (np.array([seen[key] for seen in draws]) for key in ("pusher_pos", "block_pos"))
    assert pusher.min() >= 0.05
    assert pusher.max() <= 0.45
    assert np.ptp(pusher, axis=0).min() > 0.38
    assert block.min() >= 0.1
    assert block.max() <= 0.4
    assert np.ptp(block, axis=0).min() > 0.28
    yaws = np.sort([pose_of(seen)[2] for seen in draws])
    assert np.diff(yaws, prepend=-np.pi, append=np.pi).max() < 0.2
    assert all(apart(pose_of(seen), seen["pusher_pos"]) for seen in draws)
    assert not any(scene.begin(Stream(5, e)) and scene.truth().predicates["contact"] for e in range(50))


def test_apart_sees_every_overlap():
    pose = np.array([0.2, 0.2, 0.0])
    assert apart(pose, np.array([0.3, 0.1]))
    assert not apart(pose, np.array([0.2, 0.2 - DISC_M - 0.001]))
    assert not apart(pose, np.array([0.2, 0.25]))
    assert not apart(np.array([0.05, 0.2, 0.0]), np.array([0.3, 0.1]))
    assert not apart(np.array([0.2, 0.45, 0.0]), np.array([0.3, 0.1]))


def test_predicates_and_stages(task, scene):
    put(scene, GOAL, [0.05, 0.05])
    on = scene.truth()
    assert on.success
    assert on.stage == 4
    assert on.predicates["coverage"] == pytest.approx(1.0, abs=1e-5)
    put(scene, np.add(GOAL, [0.03, -0.04, -0.5]), [0.05, 0.05])
    assert scene.truth().predicates["goal_distance_m"] == pytest.approx(0.05, abs=1e-6)
    assert scene.truth().predicates["yaw_error_rad"] == pytest.approx(0.5, abs=1e-5)
    put(scene, [0.2, 0.3, GOAL[2] - np.pi + 0.1], [0.05, 0.05])
    assert scene.truth().predicates["yaw_error_rad"] == pytest.approx(np.pi - 0.1, abs=1e-5)
    assert (scene.truth().predicates["contact"], scene.truth().stage) == (0, 0)
    pose = np.array([0.15, 0.2, 1.0])
    put(scene, pose, in_world(pose, 0.0, -DISC_M + 0.0002))
    assert (scene.truth().predicates["contact"], scene.truth().stage) == (1, 1)
    for value, stage in ((0.51, 2), (0.81, 3), (0.49, 0), (0.79, 2)):
        assert task.reached({"success": 0.0, "coverage": value, "contact": 0.0}) == stage


@pytest.mark.parametrize("success_coverage", [0.9, 0.95, 0.99])
def test_success_is_more_than_the_asked_coverage(success_coverage):
    task = PushT(success_coverage)
    scene = task.scene()
    for sideways_m in np.linspace(0.0, 0.008, 17):
        shift = sideways_m * np.array([np.cos(GOAL[2]), np.sin(GOAL[2]), 0])
        put(scene, GOAL + shift, [0.05, 0.05])
        assert scene.truth().success == (1 - 120 * sideways_m / 6.3 > success_coverage), sideways_m


@pytest.mark.parametrize("value", [0.5, 1.0, 0.0, -1.0, float("nan"), 95.0])
def test_impossible_success_is_refused(value):
    with pytest.raises(ConfigError, match="success_coverage"):
        PushT(value)


def test_cells_are_shared_and_named_by_what_they_are(task):
    from workbench.envs.scene import pristine

    assert pristine(task.cell) is pristine(PushT(0.9).cell)
    assert len(task.cell.digest) == 16
    visual = task.cell.compiled_visual()
    assert {visual.camera(i).name for i in range(visual.ncam)} == {"agentview", "sideview"}
    assert {shape.name for shape in task.scene().shapes()} >= {"goal_bar", "goal_stem", "bar", "stem", "disc", "table"}


# Faults


def draw(name: str, task, **changes):
    part = PARTS[name][name] | changes
    return instantiate(part, _convert_="all").draw(STREAM, task)


@pytest.mark.parametrize("name", FINGERS)
@pytest.mark.parametrize("stage", ["lift", "push", None])
def test_faults_of_fingers_are_refused(task, name, stage):
    """At the draw and in one line, whichever stage they wait for: they would overwrite y."""
    with pytest.raises(ConfigError, match=f"{name} is a fault of the fingers, and task push_t has none") as caught:
        draw(name, task, stage=stage)
    assert "\n" not in str(caught.value)
    assert draw(name, Lift())["name"] == name


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_fault_strikes_replays_and_restores(task, scene, name):
    """As configured, but early; with the expert's actions of the nominal episode."""
    record = draw(name, task, start_step=4)
    actions, nominal = [], []
    scene.begin(STREAM)
    for _ in range(25):
        actions.append(act(task, scene))
        scene.step(actions[-1])
        nominal.append(np.concatenate(list(scene.observe().values())))
    runs = []
    for _ in range(2):
        scene.begin(STREAM, [record])
        seen = []
        for step, action in enumerate(actions):
            if step == 12:
                snapshot = scene.snapshot()
            scene.step(action)
            seen.append(np.concatenate(list(scene.observe().values())))
        runs.append(np.array(seen))
    assert scene.injected() == 4
    assert np.array_equal(*runs)
    assert np.array_equal(runs[0][:3], nominal[:3])
    assert np.isfinite(runs[0]).all()
    if name != "mass":  # the disc has hardly begun to push
        assert not np.array_equal(runs[0], np.array(nominal))
    other = PushT().scene()
    other.restore(snapshot)
    for step in range(12, 25):
        other.step(actions[step])
        assert np.array_equal(np.concatenate(list(other.observe().values())), runs[0][step])


def applied(scene, record, asked) -> np.ndarray:
    scene.begin(STREAM, [record])
    return np.array([scene.step(action)[4]["applied"] for action in asked])


def test_noise_reaches_both_numbers_of_an_action(task, scene):
    error = applied(scene, draw("action_noise", task, std_fraction=0.2), np.zeros((300, 2)))
    assert np.abs(error.std(axis=0) - 0.2).max() < 0.03


def test_bias_lies_in_the_plane_and_has_the_drawn_length(task, scene):
    record = draw("action_bias", task, bias_fraction=0.4)
    bias = applied(scene, record, np.zeros((5, 2)))
    assert np.allclose(bias, record["bias_fraction"])
    assert np.linalg.norm(bias[0]) == pytest.approx(0.4)
    directions = [
        np.arctan2(*instantiate(PARTS["action_bias"]["action_bias"]).draw(Stream(0, e), task)["bias_fraction"])
        for e in range(200)
    ]
    assert abs(np.exp(1j * np.array(directions)).mean()) < 0.2
    assert len(draw("action_bias", Lift())["bias_fraction"]) == 3


def test_latency_holds_still_until_the_first_action_arrives(task, scene):
    asked = np.random.default_rng(0).uniform(-1, 1, (12, 2))
    done = applied(scene, draw("latency", task, latency_steps=3, start_step=4), asked)
    assert np.array_equal(done[:4], asked[:4])
    assert np.array_equal(done[4:7], np.zeros((3, 2)))
    assert np.array_equal(done[7:], asked[4:9])


@pytest.mark.parametrize("offset_m", [0.09, 0.2])
def test_a_shifted_t_stays_within_the_arena_and_off_the_disc(task, scene, offset_m):
    """By its full length, in the drawn direction wherever there is room, and at rest there."""
    straight = 0
    for episode in range(40):
        stream = Stream(2, episode)
        part = PARTS["object_shift"]["object_shift"] | {"offset_m": offset_m, "start_step": 1}
        record = instantiate(part, _convert_="all").draw(stream, task)
        before = scene.begin(stream, [record])
        after = scene.step(np.zeros(2))[0]
        moved = after["block_pos"] - before["block_pos"]
        assert np.linalg.norm(moved) == pytest.approx(offset_m, abs=1e-5)
        assert apart(pose_of(after), after["pusher_pos"])
        straight += bool(np.allclose(moved, record["offset_m"], atol=1e-5))
        wanted = np.add(pose_of(before), [*record["offset_m"], 0.0])
        assert np.allclose(moved, record["offset_m"], atol=1e-5) == apart(wanted, before["pusher_pos"])
        for _ in range(5):
            still = scene.step(np.zeros(2))[0]
        assert np.allclose(still["block_pos"], after["block_pos"], atol=1e-6)
    assert 0 < straight < 40


def contact_frictions(scene) -> dict[tuple[str, str], float]:
    found = {}
    for contact in scene.data.contact:
        names = tuple(sorted(scene.model.geom(int(geom)).name for geom in contact.geom))
        found[names] = round(float(contact.friction[0]), 9)
    return found


def test_friction_reaches_table_and_disc(task, scene):
    pose = np.array([0.2, 0.2, 0.3])
    put(scene, pose, in_world(pose, 0.03, -DISC_M + 0.0001))
    assert contact_frictions(scene) == {("bar", "table"): 0.8, ("stem", "table"): 0.8, ("bar", "pusher"): 0.5}
    scene.begin(STREAM, [draw("friction", task, friction_scale=0.1)])
    scene.data.joint("pusher_x").qpos[:], scene.data.joint("pusher_y").qpos[:] = in_world(
        pose_of(scene.truth().observation), 0.03, -DISC_M + 0.0001
    )
    mujoco.mj_fwdPosition(scene.model, scene.data)
    assert contact_frictions(scene) == {("bar", "table"): 0.08, ("stem", "table"): 0.08, ("bar", "pusher"): 0.05}


def test_a_heavy_t_withstands_the_disc(task, scene):
    moved = []
    for records in ([], [draw("mass", task, mass_scale=100)]):
        pose = pose_of(scene.begin(STREAM, records))
        scene.data.joint("pusher_x").qpos[:], scene.data.joint("pusher_y").qpos[:] = in_world(
            pose, 0.0, -DISC_M - 0.001
        )
        direction = np.array([-np.sin(pose[2]), np.cos(pose[2])])
        for _ in range(4):
            scene.step(direction)
        moved.append(np.linalg.norm(scene.truth().observation["block_pos"] - pose[:2]))
    assert moved[0] > 0.07
    assert moved[1] < 0.003


def test_a_seen_offset_is_in_the_position_alone(task, scene):
    seen = scene.begin(STREAM, [draw("object_pose_bias", task) | {"offset_m": [0.03, -0.02]}])
    true = scene.truth().observation
    assert np.allclose(seen["block_pos"] - true["block_pos"], [0.03, -0.02], atol=1e-12)
    for key in ("pusher_pos", "block_yaw"):
        assert np.array_equal(seen[key], true[key])


# Expert


def test_the_model_of_pushing_is_near_mujoco(scene):
    """Slow pushes of 30 mm along the inward normal at every third place: what is missed is a fraction of the motion."""
    errors, motions = [], []
    for x, y, nx, ny in PLACES[::3]:
        pose, disc = np.array([0.256, 0.256, 0.4]), np.array(in_world(np.array([0.256, 0.256, 0.4]), x, y))
        start = pose.copy()
        put(scene, pose, disc)
        direction = -np.subtract(in_world(pose, nx, ny), pose[:2])
        for _ in range(6):
            scene.step(0.2 * direction)
        scene.step(np.zeros(2))
        for _ in range(10):
            assert shove(pose, disc, *(0.003 * direction))
        weight = [1, 1, GYRATION_M]
        errors.append(np.linalg.norm((pose - pose_of(scene.truth().observation)) * weight))
        motions.append(np.linalg.norm((pose - start) * weight))
    assert np.mean(motions) > 0.02
    assert np.mean(errors) < 0.3 * np.mean(motions)


def test_a_push_through_the_centre_turns_nothing():
    pose, disc = np.array([0.2, 0.2, 0.0]), np.array([0.2, 0.2 - DISC_M])
    assert shove(pose, disc, 0.0, 0.004)
    assert pose == pytest.approx([0.2, 0.204, 0.0], abs=1e-9)
    aside = np.array([0.24, 0.2 - DISC_M])
    pose = np.array([0.2, 0.2, 0.0])
    assert shove(pose, aside, 0.0, 0.004)
    assert pose[2] > 0.02
    away = np.array([0.24, 0.1])
    pose = np.array([0.2, 0.2, 0.0])
    assert shove(pose, away, 0.0, -0.004)
    assert pose.tolist() == [0.2, 0.2, 0.0]


def test_the_model_pushes_along_a_wall_but_not_through_it():
    pose, disc = np.array([0.2, ARENA_M - 0.1202, 0.0]), np.array([0.2, ARENA_M - 0.1202 - DISC_M])
    assert not all(shove(pose, disc, 0.0, 0.004) for _ in range(3))
    pose, disc = np.array([0.0601, 0.2, 0.0]), np.array([0.0601 + 0.03, 0.2 - DISC_M])
    for _ in range(5):
        assert shove(pose, disc, 0.0, 0.004)
    assert outside(pose) < 0.0004
    assert pose[1] > 0.205


@given(POSES, st.floats(0.02, 0.49), st.floats(0.02, 0.49))
@settings(max_examples=60, deadline=None)
def test_the_disc_never_drives_through_the_t(pose, x, y):
    """From anywhere beside the T, the way to the next place leaves the T alone, unless the push has begun."""
    disc = np.array([x, y])
    if not apart(pose, disc):
        return
    begun, way = search(pose, disc, GOAL, 0.957)
    if begun:
        return
    assert ((way[0] >= DISC_M - 0.001) & (way[0] <= ARENA_M - DISC_M + 0.001)).all()
    for part in np.linspace(0, 1, 50):
        assert nearest(*in_frame(pose, *(disc + part * (way[0] - disc))))[0] > DISC_M - 1e-6


def test_places_and_roundabouts_are_clear_of_the_t():
    for x, y, nx, ny in PLACES:
        distance, _, _ = nearest(x, y)
        assert distance == pytest.approx(DISC_M + 0.002, abs=1e-9)
        assert nearest(x - nx * 0.018, y - ny * 0.018)[0] < 0.0
    for x, y in ROUNDABOUTS_M:
        assert DISC_M + 0.003 < nearest(x, y)[0] < DISC_M + 0.015
    sides = {tuple(np.round(normal)) for normal in PLACES[:, 2:]}
    assert sides == {(0, -1), (1, 0), (0, 1), (-1, 0)}


def test_expert_covers_the_goal(task, scene):
    for episode in range(8):
        scene.begin(Stream(11, episode))
        stages = drive(task, scene)
        assert scene.truth().success, episode
        assert stages == sorted(stages)
        assert len(stages) < 200


@pytest.mark.parametrize("pose", [(0.0605, 0.0005, 0.001), (0.5114, 0.0605, np.pi / 2), (0.1205, 0.0605, np.pi / 2)])
def test_expert_gets_a_t_out_of_a_corner(task, scene, pose):
    put(scene, pose, [0.256, 0.4])
    drive(task, scene)
    assert scene.truth().success


def test_expert_is_memoryless_and_covers_more_if_asked(task, scene):
    scene.begin(STREAM)
    drive(task, scene, 30)
    assert np.array_equal(act(task, scene), act(PushT(), scene))
    task = PushT(0.98)
    scene = task.scene()
    scene.begin(STREAM)
    drive(task, scene)
    assert scene.truth().success
    assert scene.truth().predicates["coverage"] > 0.98


def test_expert_rests_once_the_goal_is_covered(task, scene):
    put(scene, GOAL, [0.1, 0.1])
    assert not act(task, scene).any()


def test_expert_and_controller_agree_on_the_scale(task, scene):
    assert task.action_size == planar_expert.ACTION_SIZE
    put(scene, GOAL, [0.1, 0.1])
    ahead = [Keyframe("push", np.array([0.1, 0.11, 0.0]), np.eye(3), closed=False, tolerance_m=0.001)]
    action = planar_expert.follow(ahead, scene.truth().observation, task.robot.action_m)
    for _ in range(3):
        before = scene.truth().observation["pusher_pos"]
        scene.step(action)
    assert np.allclose(scene.truth().observation["pusher_pos"] - before, [0.0, 0.01], atol=2e-5)
    assert isinstance(scene._controller, Planar)
    assert scene._controller.memory.shape == (0,)


def test_actions_are_slow_near_the_end_and_never_faster_than_one(task, scene):
    scene.begin(Stream(11, 0))
    sizes = []
    while not scene.truth().success:
        action = act(task, scene)
        sizes.append(np.linalg.norm(action))
        scene.step(action)
    assert max(sizes) <= 1 + 1e-9
    assert min(sizes) < 0.3
