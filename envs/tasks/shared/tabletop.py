"""What robosuite's table tasks with one arm have in common: the cell, where things are, and how the arm starts."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.envs.robots.panda import PANDA
from workbench.envs.task import SceneTask
from workbench.errors import UnknownNameError
from workbench.types import Array

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.robots.robosuite import RobotCell
    from workbench.envs.stepper import Controller

TABLE_M = 0.8
"""Height of the table top."""
DROP_M = 0.01
"""How far above the table robosuite lets go of objects at reset."""
ARM_NOISE_RAD = 0.02
CONTROLLERS = ("osc_pose", "joint_position")
HAND_SIZES: Mapping[str, int] = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}
"""Lengths of the vectors that all of these tasks observe of their hand; see :meth:`Tabletop.hand`."""


class Tabletop(SceneTask):
    """An arm at robosuite's table; tasks inherit where things are, and say themselves what is to be done.

    Parameters
    ----------
    controller : what an action means, each of its numbers in -1 .. 1.  ``osc_pose`` (7,): translation and rotation
        vector of the grip site in the robot base's frame (1 = 0.05 m, 0.5 rad per axis with a Panda), then the gripper
        (negative opens, positive closes).  ``joint_position`` (J + 1,): the joints (1 = 0.05 rad), then the gripper.
    out_of_range, cameras : see :class:`workbench.envs.task.SceneTask`.

    Attributes
    ----------
    environment : name of robosuite's environment.
    cleared : bodies that robosuite only clears away at reset; they leave the model.
    object_body, object_geoms : what is manipulated; ``other_geoms`` are of another object of the task.
    support_bodies : tables and bins, first the one on which the object stands; the first geometry of each is its board.
    """

    robot = PANDA
    environment: str
    cleared: tuple[str, ...] = ()
    support_m = TABLE_M
    object_body: str
    object_geoms: Sequence[str]
    other_geoms: Sequence[str] = ()
    support_bodies: Sequence[str] = ("table",)
    roles: Mapping[str, str] = {
        "success": "success",
        "hand_x": "hand_x_m",
        "hand_y": "hand_y_m",
        "hand_z": "hand_z_m",
        "object_x": "object_x_m",
        "object_y": "object_y_m",
        "finger_gap": "finger_gap_m",
        "held": "grasped",
        "collision": "collision",
        "obstructed": "obstructed",
    }
    control_hz = 20.0

    def __init__(
        self,
        controller: str = "osc_pose",
        out_of_range: str = "clip",
        cameras: Mapping[str, Any] | None = None,
    ) -> None:
        if controller not in CONTROLLERS:
            raise UnknownNameError("task.controller", controller, CONTROLLERS)
        super().__init__(out_of_range, cameras)
        self.action_meaning = controller
        self.commands_pose = controller == "osc_pose"
        size = 6 if self.commands_pose else len(self.robot.joints)
        moving = {"position": (0, 3), "rotation": (3, 6)} if self.commands_pose else {"joints": (0, size)}
        self.action_groups: Mapping[str, tuple[int, int]] = {**moving, "gripper": (size, size + 1)}
        self.action_size = size + 1

    @functools.cached_property
    def cell(self) -> RobotCell:
        """The robot in its scene, and its controller's numbers."""
        from workbench.envs.robots.robosuite import robot_cell

        return robot_cell(self.environment, self.robot, int(self.control_hz), without=self.cleared)

    def rise_m(self, data: mujoco.MjData) -> float:
        """By how much the support is higher than robosuite has it: heights of things are counted from it."""
        return float(data.xpos[self._support][2] - self.model.body_pos[self._support][2])

    @functools.cached_property
    def _support(self) -> int:
        return int(self.model.body(self.support_bodies[0]).id)

    def controller(self, model: mujoco.MjModel, data: mujoco.MjData) -> Controller:
        """A new controller for one scene."""
        if self.action_meaning == "joint_position":
            from workbench.envs.controllers.joint_position import JointPosition

            return JointPosition(model, data, self.cell)
        from workbench.envs.controllers.operational_space import OperationalSpace

        return OperationalSpace(model, data, self.cell)

    def hand(self, data: mujoco.MjData, ahead: Array | None = None) -> dict[str, Array]:
        """What is observed of the hand: grip site and finger joints.

        ``ahead`` (4,) is the quaternion near which the grip site's is given; None: that of a hand that points down.
        """
        from workbench.envs.sensors.observations import GRIPPER_DOWN, quaternion

        near = GRIPPER_DOWN if ahead is None else ahead
        return {
            "eef_pos": data.site_xpos[self.grip_site].copy(),
            "eef_quat": quaternion(data.site_xmat[self.grip_site], near),
            "gripper_qpos": data.qpos[self.finger_qpos],
        }

    def contacts(self, data: mujoco.MjData) -> int:
        """What touches what now, as the bits of :func:`workbench.envs.sensors.observations.contacts`."""
        from workbench.envs.sensors.observations import contacts

        return int(contacts(data.contact.geom, self._marks, self.object_is_free))

    def situation(self, data: mujoco.MjData, object_m: Array, found: int) -> dict[str, float]:
        """The predicates that all of these tasks have, given the object's place (3,) and what touches what.

        Contacts of the finger pads with the object, ``grasped`` (both), ``collision`` and ``obstructed`` as
        :func:`workbench.envs.sensors.observations.contacts` has them, places of hand and object in the world, gap of
        the fingers.
        """
        from workbench.envs.sensors.observations import COLLISION, LEFT_ON_OBJECT, OBSTRUCTED, RIGHT_ON_OBJECT, grasped

        hand_x, hand_y, hand_z = data.site_xpos[self.grip_site].tolist()
        left, right = self._finger_addresses
        return {
            "left_contact": float(found & LEFT_ON_OBJECT > 0),
            "right_contact": float(found & RIGHT_ON_OBJECT > 0),
            "grasped": float(grasped(found)),
            "collision": float(found & COLLISION > 0),
            "obstructed": float(found & OBSTRUCTED > 0),
            "hand_x_m": hand_x,
            "hand_y_m": hand_y,
            "hand_z_m": hand_z,
            "object_x_m": float(object_m[0]),
            "object_y_m": float(object_m[1]),
            "finger_gap_m": abs(float(data.qpos[left]) - float(data.qpos[right])),
        }

    @functools.cached_property
    def _marks(self) -> Array:
        """(geometries,) what each of them is; see :mod:`workbench.envs.sensors.observations`.

        What of the robot cannot move, its mount, is an obstacle to it.
        """
        from workbench.envs.sensors.observations import (
            FINGER,
            LEFT_PAD,
            OBJECT,
            OBSTACLE,
            OTHER,
            RIGHT_PAD,
            ROBOT,
            SUPPORT,
        )

        model = self.model
        bodies = model.geom_bodyid
        robot = model.body_rootid[bodies] == model.body_rootid[model.site_bodyid[self.grip_site]]
        marks = np.where(robot & (model.body_weldid[bodies] != 0), ROBOT, OBSTACLE)
        named = {
            FINGER: self.robot.contact_geoms,
            LEFT_PAD: self.cell.fingers.left_pads,
            RIGHT_PAD: self.cell.fingers.right_pads,
            OBJECT: self.object_geoms,
            OTHER: self.other_geoms,
        }
        for mark, names in named.items():
            marks[[model.geom(name).id for name in names]] = mark
        marks[[int(model.body(name).geomadr[0]) for name in self.support_bodies]] = SUPPORT
        return marks.astype(np.int64)

    @functools.cached_property
    def _finger_addresses(self) -> tuple[int, int]:
        left, right = self.finger_qpos.tolist()
        return left, right

    def place_arm(self, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the arm's joints at reset (normal, 0.02 rad) and put the fingers where they start."""
        qpos[self.arm_qpos] = self.cell.arm.home_rad + ARM_NOISE_RAD * rng.standard_normal(len(self.arm_qpos))
        qpos[self.finger_qpos] = self.cell.fingers.start_m

    @functools.cached_property
    def arm_qpos(self) -> Array:
        """(J,) addresses of the arm's joints in qpos."""
        return self.qpos_of(self.robot.joints)

    @functools.cached_property
    def finger_qpos(self) -> Array:
        """(2,) addresses of the fingers' joints in qpos."""
        return self.qpos_of(self.cell.fingers.joints)

    @functools.cached_property
    def grip_site(self) -> int:
        """Index of the site that is controlled."""
        return int(self.model.site(self.cell.arm.grip_site).id)


def dropped(x: float, y: float, half_height_m: float, yaw_rad: float) -> list[float]:
    """Free joint (7,) of an object that robosuite lets go of just above the table, turned about the vertical."""
    height = TABLE_M + DROP_M + half_height_m
    return [x, y, height, np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2)]


def closing_yaw(grip_rotation: Array) -> float:
    """Yaw in rad of the direction in which the fingers close, the grip site's x axis, given its rotation (3, 3)."""
    return float(np.arctan2(grip_rotation[1, 0], grip_rotation[0, 0]))


def face_yaw(cube_yaw: Array, near_rad: float) -> float:
    """Yaw in rad, of the cube's four, that is nearest to another; the cube's as (cos 4 psi, sin 4 psi)."""
    face = np.arctan2(cube_yaw[1], cube_yaw[0]) / 4
    return float(face + np.round((near_rad - face) / (np.pi / 2)) * np.pi / 2)


def pointing_down(yaw_rad: float) -> Array:
    """Rotation (3, 3) of a grip site that points straight down and closes along a yaw."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, sin, 0.0], [sin, -cos, 0.0], [0.0, 0.0, -1.0]])
