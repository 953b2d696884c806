"""Door: robosuite's task of opening a door that is on the latch (Zhu et al., arXiv 2009.12293, 2020), with one Panda.

The door is that of Rajeswaran et al. (RSS 2018): a panel on a hinge, a handle that turns against a spring, and on the
handle's axis a latch that stands behind the frame until the handle has been turned, up or down, by 1.24 rad.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.envs.tasks.shared.tabletop import HAND_SIZES, Tabletop
from workbench.envs.words import wordings
from workbench.types import Array, Keyframe, Observation
from workbench.types.rotations import about

if TYPE_CHECKING:
    import mujoco

PLACE_M = np.array([-0.2, -0.35, 1.1])
"""Middle of robosuite's table here, with the height at which the door stands on it; its place is relative to this."""
SPREAD_LOW_M, SPREAD_HIGH_M = (0.07, -0.01), (0.09, 0.01)
YAW_RAD = (-np.pi / 2 - 0.25, -np.pi / 2)
OPENED_RAD = 0.3
"""Hinge angle above which the door counts as open (robosuite's ``Door._check_success``); it stops at 0.4."""
TURNED_RAD = 1.24
"""Latch angle, up or down, from which the frame lets the latch pass (found by pulling with 3 N m); it stops at 1.57."""
AJAR_RAD = 0.2
"""Hinge angle from which the latch is clear of the frame however it is turned."""
REACHED_M = 0.03
"""Distance of the grip site from the handle that counts as reached."""
HANDLE_M = 0.125
"""From the latch's axis to robosuite's handle site, along the bar of the handle."""
FRONT_M = 0.10
"""From the middle of the panel to the bar, along the door's normal."""
HINGE_M = 0.43
"""From the latch's axis to the hinge, along the panel."""
AWAY_M = 0.10
"""How far in front of the handle the plan turns the gripper to it."""
TURN_RAD = -1.45
"""Latch angle to which the plan turns the handle: upwards, since downwards the last joint would meet its limit."""
TURN_AHEAD_RAD, OPEN_AHEAD_RAD = 0.4, 0.12
"""How far ahead of where latch and hinge are the plan leads the gripper: far would lead it off the handle's arc."""
GRIPPER_AHEAD = np.array([0.5, 0.5, -0.5, 0.5])
"""(x, y, z, w) of a grip site that points at the door and closes vertically; the rest of the episode is around it."""


class Door(Tabletop):
    """Turn the handle and pull the door open; scene, controller and success are those of robosuite 1.5.1's ``Door``.

    What varies per episode, drawn as robosuite draws it: the door's place (x and y within 0.01 m) and yaw (within
    0.25 rad), and the arm's joints (normal, 0.02 rad).  Latch and hinge start closed, at 0.

    Observation, world frame: ``eef_pos`` grip site in metres; ``eef_quat`` (x, y, z, w) grip site, of the sign nearer
    to pointing at the door; ``gripper_qpos`` finger joints in metres; ``handle_pos`` robosuite's handle site, 0.025 m
    from the free end of the bar, in metres; ``handle_axis`` unit vector along the bar, to its free end; ``door_normal``
    unit vector out of the panel, to the handle's side; ``hinge_angle`` and ``latch_angle`` in rad.  The first three of
    the door say where all of it is.
    """

    name = "door"
    environment = "Door"
    instruction = "turn the handle and pull the door open"
    wording = wordings.DOOR
    stages = ("reach", "grasp", "turn", "open")
    deadline = 120
    observation_sizes: Mapping[str, int] = {
        **HAND_SIZES,
        "handle_pos": 3,
        "handle_axis": 3,
        "door_normal": 3,
        "hinge_angle": 1,
        "latch_angle": 1,
    }

    object_body = "Door_latch"
    """Body that is manipulated, for perturbations: handle and latch are one; with its joint and what can be held."""
    object_joint = "Door_latch_joint"
    object_geoms = ("Door_handle", "Door_handle_base")
    object_is_free = False
    roles: Mapping[str, str] = {**Tabletop.roles, "hand_object_distance": "gripper_handle_distance_m"}

    def edit(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Draw where the door stands and how it is turned."""
        offset_m = np.array([*rng.uniform(SPREAD_LOW_M, SPREAD_HIGH_M), 0.0])
        yaw = rng.uniform(*YAW_RAD)
        self.stand(model, PLACE_M + offset_m, np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]))

    def stand(self, model: mujoco.MjModel, position_m: Array, quaternion: Array) -> None:
        """Put the whole door at a place (3,) in the world, turned by a quaternion (w, x, y, z)."""
        body = model.body("Door_main").id
        model.body_pos[body] = position_m
        model.body_quat[body] = quaternion

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset."""
        self.place_arm(qpos, rng)

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What a robot with perfect sensors sees; see the class."""
        rotation = data.xmat[self._latch].reshape(3, 3)
        return {
            **self.hand(data, GRIPPER_AHEAD),
            "handle_pos": self._handle_m(data),
            "handle_axis": rotation[:, 0].copy(),
            "door_normal": -rotation[:, 1],
            "hinge_angle": data.qpos[self._joints[:1]],
            "latch_angle": data.qpos[self._joints[1:]],
        }

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows: what all tables have, of the handle, distance, angles and success.

        ``latch_angle_rad`` is negative when the handle is turned upwards.
        """
        handle = self._handle_m(data)
        offset = handle - data.site_xpos[self.grip_site]
        hinge_rad, latch_rad = data.qpos[self._joints].tolist()
        return {
            **self.situation(data, handle, self.contacts(data)),
            "gripper_handle_distance_m": float(np.sqrt(offset.dot(offset))),
            "latch_angle_rad": latch_rad,
            "hinge_angle_rad": hinge_rad,
            "success": float(hinge_rad > OPENED_RAD),
        }

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself; a later one implies those before it."""
        if predicates["success"]:
            return 4
        if abs(predicates["latch_angle_rad"]) > TURNED_RAD or predicates["hinge_angle_rad"] > AJAR_RAD:
            return 3
        if predicates["grasped"]:
            return 2
        return int(predicates["gripper_handle_distance_m"] < REACHED_M)

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """In front of the handle, to it, close, turn, pull: the gripper points at the door and closes across the bar.

        The last two lead a little ahead of where latch and hinge are now, along their arcs.  Once the door is ajar the
        handle is left as it is, so that a grasp that was lost there need not turn it again.
        """
        handle, axis, normal = observation["handle_pos"], observation["handle_axis"], observation["door_normal"]
        rotation = np.stack([np.cross(axis, normal), -axis, -normal], axis=1)
        left_rad = TURN_RAD - float(observation["latch_angle"][0])
        ajar = float(observation["hinge_angle"][0]) > AJAR_RAD
        turn_rad = 0.0 if ajar else float(np.clip(left_rad, -TURN_AHEAD_RAD, TURN_AHEAD_RAD))
        turned_m, turned = _further(observation, rotation, turn_rad, 0.0)
        opened_m, opened = _further(observation, rotation, turn_rad, OPEN_AHEAD_RAD)
        return (
            Keyframe("reach", handle + AWAY_M * normal, rotation, closed=False, tolerance_m=0.02),
            Keyframe("reach", handle.copy(), rotation, closed=False, tolerance_m=0.01),
            Keyframe("grasp", handle.copy(), rotation, closed=True, tolerance_m=0.01),
            Keyframe("turn", turned_m, turned, closed=True, tolerance_m=0.01),
            Keyframe("open", opened_m, opened, closed=True, tolerance_m=0.01),
        )

    def _handle_m(self, data: mujoco.MjData) -> Array:
        """Handle site (3,), from the body's position, so that it moves with what perturbations say of that."""
        rotation = data.xmat[self._latch].reshape(3, 3)
        position: Array = data.xpos[self._latch] + HANDLE_M * rotation[:, 0] - FRONT_M * rotation[:, 1]
        return position

    @functools.cached_property
    def _latch(self) -> int:
        """Index of the body of handle and latch."""
        return int(self.model.body(self.object_body).id)

    @functools.cached_property
    def _joints(self) -> Array:
        """(2,) addresses of hinge and latch in qpos."""
        return self.qpos_of(("Door_hinge", self.object_joint))


def _further(observation: Observation, rotation: Array, turn_rad: float, open_rad: float) -> tuple[Array, Array]:
    """Position (3,) and rotation (3, 3) of a gripper at the handle once latch and hinge have turned further."""
    handle, axis, normal = observation["handle_pos"], observation["handle_axis"], observation["door_normal"]
    up = np.array([0.0, 0.0, 1.0])
    turn, swing = about(-normal, turn_rad), about(up, open_rad)
    latch = handle - HANDLE_M * axis
    hinge = latch + HINGE_M * np.cross(up, normal) - FRONT_M * normal
    return hinge + swing @ (latch + turn @ (handle - latch) - hinge), swing @ turn @ rotation
