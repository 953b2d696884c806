"""Robots: their records say what their models and robosuite say, and their numbers stand once."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from workbench.envs.perturbations.joint_lock import JointLock
from workbench.envs.perturbations.robot_start import RobotStart
from workbench.envs.robots import robosuite
from workbench.envs.robots.disc import DISC, DISC_M
from workbench.envs.robots.panda import PANDA
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.push_t import PushT
from workbench.errors import ConfigError
from workbench.types import Robot, Stream

ROOT = Path(__file__).parents[2]
ROBOTS = {"panda": (PANDA, Lift), "disc": (DISC, PushT)}


@pytest.fixture(scope="module")
def theirs():
    """robosuite's own Panda."""
    environment = robosuite.make_environment("Lift", PANDA.robosuite, 20)
    yield environment.robots[0]
    environment.close()


def cell_of(robot: Robot) -> robosuite.RobotCell:
    return dataclasses.replace(Lift().cell, robot=robot)


def test_the_panda_is_robosuites(theirs):
    robosuite._compare(cell_of(PANDA), theirs)


def of_arm(**changes):
    return {"arm": dataclasses.replace(PANDA.arm, **changes)}


def of_fingers(**changes):
    return {"fingers": dataclasses.replace(PANDA.fingers, **changes)}


WRONG = {
    "joints": {"joints": PANDA.joints[::-1]},
    "actuators": {"actuators": PANDA.actuators[:6]},
    "contact_geoms": {"contact_geoms": PANDA.contact_geoms[1:]},
    "action_m": {"action_m": 0.04},
    "action_rad": of_arm(action_rad=0.4),
    "home_rad": of_arm(home_rad=(0.1, *PANDA.arm.home_rad[1:])),
    "grip_site": of_arm(grip_site="robot0_right_center"),
    "base_site": of_arm(base_site="gripper0_right_grip_site"),
    "fingers.joints": of_fingers(joints=PANDA.fingers.joints[::-1]),
    "fingers.actuators": of_fingers(actuators=PANDA.fingers.actuators[::-1]),
    "fingers.left_pads": of_fingers(left_pads=PANDA.fingers.right_pads),
    "fingers.right_pads": of_fingers(right_pads=PANDA.fingers.left_pads),
    "fingers.start_m": of_fingers(start_m=(0.02, -0.02)),
    "fingers.speed": of_fingers(speed=0.1),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_record_that_says_otherwise_is_refused_and_told(name, theirs):
    with pytest.raises(ConfigError, match=name) as caught:
        robosuite._compare(cell_of(dataclasses.replace(PANDA, **WRONG[name])), theirs)
    assert "envs/robots/panda.py" in str(caught.value)
    assert str(caught.value).count(" but ") == 1, "what agrees is not told"


@pytest.mark.parametrize("name", ROBOTS)
def test_every_name_of_a_robot_is_in_its_model(name):
    robot, task = ROBOTS[name]
    model, visual = task().model, task().cell.compiled_visual()
    assert robot.name == name
    assert task.robot is robot
    for joint, actuator in zip(robot.joints, robot.actuators, strict=True):
        assert model.actuator(actuator).trnid[0] == model.joint(joint).id
    assert model.body(robot.hand_body).id > 0
    root = model.body_rootid[model.body(robot.hand_body).id]
    for geom in robot.contact_geoms:
        assert model.body_rootid[model.geom(geom).bodyid[0]] == root
    if robot.arm is not None:
        assert len(robot.arm.home_rad) == len(robot.joints)
        for site in (robot.arm.grip_site, robot.arm.base_site, robot.arm.wrist_site):
            assert model.site(site).id >= 0
        assert visual.camera(robot.arm.wrist_camera).id >= 0
    if robot.fingers is not None:
        for joint, actuator in zip(robot.fingers.joints, robot.fingers.actuators, strict=True):
            assert model.actuator(actuator).trnid[0] == model.joint(joint).id


def test_fingers_open_as_far_as_their_joints_go_and_in_as_many_steps():
    fingers, scene = PANDA.fingers, Lift().scene()
    ranges = np.array([scene.model.joint(name).range for name in fingers.joints])
    assert np.ptp([ranges[0, 1], ranges[1, 0]]) == fingers.open_m
    scene.begin(Stream(0, 0))
    for command in (-1.0, 1.0):  # open all the way, then close
        ends = [np.abs(scene._controller.memory).min() for _ in range(15) if scene.step([0.0] * 6 + [command])]
    assert np.flatnonzero(np.isclose(ends, 1.0)).tolist() == list(range(fingers.stroke_steps - 1, 15))


def test_the_disc_is_as_large_as_its_geometry():
    model = PushT().model
    assert model.geom(DISC.contact_geoms[0]).size[0] == DISC_M


def test_robots_are_values():
    assert hash(PANDA) == hash(dataclasses.replace(PANDA))
    assert dataclasses.replace(PANDA, action_m=0.1) != PANDA


class ShortArmed(Lift):
    """An arm of six joints."""

    robot = dataclasses.replace(PANDA, joints=PANDA.joints[:6], actuators=PANDA.actuators[:6])


def test_faults_of_joints_know_how_many_there_are():
    task, lock = ShortArmed(), JointLock(duration_steps=5)
    assert {lock.draw(Stream(0, n), task)["joint"] for n in range(60)} == set(range(1, 7))
    assert len(RobotStart(0.1).draw(Stream(0, 0), task)["angle_rad"]) == 6
    with pytest.raises(ConfigError, match="joint=7 is impossible: the arm of task lift has 6 joints"):
        JointLock(duration_steps=5, joint=[2, 7]).draw(Stream(0, 0), task)


def test_a_robot_without_an_arm_has_no_cell():
    with pytest.raises(ConfigError, match="robot disc is no arm with fingers"):
        robosuite.robot_cell("Lift", DISC, 20)


def test_names_of_the_pandas_parts_stand_in_its_own_file_alone():
    """So a second arm is a second file."""
    found = {
        str(path.relative_to(ROOT))
        for folder in ("envs", "policies", "workbench", "detectors")
        for path in (ROOT / folder).rglob("*.py")
        if not {"envs", "policies", "detectors", "conf"} & set(path.relative_to(ROOT).parts[1:2])
        and re.search(r"gripper0_|robot0_|[\"']Panda[\"']", path.read_text())
    }
    assert found == {"envs/robots/panda.py"}
