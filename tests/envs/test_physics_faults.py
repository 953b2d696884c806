"""What the faults of the physics and of the trigger channel do, each against what MuJoCo itself would make of it."""

from __future__ import annotations

import importlib
import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from workbench.envs.faults.props import COLLIDES, DISTRACTORS, OBSTACLE, OCCUPANT, PARKED_Z_M, PROPS, TRIGGER, lowest_m
from workbench.envs.faults.specification import describe
from workbench.envs.robots.robosuite import INSIDE_M, _with_assets
from workbench.envs.tasks.blocks import Blocks
from workbench.envs.tasks.door import Door
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.nut_assembly_square import NutAssemblySquare
from workbench.envs.tasks.peg_insertion import PegInsertion
from workbench.envs.tasks.pick_place_can import PickPlaceCan
from workbench.envs.tasks.push_t import PushT, mjcf
from workbench.envs.tasks.stack import Stack
from workbench.errors import ConfigError
from workbench.types import Stream

CONF = Path(__file__).parents[2] / "conf" / "perturbation"
STREAM = Stream(5, 7)
TASKS = {
    task.name: task
    for task in (Lift(), Stack(), PickPlaceCan(), NutAssemblySquare(), Door(), PegInsertion(), PushT(), Blocks())
}
SCENES = {name: task.scene() for name, task in TASKS.items()}
NAMES = (
    "center_of_mass", "damping", "distractors", "hand_push", "object_pose", "object_size", "object_turn", "obstacle",
    "occupied_receptacle", "robot_start", "support_height", "support_tilt",
)  # fmt: skip
REFUSED = {
    "center_of_mass": {"lift", "blocks", "stack", "door", "peg_insertion"},
    "damping": {"lift", "blocks", "stack", "peg_insertion", "push_t"},
    "object_pose": {"door"},
    "object_size": {"door", "pick_place_can"},
    "occupied_receptacle": {"lift", "blocks", "door", "push_t"},
    "object_turn": {"door"},
    "robot_start": {"push_t"},
    "support_height": {"push_t"},
}
PAIRS = [(name, task) for name in NAMES for task in TASKS if task not in REFUSED.get(name, ())]


def build(name: str, **changes):
    part = yaml.safe_load((CONF / f"{name}.yaml").read_text())[name] | changes
    module, _, kind = part.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind)(**part)


def drawn(name: str, task: str, episode: int = 7, **changes):
    return build(name).draw(Stream(5, episode), TASKS[task]) | {"start_step": 0} | changes


def begin(task: str, *records, episode: int = 7):
    scene = SCENES[task]
    scene.begin(Stream(5, episode), records)
    return scene


def still(scene, steps: int):
    for _ in range(steps):
        scene.step(np.zeros(scene.task.action_size))
    return scene


def model_bytes(model: mujoco.MjModel) -> bytes:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


def touching(scene, first: str, others=None) -> bool:
    """Whether a geometry touches one of others (or anything)."""
    geom, model = scene.model.geom(first).id, scene.model
    wanted = None if others is None else {model.geom(name).id for name in others}
    pairs = [pair.tolist() for pair in scene.data.contact.geom if geom in pair]
    return any(wanted is None or wanted & set(pair) for pair in pairs)


# Laws, on every task


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_a_snapshot_in_the_middle_continues_bit_for_bit_and_the_end_undoes_all(name, task):
    """Restored into a scene that has seen other things; the fault ends four steps later."""
    scene, other = SCENES[task], TASKS[task].scene()
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (16, scene.task.action_size))
    record = drawn(name, task, start_step=3)
    record["duration_steps"] = 1 if record["duration_steps"] == 1 else 9
    scene.begin(STREAM, [])
    clean = model_bytes(scene.model)
    scene.begin(STREAM, [record])
    for action in actions[:7]:
        scene.step(action)
    assert scene.injected() == 3
    snapshot, ends = scene.snapshot(), []
    if record["duration_steps"] > 1:
        assert name == "hand_push" or model_bytes(scene.model) != clean
    other.begin(Stream(8, 8), [drawn(name, task, episode=8)])
    other.restore(snapshot)
    assert model_bytes(other.model) == model_bytes(scene.model)
    for each in (scene, other):
        for action in actions[7:]:
            each.step(action)
        ends.append(each.snapshot())
    assert ends[0].state.tobytes() == ends[1].state.tobytes()
    assert ends[0].memory.tobytes() == ends[1].memory.tobytes()
    assert model_bytes(scene.model) == clean


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, tasks in REFUSED.items() for task in sorted(tasks)])
def test_tasks_on_which_it_means_nothing_are_refused(name, task):
    with pytest.raises(ConfigError, match=name):
        drawn(name, task)


# Props


@pytest.mark.parametrize("task", TASKS)
def test_parked_props_are_far_below_touch_nothing_and_come_last(task):
    model = TASKS[task].model
    bodies = [model.body(name).id for name in PROPS]
    assert bodies == list(range(model.nbody - len(PROPS), model.nbody))
    assert (model.body_pos[bodies, 2] == PARKED_Z_M).all()
    assert not model.body_dofnum[bodies].any()
    geoms = [model.geom(name).id for name in PROPS]
    for values in (model.geom_contype[geoms], model.geom_conaffinity[geoms], model.body_contype[bodies]):
        assert not values.any()
    assert not model.geom_rgba[geoms, 3].any()
    assert not model.body_mass[bodies].any()
    assert model.stat.meaninertia > 0


def test_props_leave_the_visual_models_extent_alone():
    """Of which MuJoCo makes a camera's near and far planes."""
    root = ET.fromstring(mjcf())
    world = root.find("worldbody")
    for body in [body for body in world.findall("body") if body.get("name") in PROPS]:
        world.remove(body)
    without = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    assert TASKS["push_t"].cell.compiled_visual().stat.extent == pytest.approx(without.stat.extent, rel=1e-6)


def test_the_digest_names_the_props(monkeypatch):
    from workbench.envs.robots import robosuite as robosuite_model

    digest = TASKS["lift"].cell.digest
    monkeypatch.setattr(robosuite_model, "with_props", lambda xml, inside_m: xml)
    assert Lift().cell.__class__(**vars_of(Lift().cell)).digest != digest


def vars_of(cell) -> dict:
    return {name: getattr(cell, name) for name in cell.__dataclass_fields__}


@pytest.mark.parametrize("kind", ["prop_box", "prop_cylinder", "prop_sphere"])
def test_an_active_prop_is_as_mujoco_would_compile_it(kind):
    size = {"prop_box": [0.01, 0.02, 0.03], "prop_cylinder": [0.015, 0.02], "prop_sphere": [0.02]}[kind]
    prop = {"name": kind, "size_m": size, "rgba": [0.1, 0.2, 0.3, 1.0], "angles_rad": [0.5], "gaps_m": [0.05]}
    scene = begin("lift", drawn("distractors", "lift", count=1, props=[prop]))
    kinds = {"prop_box": "box", "prop_cylinder": "cylinder", "prop_sphere": "sphere"}
    sizes = " ".join(map(str, size))
    geometry = f'<geom type="{kinds[kind]}" size="{sizes}"/>'
    xml = f"<mujoco><worldbody><body>{geometry}</body></worldbody></mujoco>"
    theirs = mujoco.MjModel.from_xml_string(xml)
    geom, body = scene.model.geom(kind).id, scene.model.body(kind).id
    assert np.allclose(scene.model.geom_size[geom], theirs.geom_size[0])
    assert scene.model.geom_rbound[geom] == pytest.approx(theirs.geom_rbound[0], rel=1e-12)
    assert np.allclose(scene.model.geom_aabb[geom], theirs.geom_aabb[0], atol=1e-12)
    ours_box, their_box = scene.model.bvh_aabb[scene.model.body_bvhadr[body]], theirs.bvh_aabb[theirs.body_bvhadr[1]]
    assert np.allclose(ours_box, their_box, atol=1e-12)
    assert scene.model.body_contype[body] == scene.model.geom_contype[geom] == COLLIDES


@pytest.mark.parametrize("task", ["lift", "push_t"])
@pytest.mark.parametrize("kind", ["prop_box", "prop_cylinder", "prop_sphere"])
def test_the_object_runs_into_a_prop_and_is_stopped(task, kind):
    """Pushed along x, with a prop in its way it stops there; without it, it goes on."""
    half = 0.015
    size = {"prop_box": [half] * 3, "prop_cylinder": [half, half], "prop_sphere": [half]}[kind]
    prop = {"name": kind, "size_m": size, "rgba": [0, 0, 1, 1], "angles_rad": [0.0], "gaps_m": [0.01]}
    push = drawn("push", task, force_n=[1.5, 0.0], duration_steps=12, start_step=2)
    ways = []
    for props in ([], [drawn("distractors", task, count=1, props=[prop])]):
        scene = begin(task, push, *props)
        body, hit = scene.model.body(scene.task.object_body).id, False
        start = scene.data.xpos[body].copy()
        for _ in range(14):
            scene.step(np.zeros(scene.task.action_size))
            hit |= touching(scene, kind, scene.task.object_geoms)
        assert hit == bool(props)
        ways.append(scene.data.xpos[body][0] - start[0])
    assert ways[1] < ways[0] - 0.03


def test_the_hand_runs_into_an_obstacle():
    """Led to where the block stands, it is stopped beside it; without the block it gets there."""
    record = drawn("obstacle", "lift", height_m=0.15)
    record["props"][0] |= {"size_m": [0.02, 0.05, 0.075], "angles_rad": [np.pi], "gaps_m": [0.02]}
    scene = begin("lift", record)
    goal, left = np.array([*scene.model.body("prop_obstacle").pos[:2], 0.85]), []
    for records in ([], [record]):
        scene, touched = begin("lift", *records), False
        for _ in range(50):
            way = goal - scene.truth().observation["eef_pos"]
            scene.step(np.r_[np.clip(way / 0.05, -1, 1), 0, 0, 0, 1.0])
            touched |= touching(scene, OBSTACLE, scene.task.robot.contact_geoms)
        assert touched == bool(records)
        left.append(np.linalg.norm(way))
    assert left[0] < 0.01
    assert left[1] > 0.02


@pytest.mark.parametrize(
    "task", ["lift", "stack", "pick_place_can", "nut_assembly_square", "peg_insertion", "push_t", "blocks"]
)
@pytest.mark.parametrize("name", ["distractors", "obstacle"])
def test_solid_props_overlap_nothing_that_moves_when_they_come_and_stand_on_the_support(task, name):
    for episode in range(8):
        record = drawn(name, task, episode)
        if name == "distractors":
            record = build(name, count=4).draw(Stream(5, episode), TASKS[task])
        scene = begin(task, record, episode=episode)
        names = [prop["name"] for prop in record["props"]]
        assert len(names) == (4 if name == "distractors" else 1)
        for prop in names:
            geom = scene.model.geom(prop).id
            assert scene.data.geom_xpos[geom][2] > 0
            others = np.flatnonzero(scene.model.body_weldid[scene.model.geom_bodyid] != 0)
            others = [other for other in others if scene.model.geom_contype[other]]
            gaps = [mujoco.mj_geomDistance(scene.model, scene.data, geom, int(other), 1.0, None) for other in others]
            assert min(gaps) > 0.003
            bottom = lowest_m(scene.model, scene.data, [prop])
            assert bottom == pytest.approx(scene.task.support_m, abs=1e-9)
        objects = scene.model.body(scene.task.object_body).id
        centres = scene.data.geom_xpos[[scene.model.geom(prop).id for prop in names]]
        assert (np.hypot(*(centres - scene.data.xpos[objects])[:, :2].T) < 0.4).all()


def test_the_number_of_distractors_is_what_was_drawn():
    seen = set()
    for episode in range(12):
        record = build("distractors", count=[1, 4]).draw(Stream(0, episode), TASKS["lift"])
        scene = begin("lift", record, episode=episode)
        shown = [name for name in DISTRACTORS if scene.model.geom(name).rgba[3] > 0]
        assert len(shown) == record["count"]
        assert sorted(shown) == sorted(prop["name"] for prop in record["props"])
        seen.add(record["count"])
    assert seen == {1, 2, 3, 4}


@pytest.mark.parametrize("task", ["stack", "pick_place_can", "nut_assembly_square", "peg_insertion"])
def test_an_occupant_stands_on_the_receptacle(task):
    scene = begin(task, drawn("occupied_receptacle", task))
    receptacle = scene.task.receptacle
    body = scene.model.body(receptacle.body).id
    opening = scene.data.xpos[body] + scene.data.xmat[body].reshape(3, 3) @ receptacle.opening_m
    there = scene.data.geom_xpos[scene.model.geom(OCCUPANT).id]
    assert np.allclose(there[:2], opening[:2], atol=1e-9)
    assert lowest_m(scene.model, scene.data, [OCCUPANT]) == pytest.approx(opening[2] + 0.002, abs=1e-6)


@pytest.mark.parametrize(
    ("task", "low", "high"),
    [("pick_place_can", 0.82, 0.82), ("nut_assembly_square", 0.95, 0.95), ("peg_insertion", 0.84, 0.84)],
)
def test_receptacles_are_where_the_tasks_say(task, low, high):
    """The bin's floor, the peg's top, the mouth of the hole: a ray from above meets them, or the target lies there."""
    scene = begin(task)
    receptacle = scene.task.receptacle
    body = scene.model.body(receptacle.body).id
    opening = scene.data.xpos[body] + scene.data.xmat[body].reshape(3, 3) @ receptacle.opening_m
    assert low - 1e-9 <= opening[2] <= high + 1e-9
    target = {"pick_place_can": "target_pos", "nut_assembly_square": "peg_pos", "peg_insertion": "hole_pos"}[task]
    assert np.allclose(scene.truth().observation[target][:2], opening[:2], atol=1e-9)


def test_an_occupied_place_keeps_the_peg_out():
    """A peg that stands over the hole falls in, and onto the block where there is one."""
    depths = []
    for records in ([], [drawn("occupied_receptacle", "peg_insertion", start_step=1)]):
        scene = begin("peg_insertion", *records)
        board = scene.model.body("board_main").id
        scene.data.joint("peg_joint0").qpos[:] = [*scene.data.xpos[board][:2], 1.0, *scene.data.xquat[board]]
        still(scene, 25)
        depths.append(scene.truth().predicates["insertion_depth_m"])
    assert depths[0] > 0.035
    assert depths[1] == 0.0


# Object


@pytest.mark.parametrize("task", ["pick_place_can", "nut_assembly_square", "push_t"])
def test_center_of_mass_is_as_mujoco_would_compile_it(task):
    """Compared with a model whose object has that centre of mass in its MJCF: constants, and where it goes."""
    offset = np.array([0.006, -0.004, 0.005])
    scene = begin(task, drawn("center_of_mass", task, offset_m=offset.tolist()))
    model, body = scene.model, scene.model.body(scene.task.object_body).id
    root = ET.fromstring(mjcf() if task == "push_t" else _with_props_of(scene.task.cell))
    element = next(each for each in root.iter("body") if each.get("name") == scene.task.object_body)
    nominal = TASKS[task].model
    values = {
        "pos": nominal.body_ipos[body] + offset,
        "quat": nominal.body_iquat[body],
        "mass": nominal.body_mass[[body]],
        "diaginertia": nominal.body_inertia[body],
    }
    inertial = ET.Element("inertial", {key: " ".join(map(repr, map(float, value))) for key, value in values.items()})
    element.insert(0, inertial)
    theirs = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    own = {"body": slice(body, body + 1), "dof_": np.flatnonzero(model.dof_bodyid == body)}
    for field in ("body_ipos", "body_mass", "body_inertia", "body_invweight0", "dof_M0", "dof_invweight0"):
        ours, wanted = (getattr(each, field)[own[field[:4]]] for each in (model, theirs))
        np.testing.assert_allclose(ours, wanted, rtol=1e-6, atol=1e-12, err_msg=field)
    first, count = model.body_bvhadr[body], model.body_bvhnum[body]
    assert np.allclose(model.bvh_aabb[first : first + count], theirs.bvh_aabb[first : first + count], atol=1e-7)
    paths = []
    joint = scene.task.object_joint
    for each in (model, theirs):
        data = mujoco.MjData(each)
        data.qpos[:] = scene.data.qpos
        data.joint(joint).qpos[2] += 0.2
        data.joint(joint).qvel[:] = [0.1, 0.0, 0.0, 2.0, 1.0, 0.5]
        mujoco.mj_step(each, data, nstep=60)
        mujoco.mj_kinematics(each, data)
        paths.append(np.r_[data.joint(joint).qpos, data.geom_xpos[each.geom(scene.task.object_geoms[0]).id]])
    assert np.allclose(*paths, atol=1e-6)


def _with_props_of(cell) -> str:
    from workbench.envs.faults.props import with_props

    return with_props(_with_assets(cell.xml), INSIDE_M)


@pytest.mark.parametrize("scale", [1.3, 2.2])
def test_object_size_is_as_a_freshly_compiled_model(scale):
    """Of the nut, five boxes with places of their own, and of Lift's cube, whose size is drawn."""
    record = drawn("object_size", "nut_assembly_square", size_scale=scale)
    scene = begin("nut_assembly_square", record)
    root = ET.fromstring(_with_props_of(scene.task.cell))
    element = next(each for each in root.iter("body") if each.get("name") == "SquareNut_main")
    for part in (*element.iter("geom"), *element.iter("site")):
        for key in ("pos", "size"):
            if part.get(key):
                part.set(key, " ".join(repr(scale * float(value)) for value in part.get(key).split()))
    theirs = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    ours, body = scene.model, scene.model.body("SquareNut_main").id
    boxes = slice(ours.body_bvhadr[body], ours.body_bvhadr[body] + ours.body_bvhnum[body])
    geoms = [ours.geom(name).id for name in scene.task.object_geoms]
    for field in ("geom_size", "geom_pos", "geom_rbound", "geom_aabb"):
        np.testing.assert_allclose(getattr(ours, field)[geoms], getattr(theirs, field)[geoms], rtol=1e-9, atol=1e-12)
    for field in ("body_mass", "body_inertia", "body_ipos", "body_invweight0"):
        np.testing.assert_allclose(getattr(ours, field)[body], getattr(theirs, field)[body], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(ours.bvh_aabb[boxes], theirs.bvh_aabb[boxes], rtol=1e-6, atol=1e-9)
    cube = begin("lift", drawn("object_size", "lift", size_scale=scale))
    nominal = mujoco.MjModel.from_xml_string(_with_props_of(cube.task.cell))
    half = begin("lift").model.geom("cube_g0").size.copy()
    cube = begin("lift", drawn("object_size", "lift", size_scale=scale))
    cube.task.resize(nominal, scale * half)
    for kind, fields in {"body": ("mass", "inertia"), "geom": ("size", "rbound", "aabb")}.items():
        name = {"body": "cube_main", "geom": "cube_g0"}[kind]
        for field in fields:
            ours_value, theirs_value = (
                getattr(m, f"{kind}_{field}")[getattr(m, kind)(name).id] for m in (cube.model, nominal)
            )
            np.testing.assert_allclose(ours_value, theirs_value, rtol=1e-12)


@pytest.mark.parametrize("task", ["lift", "stack", "nut_assembly_square", "peg_insertion", "push_t"])
def test_a_larger_object_stands_where_it_stood(task):
    bottoms = []
    for records in ([], [drawn("object_size", task, size_scale=1.5)]):
        scene = begin(task, *records)
        bottoms.append(lowest_m(scene.model, scene.data, scene.task.object_geoms))
    assert bottoms[1] == pytest.approx(bottoms[0], abs=1e-9)


def test_damping_holds_the_door_back():
    angles = []
    for records in ([], [drawn("damping", "door", damping_scale=1000.0)]):
        scene = begin("door", *records)
        scene.data.joint("Door_hinge").qvel[:] = 1.0
        scene.data.joint("Door_latch_joint").qpos[:] = 1.5
        still(scene, 4)
        angles.append(scene.truth().predicates["hinge_angle_rad"])
    assert angles[0] > 3 * angles[1] > 0
    damping = scene.model.dof_damping / TASKS["door"].model.dof_damping.clip(1e-300)
    changed = np.flatnonzero(~np.isclose(damping, 1.0) & (TASKS["door"].model.dof_damping > 0))
    names = {scene.model.joint(int(scene.model.dof_jntid[dof])).name for dof in changed}
    assert names <= {"Door_hinge", "Door_latch_joint"}
    assert names
    assert np.allclose(damping[changed], 1000.0)


def test_object_pose_displaces_and_turns_the_nominal_start():
    record = drawn("object_pose", "lift", offset_m=[0.1, -0.05], angle_rad=0.3)
    places = []
    for records in ([], [record]):
        scene = begin("lift", *records)
        places.append((scene.body_poses()["cube_main"], scene.data.joint("cube_joint0").qvel.copy()))
        assert scene.step_index == 0
    (before, _), (after, speed) = places
    assert np.allclose(after[0] - before[0], [0.1, -0.05, 0.0], atol=1e-12)
    turn = np.zeros(4)
    mujoco.mju_mulQuat(turn, after[1], before[1] * [1, -1, -1, -1])
    assert np.allclose(turn, [np.cos(0.15), 0, 0, np.sin(0.15)], atol=1e-12)
    assert not speed.any()


def test_object_turn_turns_it_in_its_place_at_its_step():
    scene = begin("lift", drawn("object_turn", "lift", angle_rad=-0.4, start_step=8))
    still(scene, 7)
    place, before = (value.copy() for value in scene.body_poses()["cube_main"])
    still(scene, 1)
    after = scene.body_poses()["cube_main"]
    turn = np.zeros(4)
    mujoco.mju_mulQuat(turn, after[1], before * [1, -1, -1, -1])
    assert np.allclose(turn, [np.cos(0.2), 0, 0, -np.sin(0.2)], atol=1e-4)
    assert np.allclose(after[0], place, atol=1e-4)
    assert not scene.data.joint("cube_joint0").qvel.any()


def test_an_obstacle_before_a_door_is_at_the_handles_height():
    scene = begin("door", drawn("obstacle", "door", height_m=0.2))
    handle, block = scene.truth().observation["handle_pos"], scene.body_poses()[OBSTACLE][0]
    assert abs(block[2] - handle[2]) < 0.1
    assert lowest_m(scene.model, scene.data, [OBSTACLE]) > scene.task.support_m + 0.1


# Robot


@pytest.mark.parametrize("force", [[60.0, 0.0], [0.0, -60.0]])
def test_the_hand_gives_way_to_a_push_and_comes_back_when_it_is_over(force):
    scene = begin("lift", drawn("hand_push", "lift", force_n=force, duration_steps=6, start_step=2))
    nominal = still(begin("lift"), 8).truth().observation["eef_pos"].copy()
    scene.begin(STREAM, [drawn("hand_push", "lift", force_n=force, duration_steps=6, start_step=2)])
    still(scene, 8)
    way = (scene.truth().observation["eef_pos"] - nominal)[:2]
    assert way @ force > 0.8 * np.linalg.norm(way) * np.linalg.norm(force)
    assert np.linalg.norm(way) > 0.01
    still(scene, 1)
    assert not scene.data.xfrc_applied.any()


def test_robot_start_moves_the_joints_as_drawn_and_the_controller_holds_it_there():
    angles = [0.1, -0.1, 0.05, 0.1, 0.0, -0.1, 0.2]
    nominal = begin("lift").data.qpos[:7].copy()
    scene = begin("lift", drawn("robot_start", "lift", angle_rad=angles))
    assert np.allclose(scene.data.qpos[:7] - nominal, angles, atol=1e-12)
    hand = scene.truth().observation["eef_pos"].copy()
    still(scene, 10)
    assert np.linalg.norm(scene.truth().observation["eef_pos"] - hand) < 0.01  # the goal is the achieved pose
    length = np.linalg.norm(drawn("robot_start", "lift")["angle_rad"])
    assert 0.2 <= length <= 0.4


# Support


@pytest.mark.parametrize("offset_m", [0.06, -0.06])
@pytest.mark.parametrize("task", ["lift", "stack", "pick_place_can", "nut_assembly_square", "peg_insertion"])
def test_support_height_moves_all_that_stands_and_it_stays(task, offset_m):
    heights, judged = [], []
    for records in ([], [drawn("support_height", task, offset_m=offset_m)]):
        scene = still(begin(task, *records), 15)
        heights.append({name: pose[0][2] for name, pose in scene.body_poses().items()})
        judged.append(scene.truth())
        assert scene.task.rise_m(scene.data) == pytest.approx(offset_m if records else 0.0, abs=1e-12)
    moved = heights[1][scene.task.object_body] - heights[0][scene.task.object_body]
    assert moved == pytest.approx(offset_m, abs=2e-4)
    assert heights[1][scene.task.support_bodies[0]] - heights[0][scene.task.support_bodies[0]] == pytest.approx(
        offset_m
    )
    assert heights[1]["robot0_base"] == heights[0]["robot0_base"]
    assert judged[0].success == judged[1].success
    key = next((key for key in judged[0].predicates if key.endswith("height_m")), None)
    assert judged[1].predicates[key] == pytest.approx(judged[0].predicates[key], abs=2e-4)


def test_support_tilt_turns_gravity_by_the_angle_towards_the_direction():
    scene = begin("lift", drawn("support_tilt", "lift", angle_rad=0.3, direction_rad=1.0))
    gravity = scene.model.opt.gravity
    assert np.linalg.norm(gravity) == pytest.approx(9.81)
    assert np.arccos(-gravity[2] / 9.81) == pytest.approx(0.3)
    assert np.arctan2(gravity[1], gravity[0]) == pytest.approx(1.0)


@pytest.mark.parametrize(("angle_rad", "slides"), [(0.6, False), (0.95, True)])
def test_on_a_tilted_table_the_cube_slides_downhill_beyond_its_friction(angle_rad, slides):
    scene = begin("lift", drawn("support_tilt", "lift", angle_rad=angle_rad, direction_rad=2.0, start_step=6))
    still(scene, 5)
    before, hand = (scene.truth().observation[key].copy() for key in ("cube_pos", "eef_pos"))
    still(scene, 12)
    way = (scene.truth().observation["cube_pos"] - before)[:2]
    assert (np.linalg.norm(way) > 0.03) == slides
    if slides:
        assert way @ [np.cos(2.0), np.sin(2.0)] > 0.95 * np.linalg.norm(way)
    assert np.linalg.norm(scene.truth().observation["eef_pos"] - hand) < 0.01  # the controller compensates gravity


# What is seen


def test_viewers_are_given_a_prop_at_its_size_and_colour_and_none_that_is_parked():
    record = drawn("distractors", "push_t") | {"start_step": 5}
    scene = begin("push_t", record)
    shapes = {shape.name: shape for shape in scene.shapes()}
    for prop in record["props"]:
        shape = shapes[prop["name"]]
        assert np.allclose(shape.size_m[: len(prop["size_m"])], prop["size_m"])
        assert np.allclose(shape.rgba, prop["rgba"], atol=1e-7)
        assert shape.kind == PROPS[prop["name"]]
    unseen = set(PROPS) - {prop["name"] for prop in record["props"]}
    assert not any(shapes[name].rgba[3] for name in unseen)
    begin("push_t")
    assert not any(shape.rgba[3] for shape in scene.shapes() if shape.name in PROPS)


CAMERAS = {"width_px": 96, "height_px": 96, "segmentation": True}


@pytest.mark.parametrize("task", [PushT(cameras=CAMERAS), Lift(cameras=CAMERAS)])
@pytest.mark.parametrize("name", ["distractors", "trigger"])
def test_a_prop_is_in_the_image_while_active_and_a_parked_one_is_not(task, name):
    record = build(name).draw(STREAM, task) | {"start_step": 1, "duration_steps": 2}
    scene = task.scene()
    scene.begin(STREAM, [record])
    names = [prop["name"] for prop in record["props"]]
    shown = []
    for _ in range(4):
        images = scene.images()
        bodies = list(scene.body_poses())
        areas = [int((images["segmentation/agentview"] == bodies.index(each)).sum()) for each in names]
        shown.append(max(areas))
        unseen = set(PROPS) - set(names)
        assert not any((images["segmentation/agentview"] == bodies.index(each)).any() for each in unseen)
        if max(areas) and name == "trigger":
            pixels = images["images/agentview"][images["segmentation/agentview"] == bodies.index(TRIGGER)]
            hue, wanted = pixels.mean(axis=0), np.array(record["rgba"][:3])
            assert hue @ wanted / np.linalg.norm(hue) / np.linalg.norm(wanted) > 0.95
        scene.step(np.zeros(task.action_size))
    assert [area > 0 for area in shown] == [False, True, True, False]


def test_a_trigger_touches_nothing_and_changes_no_state():
    task = PushT(cameras={})
    scene, states = task.scene(), []
    record = build("trigger", size_m=0.2, start_step=2).draw(STREAM, task)
    actions = np.random.default_rng(1).uniform(-1, 1, (20, 2))
    for records in ([], [record]):
        scene.begin(STREAM, records)
        for action in actions:
            scene.step(action)
        states.append(scene.snapshot().state.tobytes())
    assert states[0] == states[1]
    assert scene.model.geom(TRIGGER).rgba[3] == 1.0
    with pytest.raises(ConfigError, match="cameras"):
        build("trigger").draw(STREAM, TASKS["push_t"])


def test_a_triggers_colour_is_as_asked_or_drawn():
    task = PushT(cameras={})
    assert build("trigger", rgba=[0, 1, 0, 1]).draw(STREAM, task)["rgba"] == [0.0, 1.0, 0.0, 1.0]
    colours = {tuple(build("trigger").draw(Stream(0, episode), task)["rgba"]) for episode in range(20)}
    assert len(colours) > 3
    for wrong in ([1, 0, 0], [0, 0, 0, 0], [2, 0, 0, 1]):
        with pytest.raises(ConfigError, match="rgba"):
            build("trigger", rgba=wrong)


@pytest.mark.parametrize("name", [*NAMES, "trigger"])
def test_descriptions_are_one_line(name):
    task = PickPlaceCan(cameras={}) if name not in ("object_size",) else TASKS["stack"]
    line = describe(build(name).draw(STREAM, task))
    assert line.startswith(f"{name}: ")
    assert "\n" not in line
