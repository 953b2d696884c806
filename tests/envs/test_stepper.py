"""The parts of the compiled step, and the cell that it takes from robosuite; the whole is in test_beside_robosuite."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.envs.controllers import operational_space
from workbench.envs.faults.props import PROPS
from workbench.envs.robots import robosuite as robosuite_model
from workbench.envs.robots.panda import PANDA
from workbench.envs.tasks.lift import Lift


@pytest.fixture(scope="module")
def lift() -> Lift:
    return Lift()


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
    assert names == {small.geom(geom).name for geom in range(small.ngeom)} - set(PROPS)
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


def test_rotation_is_robosuites():
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
    operational_space._task_force(inertia, jacobian, wrench, acceleration, tuple(range(7)), force)
    assert np.allclose(force, expected, rtol=1e-9, atol=1e-9)


def test_the_cell_is_cached_whole(tmp_path, monkeypatch, lift):
    """A second process reads what the first one wrote, and building again gives the same model."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    robosuite_model.robot_cell.cache_clear()
    built = robosuite_model.robot_cell("Lift", PANDA, 20)
    robosuite_model.robot_cell.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(robosuite_model, "_build", lambda *_: pytest.fail("built again"))
        read = robosuite_model.robot_cell("Lift", PANDA, 20)
    assert read == built == lift.cell
    assert read.digest == lift.cell.digest
    assert len(list((tmp_path / "failure-workbench").iterdir())) == 1
