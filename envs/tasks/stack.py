"""Stack: robosuite's task of putting one cube on another (Zhu et al., arXiv 2009.12293, 2020), with one Panda."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.envs.task import Receptacle
from workbench.envs.tasks.shared.tabletop import (
    HAND_SIZES,
    TABLE_M,
    Tabletop,
    closing_yaw,
    dropped,
    face_yaw,
    pointing_down,
)
from workbench.envs.words import wordings
from workbench.types import Array, Keyframe, Observation
from workbench.types.rotations import rotation_matrix

if TYPE_CHECKING:
    import mujoco

HALF_A_M, HALF_B_M = 0.02, 0.025
"""Half lengths of the two cubes; robosuite's bounds of their sizes coincide, so they do not vary."""
LIFTED_M = 0.04
"""Height of cube A's centre above the table that counts as lifted (robosuite's ``Stack.staged_rewards``)."""
REACHED_M = 0.03
"""Distance of the grip site from cube A's centre that counts as reached."""
OVER_M = 0.025
"""Horizontal distance of the centres within which A stands on B and does not topple: B's half length."""
SPREAD_M = 0.08
CLEAR_M = 0.05
"""How far above its place A is carried."""
PLACED_M = 0.004
"""Gap between the cubes below which the fingers let go."""
CROWDED_M = 0.12
"""Distance of the cubes below which an open finger might come down on B."""


class Stack(Tabletop):
    """Put the red cube A on the green cube B; scene, controller and success are those of robosuite 1.5.1's ``Stack``.

    What varies per episode, drawn as robosuite draws it: the place of each cube (x and y within 0.08 m of the table's
    centre, dropped from 0.01 m; B is drawn again until the circles around both are apart), its yaw (0 .. 2 pi), and
    the arm's joints (normal, 0.02 rad).  The half lengths, 0.020 m and 0.025 m, do not vary.

    Observation, world frame: ``eef_pos``, ``eef_quat``, ``gripper_qpos``, ``cube_a_pos`` and ``cube_a_yaw`` as in
    :class:`workbench.envs.tasks.lift.Lift`; ``cube_b_pos`` and ``cube_b_yaw`` in the same way.
    """

    name = "stack"
    environment = "Stack"
    instruction = "put the red cube on the green cube"
    goals: Mapping[str, str] = {"red_on_green": instruction, "green_on_red": "put the green cube on the red cube"}
    goals_of_another_object = frozenset({"green_on_red"})
    wording = wordings.STACK
    stages = ("reach", "grasp", "lift", "place", "release")
    deadline = 120
    observation_sizes: Mapping[str, int] = {
        **HAND_SIZES,
        "cube_a_pos": 3,
        "cube_a_yaw": 2,
        "cube_b_pos": 3,
        "cube_b_yaw": 2,
    }

    object_body = "cubeA_main"
    """Body that is manipulated, for perturbations; with its joint and geometries."""
    object_joint = "cubeA_joint0"
    object_geoms = ("cubeA_g0",)
    receptacle = Receptacle("cubeB_main", (0.0, 0.0, HALF_B_M), 0.02)
    other_geoms = ("cubeB_g0",)
    roles: Mapping[str, str] = {
        **Tabletop.roles,
        "height": "cube_a_height_m",
        "object_up": "object_up",
        "hand_object_distance": "gripper_cube_distance_m",
        "other_held": "other_grasped",
        "at_target": "on_b",
        "target_distance": "cubes_horizontal_distance_m",
    }

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset."""
        self.place_arm(qpos, rng)
        apart = np.sqrt(2) * (HALF_A_M + HALF_B_M)
        first = second = rng.uniform(-SPREAD_M, SPREAD_M, size=2)
        while np.hypot(*(second - first)) <= apart:
            second = rng.uniform(-SPREAD_M, SPREAD_M, size=2)
        for address, (x, y), half in zip(self._cube_qpos, (first, second), (HALF_A_M, HALF_B_M), strict=True):
            qpos[address : address + 7] = dropped(x, y, half, rng.uniform(0, 2 * np.pi))

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What a robot with perfect sensors sees; see the class."""
        from workbench.envs.sensors.observations import quarter_yaw

        a, b = self._cubes
        return {
            **self.hand(data),
            "cube_a_pos": data.xpos[a].copy(),
            "cube_a_yaw": quarter_yaw(data.xmat[a]),
            "cube_b_pos": data.xpos[b].copy(),
            "cube_b_yaw": quarter_yaw(data.xmat[b]),
        }

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows: what all tables have, contacts with B, heights, distances and success.

        ``on_b`` is robosuite's success but for the fingers, which may still hold A.
        """
        from workbench.envs.sensors.observations import OBJECT_ON_OTHER, other_grasped

        found = self.contacts(data)
        situation = self.situation(data, data.xpos[self._cubes[0]], found)
        together = found & OBJECT_ON_OTHER > 0
        a, b = (data.xpos[body] for body in self._cubes)
        rise = self.rise_m(data)
        height = float(a[2]) - TABLE_M - rise
        on_b = together and height > LIFTED_M
        across, offset = a[:2] - b[:2], a - data.site_xpos[self.grip_site]
        return {
            **situation,
            "object_up": float(data.xmat[self._cubes[0], 8]),
            "other_grasped": float(other_grasped(found)),
            "cubes_contact": float(together),
            "cube_a_height_m": height,
            "cube_b_height_m": float(b[2]) - TABLE_M - rise,
            "cubes_horizontal_distance_m": float(np.sqrt(across.dot(across))),
            "gripper_cube_distance_m": float(np.sqrt(offset.dot(offset))),
            "on_b": float(on_b),
            "success": float(on_b and not situation["grasped"]),
        }

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself; a later one implies those before it."""
        lifted = predicates["cube_a_height_m"] > LIFTED_M
        if predicates["success"]:
            return 5
        if lifted and predicates["cubes_contact"] and predicates["cubes_horizontal_distance_m"] < OVER_M:
            return 4
        if predicates["grasped"]:
            return 3 if lifted else 2
        return int(predicates["gripper_cube_distance_m"] < REACHED_M)

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """Above A, down, close, up, over B, down, open, away; only letting go and away once A stands on B.

        What is carried keeps its place in the fingers, so the gripper's goals are shifted by how it is held.
        """
        a, b, grip = observation["cube_a_pos"], observation["cube_b_pos"], observation["eef_pos"]
        on_b = b + np.array([0.0, 0.0, HALF_A_M + HALF_B_M])
        now = rotation_matrix(observation["eef_quat"])
        if a[2] - on_b[2] < PLACED_M and np.hypot(*(a - on_b)[:2]) < OVER_M and a[2] > TABLE_M + LIFTED_M:
            return _release(grip, now)
        rotation = pointing_down(_grasp_yaw(observation, closing_yaw(now)))
        held = grip - a if np.sqrt((grip - a).dot(grip - a)) < REACHED_M else np.zeros(3)
        up = np.array([0.0, 0.0, CLEAR_M])
        over = on_b + up + held
        placed = on_b + held
        lifted = np.array([a[0] + held[0], a[1] + held[1], over[2]])
        return (
            Keyframe("reach", a + np.array([0.0, 0.0, 0.08]), rotation, closed=False, tolerance_m=0.02),
            Keyframe("reach", a.copy(), rotation, closed=False, tolerance_m=0.01),
            Keyframe("grasp", a.copy(), rotation, closed=True, tolerance_m=0.01),
            Keyframe("lift", lifted, rotation, closed=True, tolerance_m=0.01),
            Keyframe("place", over, rotation, closed=True, tolerance_m=0.004),
            Keyframe("place", placed, rotation, closed=True, tolerance_m=0.001),
            *_release(placed, rotation),
        )

    def relabelled(self, goal: str, observation: Observation) -> dict[str, Array]:
        """A seen where B is and B where A is."""
        other = {"cube_a_pos": "cube_b_pos", "cube_a_yaw": "cube_b_yaw"}
        other |= {b: a for a, b in other.items()}
        return {name: observation[other.get(name, name)] for name in observation}

    def whereabouts(self, observation: Observation) -> Mapping[str, str]:
        """Where A and B lie as the robot sees them, which looks along the world's x axis: the one where they differ."""
        x, y, _ = observation["cube_a_pos"] - observation["cube_b_pos"]
        a, b = ("left", "right") if y > 0 else ("right", "left")
        if abs(x) > abs(y):
            a, b = ("far", "near") if x > 0 else ("near", "far")
        return {"object": a, "target": b}

    @functools.cached_property
    def _cube_qpos(self) -> Array:
        return self.qpos_of((self.object_joint, "cubeB_joint0"))

    @functools.cached_property
    def _cubes(self) -> tuple[int, int]:
        """Indices of the bodies of A and B."""
        return int(self.model.body(self.object_body).id), int(self.model.body("cubeB_main").id)


def _release(position_m: Array, rotation: Array) -> tuple[Keyframe, Keyframe]:
    """Open the fingers at a place, then straight up."""
    away = position_m + np.array([0.0, 0.0, 0.08])
    return (
        Keyframe("release", position_m.copy(), rotation, closed=False, tolerance_m=0.01),
        Keyframe("release", away, rotation, closed=False, tolerance_m=0.02),
    )


def _grasp_yaw(observation: Observation, now_rad: float) -> float:
    """Yaw of the nearest pair of A's faces, or of the pair that leaves B between no fingers where B is close."""
    yaw = face_yaw(observation["cube_a_yaw"], now_rad)
    way = (observation["cube_b_pos"] - observation["cube_a_pos"])[:2]
    beside = abs(observation["cube_b_pos"][2] - observation["cube_a_pos"][2]) < HALF_A_M
    if not beside or np.hypot(*way) > CROWDED_M:
        return yaw
    towards = abs(way @ [np.cos(yaw), np.sin(yaw)])
    across = abs(way @ [-np.sin(yaw), np.cos(yaw)])
    if towards <= across:
        return yaw
    return yaw + np.pi / 2 if now_rad > yaw else yaw - np.pi / 2
