"""PickPlaceCan: one Panda carries one can from one bin to another (robosuite, Zhu et al., arXiv 2009.12293, 2020)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.envs.task import Receptacle
from workbench.envs.tasks.shared.tabletop import HAND_SIZES, Tabletop
from workbench.envs.words import wordings
from workbench.types import Array, Keyframe, Observation
from workbench.types.rotations import rotation_matrix

if TYPE_CHECKING:
    import mujoco

CLEARED = ("Milk_main", "Bread_main", "Cereal_main")
"""Objects that robosuite drops far away at reset, where they lie on the floor and cost 16 contacts."""
MARKERS = ("VisualMilk_main", "VisualBread_main", "VisualCereal_main", "VisualCan_main")
SOURCE_M = (0.1, -0.25)
"""Centre of the bin in which the can starts."""
SPREAD_M = (0.145, 0.195)
"""Half lengths in x and y of the area of that bin into which an object has to fit."""
RADII_M = (0.025, 0.030, 0.040, 0.025)
"""Milk, bread, cereal, can, in the order in which robosuite places them: none may overlap an earlier one."""
BIN_LOW_M = np.array([0.1, 0.28, 0.8])
BIN_HIGH_M = np.array([0.295, 0.525, 0.9])
"""The can's quarter of the other bin (robosuite's ``PickPlace.not_in_bin`` for object 3)."""
AWAY_M = float(np.arctanh(0.4)) / 10
"""Distance of the grip site from the can's centre above which the gripper is away: ``1 - tanh(10 d) < 0.6``."""
UPRIGHT_M = 0.86
"""Height of the can's centre as robosuite puts it down, upright on the bin's floor."""
FLOOR_M = 0.82
"""Height of the floor of both bins."""
TARGET_M = np.array([0.15, 0.34, UPRIGHT_M])
"""Where the plan puts the can: 0.05 m inside its quarter, whose centre is nearly out of the arm's reach."""
QUARTERS = {"far_left": (1, 1), "near_left": (-1, 1), "far_right": (1, -1), "near_right": (-1, -1)}
"""Quarters of that bin as the robot sees them, which looks along the world's x axis: on which side of the middle they
are in x and y.  Robosuite's are cereal's (near left), bread's (far right) and milk's (near right)."""
LIFTED_M = 0.04
"""Height above ``UPRIGHT_M`` that counts as lifted."""
CARRIED_M = 0.06
"""Horizontal distance from the target below which a lifted can has been carried."""
REACHED_M = 0.03
"""Distance of the grip site from the can's centre that counts as reached."""
SET_DOWN_M = 0.015
"""Height above ``UPRIGHT_M`` below which a can in its quarter may be let go."""
LYING = 0.7
"""Vertical part of the can's axis below which it lies."""
GRIP_ABOVE_M = 0.015
"""How far above an upright can's centre the plan takes hold: at the centre, the hand sits on the wall of the bin."""
RETREAT_M = np.array([0.0, 0.0, 0.1])
"""From where the can was let go to the end of the plan."""


class PickPlaceCan(Tabletop):
    """Put the can into its bin; scene, controller and success are those of robosuite 1.5.1's ``PickPlaceCan``, Panda.

    The objects that robosuite only clears away are not in the model.  They still shape the draw of the can's place:
    robosuite puts milk, bread and cereal down first, so the can lies where they left room.  What varies per episode:
    the can's place (within 0.12 m and 0.17 m of the bin's centre in x and y) and yaw, and the arm's joints (normal,
    0.02 rad).

    Observation, world frame: ``eef_pos`` grip site in metres; ``eef_quat`` (x, y, z, w) grip site, of the sign nearer
    to pointing straight down; ``gripper_qpos`` finger joints in metres; ``can_pos`` centre in metres; ``can_axis`` unit
    vector along the can, which looks the same however it is turned about it; ``target_pos`` where it is to go, metres.
    """

    name = "pick_place_can"
    environment = "PickPlaceCan"
    cleared = (*CLEARED, *MARKERS)
    instruction = "put the can into the bin at its place"
    goals: Mapping[str, str] = {
        "far_left": instruction,
        "near_left": "put the can into the near left quarter of the bin",
        "far_right": "put the can into the far right quarter of the bin",
        "near_right": "put the can into the near right quarter of the bin",
    }
    wording = wordings.PICK_PLACE_CAN
    stages = ("reach", "grasp", "lift", "carry", "place")
    deadline = 240
    observation_sizes: Mapping[str, int] = {
        **HAND_SIZES,
        "can_pos": 3,
        "can_axis": 3,
        "target_pos": 3,
    }

    object_body = "Can_main"
    """Body that is manipulated, for perturbations; with its joint and geometries."""
    object_joint = "Can_joint0"
    object_geoms = ("Can_g0",)
    support_bodies = ("bin1", "bin2")
    support_m = FLOOR_M
    receptacle = Receptacle("bin2", (0.05, 0.06, FLOOR_M - 0.8), 0.03)
    roles: Mapping[str, str] = {
        **Tabletop.roles,
        "height": "can_height_m",
        "object_up": "object_up",
        "hand_object_distance": "gripper_can_distance_m",
        "at_target": "in_bin",
        "target_distance": "can_target_distance_m",
    }

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset."""
        self.place_arm(qpos, rng)
        can = self._can_qpos
        x, y = can_place(rng)
        yaw = rng.uniform(0, 2 * np.pi)
        qpos[can : can + 7] = x, y, UPRIGHT_M, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What a robot with perfect sensors sees; see the class."""
        body = self._can
        return {
            **self.hand(data),
            "can_pos": data.xpos[body].copy(),
            "can_axis": data.xmat[body][2::3].copy(),
            "target_pos": TARGET_M.copy(),
        }

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows: what all tables have, height, distances, bin and success.

        ``can_height_m`` is above the can's upright place, ``can_target_distance_m`` is horizontal and from the plan's
        target, ``can_bin_distance_m`` horizontal and from the centre of the can's quarter of the bin.
        """
        rise = np.array([0.0, 0.0, self.rise_m(data)])
        can = data.xpos[self._can] - rise
        distance = float(np.linalg.norm(can - (data.site_xpos[self.grip_site] - rise)))
        inside = in_bin(can)
        return {
            **self.situation(data, can, self.contacts(data)),
            "object_up": float(data.xmat[self._can, 8]),
            "can_height_m": float(can[2]) - UPRIGHT_M,
            "gripper_can_distance_m": distance,
            "can_target_distance_m": float(np.hypot(*(can - TARGET_M)[:2])),
            "can_bin_distance_m": float(np.hypot(*(can - (BIN_LOW_M + BIN_HIGH_M) / 2)[:2])),
            "in_bin": float(inside),
            "success": float(inside and distance > AWAY_M),
        }

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself; a later one implies those before it."""
        if predicates["success"]:
            return 5
        if predicates["grasped"]:
            if predicates["can_target_distance_m"] < CARRIED_M:
                return 4
            return 3 if predicates["can_height_m"] > LIFTED_M else 2
        return int(predicates["gripper_can_distance_m"] < REACHED_M)

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """Above the can, down, close, up, across to the bin, down, open, up; with the can set down, the last two alone.

        The last two begin where the gripper is, so that it lets go without a push.  The gripper points straight down
        and closes along the world's y axis, or across the axis of a can that lies.
        """
        can, target, rotation = observation["can_pos"], observation["target_pos"], _grasp_rotation(observation)
        if in_bin(can, target) and can[2] < UPRIGHT_M + SET_DOWN_M:
            return _letting_go(observation)
        grip = can + np.array([0.0, 0.0, GRIP_ABOVE_M if _upright(observation) else 0.0])
        above = grip + np.array([0.0, 0.0, 0.08])
        high = UPRIGHT_M + 0.14  # the can's bottom passes 0.04 m above the bins' walls
        low = target + np.array([0.0, 0.0, grip[2] - can[2] + 0.005])
        return (
            Keyframe("reach", above, rotation, closed=False, tolerance_m=0.02),
            Keyframe("reach", grip, rotation, closed=False, tolerance_m=0.01),
            Keyframe("grasp", grip, rotation, closed=True, tolerance_m=0.01),
            Keyframe("lift", np.array([can[0], can[1], high]), rotation, closed=True, tolerance_m=0.02),
            Keyframe("carry", np.array([target[0], target[1], high]), rotation, closed=True, tolerance_m=0.01),
            Keyframe("place", low, rotation, closed=True, tolerance_m=0.01),
            Keyframe("place", low, rotation, closed=False, tolerance_m=0.01),
            Keyframe("place", low + RETREAT_M, rotation, closed=False, tolerance_m=0.02),
        )

    def relabelled(self, goal: str, observation: Observation) -> dict[str, Array]:
        """The target mirrored into another quarter of the bin."""
        mirrored = np.append(BIN_LOW_M[:2] + QUARTERS[goal] * (TARGET_M - BIN_LOW_M)[:2], UPRIGHT_M)
        return {**observation, "target_pos": observation["target_pos"] + (mirrored - TARGET_M)}

    @functools.cached_property
    def _can_qpos(self) -> int:
        return int(self.qpos_of((self.object_joint,))[0])

    @functools.cached_property
    def _can(self) -> int:
        """Index of the can's body."""
        return int(self.model.body(self.object_body).id)


def in_bin(can_m: Array, target_m: Array = TARGET_M) -> bool:
    """Whether the can's centre (3,) is in the quarter of the bin in which the target (3,) lies."""
    size = BIN_HIGH_M - BIN_LOW_M
    shift = np.where(target_m < BIN_LOW_M, -size, 0.0)
    shift[2] = 0.0
    return bool(np.all(can_m > BIN_LOW_M + shift) and np.all(can_m < BIN_HIGH_M + shift))


def can_place(rng: np.random.Generator) -> Array:
    """Place (2,) in metres of the can: the last of four discs put down one by one where none overlaps another."""
    placed: list[tuple[Array, float]] = []
    for radius in RADII_M:
        reach = np.array(SPREAD_M) - radius
        place = SOURCE_M + rng.uniform(-reach, reach)
        while any(np.linalg.norm(place - other) <= radius + size for other, size in placed):
            place = SOURCE_M + rng.uniform(-reach, reach)
        placed.append((place, radius))
    return placed[-1][0]


def _letting_go(observation: Observation) -> Sequence[Keyframe]:
    here, rotation = observation["eef_pos"], rotation_matrix(observation["eef_quat"])
    return (
        Keyframe("place", here.copy(), rotation, closed=False, tolerance_m=0.01),
        Keyframe("place", here + RETREAT_M, rotation, closed=False, tolerance_m=0.02),
    )


def _upright(observation: Observation) -> bool:
    return bool(abs(observation["can_axis"][2]) >= LYING)


def _grasp_rotation(observation: Observation) -> Array:
    """Rotation (3, 3) of the grip site, whose fingers close along its x axis."""
    closing = np.array([0.0, 1.0])
    if not _upright(observation):
        x, y, _ = observation["can_axis"]
        across = np.array([-y, x]) / np.hypot(x, y)
        closing = across if across @ closing >= 0 else -across
    cos, sin = closing
    return np.array([[cos, sin, 0.0], [sin, -cos, 0.0], [0.0, 0.0, -1.0]])
