"""Joint-position control against robosuite's own JOINT_POSITION controller."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.envs import robosuite_model
from workbench.envs.check import check_task
from workbench.envs.tasks.stack import Stack
from workbench.errors import UnknownNameError
from workbench.types import Stream


@pytest.fixture(scope="module")
def environment():
    return robosuite_model.make_environment("Stack", "Panda", 20, "JOINT_POSITION")


def largest_difference(environment, scene, seed: int, steps: int = 100) -> float:
    """Largest difference of any joint position over random actions of a quarter of the range, from the same start."""
    np.random.seed(seed)  # noqa: NPY002 (robosuite draws from the global generator)
    environment.reset()
    environment.robots[0].part_controllers["right"].update(force=True)
    scene.begin(Stream(0, 0))
    for name in ("qpos", "qvel", "qacc_warmstart", "ctrl"):
        getattr(scene.data, name)[:] = getattr(environment.sim.data._data, name)
    scene._controller.reset()
    worst = 0.0
    for action in np.random.default_rng(seed).uniform(-0.25, 0.25, (steps, 8)):
        environment.step(action)
        scene.step(action)
        worst = max(worst, float(np.abs(environment.sim.data.qpos - scene.data.qpos).max()))
    return worst


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_robosuite(environment, seed):
    assert largest_difference(environment, Stack(controller="joint_position").scene(), seed) <= 1e-12


def test_a_wrong_gain_is_noticed(environment):
    scene = Stack(controller="joint_position").scene()
    scene._controller._gains[1] *= 1.001
    assert largest_difference(environment, scene, 0) > 1e-6


def test_keeps_the_contract():
    check_task(Stack(controller="joint_position"), seeds=(0,))


def test_unknown_controller():
    with pytest.raises(UnknownNameError, match="joint_position"):
        Stack(controller="joints")
