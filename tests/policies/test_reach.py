"""A motion to a pose gets there, opens at once, closes at the end, and says when it is there."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import workbench as wb
from workbench.errors import ConfigError
from workbench.policies.recovery.motion.reach import Reach
from workbench.types import OVER, Intervention, Observation, Record, Stream, Task
from workbench.types.pose import Pose


@pytest.fixture(scope="module")
def lift() -> Task:
    return wb.task("lift")


def action_of(asked: Intervention, seen: Observation, memory: Record) -> np.ndarray:
    shown = {key: values[None, None] for key, values in seen.items()}
    return asked.driver.plan(shown, [np.random.default_rng(0)], memories=[memory]).chunk[0, 0]


@pytest.mark.parametrize("fingers", [-1.0, 1.0])
def test_the_hand_gets_there_and_says_so(lift: Task, fingers: float) -> None:
    scene = lift.scene()
    scene.begin(Stream(0, 0))
    here = Pose.of(scene.observe(), closed=False)
    there = here.corrected(np.array([0.08, -0.06, 0.05, 0.0, 0.0, 0.2, fingers]))
    asked = Reach(lift).to(here, there)
    memory, widths = copy.deepcopy(asked.memory), []
    while not memory.get(OVER):
        scene.step(action_of(asked, scene.observe(), memory))
        widths.append(float(np.ptp(scene.observe()["gripper_qpos"])))
        assert len(widths) <= asked.steps + 6
    way_m, way_rad = Pose.of(scene.observe(), closed=False).distance(there)
    assert way_m < 0.02
    assert way_rad < 0.2
    opened = lift.robot.fingers.opened_m
    assert max(widths) > opened  # also on the way to where they close
    assert (widths[-1] < opened) == (fingers > 0)


def test_fingers_that_hold_stay_closed_on_the_way(lift: Task) -> None:
    scene = lift.scene()
    scene.begin(Stream(0, 0))
    seen, reach = scene.observe(), Reach(lift)

    def fingers(holding: bool, closed: float) -> float:
        here = Pose.of(seen, closed=holding)
        asked = reach.to(here, here.corrected(np.array([0.1, 0, 0, 0, 0, 0, closed])))
        return float(action_of(asked, seen, copy.deepcopy(asked.memory))[-1])

    assert fingers(holding=True, closed=1.0) == 1.0
    assert fingers(holding=False, closed=1.0) == -1.0  # they close where the hand arrives
    assert fingers(holding=True, closed=-1.0) == -1.0


def test_it_is_given_more_time_for_a_longer_way_and_for_the_fingers(lift: Task) -> None:
    here, reach = Pose(np.zeros(3), np.eye(3), False), Reach(lift)

    def steps(*correction: float) -> int:
        return reach.to(here, here.corrected(np.array(correction))).steps

    assert steps(0, 0, 0, 0, 0, 0, -1) < steps(0.1, 0, 0, 0, 0, 0, -1) < steps(0.3, 0, 0, 0, 0, 0, -1)
    assert steps(0, 0, 0, 0, 0, 0, 1) - steps(0, 0, 0, 0, 0, 0, -1) == lift.robot.fingers.stroke_steps


@pytest.mark.parametrize("words", [["push_t"], ["lift", "joint_position"]])
def test_a_task_whose_actions_command_no_pose_is_refused(words: list[str]) -> None:
    task = wb.task(words[0], **({"controller": words[1]} if words[1:] else {}))
    with pytest.raises(ConfigError, match="knows no motion to a pose: its actions do not command a hand's"):
        Reach(task)
