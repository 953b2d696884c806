"""The compiled step against robosuite's own."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from workbench.envs import robosuite_model, stepper
from workbench.envs.controllers import operational_space
from workbench.envs.scene import MujocoScene
from workbench.envs.tasks.lift import Lift

STEPS = 100


@pytest.fixture(scope="module")
def environment():
    return robosuite_model.make_environment("Lift", "Panda", 20)


@pytest.fixture(scope="module")
def lift() -> Lift:
    return Lift()


def start_together(environment, scene: MujocoScene, seed: int, fresh: bool) -> None:
    """Bring our scene to robosuite's state after its reset.

    ``fresh`` first updates robosuite's controller, whose first physics step otherwise uses a mass matrix, Jacobian and
    bias from before the reset had finished.
    """
    np.random.seed(seed)  # noqa: NPY002 (robosuite draws from the global generator)
    environment.reset()
    arm = environment.robots[0].part_controllers["right"]
    if fresh:
        arm.update(force=True)
    scene.begin(scene._stream)
    stepper.copy_model(scene.model, scene.task.cell.compiled())
    scene.task.resize(scene.model, environment.sim.model._model.geom("cube_g0").size)
    mujoco.mj_setConst(scene.model, scene.data)
    theirs = environment.sim.data._data
    for name in ("qpos", "qvel", "qacc_warmstart", "ctrl"):
        getattr(scene.data, name)[:] = getattr(theirs, name)
    scene._controller.reset()
    assert np.array_equal(arm.initial_joint, scene._controller.posture_rad)


def largest_difference(environment, scene: MujocoScene, seed: int, fresh: bool, size: float = 1.0) -> float:
    start_together(environment, scene, seed, fresh)
    rng = np.random.default_rng(seed)
    worst = 0.0
    for number in range(STEPS):
        action = size * rng.uniform(-1, 1, 7)
        if number % 3 == 0:
            action[6] = 0.0  # a gripper told nothing keeps its command
        environment.step(action)
        scene.step(action)
        worst = max(worst, float(np.abs(environment.sim.data.qpos - scene.data.qpos).max()))
    return worst


def trajectory(environment, scene: MujocoScene, seed: int, nudge_rad: float) -> np.ndarray:
    """Joint positions (STEPS, nq) of robosuite itself, its first arm joint off by a nudge at the start."""
    start_together(environment, scene, seed, fresh=True)
    environment.sim.data.qpos[environment.robots[0].joint_indexes[0]] += nudge_rad
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(STEPS):
        action = rng.uniform(-1, 1, 7)
        if number % 3 == 0:
            action[6] = 0.0
        environment.step(action)
        rows.append(environment.sim.data.qpos.copy())
    return np.array(rows)


def reach_down(environment, scene: MujocoScene) -> float:
    """The same over a grasp: contacts of pads, cube and table, and a closing gripper."""
    start_together(environment, scene, 3, True)
    worst = 0.0
    for number in range(60):
        offset = scene.data.body("cube_main").xpos - scene.data.site("gripper0_right_grip_site").xpos
        action = np.array([*np.clip(offset * 10, -1, 1), 0, 0, 0, 1.0 if number > 35 else -1.0])
        environment.step(action)
        scene.step(action)
        worst = max(worst, float(np.abs(environment.sim.data.qpos - scene.data.qpos).max()))
    assert scene.truth().predicates["cube_height_m"] < 0.1
    assert scene.data.ncon > 4
    return worst


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_robosuite(environment, lift, seed):
    """As near as robosuite is to itself: where meshes touch, MuJoCo carries a last bit to 1e-6 (seed 3 does)."""
    scene = lift.scene()
    itself = np.abs(trajectory(environment, scene, seed, 0.0) - trajectory(environment, scene, seed, 1e-14)).max()
    assert largest_difference(environment, scene, seed, fresh=True) <= max(1e-12, 10 * itself)


@pytest.mark.parametrize("seed", range(4))
def test_unmodified_robosuite_is_off_by_its_stale_first_update(environment, lift, seed):
    """By 1e-7 after the first action, which the physics then amplifies."""
    assert 1e-12 < largest_difference(environment, lift.scene(), seed, fresh=False, size=0.25) < 1e-4


def test_equal_to_robosuite_in_contact(environment, lift):
    assert reach_down(environment, lift.scene()) <= 1e-10


@pytest.mark.parametrize(("array", "index"), [("_gains", (0, 1)), ("_gains", (1, 4)), ("_action_scale", (5,))])
def test_a_wrong_gain_is_noticed(environment, lift, array, index):
    scene = lift.scene()
    getattr(scene._controller, array)[index] *= 1.001
    assert largest_difference(environment, scene, 0, fresh=True, size=0.25) > 1e-6


def test_the_small_model_moves_like_the_whole_one(lift):
    """No mass, inertia or contact is lost with the visual geometries."""
    small, whole = lift.cell.compiled(), lift.cell.compiled_visual()
    assert small.nq == whole.nq
    for body in range(small.nbody):
        ours, theirs = small.body(body), whole.body(small.body(body).name)
        for field in ("mass", "inertia", "ipos", "iquat", "pos", "quat"):
            assert np.array_equal(getattr(ours, field), getattr(theirs, field)), (ours.name, field)
    touching = (whole.geom_contype != 0) | (whole.geom_conaffinity != 0)
    names = {whole.geom(int(geom)).name for geom in np.flatnonzero(touching)}
    assert names == {small.geom(geom).name for geom in range(small.ngeom)}
    for name in names:
        for field in (
            "size",
            "pos",
            "quat",
            "friction",
            "solref",
            "solimp",
            "margin",
            "condim",
            "contype",
            "conaffinity",
        ):
            assert np.array_equal(getattr(small.geom(name), field), getattr(whole.geom(name), field)), (name, field)
    for field in ("dof_damping", "dof_armature", "dof_frictionloss", "jnt_range", "actuator_gainprm", "dof_invweight0"):
        assert np.array_equal(getattr(small, field), getattr(whole, field)), field


def test_rotation_is_robosuites(environment):
    from robosuite.utils import transform_utils

    rng = np.random.default_rng(0)
    for vector in rng.uniform(-0.5, 0.5, (300, 3)):
        theirs = transform_utils.quat2mat(transform_utils.axisangle2quat(vector))
        assert np.array_equal(operational_space.rotation_of(*vector), theirs)
        assert not np.array_equal(operational_space.rotation_of(*vector * (1 + 1e-6)), theirs)


def test_a_singular_arm_gets_finite_torques():
    """A direction in which the arm cannot move gets no force, and the others what the pseudo-inverse gives."""
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((7, 7))
    inertia = factor @ factor.T + np.eye(7)
    jacobian = rng.standard_normal((6, 7))
    jacobian[2] = 0.0
    wrench, acceleration, force = rng.standard_normal(6), rng.standard_normal(7), np.empty(6)
    mobility = jacobian @ np.linalg.inv(inertia) @ jacobian.T
    uncoupled = np.zeros((6, 6))
    uncoupled[:3, :3], uncoupled[3:, 3:] = np.linalg.pinv(mobility[:3, :3]), np.linalg.pinv(mobility[3:, 3:])
    expected = uncoupled @ wrench - np.linalg.pinv(mobility) @ jacobian @ acceleration
    operational_space._task_force(inertia, jacobian, wrench, acceleration, force)
    assert np.allclose(force, expected, rtol=1e-9, atol=1e-9)


def test_the_cell_is_cached_whole(tmp_path, monkeypatch, lift):
    """A second process reads what the first one wrote, and building again gives the same model."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    robosuite_model.robot_cell.cache_clear()
    built = robosuite_model.robot_cell("Lift", "Panda", 20)
    robosuite_model.robot_cell.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(robosuite_model, "_build", lambda *_: pytest.fail("built again"))
        read = robosuite_model.robot_cell("Lift", "Panda", 20)
    assert read == built == lift.cell
    assert read.digest == lift.cell.digest
    assert len(list((tmp_path / "failure-workbench").iterdir())) == 1
