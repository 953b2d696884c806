"""The task Door: equal to robosuite's, drawn like it, judged like it, solved by the expert, and open to faults."""

from __future__ import annotations

import importlib
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from tests.beside import Beside
from workbench.envs.scene import MujocoScene, pristine
from workbench.envs.tasks.door import AJAR_RAD, OPENED_RAD, TURN_RAD, TURNED_RAD, Door
from workbench.envs.tasks.lift import Lift
from workbench.errors import ConfigError
from workbench.policies.expert import Expert
from workbench.types import Stream
from workbench.types.rotations import rotation_matrix

PARTS = {
    path.stem: yaml.safe_load(path.read_text())[path.stem]
    for path in sorted((Path(__file__).parents[2] / "conf/perturbation").glob("*.yaml"))
}
OF_FREE_OBJECTS = {"mass", "object_shift"}
OTHERS = ("action_bias", "action_noise", "friction", "grasp_omitted", "latency", "object_pose_bias",
          "object_pose_noise", "observation_freeze", "push", "slip")  # fmt: skip


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


@pytest.fixture(scope="module")
def scene(door) -> MujocoScene:
    return door.scene()


@pytest.fixture(scope="module")
def both(door) -> Beside:
    return Beside(door)


def follow(scene) -> np.ndarray:
    """Actions of the expert from where the scene is, until success or the deadline."""
    expert, before, actions = Expert(scene.task), scene.truth().observation, []
    while not scene.truth().success and scene.step_index < scene.task.deadline:
        now = scene.truth().observation
        actions.append(expert.action({key: np.stack([before[key], now[key]]) for key in now}))
        before = now
        scene.step(actions[-1])
    return np.array(actions)


def test_the_door_stands_as_robosuite_puts_it(both, door):
    """From the same generator, number for number; and a pristine model is left alone."""
    model, before = door.cell.compiled(), pristine(door.cell).body("Door_main").pos.copy()
    for seed in range(20):
        np.random.seed(seed)  # noqa: NPY002
        position, quaternion, _ = both.environment.placement_initializer.sample()["Door"]
        door.edit(model, np.random.RandomState(seed))  # the kind of generator that robosuite uses
        np.testing.assert_array_equal(model.body("Door_main").pos, position)
        np.testing.assert_array_equal(model.body("Door_main").quat, quaternion)
    np.testing.assert_array_equal(pristine(door.cell).body("Door_main").pos, before)


def test_both_models_are_drawn_alike_and_the_arm_after_the_door(door, scene):
    """The visual model takes the same numbers, so that the generator goes on to the arm from the same place."""
    visual, after = door.cell.compiled_visual(), []
    for episode in range(3):
        scene.begin(Stream(5, episode))
        rng = Stream(5, episode).child("scene").at()
        door.edit(visual, rng)
        for field in ("pos", "quat"):
            drawn = getattr(visual.body("Door_main"), field)
            np.testing.assert_array_equal(drawn, getattr(scene.model.body("Door_main"), field))
        qpos = np.zeros(scene.model.nq)
        door.place(scene.model, qpos, rng)
        np.testing.assert_array_equal(scene.data.qpos, qpos)
        after.append(np.r_[visual.body("Door_main").pos, qpos])
    assert len(np.unique(after, axis=0)) == 3


def test_a_restored_scene_has_its_own_door_again(door, scene):
    scene.begin(Stream(5, 1))
    snapshot, place = scene.snapshot(), scene.model.body("Door_main").pos.copy()
    other = door.scene()
    other.begin(Stream(5, 2))
    assert np.abs(other.model.body("Door_main").pos - place).max() > 1e-4
    other.restore(snapshot)
    np.testing.assert_array_equal(other.model.body("Door_main").pos, place)


def test_viewers_see_the_door_where_it_is(scene):
    """Every shape of the door hangs on a body of the scene; the bar is where the physics has it, door ajar or not."""
    scene.begin(Stream(5, 3))
    for angles in ((0.0, 0.0), (0.25, -1.0)):
        set_angles(scene, *angles)
        poses = scene.body_poses()
        shapes = {shape.name: shape for shape in scene.shapes() if shape.body.startswith("Door")}
        assert {"Door_frame", "Door_door", "Door_latch"} == {shape.body for shape in shapes.values()}
        bar = next(shape for name, shape in shapes.items() if name.startswith("Door_handle_vis"))
        position, (w, x, y, z) = poses[bar.body]
        shown = position + rotation_matrix(np.array([x, y, z, w])) @ bar.position_m
        np.testing.assert_allclose(shown, scene.data.geom("Door_handle").xpos, atol=1e-12)
        np.testing.assert_allclose(bar.size_m, [0.075, 0.015, 0.02])


def set_angles(scene, hinge_rad: float, latch_rad: float) -> None:
    """Put hinge and latch somewhere, at rest, by restoring an edited state."""
    snapshot = scene.snapshot()
    scene.data.joint("Door_hinge").qpos[:] = hinge_rad
    scene.data.joint("Door_latch_joint").qpos[:] = latch_rad
    mujoco.mj_getState(scene.model, scene.data, snapshot.state, mujoco.mjtState.mjSTATE_INTEGRATION)
    scene.restore(snapshot)


def test_observation_is_what_robosuite_sees(both):
    both.start(2)
    scene = both.scene
    seen, theirs = scene.truth().observation, both.environment._get_observations(force_update=True)
    np.testing.assert_allclose(seen["handle_pos"], theirs["handle_pos"], atol=1e-12)
    np.testing.assert_allclose(seen["eef_pos"], theirs["robot0_eef_pos"], atol=1e-12)
    set_angles(scene, 0.2, -0.8)
    seen = scene.truth().observation
    assert {name: len(values) for name, values in seen.items()} == dict(scene.task.observation_sizes)
    np.testing.assert_allclose(seen["handle_pos"], scene.data.site("Door_handle").xpos, atol=1e-12)
    np.testing.assert_array_equal([*seen["hinge_angle"], *seen["latch_angle"]], [0.2, -0.8])
    bar = scene.data.geom("Door_handle").xpos - scene.data.geom("Door_handle_base").xpos
    assert bar @ seen["handle_axis"] == pytest.approx(0.075, abs=1e-9)
    assert bar @ seen["door_normal"] == pytest.approx(0.10 - 0.03125, abs=1e-9)


def test_latch_holds_the_door_until_it_is_turned(scene):
    """Pulled with 3 N m, and the latch held: it passes from the angle that counts as turned, either way round."""

    def pulled(latch_rad: float) -> float:
        scene.begin(Stream(5, 0))
        model, data = scene.model, mujoco.MjData(scene.model)
        data.qpos[:] = scene.data.qpos
        hinge, latch = (model.joint(name) for name in ("Door_hinge", "Door_latch_joint"))
        for _ in range(300):
            data.qpos[latch.qposadr], data.qvel[latch.dofadr] = latch_rad, 0.0
            data.qfrc_applied[hinge.dofadr] = 3.0
            mujoco.mj_step(model, data)
        return float(data.qpos[hinge.qposadr][0])

    for side in (-1, 1):
        assert pulled(side * (TURNED_RAD - 0.03)) < AJAR_RAD
        assert pulled(side * (TURNED_RAD + 0.01)) > OPENED_RAD
    assert pulled(0.0) < 0.02


def test_stages(door):
    start = {
        "success": 0.0,
        "grasped": 0.0,
        "gripper_handle_distance_m": 0.031,
        "latch_angle_rad": 0.0,
        "hinge_angle_rad": 0.0,
    }
    assert door.reached(start) == 0
    assert door.reached({**start, "gripper_handle_distance_m": 0.029}) == 1
    assert door.reached({**start, "grasped": 1.0}) == 2
    assert door.reached({**start, "latch_angle_rad": 1.23, "hinge_angle_rad": 0.19}) == 0
    assert door.reached({**start, "latch_angle_rad": -1.25}) == 3
    assert door.reached({**start, "hinge_angle_rad": 0.21}) == 3
    assert door.reached({**start, "success": 1.0}) == len(door.stages) == 4


def test_expert_opens_the_door(door, scene):
    for episode in range(10):
        before = scene.begin(Stream(11, episode))
        stages, held = [], []
        while not scene.truth().success and scene.step_index < door.deadline:
            now = scene.truth().observation
            scene.step(Expert(door).action({key: np.stack([before[key], now[key]]) for key in now}))
            before = now
            stages.append(scene.truth().stage)
            held.append(scene.truth().predicates["grasped"])
        assert scene.truth().success, episode
        assert set(stages) == {0, 1, 2, 3, 4}
        assert stages == sorted(stages)
        assert 0.5 < np.mean(np.array(held)[np.array(stages) == 2]) <= 1.0
        assert not any(np.array(held)[np.array(stages) == 0])


def test_expert_takes_hold_again(door, scene):
    """The fingers are opened for 15 steps while the handle is half turned."""
    scene.begin(Stream(11, 0))
    expert, before, lost = Expert(door), scene.truth().observation, []
    while not scene.truth().success and scene.step_index < 160:
        now = scene.truth().observation
        action = expert.action({key: np.stack([before[key], now[key]]) for key in now})
        before = now
        if scene.step_index == 55:
            assert -TURNED_RAD < scene.truth().predicates["latch_angle_rad"] < -0.3
        if 55 <= scene.step_index < 70:
            action[6] = -1.0
            lost.append(not scene.truth().predicates["grasped"])
        scene.step(action)
    assert np.mean(lost) > 0.5
    assert scene.truth().success


def test_plan_moves_with_the_handle(door, scene):
    """At the grasp the gripper is at the bar; what follows is on the arcs of latch and hinge, as MuJoCo has them."""
    scene.begin(Stream(5, 4))
    set_angles(scene, 0.1, -0.5)
    away, at, grasp, turn, pull = door.plan(scene.truth().observation)
    site, bar = scene.data.site("Door_handle"), scene.data.geom("Door_handle").xmat.reshape(3, 3)
    np.testing.assert_allclose(grasp.position_m, site.xpos, atol=1e-12)
    np.testing.assert_allclose(np.abs(grasp.rotation.T @ bar), np.eye(3)[[2, 0, 1]], atol=1e-12)
    assert (away.position_m - at.position_m) @ grasp.rotation[:, 2] == pytest.approx(-0.10)
    held = bar.T @ grasp.rotation
    for keyframe, angles in ((turn, (0.1, -0.9)), (pull, (0.22, -0.9))):
        set_angles(scene, *angles)
        np.testing.assert_allclose(keyframe.position_m, scene.data.site("Door_handle").xpos, atol=1e-3)
        there = scene.data.geom("Door_handle").xmat.reshape(3, 3)
        np.testing.assert_allclose(keyframe.rotation, there @ held, atol=1e-12)
    set_angles(scene, 0.1, TURN_RAD + 0.1)
    turn = door.plan(scene.truth().observation)[3]
    set_angles(scene, 0.1, TURN_RAD)
    np.testing.assert_allclose(turn.position_m, scene.data.site("Door_handle").xpos, atol=1e-3)
    set_angles(scene, AJAR_RAD + 0.01, -0.5)
    frames = door.plan(scene.truth().observation)
    np.testing.assert_array_equal(frames[3].position_m, frames[2].position_m)


def build(name: str, **changes):
    """The specification of a yaml, told to strike at a step of Door and not in a stage of another task."""
    part = PARTS[name] | {"stage": None, "predicate": None} | changes
    module, _, kind = part["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**{key: part[key] for key in part if key != "_target_"})


@pytest.mark.parametrize("name", sorted(OF_FREE_OBJECTS))
def test_faults_of_free_objects_are_refused(door, name):
    with pytest.raises(ConfigError, match=f"{name} needs .* task door hangs on a hinge"):
        build(name).draw(Stream(1, 0), door)
    assert build(name).draw(Stream(1, 0), Lift())["name"] == name


@pytest.fixture(scope="module")
def nominal(door, scene) -> np.ndarray:
    scene.begin(Stream(11, 1))
    return follow(scene)


def states(scene, actions, until: int | None = None) -> list[bytes]:
    """State and what is seen after each action, as bytes."""
    rows = []
    for action in actions[:until]:
        seen = scene.step(action)[0]
        rows.append(scene.snapshot().state.tobytes() + b"".join(value.tobytes() for value in seen.values()))
    return rows


@pytest.mark.parametrize("name", OTHERS)
def test_other_faults_work(door, scene, nominal, name):
    """Each changes what happens or is seen, not before it starts, and a snapshot amid it replays bit for bit."""
    record = build(name, start_step=45).draw(Stream(11, 1), door)
    scene.begin(Stream(11, 1))
    without = states(scene, nominal)
    scene.begin(Stream(11, 1), [record])
    perturbed = states(scene, nominal[:48])
    snapshot = scene.snapshot()
    perturbed += states(scene, nominal[48:])
    assert perturbed[:44] == without[:44]
    assert perturbed != without
    assert scene.injected() >= 45
    elsewhere = door.scene()
    elsewhere.restore(snapshot)
    assert states(elsewhere, nominal[48:]) == perturbed[48:]


def test_object_pose_bias_moves_the_handle_and_nothing_else(door, scene):
    record = build("object_pose_bias", start_step=0).draw(Stream(11, 1), door)
    seen = scene.begin(Stream(11, 1), [record])
    true = scene.truth().observation
    np.testing.assert_allclose(seen["handle_pos"] - true["handle_pos"], [*record["offset_m"], 0.0], atol=1e-12)
    assert all(np.array_equal(seen[name], true[name]) for name in set(seen) - {"handle_pos"})


def test_friction_reaches_the_contacts_of_the_fingers(door, scene, nominal):
    """The handle, held by both pads: friction 2 of the pads without the fault, a tenth of it with."""
    for records, friction in (([], 2.0), ([build("friction", start_step=0, friction_scale=0.1)], 0.2)):
        scene.begin(Stream(11, 1), [record.draw(Stream(11, 1), door) for record in records])
        for action in nominal[:45]:
            scene.step(action)
        assert scene.truth().predicates["grasped"]
        pads = [scene.model.geom(name).id for name in (*door.cell.fingers.left_pads, *door.cell.fingers.right_pads)]
        held = np.isin(scene.data.contact.geom, pads).any(axis=1)
        assert set(scene.data.contact.friction[held, 0]) == {friction}


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_push_swings_a_door_that_is_off_the_latch(door, scene, side):
    """Along the normal it opens, against it it closes, until the latch meets the frame."""
    scene.begin(Stream(11, 1))
    normal = scene.truth().observation["door_normal"]
    record = build("push", start_step=0, force_n=3.0, duration_steps=40).draw(Stream(11, 1), door)
    scene.begin(Stream(11, 1), [record | {"force_n": (side * 3.0 * normal[:2]).tolist()}])
    set_angles(scene, 0.25, 0.0)
    for _ in range(10):
        scene.step(np.zeros(7))
    hinge_rad = scene.truth().predicates["hinge_angle_rad"]
    assert hinge_rad > OPENED_RAD if side > 0 else hinge_rad < 0.24
