"""NutAssemblySquare: one Panda puts a square nut over a square peg (robosuite, Zhu et al., arXiv 2009.12293, 2020)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.envs.task import Receptacle
from workbench.envs.tasks.shared.tabletop import HAND_SIZES, Tabletop, closing_yaw, pointing_down
from workbench.envs.words import wordings
from workbench.types import Array, Keyframe, Observation
from workbench.types.rotations import about, rotation_matrix

if TYPE_CHECKING:
    import mujoco


CLEARED = ("RoundNut_main",)
"""Object that robosuite puts far away at reset."""
TABLE_M = 0.82
"""Height of this table's top, which is not that of robosuite's other tasks."""
DROPPED_FROM_M = TABLE_M + 0.07
"""Height of the nut's centre at reset: robosuite's 0.02 m and the 0.05 m by which it has the nut's bottom too low."""
PLACE_LOW_M, PLACE_HIGH_M = (-0.115, 0.11), (-0.11, 0.225)
"""Bounds in x and y of the nut's place."""
PEG_TOP_M = 0.95
HOLE_M = 0.02275
"""Half length of the nut's hole; the peg's is 0.016 m, so at the very middle the nut goes over it at any yaw."""
HANDLE_M = 0.054
"""Distance of robosuite's handle site from the nut's centre."""
ON_PEG_M = 0.03
"""Difference in x and in y from the peg below which the nut counts as on it (robosuite's ``NutAssembly.on_peg``)."""
DOWN_M = 0.05
"""Height of the nut's centre above the table below which it counts as down (the same)."""
AWAY_M = float(np.arctanh(0.4)) / 10
"""Distance of the grip site from the nut's centre above which the gripper is away: ``1 - tanh(10 d) < 0.6``."""
REACHED_M = 0.03
"""Distance of the grip site from the handle site that counts as reached."""
LIFTED_M = 0.05
"""Height of the nut's centre above the table that counts as lifted: no longer down."""
OVER_M = 0.00675
"""Horizontal distance from the peg within which an aligned nut can go over it: the clearance of the hole."""
ALIGNED_RAD = 0.2
"""Yaw of the nut from the peg's, modulo a quarter turn, within which 4 mm of that clearance are left."""
GRIP_M = 0.064
"""Distance from the nut's centre at which the plan takes the handle: nearer, a finger comes down on the frame."""
GRIP_ABOVE_M = 0.004
"""Height of the grip above the nut's middle: the finger tips reach 9 mm below the grip site, the middle is at 10 mm."""
HIGH_M = 0.985
"""Height at which the nut's middle is carried over the peg."""
FRAME_M = 0.05
"""How far the nut's frame reaches from its centre, and so below it if it stands on edge."""
LEVEL = 0.9
"""Vertical part of the nut's normal below which it is crooked: the plan drops it and starts over."""
TILT_RAD = 0.6
"""How far the hand tilts before it drops a crooked nut."""
ASIDE_M = (0.0, 0.15)
"""Where it is dropped: on the robot's side of the pegs."""
OVER_PEGS_M = 0.97
"""Least height at which the empty hand travels: its finger tips pass 0.01 m above the pegs."""
PLACED_M = 0.03
"""Height of the nut's centre above the table below which the fingers let go."""
WRIST_LOW_RAD = -2.0
"""Least turn of the hand from its start, counter-clockwise from above, that the wrist can do; a whole turn above it
the other limit is as near."""
TURN_RAD = 2.0
"""Most that a keyframe asks the hand to turn, well below half a turn, so that the way round is never in doubt."""
UP = np.array([0.0, 0.0, 1.0])


class NutAssemblySquare(Tabletop):
    """Put the square nut over the square peg; scene, controller and success are robosuite 1.5.1's, with a Panda.

    The round nut, which robosuite only clears away, is not in the model; its peg is.  What varies per episode, drawn as
    robosuite draws it: the nut's place (x in -0.115 .. -0.110 m, y in 0.110 .. 0.225 m, dropped from 0.06 m above the
    table) and yaw (0 .. 2 pi), and the arm's joints (normal, 0.02 rad).

    Robosuite counts the nut as on the peg by its centre alone, so a nut that stands on edge against the peg succeeds
    too; ``peg_depth_m`` tells the two apart.

    Observation, world frame: ``eef_pos``, ``eef_quat``, ``gripper_qpos`` as in
    :class:`workbench.envs.tasks.lift.Lift`; ``nut_pos`` centre of the hole in metres; ``nut_handle`` unit vector from
    there along the handle, for a flat nut (cos, sin, 0) of its yaw; ``nut_up`` unit vector out of the nut's plane, with
    which it is a rotation without a jump (two columns of the matrix: Zhou et al., CVPR 2019); ``peg_pos`` middle of the
    peg in metres.
    """

    name = "nut_assembly_square"
    environment = "NutAssemblySquare"
    cleared = CLEARED
    instruction = "put the square nut over the square peg"
    goals: Mapping[str, str] = {"square_peg": instruction, "round_peg": "put the square nut over the round peg"}
    wording = wordings.NUT_ASSEMBLY_SQUARE
    stages = ("reach", "grasp", "lift", "align", "insert")
    deadline = 220
    observation_sizes: Mapping[str, int] = {
        **HAND_SIZES,
        "nut_pos": 3,
        "nut_handle": 3,
        "nut_up": 3,
        "peg_pos": 3,
    }

    object_body = "SquareNut_main"
    """Body that is manipulated, for perturbations; with its joint and geometries."""
    object_joint = "SquareNut_joint0"
    object_geoms = tuple(f"SquareNut_g{number}" for number in range(5))
    support_m = TABLE_M
    receptacle = Receptacle("peg1", (0.0, 0.0, 0.1), 0.035)
    roles: Mapping[str, str] = {
        **Tabletop.roles,
        "height": "nut_height_m",
        "object_up": "object_up",
        "grip_x": "handle_x_m",
        "grip_y": "handle_y_m",
        "hand_object_distance": "gripper_handle_distance_m",
        "at_target": "on_peg",
        "target_distance": "nut_peg_distance_m",
    }

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset."""
        self.place_arm(qpos, rng)
        x, y = rng.uniform(PLACE_LOW_M, PLACE_HIGH_M)
        yaw = rng.uniform(0, 2 * np.pi)
        qpos[self._nut_qpos : self._nut_qpos + 7] = x, y, DROPPED_FROM_M, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What a robot with perfect sensors sees; see the class."""
        nut, peg = self._bodies
        rotation = data.xmat[nut]
        return {
            **self.hand(data),
            "nut_pos": data.xpos[nut].copy(),
            "nut_handle": rotation[0::3].copy(),
            "nut_up": rotation[2::3].copy(),
            "peg_pos": data.xpos[peg].copy(),
        }

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows: what all tables have, height, distances, yaw, depth and success.

        ``nut_peg_distance_m`` is horizontal; ``nut_peg_yaw_rad`` is modulo a quarter turn, in 0 .. pi/4; ``on_peg`` is
        robosuite's rule, ``peg_depth_m`` how far the hole is below the peg's top, 0 unless the peg is in it.
        """
        body, peg_body = self._bodies
        rise = np.array([0.0, 0.0, self.rise_m(data)])
        nut, peg, grip = (
            place - rise for place in (data.xpos[body], data.xpos[peg_body], data.site_xpos[self.grip_site])
        )
        rotation = data.xmat[body].reshape(3, 3)
        handle = nut + HANDLE_M * rotation[:, 0]
        distance = float(np.linalg.norm(nut - grip))
        on_peg = is_on_peg(nut, peg)
        return {
            **self.situation(data, nut, self.contacts(data)),
            "object_up": float(rotation[2, 2]),
            "nut_height_m": float(nut[2]) - TABLE_M,
            "handle_x_m": float(handle[0]),
            "handle_y_m": float(handle[1]),
            "gripper_handle_distance_m": float(np.linalg.norm(handle - grip)),
            "gripper_nut_distance_m": distance,
            "nut_peg_distance_m": float(np.hypot(*(nut - peg)[:2])),
            "nut_peg_yaw_rad": from_quarter(float(np.arctan2(rotation[1, 0], rotation[0, 0]))),
            "peg_depth_m": depth(nut, rotation, peg),
            "on_peg": float(on_peg),
            "success": float(on_peg and distance > AWAY_M),
        }

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself; a later one implies those before it."""
        if predicates["success"]:
            return 5
        if predicates["grasped"]:
            lifted = predicates["nut_height_m"] > LIFTED_M
            over = predicates["nut_peg_distance_m"] < OVER_M and predicates["nut_peg_yaw_rad"] < ALIGNED_RAD
            return 2 + int(lifted) + int(lifted and over)
        return int(predicates["gripper_handle_distance_m"] < REACHED_M)

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """Above the handle, down, close, up, over the peg, down, open, up; the last two alone once the nut is down.

        A nut that is crooked, as one that hangs on the peg's end, is picked up and dropped on the table first.  The arm
        cannot reach over the peg, so it puts the nut on with the handle towards the robot.
        """
        nut, peg, grip = observation["nut_pos"], observation["peg_pos"], observation["eef_pos"]
        hand = rotation_matrix(observation["eef_quat"])
        if is_on_peg(nut, peg) and nut[2] < TABLE_M + PLACED_M:
            return _letting_go(grip, hand)
        handle, up = observation["nut_handle"], observation["nut_up"]
        yaw, now = nut_yaw(handle, up), wrist_turn(closing_yaw(hand) - np.pi / 2)
        first, last = hand_turns(yaw, now)
        take = nut + GRIP_M * handle + GRIP_ABOVE_M * UP
        above = np.array([take[0], take[1], max(OVER_PEGS_M, take[2] + 0.03)])
        grasp, crooked = pointing_down(first + np.pi / 2), bool(abs(up[2]) < LEVEL)
        towards = pointing_down(now + np.clip(first - now, -TURN_RAD, TURN_RAD) + np.pi / 2)
        held = take - nut
        if np.linalg.norm(grip - take) < REACHED_M:
            held = grip - nut  # the nut stays where it is in the fingers
            if crooked and abs(hand[:, 0] @ handle) < np.sin(ALIGNED_RAD):
                grasp = hand  # which tilts with it
        gripped = (
            Keyframe("reach", above, towards, closed=False, tolerance_m=0.02),
            Keyframe("reach", take, grasp, closed=False, tolerance_m=0.01),
            Keyframe("grasp", take, grasp, closed=True, tolerance_m=0.01),
        )
        if crooked:
            return gripped + _dropped(nut, up, held, grasp)
        turn = float(np.clip(last - first, -TURN_RAD, TURN_RAD))
        carried = about(UP, turn) @ held
        over = np.array([peg[0], peg[1], HIGH_M]) + carried
        low = np.array([peg[0], peg[1], TABLE_M + 0.02]) + carried
        rotation = pointing_down(first + turn + np.pi / 2)
        lifted = np.array([nut[0], nut[1], HIGH_M]) + held
        return (
            *gripped,
            Keyframe("lift", lifted, grasp, closed=True, tolerance_m=0.01),
            Keyframe("align", over, rotation, closed=True, tolerance_m=0.002),
            Keyframe("insert", low, rotation, closed=True, tolerance_m=0.01),
            *_letting_go(low, rotation),
        )

    def relabelled(self, goal: str, observation: Observation) -> dict[str, Array]:
        """The round peg, which the nut goes over too, seen as the one to put it over."""
        away = self.model.body("peg2").pos - self.model.body("peg1").pos
        return {**observation, "peg_pos": observation["peg_pos"] + away}

    @functools.cached_property
    def _nut_qpos(self) -> int:
        return int(self.qpos_of([self.object_joint])[0])

    @functools.cached_property
    def _bodies(self) -> tuple[int, int]:
        """Indices of the bodies of the nut and of its peg."""
        return int(self.model.body(self.object_body).id), int(self.model.body("peg1").id)


def is_on_peg(nut_m: Array, peg_m: Array) -> bool:
    """Robosuite's ``on_peg``: whether the nut's centre (3,) is near enough to the peg's axis and low enough."""
    x, y = np.abs(nut_m - peg_m)[:2]
    return bool(x < ON_PEG_M and y < ON_PEG_M and nut_m[2] < TABLE_M + DOWN_M)


def from_quarter(yaw_rad: float) -> float:
    """Angle in 0 .. pi/4 rad between a yaw and the nearest multiple of a quarter turn."""
    return float(abs(yaw_rad - np.round(yaw_rad / (np.pi / 2)) * np.pi / 2))


def depth(nut_m: Array, rotation: Array, peg_m: Array) -> float:
    """How much of the peg, in metres along its axis, stands out above the nut's middle plane; 0 unless in the hole."""
    across, down = nut_m[:2] - peg_m[:2], rotation[2, 2]
    if abs(down) < 0.1:
        return 0.0
    meets = np.array([-across[0], -across[1], across @ rotation[:2, 2] / down])  # peg's axis and the plane, from centre
    inside = np.all(np.abs(meets @ rotation[:, :2]) < HOLE_M)
    return max(PEG_TOP_M - float(nut_m[2] + meets[2]), 0.0) if inside else 0.0


def wrist_turn(yaw_rad: float) -> float:
    """Yaw as the turn of the hand from its start that the wrist can do."""
    return float((yaw_rad - WRIST_LOW_RAD) % (2 * np.pi) + WRIST_LOW_RAD)


def nut_yaw(handle: Array, up: Array) -> float:
    """Yaw of the handle, or, of a nut whose handle points up or down, the one that it has once it is levelled."""
    side = np.sign(up[2]) * np.cross(up, handle)
    if np.hypot(side[0], side[1]) > np.hypot(handle[0], handle[1]):
        return float(np.arctan2(-side[0], side[1]))
    return float(np.arctan2(handle[1], handle[0]))


def hand_turns(yaw_rad: float, now_rad: float) -> tuple[float, float]:
    """The hand's turns from its start where it grasps and where the handle points to the robot's base.

    Of the two ways to close on the handle, the one with less turning from now to the end.
    """
    ways = [(wrist_turn(yaw_rad - np.pi), 0.0), (wrist_turn(yaw_rad), np.pi)]
    return min(ways, key=lambda way: abs(way[0] - now_rad) + abs(way[1] - way[0]))


def _dropped(nut_m: Array, up: Array, held_m: Array, hand: Array) -> tuple[Keyframe, ...]:
    """Up, aside, the hand tilted so that the nut does not stand on its edge, and let go: it lies flat."""
    raised = np.array([nut_m[0], nut_m[1], HIGH_M + FRAME_M]) + held_m
    aside = np.array([ASIDE_M[0], ASIDE_M[1], HIGH_M + FRAME_M]) + held_m
    axis = np.cross(up, np.sign(up[2]) * UP) / np.hypot(up[0], up[1])
    rotation = about(axis, TILT_RAD) @ hand if -hand[2, 2] > np.cos(TILT_RAD) else hand
    return (
        Keyframe("lift", raised, hand, closed=True, tolerance_m=0.01),
        Keyframe("lift", aside, rotation, closed=True, tolerance_m=0.01),
        Keyframe("lift", aside, rotation, closed=False, tolerance_m=0.01),
    )


def _letting_go(grip_m: Array, rotation: Array) -> tuple[Keyframe, ...]:
    """Open the fingers where they are, then straight up."""
    return (
        Keyframe("insert", grip_m.copy(), rotation, closed=False, tolerance_m=0.01),
        Keyframe("insert", grip_m + 0.1 * UP, rotation, closed=False, tolerance_m=0.02),
    )
