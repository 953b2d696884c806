"""PushT: push a T onto its outline (Florence et al., CoRL 2021; Chi et al., *Diffusion Policy*, RSS 2023)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.envs.faults.props import parked, with_props
from workbench.envs.pushing.tee import ARENA_M, GOAL, RECTANGLES_M
from workbench.envs.robots.disc import DISC, DISC_M, FORCE_N, MASS_KG
from workbench.envs.task import SceneTask
from workbench.envs.words import wordings
from workbench.errors import ConfigError
from workbench.types import Array, Keyframe, Observation

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.stepper import Controller

HALF_HEIGHT_M = 0.015
"""Of everything on the table."""
PUSHER_SPREAD_M = (0.05, 0.45)
BLOCK_SPREAD_M = (0.1, 0.4)
REST_M = 1.5e-5
"""How deep a T at rest sinks into the table's soft contact."""
APART_M = 0.002
"""Gap between T and pusher, or T and wall, that a draw must leave at least."""
SUBSTEPS, TIMESTEP_S = 20, 0.005
ALIGNED, HALF_COVERED = 0.8, 0.5
MARGIN = 0.15
"""Part of what is not asked for of the goal's area that the plan wants covered nevertheless."""
SHIFT_TURNS_RAD = np.deg2rad([turn for size in range(0, 181, 15) for turn in (size, -size)])
_WALL, _PUSHER, _T = 0, 1, 2


class PushT(SceneTask):
    """Push the gray T onto the green one with a disc; coverage of the goal is the measure of success.

    Sizes, walls, goal pose and draws are those of the original, one pixel to a millimetre; what moves is MuJoCo's.  The
    T (0.085 kg, 0.03 m high) slides on the table with friction 0.8, so it comes to rest within 6 mm of being pushed at
    full speed; between disc and T friction is 0.5.  Between 0.67 N, at which the T begins to slide, and the 15 N of the
    motors there is enough to push it along a wall.

    Action (2,): displacement of the disc along the world's x and y within 0.1 s (1 = 0.025 m).

    What varies per episode: the disc's place (x and y in 0.05 .. 0.45 m), the T's place (0.1 .. 0.4 m) and yaw
    (-pi .. pi), drawn again while the T overlaps the disc or a wall.

    Observation, world frame: ``pusher_pos`` (2,) centre of the disc; ``block_pos`` (2,) middle of the outer edge of
    the T's bar, all in metres; ``block_yaw`` (cos, sin).

    Parameters
    ----------
    success_coverage : part of the goal's area that the T must cover, more than which is success.
    out_of_range, cameras : see :class:`workbench.envs.task.SceneTask`.
    """

    name = "push_t"
    instruction = "push the gray T onto the green T"
    wording = wordings.PUSH_T
    stages = ("reach", "push", "align", "cover")
    deadline = 300
    control_hz = 10.0
    action_size = 2
    action_groups: Mapping[str, tuple[int, int]] = {"position": (0, 2)}
    robot = DISC
    observation_sizes: Mapping[str, int] = {"pusher_pos": 2, "block_pos": 2, "block_yaw": 2}

    object_body = "block"
    """Body that is manipulated, for perturbations; with its joint and geometries."""
    object_joint = "block"
    object_geoms = ("bar", "stem")
    roles: Mapping[str, str] = {
        "success": "success",
        "hand_x": "pusher_x_m",
        "hand_y": "pusher_y_m",
        "object_x": "block_x_m",
        "object_y": "block_y_m",
        "obstructed": "obstructed",
    }

    def __init__(
        self,
        success_coverage: float = 0.95,
        out_of_range: str = "clip",
        cameras: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(out_of_range, cameras)
        if not HALF_COVERED < success_coverage < 1.0:
            raise ConfigError(f"success_coverage={success_coverage} is impossible: it must lie between 0.5 and 1")
        self.success_coverage = success_coverage

    @functools.cached_property
    def cell(self) -> PushTCell:
        """The T, the disc and their arena."""
        return PushTCell()

    def controller(self, model: mujoco.MjModel, data: mujoco.MjData) -> Controller:
        """A new controller for one scene."""
        from workbench.envs.controllers.planar import Planar

        return Planar(model, data, self.robot, SUBSTEPS)

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset."""
        pusher, pose = np.zeros(2), np.zeros(3)
        while not apart(pose, pusher):
            pusher = rng.uniform(*PUSHER_SPREAD_M, size=2)
            pose[:2] = rng.uniform(*BLOCK_SPREAD_M, size=2)
            pose[2] = rng.uniform(-np.pi, np.pi)
        qpos[self._pusher_qpos] = pusher
        x, y, yaw = pose
        block = self._block_qpos
        qpos[block : block + 7] = [x, y, -REST_M, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What a robot with perfect sensors sees; see the class."""
        pusher, block = self._bodies
        rotation = data.xmat[block]
        return {
            "pusher_pos": data.xpos[pusher][:2].copy(),
            "block_pos": data.xpos[block][:2].copy(),
            "block_yaw": np.array([rotation[0], rotation[3]]) / np.hypot(rotation[0], rotation[3]),
        }

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows: contact, coverage, places, distance and angle to the goal, and success.

        ``obstructed`` is whether the disc touches anything, T or wall.
        """
        from workbench.envs.pushing.coverage import coverage
        from workbench.envs.sensors.observations import touching

        pusher, block = self._bodies
        pairs, (pusher_x, pusher_y) = data.contact.geom, data.xpos[pusher, :2].tolist()
        touched = touching(pairs, self._marks, _PUSHER, _T)
        position, rotation = data.xpos[block], data.xmat[block]
        x, y, yaw = position[0], position[1], np.arctan2(rotation[3], rotation[0])
        covered = coverage(np.array([x, y, yaw]), GOAL)
        return {
            "contact": float(touched),
            "obstructed": float(touched or touching(pairs, self._marks, _PUSHER, _WALL)),
            "pusher_x_m": pusher_x,
            "pusher_y_m": pusher_y,
            "block_x_m": float(x),
            "block_y_m": float(y),
            "coverage": covered,
            "goal_distance_m": float(np.hypot(x - GOAL[0], y - GOAL[1])),
            "yaw_error_rad": float(abs((yaw - GOAL[2] + np.pi) % (2 * np.pi) - np.pi)),
            "success": float(covered > self.success_coverage),
        }

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself; a later one implies those before it."""
        if predicates["success"]:
            return 4
        if predicates["coverage"] > ALIGNED:
            return 3
        return 2 if predicates["coverage"] > HALF_COVERED else int(predicates["contact"])

    def shift_m(self, data: mujoco.MjData, offset_m: Sequence[float]) -> Array:
        """The drawn displacement (2,) of the T, turned by the least angle that leaves the T clear of walls and disc.

        Its length stays as drawn, so that no shift is a fault that does nothing.
        """
        pusher, block = self._bodies
        (x, y, _), rotation = data.xpos[block], data.xmat[block]
        yaw = np.arctan2(rotation[3], rotation[0])
        length, drawn_rad = np.hypot(offset_m[0], offset_m[1]), np.arctan2(offset_m[1], offset_m[0])
        for turn_rad in SHIFT_TURNS_RAD:
            across, along = length * np.cos(drawn_rad + turn_rad), length * np.sin(drawn_rad + turn_rad)
            if apart(np.array([x + across, y + along, yaw]), data.xpos[pusher]):
                return np.array([across, along])
        return np.zeros(2)  # walled in on all sides

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """Round the T to where the best push begins, and push; only the push once the disc is there.

        The first keyframe is the next control step's; a keyframe's position is the disc's centre.
        """
        from workbench.envs.pushing.coverage import coverage
        from workbench.envs.pushing.search import search, slowed

        cos, sin = observation["block_yaw"]
        pose = np.array([*observation["block_pos"], np.arctan2(sin, cos)])
        enough = self.success_coverage + MARGIN * (1.0 - self.success_coverage)
        pusher = np.array(observation["pusher_pos"], dtype=np.float64)
        begun, (following, start, end) = search(pose, pusher, GOAL, enough)
        covered = coverage(pose, GOAL)
        stage = self.stages[1 + int(covered > HALF_COVERED) + int(covered > ALIGNED)]
        if begun:
            return (_keyframe(stage, slowed(pusher, end)), _keyframe(stage, end))
        return (_keyframe("reach", following), _keyframe("reach", start), _keyframe(stage, end))

    @functools.cached_property
    def _pusher_qpos(self) -> Array:
        return self.qpos_of(self.robot.joints)

    @functools.cached_property
    def _block_qpos(self) -> int:
        return int(self.qpos_of((self.object_joint,))[0])

    @functools.cached_property
    def _bodies(self) -> tuple[int, int]:
        """Indices of the bodies of pusher and T."""
        return int(self.model.body(self.robot.hand_body).id), int(self.model.body(self.object_body).id)

    @functools.cached_property
    def _marks(self) -> Array:
        """(geometries,) which of them are the pusher and the T; of the rest, it touches the walls alone."""
        return self.marks_of(self.robot.contact_geoms, self.object_geoms)


def apart(pose: Array, pusher_m: Array) -> bool:
    """Whether a T at a pose (3,) is clear of the walls and of a disc at (2,)."""
    from workbench.envs.pushing.coverage import in_frame, nearest, outside

    gap_m = nearest(*in_frame(pose, pusher_m[0], pusher_m[1]))[0] - DISC_M
    return bool(gap_m > APART_M and outside(pose) < -APART_M)


def _keyframe(stage: str, place_m: Array) -> Keyframe:
    position = np.array([place_m[0], place_m[1], HALF_HEIGHT_M])
    return Keyframe(stage, position, np.eye(3), closed=False, tolerance_m=0.0015)


class PushTCell:
    """The model, which is the same for every episode; all of them are equal."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PushTCell)

    def __hash__(self) -> int:
        return hash(PushTCell)

    @property
    def digest(self) -> str:
        """Names the model by its MJCF."""
        return hashlib.sha256(mjcf().encode()).hexdigest()[:16]

    def compiled(self) -> mujoco.MjModel:
        """A new compiled model."""
        import mujoco

        return parked(mujoco.MjModel.from_xml_string(mjcf()))

    def compiled_visual(self) -> mujoco.MjModel:
        """The same: what is only looked at is a handful of boxes, and costs the physics nothing."""
        return self.compiled()


@functools.cache
def mjcf() -> str:
    """The model's description, with the props."""
    return with_props(_arena(), (ARENA_M / 2, ARENA_M / 2, HALF_HEIGHT_M))


def _arena() -> str:
    """The model's description without props.

    Only primitives whose contacts have closed forms: the T's boxes, planes that are walls however hard one pushes (they
    are seen as thin boxes), and a sphere at half the T's height, which at the T's upright sides acts as the disc that
    it is shown as.  Contacts: bit 1 is the T with the table, bit 2 T, disc and walls with one another.  The T's
    friction is its own against the table (the larger of two), the disc's against the disc (the higher priority), so
    that a perturbation of either reaches the contacts.
    """
    middle, half, height = ARENA_M / 2, ARENA_M / 2 + 0.01, HALF_HEIGHT_M
    goal, t = (
        [
            f'type="box" pos="{x} {y} {z}" size="{half_x} {half_y} {half_z}"'
            for x, y, half_x, half_y in RECTANGLES_M.tolist()
        ]
        for z, half_z in ((0.0005, 0.0004), (height, height))
    )
    walls, sides = [], []
    for number, (x, y) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
        place = f"{middle + x * middle} {middle + y * middle} 0"
        walls.append(f'<geom class="wall" pos="{place}" zaxis="{-x} {-y} 0"/>')
        side = f"{middle + x * (middle + 0.005)} {middle + y * (middle + 0.005)} {height}"
        size = f"{0.005 if x else half} {0.005 if y else half} {height}"
        sides.append(f'<geom name="side_{number}" class="seen" type="box" pos="{side}" size="{size}"/>')
    return f"""
<mujoco model="push_t">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP_S}" cone="elliptic" impratio="10" integrator="implicitfast"/>
  <size njmax="200"/>
  <visual>
    <global offwidth="640" offheight="640"/>
    <headlight ambient="0.4 0.4 0.4" diffuse="0.25 0.25 0.25" specular="0 0 0"/>
    <map znear="0.01"/>
  </visual>
  <default>
    <geom group="1" solref="0.01 1"/>
    <default class="seen"><geom contype="0" conaffinity="0" rgba="0.55 0.47 0.40 1"/></default>
    <default class="wall">
      <geom type="plane" size="{half} 0.1 0.01" group="3" contype="2" conaffinity="2" priority="2" friction="0.1"
        rgba="0 0 0 0"/>
    </default>
    <default class="goal"><geom contype="0" conaffinity="0" rgba="0.55 0.85 0.55 1"/></default>
    <default class="block">
      <geom contype="3" conaffinity="3" density="450" friction="0.8" rgba="0.47 0.53 0.60 1"/>
    </default>
    <default class="motor"><motor ctrlrange="-{FORCE_N:g} {FORCE_N:g}"/></default>
  </default>
  <worldbody>
    <light pos="{middle} {middle} 1.5" dir="0 0 -1" diffuse="0.25 0.25 0.25" castshadow="false"/>
    <camera name="agentview" pos="{middle} {middle} 1.2" xyaxes="1 0 0 0 1 0" fovy="25"/>
    <camera name="sideview" pos="{middle} -0.45 0.55" xyaxes="1 0 0 0 0.62 0.78" fovy="42"/>
    <geom name="table" type="plane" pos="{middle} {middle} 0" size="{half} {half} 0.01" contype="1" conaffinity="1"
      friction="0.001" rgba="0.95 0.94 0.92 1"/>
    {"".join(walls)}
    {"".join(sides)}
    <body name="goal" pos="{GOAL[0]} {GOAL[1]} 0" euler="0 0 {GOAL[2]}">
      <geom name="goal_bar" class="goal" {goal[0]}/>
      <geom name="goal_stem" class="goal" {goal[1]}/>
    </body>
    <body name="block">
      <freejoint name="block"/>
      <geom name="bar" class="block" {t[0]}/>
      <geom name="stem" class="block" {t[1]}/>
    </body>
    <body name="pusher" pos="0 0 {height}">
      <inertial pos="0 0 0" mass="{MASS_KG:g}" diaginertia="1e-4 1e-4 1e-4"/>
      <joint name="pusher_x" type="slide" axis="1 0 0"/>
      <joint name="pusher_y" type="slide" axis="0 1 0"/>
      <geom name="pusher" type="sphere" size="{DISC_M}" group="3" contype="2" conaffinity="2" priority="1"
        friction="0.5"/>
      <geom name="disc" class="seen" type="cylinder" size="{DISC_M} {height}" rgba="0.25 0.41 0.88 1"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="pusher_x" class="motor" joint="pusher_x"/>
    <motor name="pusher_y" class="motor" joint="pusher_y"/>
  </actuator>
</mujoco>
"""
