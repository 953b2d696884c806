"""Blocks: one Panda and three coloured cubes, of which one is to be lifted, pushed or stacked, as an instruction says.

Several instructions in one scene are what a policy that listens is trained and tested on, as in CALVIN (Mees et al.,
RA-L 2022) and LIBERO (Liu et al., NeurIPS 2023); the geometry here is easy on purpose, so that a small network on a
few cores can learn it from images.
"""

from __future__ import annotations

import dataclasses
import functools
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from workbench.errors import UnknownNameError
from workbench.types import Array, Keyframe, Observation
from workbench.types.rotations import rotation_matrix

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.robots.robosuite import RobotCell
    from workbench.types.robot import Robot

COLOURS: Mapping[str, str] = {"red": "0.85 0.05 0.05 1", "green": "0.05 0.6 0.1 1", "blue": "0.05 0.15 0.85 1"}
"""Cube -> how it is painted; their order is that of the observation."""
HALF_M = 0.0225
"""Half length of every cube; it does not vary."""
LANES_M = (-0.085, 0.0, 0.085)
"""Places in x, one for each cube: a cube that is pushed along y meets no other, nor do fingers that close along y."""
BESIDE_LANE_M = 0.012
SPREAD_M = (-0.08, 0.04)
"""Where a cube starts in y, the robot's right and left."""
YAW_RAD = 0.25
LIFTED_M = 0.13
"""Height of a cube's centre above the table that counts as lifted: more than it takes to stack."""
LEFT_M = 0.1
"""Place in y beyond which a cube lies on the left."""
LYING_M = 0.01
"""Height of a cube's centre off where it has it on the table, below which it lies there."""
STACKED_M = 0.005
"""The same for a cube that stands on another."""
REACHED_M = 0.03
"""Distance of the grip site from where it takes or pushes a cube that counts as reached."""
CLEAR_M = 0.03
"""How far above its place a cube is carried."""
PLACED_M = 0.004
"""Gap between the cubes below which the fingers let go."""
BESIDE_M = 0.095
"""Distance in y of the grip site from the centre of a cube beside which the hand comes down, its fingers open."""
PUSHED_M = 0.1
"""Where in y the hand that pushes goes at the most: the cube in front of it is then well on the left."""
AHEAD_M = 0.03
"""How far ahead of the hand its goal lies while it pushes: slowly, so that the fingers are not jolted."""
APART_M = 0.066
"""Distance of two cubes' centres at which they do not touch however they are turned."""

AGENTVIEW_DEG = "33"
"""Vertical field of view of the camera ``agentview``: robosuite's 45 make a cube 5 of 64 pixels wide."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """What can be asked for.

    Attributes
    ----------
    verb : ``lift``, ``push`` or ``stack``.
    cube : the cube that is handled.
    onto : the cube that it is stacked on.
    """

    verb: str
    cube: str
    onto: str = ""

    @property
    def instruction(self) -> str:
        """As it is told."""
        where = {"lift": "", "push": " to the left", "stack": f" on the {self.onto} cube"}[self.verb]
        return f"{self.verb} the {self.cube} cube{where}"


GOALS: Mapping[str, Goal] = {
    **{f"lift_{cube}": Goal("lift", cube) for cube in COLOURS},
    **{f"push_{cube}_left": Goal("push", cube) for cube in COLOURS},
    "stack_red_on_green": Goal("stack", "red", "green"),
}
"""Name -> goal, in the order of the observation ``goal``."""


class Blocks(Tabletop):
    """Do with a red, a green and a blue cube what the episode's instruction says; robosuite 1.5.1's table and Panda.

    The goal is drawn for each episode, uniformly from :data:`GOALS`: lift a cube 0.1 m off the table, push one to the
    robot's left until its centre is beyond y = 0.1 m, or stack the red one on the green one and let go.  Success,
    stages, object and plan are those of the drawn goal; the predicates ``did_<goal>`` say of every goal whether it is
    fulfilled now, whichever was asked for.

    What varies per episode: the goal; which cube lies in which lane (x = -0.085, 0 or 0.085 m within 0.012 m), its
    place along it (y in -0.08 .. 0.04 m, dropped from 0.01 m) and yaw (within 0.25 rad); the arm's joints (normal,
    0.02 rad).

    Observation, world frame: ``eef_pos``, ``eef_quat``, ``gripper_qpos`` as in
    :class:`workbench.envs.tasks.lift.Lift`; ``<colour>_pos`` centre in metres and ``<colour>_yaw`` (cos 4 psi,
    sin 4 psi) of each cube; ``goal`` (7,) one at the place of the episode's goal in :data:`GOALS`, for who cannot read.

    Parameters
    ----------
    controller, out_of_range, cameras : see :class:`workbench.envs.tasks.shared.tabletop.Tabletop`.
    goal : the goal of all episodes; None to draw each one's.
    """

    name = "blocks"
    environment = "Lift"
    stages = ("reach", "touch", "finish")
    deadline = 100
    observation_sizes: Mapping[str, int] = {
        **HAND_SIZES,
        **{f"{colour}_{what}": size for colour in COLOURS for what, size in (("pos", 3), ("yaw", 2))},
        "goal": len(GOALS),
    }

    def __init__(
        self,
        controller: str = "osc_pose",
        goal: str | None = None,
        out_of_range: str = "clip",
        cameras: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(controller, out_of_range, cameras)
        if goal is not None and goal not in GOALS:
            raise UnknownNameError("task.goal", goal, GOALS)
        self.is_drawn = goal is None
        self.goal = next(iter(GOALS)) if goal is None else goal
        self.asked = GOALS[self.goal]
        self.instruction = self.asked.instruction
        self.wording = wordings.BLOCKS[self.goal]
        cube = self.asked.cube
        self.object_body, self.object_joint, self.object_geoms = body_of(cube), joint_of(cube), (geom_of(cube),)
        self.other_geoms = tuple(geom_of(colour) for colour in COLOURS if colour != cube)
        self.goals_of_another_object = frozenset(name for name, goal in GOALS.items() if goal.cube != cube)
        if self.asked.onto:
            self.receptacle = Receptacle(body_of(self.asked.onto), (0.0, 0.0, HALF_M), HALF_M)

    @property
    def goals(self) -> Mapping[str, str]:
        """Name -> instruction; the episode's own, or where none is drawn yet that of :attr:`goal`, is the first."""
        order = sorted(GOALS, key=lambda name: name != self.goal)  # stable
        return {name: GOALS[name].instruction for name in order}

    @functools.cached_property
    def variants(self) -> Sequence[Blocks]:
        """The task with each of the goals that an episode may have."""
        if not self.is_drawn:
            return (self,)
        variants = [Blocks(self.action_meaning, goal, self.out_of_range) for goal in GOALS]
        for each in variants:
            each.cameras = self.cameras
        return variants

    @functools.cached_property
    def roles(self) -> Mapping[str, str]:  # type: ignore[override]  # of each goal's own
        """Parts of the predicates.

        What is to be pushed can be neither knocked nor missed in grasping, and only what is put down be misplaced.
        """
        roles = {
            **Tabletop.roles,
            "height": "object_height_m",
            "grip_x": "grip_x_m",
            "grip_y": "grip_y_m",
            "other_held": "other_handled",
        }
        if self.asked.verb != "push":
            roles |= {"object_up": "object_up", "hand_object_distance": "gripper_object_distance_m"}
        if self.asked.verb == "stack":
            roles |= {"at_target": "at_target", "target_distance": "target_distance_m"}
        return roles

    @property
    def cell(self) -> RobotCell:
        """Lift's cell with three cubes in place of its one."""
        return _cell(self.robot, int(self.control_hz))

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset; where things are does not depend on the goal."""
        self.place_arm(qpos, rng)
        for address, lane in zip(self._cube_qpos, rng.permutation(LANES_M), strict=True):
            x, y, yaw = lane + rng.uniform(-BESIDE_LANE_M, BESIDE_LANE_M), rng.uniform(*SPREAD_M), rng.uniform(-1, 1)
            qpos[address : address + 7] = dropped(x, y, HALF_M, YAW_RAD * yaw)

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What a robot with perfect sensors sees; see the class."""
        from workbench.envs.sensors.observations import quarter_yaw

        seen = self.hand(data)
        for colour, body in self._cubes.items():
            seen[f"{colour}_pos"] = data.xpos[body].copy()
            seen[f"{colour}_yaw"] = quarter_yaw(data.xmat[body])
        return seen | {"goal": one_hot(self.goal)}

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows: what all tables have, which goals are fulfilled, and how near this one's object is.

        ``grip_x_m`` and ``grip_y_m`` are where the hand takes the object, or comes down beside it to push it.
        ``target_distance_m`` is what is missing: in height to be lifted, in y to be pushed, horizontally to be stacked.
        ``other_handled`` holds if another cube is in the fingers, or a goal of another cube is fulfilled.
        """
        from workbench.envs.sensors.observations import other_grasped, touching

        found = self.contacts(data)
        cubes = {colour: data.xpos[body] for colour, body in self._cubes.items()}
        cube, rise = cubes[self.asked.cube], self.rise_m(data)
        situation = self.situation(data, cube, found)
        touched = touching(data.contact.geom, self._finger_marks, 1, 2)
        at_target = {name: fulfilled(goal, cubes, rise) for name, goal in GOALS.items()}
        red_is_free = not (
            touching(data.contact.geom, self._red_marks, 1, 3) and touching(data.contact.geom, self._red_marks, 2, 3)
        )
        did = {name: at and (red_is_free or GOALS[name].verb != "stack") for name, at in at_target.items()}
        grip = cube - [0.0, BESIDE_M if self.asked.verb == "push" else 0.0, 0.0]
        offset = grip - data.site_xpos[self.grip_site]
        others = [did[name] for name in self.goals_of_another_object]
        return {
            **situation,
            "touched": float(touched),
            "object_up": float(data.xmat[self._cubes[self.asked.cube], 8]),
            "object_height_m": float(cube[2]) - TABLE_M - rise,
            "grip_x_m": float(grip[0]),
            "grip_y_m": float(grip[1]),
            "gripper_object_distance_m": float(np.sqrt(offset.dot(offset))),
            "target_distance_m": missing_m(self.asked, cubes, rise),
            "at_target": float(at_target[self.goal]),
            "other_handled": float(other_grasped(found) or any(others)),
            **{f"did_{name}": float(value) for name, value in did.items()},
            "success": float(did[self.goal]),
        }

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself; a later one implies those before it."""
        if predicates["success"]:
            return 3
        if predicates["touched" if self.asked.verb == "push" else "grasped"]:
            return 2
        return int(predicates["gripper_object_distance_m"] < REACHED_M)

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """What the observation's ``goal`` asks for; the fingers close, or lie, along y: away from the other cubes."""
        goal = list(GOALS.values())[int(np.argmax(observation["goal"]))]
        cube, yaw = observation[f"{goal.cube}_pos"], observation[f"{goal.cube}_yaw"]
        now = rotation_matrix(observation["eef_quat"])
        across = np.copysign(np.pi / 2, np.sin(closing_yaw(now)))
        if goal.verb == "push":
            return _push(cube, observation["eef_pos"], pointing_down(across))
        rotation = pointing_down(face_yaw(yaw, across))
        if goal.verb == "lift":
            return (*_take(cube, rotation), Keyframe("finish", _over(cube, 0.17), rotation, True, tolerance_m=0.02))
        return _stack(cube, observation[f"{goal.onto}_pos"], observation["eef_pos"], now, rotation)

    def as_if(self, goal: str, observation: Observation) -> Observation:
        """The observation with another ``goal``."""
        if goal not in GOALS:
            raise UnknownNameError(f"goal of task {self.name}", goal, self.goals)
        return {**observation, "goal": np.broadcast_to(one_hot(goal), np.shape(observation["goal"])).copy()}

    def whereabouts(self, observation: Observation) -> Mapping[str, str]:
        """Which lanes the cubes lie in as the robot sees them, which looks along the world's x axis."""
        order = sorted(COLOURS, key=lambda colour: float(observation[f"{colour}_pos"][0]))
        lanes = dict(zip(order, ("nearest", "middle", "farthest"), strict=True))
        return {"object": lanes[self.asked.cube], "target": lanes.get(self.asked.onto, "")}

    def shift_m(self, data: mujoco.MjData, offset_m: Sequence[float]) -> Array:
        """As drawn, or turned by as little as keeps the object clear of the other cubes."""
        start = data.xpos[self._cubes[self.asked.cube]][:2]
        others = [data.xpos[body][:2] for colour, body in self._cubes.items() if colour != self.asked.cube]
        length, drawn = np.hypot(offset_m[0], offset_m[1]), np.arctan2(offset_m[1], offset_m[0])
        turns = sorted(np.linspace(-np.pi, np.pi, 73), key=abs)
        tried = [np.array(offset_m)] + [length * np.array([np.cos(drawn + t), np.sin(drawn + t)]) for t in turns[1:]]
        gaps = [min(float(np.hypot(*(start + shift - other))) for other in others) for shift in tried]
        return next(
            (shift for shift, gap in zip(tried, gaps, strict=True) if gap > APART_M), tried[int(np.argmax(gaps))]
        )

    @functools.cached_property
    def _cube_qpos(self) -> Array:
        return self.qpos_of([joint_of(colour) for colour in COLOURS])

    @functools.cached_property
    def _cubes(self) -> dict[str, int]:
        """Colour -> index of the cube's body."""
        return {colour: int(self.model.body(body_of(colour)).id) for colour in COLOURS}

    @functools.cached_property
    def _finger_marks(self) -> Array:
        """(geometries,) 1 for any part of the fingers, 2 for this goal's cube."""
        return self.marks_of(self.robot.contact_geoms, self.object_geoms)

    @functools.cached_property
    def _red_marks(self) -> Array:
        """(geometries,) 1 and 2 for the pads of the two fingers, 3 for the red cube."""
        return self.marks_of(self.cell.fingers.left_pads, self.cell.fingers.right_pads, [geom_of("red")])


def body_of(colour: str) -> str:
    """Name of a cube's body."""
    return f"{colour}_main"


def joint_of(colour: str) -> str:
    """Name of a cube's free joint."""
    return f"{colour}_joint0"


def geom_of(colour: str) -> str:
    """Name of a cube's geometry."""
    return f"{colour}_g0"


def one_hot(goal: str) -> Array:
    """(goals,) one at the place of a goal, zeros elsewhere."""
    return np.array([float(name == goal) for name in GOALS])


def fulfilled(goal: Goal, cubes: Mapping[str, Array], rise_m: float) -> bool:
    """Whether the cubes, centres (3,) in the world, lie as a goal asks, whoever holds them."""
    _, y, z = cubes[goal.cube]
    height = float(z) - TABLE_M - rise_m
    if goal.verb == "lift":
        return height > LIFTED_M
    if goal.verb == "push":
        return bool(y > LEFT_M and abs(height - HALF_M) < LYING_M)
    return _stands_on(cubes[goal.cube], cubes[goal.onto])


def missing_m(goal: Goal, cubes: Mapping[str, Array], rise_m: float) -> float:
    """How far a cube is from where a goal asks it to be, zero once it is there; see :meth:`Blocks.predicates`."""
    _, y, z = cubes[goal.cube]
    if goal.verb == "lift":
        return max(LIFTED_M - (float(z) - TABLE_M - rise_m), 0.0)
    if goal.verb == "push":
        return max(LEFT_M - float(y), 0.0)
    return float(np.hypot(*(cubes[goal.cube] - cubes[goal.onto])[:2]))


def _stands_on(top: Array, below: Array) -> bool:
    x, y, z = top - below
    return bool(abs(z - 2 * HALF_M) < STACKED_M and np.hypot(x, y) < HALF_M)


def _over(place: Array, height_m: float) -> Array:
    """(3,) above a place, so high above the table."""
    return np.array([place[0], place[1], TABLE_M + height_m])


def _take(cube: Array, rotation: Array) -> tuple[Keyframe, ...]:
    """Above the cube, down to it, close."""
    above = cube + np.array([0.0, 0.0, 0.08])
    return (
        Keyframe("reach", above, rotation, closed=False, tolerance_m=0.02),
        Keyframe("reach", cube.copy(), rotation, closed=False, tolerance_m=0.01),
        Keyframe("touch", cube.copy(), rotation, closed=True, tolerance_m=0.01),
    )


def _push(cube: Array, grip: Array, rotation: Array) -> tuple[Keyframe, ...]:
    """Beside the cube and above, down, close, and to the left, the closed fingers against it."""
    beside = np.array([cube[0], cube[1] - BESIDE_M, cube[2]])
    end = np.array(
        [cube[0], np.clip(grip[1] + AHEAD_M, beside[1] + AHEAD_M, max(PUSHED_M, beside[1] + AHEAD_M)), cube[2]]
    )
    return (
        Keyframe("reach", beside + np.array([0.0, 0.0, 0.08]), rotation, closed=False, tolerance_m=0.02),
        Keyframe("reach", beside, rotation, closed=False, tolerance_m=0.015),
        Keyframe("touch", beside.copy(), rotation, closed=True, tolerance_m=0.03),
        Keyframe("finish", end, rotation, closed=True, tolerance_m=0.02),
    )


def _stack(top: Array, below: Array, grip: Array, now: Array, rotation: Array) -> tuple[Keyframe, ...]:
    """Take one cube, carry it over another, put it down, let go, away; only the last two once it stands there.

    What is carried keeps its place in the fingers, so the gripper's goals are shifted by how it is held.
    """
    place = below + np.array([0.0, 0.0, 2 * HALF_M])
    off = top - place
    if off[2] < PLACED_M and np.hypot(off[0], off[1]) < HALF_M and top[2] > TABLE_M + 2 * HALF_M:
        return _let_go(grip, now)
    held = grip - top if np.sqrt((grip - top).dot(grip - top)) < REACHED_M else np.zeros(3)
    over = place + np.array([0.0, 0.0, CLEAR_M]) + held
    lifted = np.array([top[0] + held[0], top[1] + held[1], over[2]])
    return (
        *_take(top, rotation),
        Keyframe("finish", lifted, rotation, closed=True, tolerance_m=0.01),
        Keyframe("finish", over, rotation, closed=True, tolerance_m=0.004),
        Keyframe("finish", place + held, rotation, closed=True, tolerance_m=0.001),
        *_let_go(place + held, rotation),
    )


def _let_go(position_m: Array, rotation: Array) -> tuple[Keyframe, Keyframe]:
    """Open the fingers at a place, then straight up."""
    away = position_m + np.array([0.0, 0.0, 0.08])
    return (
        Keyframe("finish", position_m.copy(), rotation, closed=False, tolerance_m=0.01),
        Keyframe("finish", away, rotation, closed=False, tolerance_m=0.02),
    )


@functools.cache
def _cell(robot: Robot, control_hz: int) -> RobotCell:
    from workbench.envs.robots.robosuite import robot_cell

    lift = robot_cell("Lift", robot, control_hz)
    return dataclasses.replace(lift, xml=_with_cubes(lift.xml), visual_xml=_with_cubes(lift.visual_xml, visual=True))


def _with_cubes(xml: str, visual: bool = False) -> str:
    """Lift's MJCF with three cubes in place of its one; what there is to look at, if it is the visual one, too."""
    root = ET.fromstring(xml)
    for camera in root.iter("camera"):
        if camera.get("name") == "agentview":
            camera.set("fovy", AGENTVIEW_DEG)
    world = root.find("worldbody")
    assert world is not None
    world.remove(next(body for body in world.findall("body") if body.get("name") == "cube_main"))
    box = {"type": "box", "size": f"{HALF_M} {HALF_M} {HALF_M}"}
    solid = {"density": "1000", "friction": "1 0.005 0.0001", "solref": "0.02 1.0", "solimp": "0.9 0.95 0.001"}
    shown = {"contype": "0", "conaffinity": "0", "group": "1", "mass": "1e-8"}
    for number, (colour, rgba) in enumerate(COLOURS.items()):
        body = ET.SubElement(world, "body", name=body_of(colour), pos=f"{LANES_M[number]} 0 {TABLE_M + HALF_M}")
        ET.SubElement(body, "joint", type="free", name=joint_of(colour))
        ET.SubElement(body, "geom", box | solid, name=geom_of(colour), group="0", rgba=rgba)
        if visual:
            ET.SubElement(body, "geom", box | shown, name=f"{geom_of(colour)}_vis", rgba=rgba)
    return ET.tostring(root, encoding="unicode")
