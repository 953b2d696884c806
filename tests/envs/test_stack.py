"""The task Stack: equal to robosuite's, drawn like it, judged like it, and solved by the expert."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.envs.tasks.stack import Stack
from workbench.policies.expert import Expert
from workbench.types import Stream


@pytest.fixture(scope="module")
def stack() -> Stack:
    return Stack()


@pytest.fixture(scope="module")
def scene(stack):
    return stack.scene()


def test_draws_are_robosuites(stack, scene):
    """Bounds and spread of the places, and never an overlap, over 300 episodes."""
    places = []
    for episode in range(300):
        seen = scene.begin(Stream(5, episode))
        places.append([seen["cube_a_pos"], seen["cube_b_pos"]])
        assert seen["cube_a_pos"][2] == pytest.approx(0.83, abs=1e-12)
        assert seen["cube_b_pos"][2] == pytest.approx(0.835, abs=1e-12)
    flat = np.array(places)[:, :, :2]
    assert np.abs(flat).max() <= 0.08
    assert np.ptp(flat[:, 0], axis=0).min() > 0.155
    apart = np.linalg.norm(flat[:, 0] - flat[:, 1], axis=1)
    assert apart.min() > np.sqrt(2) * 0.045
    assert apart.min() < 0.07  # no further apart than robosuite asks


def test_expert_stacks(stack, scene):
    for episode in range(10):
        before = scene.begin(Stream(11, episode))
        stages = []
        for _ in range(stack.deadline):
            now = scene.truth().observation
            scene.step(Expert(stack).action({key: np.stack([before[key], now[key]]) for key in now}))
            before = now
            stages.append(scene.truth().stage)
            if scene.truth().success:
                break
        assert scene.truth().success, episode
        assert set(stages) == {0, 1, 2, 3, 4, 5} or set(stages) == {0, 1, 2, 3, 5}
        assert stages == sorted(stages)


def test_after_release_only_the_rest_of_the_plan_is_left(stack, scene):
    """A on B: no keyframe closes the fingers again; A held over B: the whole plan."""
    seen = dict(scene.begin(Stream(1, 0)))
    assert stack.plan(seen)[0].stage == "reach"
    seen["cube_a_pos"] = seen["cube_b_pos"] + [0.0, 0.0, 0.0451]
    assert {frame.stage for frame in stack.plan(seen)} == {"release"}
    assert not any(frame.closed for frame in stack.plan(seen))
    seen["cube_a_pos"] = seen["cube_b_pos"] + [0.0, 0.0, 0.06]
    assert len(stack.plan(seen)) == 8
