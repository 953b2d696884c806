"""PegInsertion: one Panda puts a square peg into a tight square hole, with its wrist's force and torque to go by.

Peg in hole is the task on which assembly by trial and error and recovery skills are studied.  Clearances in use reach
from 3 mm (PegInsertionSide of ManiSkill2, Gu et al., ICLR 2023) to 0.1 mm (Wilson and Pham, arXiv 2003.03047, 2020).
"""

from __future__ import annotations

import dataclasses
import functools
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.envs.task import Receptacle
from workbench.envs.tasks.shared.tabletop import HAND_SIZES, TABLE_M, Tabletop, closing_yaw, face_yaw, pointing_down
from workbench.envs.words import wordings
from workbench.errors import ConfigError
from workbench.types import Array, Keyframe, Observation
from workbench.types.rotations import rotation_matrix

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.robots.robosuite import RobotCell

PEG_HALF_M = np.array([0.01, 0.01, 0.05])
"""Half lengths of the peg; its third axis is the one along which it goes in."""
PEG_DENSITY_KG_M3 = 7850.0
"""Steel: 0.314 kg, 3.1 N."""
CLEARANCE_M = (0.0002, 0.005)
"""Gaps on each side that can be asked for; pressed with 50 N, board and peg give by 0.00005 m (a test measures it)."""
BOARD_HALF_M = 0.045
HOLE_DEPTH_M = 0.04
"""Thickness of the board: the hole goes through it, down to the table, and has no chamfer."""
BOARD = {
    "type": "box",
    "priority": "1",  # what touches the board does so with these numbers, whatever its own
    "friction": "0.3 0.005 0.0001",  # that of smooth metal
    "solref": "0.004 1",  # two physics steps: the stiffest that MuJoCo allows
    "solimp": "0.95 0.99 0.0001",
}
INSERTED = 0.9
"""Part of the hole's depth from which the peg counts as inserted."""
GRIP_ABOVE_M = 0.02
"""How far above the peg's centre it is taken hold of: the hand clears the peg's end, the fingers the board."""
GRIP_LYING_M = 0.03
"""The same for a peg that lies: it is lifted by one end."""
CLOSED_M = 0.03
"""Distance between the fingers below which they have closed on the peg."""
REACHED_M = 0.02
LIFTED_M = 0.02
"""Height of the standing peg above the table that counts as lifted."""
ALIGNED_M, ALIGNED_RAD = 0.002, 0.035
"""Place of the peg's lower end beside the hole's middle, tilt and turn, below which it counts as aligned."""
LYING = 0.7
"""Vertical part of the peg's axis below which it lies."""
MIDDLE_YAW_RAD = np.pi / 2
"""Closing yaw of the gripper at reset; from there its wrist turns by more than a quarter either way."""
POINTING_DOWN = 0.9
"""Vertical part of the gripper's direction from which it points down."""
ASIDE_M = 0.1
"""Distance in y from the table's middle, away from the board, where a peg that lay is stood up."""
SPREAD_M = 0.08
PEG_ASIDE_M = (0.08, 0.12)
BOARD_ASIDE_M = (0.09, 0.12)
"""Distances in y from the table's middle, peg and board on opposite sides: at 0.17 m from each other they do not touch
however both are turned, nor after the 0.09 m by which the perturbation ``object_shift`` moves the peg."""
OVER_M = 0.02
"""How far above the board the peg is carried."""
HOVER_M = 0.001
"""How far above the board the peg waits until it fits, and half as far further up as it is off: a funnel."""
FITS = 0.8
"""Part of the clearance by which the peg's lower corners may be off when it enters."""
INSIST, INSIST_M = 3.0, 0.002
"""Over the hole the goal lies further than the peg is off, by so many times that error, up to so much on each axis: the
friction in the arm's joints stops it 1 mm short of a goal that lies no further."""
LOWERING_M = 0.012
"""How far below the present height the goal is while the peg is let down."""


class PegInsertion(Tabletop):
    """Put the steel peg into the hole in the board; robosuite 1.5.1's table and Panda, the rest is this task's own.

    Success: the peg's lower end is in the hole, at least 0.9 of the hole's depth below the board's top.  Whether the
    fingers still hold the peg does not matter.

    What varies per episode: on which side of the table the board is fixed and on which the peg stands upright; the
    place of each (within 0.08 m of the table's centre in x; 0.09 .. 0.12 m from it in y for the board, 0.08 .. 0.12 m
    for the peg), and its yaw (0 .. 2 pi); the arm's joints (normal, 0.02 rad).  What is observed of the hole is where
    it is: an error of the pose is a perturbation.

    Observation, world frame: ``eef_pos`` grip site in metres; ``eef_quat`` (x, y, z, w) grip site, of the sign nearer
    to pointing straight down; ``gripper_qpos`` finger joints in metres; ``peg_pos`` centre in metres; ``peg_axis`` unit
    vector along the peg, up when it stands; ``peg_yaw`` (cos 4 psi, sin 4 psi) of its turn psi about that axis (see
    :func:`quarter_turn`); ``hole_pos`` middle of the hole's mouth in metres; ``hole_yaw`` (cos 4 psi, sin 4 psi);
    ``wrench`` force in N and torque in N m that the arm exerts on the gripper at robosuite's sensor in the wrist, in
    that sensor's frame (its z axis points to the fingers), each the mean over the physics steps of the last control
    step, zeros before the first.  Nothing is subtracted: at rest it holds the weight of the gripper and of the peg.

    Parameters
    ----------
    controller, out_of_range, cameras : see :class:`workbench.envs.tasks.shared.tabletop.Tabletop`.
    clearance_m : gap between the peg and each wall of the hole when the peg is in its middle, 0.0002 .. 0.005.
    """

    name = "peg_insertion"
    environment = "Lift"
    instruction = "put the peg into the hole"
    wording = wordings.PEG_INSERTION
    stages = ("reach", "grasp", "lift", "align", "insert")
    deadline = 200
    demonstration_noise = (0.01, 0.03)
    observation_sizes: Mapping[str, int] = {
        **HAND_SIZES,
        "peg_pos": 3,
        "peg_axis": 3,
        "peg_yaw": 2,
        "hole_pos": 3,
        "hole_yaw": 2,
        "wrench": 6,
    }

    object_body = "peg_main"
    """Body that is manipulated, for perturbations; with its joint and geometries."""
    object_joint = "peg_joint0"
    object_geoms = ("peg_g0",)
    board_body = "board_main"
    board_geoms = ("board_g0", "board_g1", "board_g2", "board_g3")
    receptacle = Receptacle(board_body, (0.0, 0.0, HOLE_DEPTH_M), 0.02)
    other_geoms = board_geoms
    roles: Mapping[str, str] = {
        **Tabletop.roles,
        "height": "peg_height_m",
        "object_up": "object_up",
        "hand_object_distance": "gripper_peg_distance_m",
        "at_target": "success",
        "target_distance": "peg_hole_distance_m",
    }

    def __init__(
        self,
        controller: str = "osc_pose",
        clearance_m: float = 0.0005,
        out_of_range: str = "clip",
        cameras: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(controller, out_of_range, cameras)
        low, high = CLEARANCE_M
        if isinstance(clearance_m, bool) or not isinstance(clearance_m, (int, float)) or not low <= clearance_m <= high:
            raise ConfigError(f"clearance_m={clearance_m!r} is impossible: it must be a number within {low} .. {high}")
        self.clearance_m = float(clearance_m)

    @functools.cached_property
    def cell(self) -> RobotCell:
        """Lift's cell with peg and board in place of the cube, and sensors of force and torque in the wrist."""
        lift = super().cell
        return dataclasses.replace(
            lift,
            xml=_with_sensors(_with_peg_and_board(lift.xml, self.clearance_m), lift.arm.wrist_site),
            visual_xml=_with_peg_and_board(lift.visual_xml, self.clearance_m, visual=True),
        )

    def edit(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Draw where on the table the board is fixed."""
        body = model.body(self.board_body).id
        side = -1 if rng.random() < 0.5 else 1
        model.body_pos[body, :2] = rng.uniform(-SPREAD_M, SPREAD_M), side * rng.uniform(*BOARD_ASIDE_M)
        yaw = rng.uniform(0, 2 * np.pi)
        model.body_quat[body] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset; the peg stands on the side where the board is not."""
        self.place_arm(qpos, rng)
        side = -np.sign(model.body_pos[self._board, 1])
        x, y = rng.uniform(-SPREAD_M, SPREAD_M), side * rng.uniform(*PEG_ASIDE_M)
        yaw = rng.uniform(0, 2 * np.pi)
        peg = self._peg_qpos
        qpos[peg : peg + 7] = x, y, TABLE_M + PEG_HALF_M[2], np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What a robot with perfect sensors sees; see the class."""
        from workbench.envs.sensors.observations import quarter_yaw

        peg, board = self._peg, self._board
        return {
            **self.hand(data),
            "peg_pos": data.xpos[peg].copy(),
            "peg_axis": data.xmat[peg][2::3].copy(),
            "peg_yaw": quarter_turn(data.xmat[peg]),
            "hole_pos": data.xpos[board] + [0.0, 0.0, HOLE_DEPTH_M],
            "hole_yaw": quarter_yaw(data.xmat[board]),
            "wrench": data.userdata[:6].copy(),
        }

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows: what all tables have, where the peg is with respect to the hole, and success.

        ``peg_height_m`` is that of the peg's centre above where it is when the peg stands on the table.
        ``peg_hole_distance_m`` is the horizontal distance of the peg's lower end from the hole's middle, ``tilt_rad``
        the angle between the axes of peg and hole, ``yaw_error_rad`` (0 .. pi/4) the turn between their nearest faces.
        ``insertion_depth_m`` is how far the lower end is below the board's top, 0 where it is not in the hole.
        ``contact_force_n`` is the size of the net force of the board on the peg, mean over the control step.
        """
        from workbench.envs.sensors.observations import OBJECT_ON_OTHER, quarter_yaw

        found = self.contacts(data)
        centre, axis = data.xpos[self._peg], data.xmat[self._peg][2::3]
        offset = centre + GRIP_ABOVE_M * upward(axis) - data.site_xpos[self.grip_site]
        below = lower_end(centre, axis) - data.xpos[self._board]
        beside = float(np.hypot(below[0], below[1]))
        depth = max(HOLE_DEPTH_M - float(below[2]), 0.0) if beside < PEG_HALF_M[0] else 0.0
        turn = quarter_between(quarter_turn(data.xmat[self._peg]), quarter_yaw(data.xmat[self._board]))
        force = data.userdata[6:9]
        situation = self.situation(data, centre, found)
        return {
            **situation,
            "object_up": float(axis[2]),
            "board_contact": float(found & OBJECT_ON_OTHER > 0),
            "peg_height_m": float(centre[2]) - TABLE_M - float(PEG_HALF_M[2]) - self.rise_m(data),
            "gripper_peg_distance_m": float(np.sqrt(offset.dot(offset))),
            "peg_hole_distance_m": beside,
            "tilt_rad": float(np.arccos(min(abs(axis[2]), 1.0))),
            "yaw_error_rad": abs(turn),
            "insertion_depth_m": depth,
            "contact_force_n": float(np.sqrt(force.dot(force))),
            "success": float(depth >= INSERTED * HOLE_DEPTH_M),
        }

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself; a later one implies those before it."""
        if predicates["success"]:
            return 5
        lifted = predicates["peg_height_m"] > LIFTED_M
        if predicates["grasped"] and (lifted or predicates["insertion_depth_m"] > 0):
            return 4 if _aligned(predicates) else 3
        if predicates["grasped"]:
            return 2
        return int(predicates["gripper_peg_distance_m"] < REACHED_M)

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """Above the peg, down, close, up, over the hole, down into it.

        What is carried keeps its place in the fingers, so the gripper's goals follow from where the *peg* is to go: it
        is turned upright and along the hole's faces, and its lower end is led over the hole's middle.  It is let down
        in small steps, and only while its corners fit the hole; where it jams, the gripper comes off the hole's axis,
        and the expert finds itself back at the lift.  A peg that lies is first stood up on a free place of the table.
        """
        grip, now = observation["eef_pos"], rotation_matrix(observation["eef_quat"])
        peg, axis, hole = observation["peg_pos"], upward(observation["peg_axis"]), observation["hole_pos"]
        hold = peg + (GRIP_ABOVE_M if abs(axis[2]) > LYING else GRIP_LYING_M) * axis
        held, rotation = hold - peg, pointing_down(grasp_yaw(observation))
        if np.sqrt((grip - hold).dot(grip - hold)) < REACHED_M and np.ptp(observation["gripper_qpos"]) < CLOSED_M:
            held, rotation = grip - peg, now  # as it is held; only over the hole it is turned
        high = hole[2] + OVER_M + PEG_HALF_M[2]  # of the peg's centre
        lifted = np.array([grip[0], grip[1], high + held[2]])
        taking = (
            Keyframe("reach", hold + np.array([0.0, 0.0, 0.08]), rotation, closed=False, tolerance_m=0.02),
            Keyframe("reach", hold, rotation, closed=False, tolerance_m=0.008),
            Keyframe("grasp", hold, rotation, closed=True, tolerance_m=0.008),
            Keyframe("lift", lifted, rotation, closed=True, tolerance_m=0.006),
        )
        if abs(axis[2]) < LYING or (rotation is now and now[2, 2] > -POINTING_DOWN):
            return *taking, *_standing_up(observation, held, high)
        turned = righted(observation)
        over = np.array([hole[0], hole[1], high]) + turned @ held
        over[:2] += np.clip(INSIST * (over - grip)[:2], -INSIST_M, INSIST_M)
        lowered = np.array([over[0], over[1], max(self._lowest(observation), peg[2] - LOWERING_M) + held[2]])
        return (
            *taking,
            Keyframe("align", over, turned @ now, closed=True, tolerance_m=0.006),
            Keyframe("insert", lowered, turned @ now, closed=True, tolerance_m=0.006),
        )

    def _lowest(self, observation: Observation) -> float:
        """Height to which the peg's centre may be let down now: the table if the peg fits, a little above the hole."""
        standing = float(PEG_HALF_M[2])
        off = misfit(observation)
        if off < FITS * self.clearance_m or _entered(observation):
            return TABLE_M + standing
        return float(observation["hole_pos"][2]) + HOVER_M + off / 2 + standing

    @functools.cached_property
    def _peg_qpos(self) -> int:
        return int(self.qpos_of((self.object_joint,))[0])

    @functools.cached_property
    def _peg(self) -> int:
        """Index of the peg's body."""
        return int(self.model.body(self.object_body).id)

    @functools.cached_property
    def _board(self) -> int:
        """Index of the board's body, in the small model."""
        return int(self.model.body(self.board_body).id)


def _standing_up(observation: Observation, held_m: Array, high_m: float) -> tuple[Keyframe, Keyframe, Keyframe]:
    """Turn the peg upright over a free place of the table, set it down there, let go: from there it is taken anew."""
    axis, hole = upward(observation["peg_axis"]), observation["hole_pos"]
    tilt = tilt_of(axis).T
    rotation, held = tilt @ rotation_matrix(observation["eef_quat"]), tilt @ held_m
    place = np.array([0.0, np.copysign(ASIDE_M, -hole[1])])
    over, down = np.array([*place, high_m]) + held, np.array([*place, TABLE_M + PEG_HALF_M[2]]) + held
    return (
        Keyframe("lift", over, rotation, closed=True, tolerance_m=0.006),
        Keyframe("lift", down, rotation, closed=True, tolerance_m=0.002),
        Keyframe("lift", down, rotation, closed=False, tolerance_m=0.002),
    )


def lower_end(centre_m: Array, axis: Array) -> Array:
    """Middle (3,) of that end of the peg which is further down."""
    below: Array = np.copysign(PEG_HALF_M[2], axis[2]) * axis
    return centre_m - below


def quarter_turn(rotation: Array) -> Array:
    """(cos 4 psi, sin 4 psi) of the peg's turn psi about its own axis, once its tilt is taken off its rotation (9,).

    The rotation is a tilt about a horizontal axis after a turn psi about the vertical.  Where the peg's axis points
    down, its other end is taken, as its looks are the same: at a tilt of half a turn psi would be lost.  The two agree
    where the peg lies on a face, so nothing jumps there.
    """
    side = np.copysign(1.0, rotation[8])
    turn = 4.0 * np.arctan2(rotation[3] - side * rotation[1], rotation[0] + side * rotation[4])
    return np.array([np.cos(turn), np.sin(turn)])


def quarter_between(first: Array, second: Array) -> float:
    """Angle (-pi/4 .. pi/4) in rad that leads from one to another, each given as (cos 4 psi, sin 4 psi)."""
    cross = first[0] * second[1] - first[1] * second[0]
    return float(np.arctan2(cross, first @ second)) / 4


def upward(axis: Array) -> Array:
    """The peg's axis (3,) with the end first that is to be up, for one goes in as well as the other.

    Of a peg that lies it is the one further from the robot, for the hand that rights it then points away from the arm.
    """
    return axis if axis[0] + 2 * axis[2] > 0 else -axis


def grasp_yaw(observation: Observation) -> float:
    """Closing yaw in rad at which to take the peg: a face's, or across it where it lies, nearest the middle."""
    x, y, z = observation["peg_axis"]
    if abs(z) > LYING:
        return face_yaw(observation["peg_yaw"], MIDDLE_YAW_RAD)
    across = float(np.arctan2(x, -y))
    return across + np.pi * round((MIDDLE_YAW_RAD - across) / np.pi)


def tilt_of(axis: Array) -> Array:
    """Rotation (3, 3) about a horizontal axis that brings the vertical to a unit vector (3,), which is not downward."""
    x, y, z = axis
    part = 1.0 / (1.0 + z)
    return np.array([[1 - part * x * x, -part * x * y, x], [-part * x * y, 1 - part * y * y, y], [-x, -y, z]])


def righted(observation: Observation) -> Array:
    """Rotation (3, 3) in the world that makes the peg stand upright, its faces along the hole's.

    Of the four turns that do, it is the one that leaves the wrist nearest to its middle.
    """
    axis = upward(observation["peg_axis"])
    level = tilt_of(axis).T
    turn = quarter_between(observation["peg_yaw"], observation["hole_yaw"])
    left = (MIDDLE_YAW_RAD - closing_yaw(level @ rotation_matrix(observation["eef_quat"])) - turn) % (2 * np.pi)
    turn += np.pi / 2 * round((left - 2 * np.pi if left > np.pi else left) / (np.pi / 2))
    cos, sin = np.cos(turn), np.sin(turn)
    upright: Array = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ level
    return upright


def misfit(observation: Observation) -> float:
    """How far in metres the peg's lower corners reach beyond where they are in the middle of the hole."""
    half = PEG_HALF_M[0]
    turn = quarter_between(observation["hole_yaw"], observation["peg_yaw"])
    yaw = np.arctan2(observation["hole_yaw"][1], observation["hole_yaw"][0]) / 4
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, _ = lower_end(observation["peg_pos"], observation["peg_axis"]) - observation["hole_pos"]
    beside = max(abs(cos * x + sin * y), abs(cos * y - sin * x))
    return float(beside) + float(half * (np.cos(turn) + abs(np.sin(turn)) - 1))


def _entered(observation: Observation) -> bool:
    """Whether the peg's lower end is already in the hole."""
    below = lower_end(observation["peg_pos"], observation["peg_axis"]) - observation["hole_pos"]
    return bool(np.hypot(below[0], below[1]) < PEG_HALF_M[0] and below[2] < 0)


def _aligned(predicates: Mapping[str, float]) -> bool:
    off = predicates["peg_hole_distance_m"], max(predicates["tilt_rad"], predicates["yaw_error_rad"])
    return off[0] < ALIGNED_M and off[1] < ALIGNED_RAD


def _with_peg_and_board(xml: str, clearance_m: float, visual: bool = False) -> str:
    """Lift's MJCF with peg and board in place of the cube; with geometries to look at, if it is the visual one."""
    root = ET.fromstring(xml)
    world = _child(root, "worldbody")
    world.remove(next(body for body in world.findall("body") if body.get("name") == "cube_main"))
    board = ET.SubElement(world, "body", name=PegInsertion.board_body, pos=f"0 0 {TABLE_M}")
    for name, (place, half) in zip(PegInsertion.board_geoms, walls(clearance_m), strict=True):
        box = {"pos": _numbers(place), "size": _numbers(half)}
        ET.SubElement(board, "geom", BOARD | box, name=name, group="0")
        if visual:
            ET.SubElement(board, "geom", _shown(box, "0.55 0.57 0.6 1"), name=f"{name}_vis")
    peg = ET.SubElement(world, "body", name=PegInsertion.object_body)
    ET.SubElement(peg, "joint", type="free", name=PegInsertion.object_joint)
    box = {"type": "box", "size": _numbers(PEG_HALF_M), "density": str(PEG_DENSITY_KG_M3), "friction": "1 0.005 0.0001"}
    ET.SubElement(peg, "geom", box, name=PegInsertion.object_geoms[0], group="0")
    if visual:
        ET.SubElement(peg, "geom", _shown(box, "0.8 0.2 0.15 1"), name=f"{PegInsertion.object_geoms[0]}_vis")
    return ET.tostring(root, encoding="unicode")


def walls(clearance_m: float) -> list[tuple[Array, Array]]:
    """Centre (3,) and half lengths (3,) of the four boxes around the hole, in the board's frame; none overlap."""
    inner, up = PEG_HALF_M[0] + clearance_m, HOLE_DEPTH_M / 2
    thick = (BOARD_HALF_M - inner) / 2
    across, long, short = inner + thick, (thick, BOARD_HALF_M, up), (inner, thick, up)
    return [
        (np.array([across, 0.0, up]), np.array(long)),
        (np.array([-across, 0.0, up]), np.array(long)),
        (np.array([0.0, across, up]), np.array(short)),
        (np.array([0.0, -across, up]), np.array(short)),
    ]


def _with_sensors(xml: str, wrist_site: str) -> str:
    """Force and torque in the wrist, then the board's force on the peg; the controller keeps their means."""
    root = ET.fromstring(xml)
    sensors = ET.SubElement(root, "sensor")
    ET.SubElement(sensors, "force", name="wrist_force", site=wrist_site)
    ET.SubElement(sensors, "torque", name="wrist_torque", site=wrist_site)
    bodies = {"body1": PegInsertion.board_body, "body2": PegInsertion.object_body}
    ET.SubElement(sensors, "contact", bodies, name="board_force", data="force", reduce="netforce")
    _child(root, "size").set("nuserdata", "9")
    return ET.tostring(root, encoding="unicode")


def _shown(box: Mapping[str, str], rgba: str) -> dict[str, str]:
    """A geometry that is only looked at, as robosuite makes them: it touches nothing and weighs nothing."""
    return {**box, "type": "box", "contype": "0", "conaffinity": "0", "group": "1", "mass": "1e-8", "rgba": rgba}


def _numbers(values: Array) -> str:
    return " ".join(repr(float(value)) for value in values)


def _child(root: ET.Element, tag: str) -> ET.Element:
    element = root.find(tag)
    if element is None:
        raise ValueError(f"robosuite's MJCF has no <{tag}>")
    return element
