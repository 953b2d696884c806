"""Every task of robosuite's, side by side with robosuite itself: the controller, the physics, and what is success."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from robosuite.utils.transform_utils import quat2axisangle

from tests.beside import Beside, tasks_of_robosuite
from workbench.envs.tasks.stack import Stack
from workbench.policies.expert import Expert
from workbench.policies.wire.payloads import hand_rotation_vector

SAME = 1e-12
TASKS = {task.name: task for task in tasks_of_robosuite()}


@functools.cache
def beside(name: str) -> Beside:
    """One environment a task: robosuite takes seconds to build it."""
    return Beside(TASKS[name])


@functools.cache
def beside_joints() -> Beside:
    return Beside(Stack(controller="joint_position"), "JOINT_POSITION")


def expert_episode(both: Beside, seed: int) -> tuple[list[tuple[bool, bool]], np.ndarray]:
    """What robosuite and ours say of success at every step of the expert's episode, and their joints (T, 2, nq)."""
    both.start(seed)
    expert, before = Expert(both.scene.task), both.scene.truth().observation
    judged, paths = [], []
    for _ in range(both.scene.task.deadline):
        now = both.scene.truth().observation
        both.step(expert.action({key: np.stack([before[key], now[key]]) for key in now}))
        before = now
        judged.append((bool(both.environment._check_success()), both.scene.truth().success))
        paths.append(np.stack(both.positions()))
        if judged[-1] == (True, True):
            break
    return judged, np.array(paths)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", TASKS)
def test_equal_after_100_random_actions(name, seed):
    """Of a quarter of the range, with which the hand hits nothing: only rounding is left."""
    assert beside(name).largest_difference(seed, size=0.25) <= SAME


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", TASKS)
def test_as_near_as_robosuite_is_to_itself_after_100_actions_of_the_full_range(name, seed):
    """They throw hand and fingers against things, and a last bit grows to 1e-6 where that happens."""
    both = beside(name)
    assert both.largest_difference(seed) <= max(SAME, 10 * both.own_sensitivity(seed))


@pytest.mark.parametrize("name", TASKS)
def test_robosuite_agrees_on_success_throughout_an_episode_of_the_expert(name):
    judged, paths = expert_episode(beside(name), 3)
    assert all(theirs == ours for theirs, ours in judged)
    assert judged[0] == (False, False)
    assert judged[-1] == (True, True)
    theirs, ours = paths[:, 0], paths[:, 1]
    assert np.abs(theirs - ours).max() <= 1e-9, "through grasp and release, too"


@pytest.mark.parametrize("name", TASKS)
def test_robosuite_as_it_is_is_off_by_its_stale_first_update(name):
    """The first physics step uses what was computed before its reset had ended."""
    assert SAME < beside(name).largest_difference(0, updated=False, size=0.25) < 1e-4


@pytest.mark.parametrize(("array", "index"), [("gains", (0, 1)), ("gains", (1, 4)), ("_action_scale", (5,))])
def test_a_wrong_gain_is_noticed(array, index):
    both = beside("lift")
    values = getattr(both.scene._controller, array)
    right = values[index]
    values[index] *= 1.001
    try:
        assert both.largest_difference(0, size=0.25) > 1e-6
    finally:
        values[index] = right


@pytest.mark.parametrize("body", ["cubeA_main", "robot0_link5"])
def test_a_body_that_is_too_heavy_is_noticed(body, monkeypatch):
    take = Beside._take_model

    def change(self):
        take(self)
        self.scene.model.body(body).mass *= 1.001

    monkeypatch.setattr(Beside, "_take_model", change)
    _, paths = expert_episode(beside("stack"), 3)
    assert np.abs(paths[:, 0] - paths[:, 1]).max() > 1e-7


@pytest.mark.parametrize("seed", range(2))
def test_joint_position_control_is_robosuites(seed):
    assert beside_joints().largest_difference(seed, size=0.25) <= SAME


def test_a_wrong_gain_of_joint_position_control_is_noticed():
    both = beside_joints()
    both.scene._controller.gains[1] *= 1.001
    try:
        assert both.largest_difference(0, size=0.25) > 1e-6
    finally:
        both.scene._controller.gains[1] /= 1.001


def test_the_hand_that_servers_are_told_of_is_robosuites():
    """LIBERO's states hold the rotation vector of robosuite's hand body; ours know the grip site."""
    both = beside("lift")
    for seed in range(3):
        both.start(seed)
        theirs = both.environment._get_observations(force_update=True)
        ours = both.scene.truth().observation
        quaternion = np.array(theirs["robot0_eef_quat"])
        quaternion *= np.sign(quaternion[0])
        np.testing.assert_allclose(hand_rotation_vector(ours["eef_quat"]), quat2axisangle(quaternion), atol=1e-9)
        np.testing.assert_array_equal(ours["eef_pos"], theirs["robot0_eef_pos"])
        np.testing.assert_array_equal(ours["gripper_qpos"], theirs["robot0_gripper_qpos"])
