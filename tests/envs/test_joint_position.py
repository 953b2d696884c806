"""Joint-position control of a task; against robosuite's own it is tested in test_beside_robosuite.py."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.envs.tasks.stack import Stack
from workbench.errors import ActionError, UnknownNameError
from workbench.testing.task import check_task
from workbench.types import Stream


def test_keeps_the_contract():
    check_task(Stack(controller="joint_position"), seeds=(0,))


def test_an_action_turns_the_joints_and_moves_the_fingers():
    scene = Stack(controller="joint_position").scene()
    scene.begin(Stream(0, 0))
    before = scene.data.qpos.copy()
    for _ in range(10):
        scene.step(np.array([1.0, 0, 0, 0, 0, 0, 0, -1.0]))
    turned = scene.data.qpos - before
    assert turned[0] > 0.05
    assert np.abs(turned[1:7]).max() < 0.02
    assert turned[7] > 0.01
    assert turned[8] < -0.01


def test_an_action_of_the_other_controller_is_refused():
    with pytest.raises(ActionError, match=r"\(8,\), not \(7,\)"):
        Stack(controller="joint_position").scene().step(np.zeros(7))


def test_unknown_controller():
    with pytest.raises(UnknownNameError, match="joint_position"):
        Stack(controller="joints")
