"""A motion to a pose gets there, opens at once and closes at the end."""

from __future__ import annotations

import numpy as np
import pytest

import workbench as wb
from workbench.errors import ConfigError
from workbench.policies.recovery.reach import Reach
from workbench.types import Stream, Task
from workbench.types.pose import Pose


@pytest.fixture(scope="module")
def lift() -> Task:
    return wb.task("lift")


@pytest.mark.parametrize("fingers", [-1.0, 1.0])
def test_the_hand_gets_there(lift: Task, fingers: float) -> None:
    scene = lift.scene()
    scene.begin(Stream(0, 0))
    here = Pose.of(scene.observe(), closed=False)
    there = here.corrected(np.array([0.08, -0.06, 0.05, 0.0, 0.0, 0.2, fingers]))
    motion = Reach(lift, there)
    widths = []
    for _ in range(motion.steps(here)):
        observation = scene.observe()
        (action,) = motion.plan({key: values[None, None] for key, values in observation.items()}, [None]).chunk[0]
        scene.step(action)
        widths.append(float(np.ptp(scene.observe()["gripper_qpos"])))
    way_m, way_rad = Pose.of(scene.observe(), closed=False).distance(there)
    assert way_m < 0.02
    assert way_rad < 0.05
    opened = lift.robot.fingers.opened_m
    assert (widths[-1] < opened) == (fingers > 0)
    assert max(widths) > opened  # also on the way to where they close


def test_fingers_that_hold_stay_closed_on_the_way(lift: Task) -> None:
    scene = lift.scene()
    scene.begin(Stream(0, 0))
    seen = dict(scene.observe())
    far = Pose.of(seen, closed=True).corrected(np.array([0.1, 0, 0, 0, 0, 0, 1.0]))
    motion = Reach(lift, far)
    assert Reach(lift, far, holding=True).action(seen)[-1] == 1.0
    assert motion.action(seen)[-1] == -1.0  # open ones close where it arrives
    let_go = far.corrected(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    assert Reach(lift, let_go, holding=True).action(seen)[-1] == -1.0


def test_it_takes_longer_for_a_longer_way_and_for_the_fingers(lift: Task) -> None:
    here = Pose(np.zeros(3), np.eye(3), False)

    def steps(*correction: float) -> int:
        return Reach(lift, here.corrected(np.array(correction))).steps(here)

    assert steps(0, 0, 0, 0, 0, 0, -1) < steps(0.1, 0, 0, 0, 0, 0, -1) < steps(0.3, 0, 0, 0, 0, 0, -1)
    assert steps(0, 0, 0, 0, 0, 0, 1) - steps(0, 0, 0, 0, 0, 0, -1) == lift.robot.fingers.stroke_steps


@pytest.mark.parametrize("words", [["push_t"], ["lift", "joint_position"]])
def test_a_task_whose_actions_command_no_pose_is_refused(words: list[str]) -> None:
    task = wb.task(words[0], **({"controller": words[1]} if words[1:] else {}))
    with pytest.raises(ConfigError, match="knows no motion to a pose: its actions do not command a hand's"):
        Reach(task, Pose(np.zeros(3), np.eye(3), False))
