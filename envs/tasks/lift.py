"""Lift: robosuite's first task, one Panda that lifts one cube off a table (Zhu et al., arXiv 2009.12293, 2020)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

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

LIFTED_M = 0.04
"""Height of the cube's centre above the table that counts as lifted (robosuite's ``Lift._check_success``)."""
REACHED_M = 0.03
"""Distance of the grip site from the cube's centre that counts as reached."""
HALF_SIZE_M = (0.020, 0.022)
SPREAD_M = 0.03
DENSITY_KG_M3 = 1000.0


class Lift(Tabletop):
    """Lift the red cube; scene, controller and success are those of robosuite 1.5.1's ``Lift`` with a Panda.

    What varies per episode, drawn as robosuite draws it: the cube's half lengths (0.020 .. 0.022 m each), its place
    (x and y within 0.03 m of the table's centre, dropped from 0.01 m) and yaw (0 .. 2 pi), and the arm's joints
    (normal, 0.02 rad).

    Observation, world frame: ``eef_pos`` grip site in metres; ``eef_quat`` (x, y, z, w) grip site, of the sign nearer
    to pointing straight down; ``gripper_qpos`` finger joints in metres; ``cube_pos`` centre in metres; ``cube_yaw``
    (cos 4 psi, sin 4 psi), since a cube looks the same after a quarter turn.
    """

    name = "lift"
    environment = "Lift"
    instruction = "lift the red cube"
    wording = wordings.LIFT
    stages = ("reach", "grasp", "lift")
    deadline = 100
    observation_sizes: Mapping[str, int] = {
        **HAND_SIZES,
        "cube_pos": 3,
        "cube_yaw": 2,
    }

    object_body = "cube_main"
    """Body that is manipulated, for perturbations; with its joint and geometries."""
    object_joint = "cube_joint0"
    object_geoms = ("cube_g0",)
    roles: Mapping[str, str] = {
        **Tabletop.roles,
        "height": "cube_height_m",
        "object_up": "object_up",
        "hand_object_distance": "gripper_cube_distance_m",
    }

    def edit(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Draw the cube's size."""
        low, high = HALF_SIZE_M
        self.resize(model, rng.uniform(low, high, size=3))

    def resize(self, model: mujoco.MjModel, half_size_m: Array) -> None:
        """Give the cube half lengths (3,), with the mass, inertia and bounds that MuJoCo's compiler would compute."""
        body = model.body(self.object_body).id
        first = model.body_geomadr[body]
        for geom in range(first, first + model.body_geomnum[body]):  # a visual twin, where there is one, too
            model.geom_size[geom] = half_size_m
            model.geom_rbound[geom] = np.sqrt(np.sum(half_size_m**2))
            model.geom_aabb[geom, 3:] = half_size_m
        model.bvh_aabb[model.body_bvhadr[body], 3:] = half_size_m
        x, y, z = half_size_m
        mass = DENSITY_KG_M3 * (8 * x * y * z)  # in the compiler's order, so that nothing is rounded otherwise
        model.body_mass[body] = mass
        model.body_inertia[body] = [mass * (y * y + z * z) / 3, mass * (x * x + z * z) / 3, mass * (x * x + y * y) / 3]

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset."""
        self.place_arm(qpos, rng)
        x, y = rng.uniform(-SPREAD_M, SPREAD_M, size=2)
        yaw = rng.uniform(0, 2 * np.pi)
        qpos[self._cube_qpos : self._cube_qpos + 7] = dropped(x, y, model.geom_size[self._cube_geom][2], yaw)

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What a robot with perfect sensors sees; see the class."""
        from workbench.envs.sensors.observations import quarter_yaw

        body = self._cube
        return {
            **self.hand(data),
            "cube_pos": data.xpos[body].copy(),
            "cube_yaw": quarter_yaw(data.xmat[body]),
        }

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows: what all tables have, height, distance and success."""
        site, body = self.grip_site, self._cube
        cube, grip = data.xpos[body], data.site_xpos[site]
        height = float(cube[2]) - TABLE_M - self.rise_m(data)
        offset = cube - grip
        return {
            **self.situation(data, cube, self.contacts(data)),
            "object_up": float(data.xmat[body, 8]),
            "cube_height_m": height,
            "gripper_cube_distance_m": float(np.sqrt(offset.dot(offset))),
            "success": float(height > LIFTED_M),
        }

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself; a later one implies those before it."""
        if predicates["success"]:
            return 3
        if predicates["grasped"]:
            return 2
        return int(predicates["gripper_cube_distance_m"] < REACHED_M)

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """Above the cube, down to it, close, lift: the gripper upright and turned to the nearest pair of faces."""
        cube = observation["cube_pos"]
        now = closing_yaw(rotation_matrix(observation["eef_quat"]))
        rotation = pointing_down(face_yaw(observation["cube_yaw"], now))
        above = np.array([cube[0], cube[1], cube[2] + 0.08])
        lifted = np.array([cube[0], cube[1], TABLE_M + 0.12])
        return (
            Keyframe("reach", above, rotation, closed=False, tolerance_m=0.02),
            Keyframe("reach", cube.copy(), rotation, closed=False, tolerance_m=0.01),
            Keyframe("grasp", cube.copy(), rotation, closed=True, tolerance_m=0.01),
            Keyframe("lift", lifted, rotation, closed=True, tolerance_m=0.02),
        )

    @functools.cached_property
    def _cube_qpos(self) -> int:
        return int(self.qpos_of([self.object_joint])[0])

    @functools.cached_property
    def _cube(self) -> int:
        """Index of the cube's body."""
        return int(self.model.body(self.object_body).id)

    @functools.cached_property
    def _cube_geom(self) -> int:
        return int(self.model.geom(self.object_geoms[0]).id)
