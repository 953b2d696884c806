"""Props: bodies that every model has parked out of sight, for faults that bring something into the scene.

A compiled model has a fixed number of bodies, so what may appear has to be there from the start.  Props are static and
touch nothing; a fault gives some of them a place, a size and a colour, and switches their contacts on, all by
:meth:`workbench.envs.faults.specification.Effect.change`, which takes it back.
"""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from workbench.envs.faults.effect import Effect
from workbench.types import Array, Record, Stream
from workbench.types.reading import Among, Between, Size

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import MujocoScene

DISTRACTORS: Mapping[str, str] = {
    "prop_box": "box",
    "prop_cylinder": "cylinder",
    "prop_sphere": "sphere",
    "prop_box_2": "box",
}
"""Name -> MuJoCo's kind of geometry; body and geometry of a prop have the same name."""
OBSTACLE, OCCUPANT, TRIGGER = "prop_obstacle", "prop_occupant", "prop_trigger"
PROPS: Mapping[str, str] = {**DISTRACTORS, OBSTACLE: "box", OCCUPANT: "box", TRIGGER: "box"}
PARKED_Z_M = -5.0
SAME_FRAME_BODY = 1
"""MuJoCo's mjSAMEFRAME_BODY: a frame that is the body's."""
COLLIDES = 3
"""Contact bits of a prop that is switched on: those of robosuite's models and both of PushT's."""
CLEAR_M = 0.004
"""Distance that a prop keeps from everything that can move, when it comes."""
NEAR_M = 1.0
"""Distance beyond which nothing is measured."""
COLOURS: tuple[tuple[float, float, float], ...] = (
    (0.15, 0.35, 0.85),
    (0.15, 0.65, 0.3),
    (0.95, 0.75, 0.1),
    (0.6, 0.25, 0.7),
    (0.1, 0.7, 0.75),
    (0.95, 0.45, 0.1),
)
"""What distractors are drawn from; red, the colour of Lift's cube, is not among them."""


LENGTHS = {"box": 3, "cylinder": 2, "sphere": 1}
"""How many numbers say the size of a geometry of that kind."""
Fraction = Annotated[float, Between(0.0, 1.0)]
RGBA = Annotated[list[Fraction], Size(4, 4)]
"""Type of a colour."""


@dataclasses.dataclass(frozen=True)
class Prop:
    """One prop as a record holds it."""

    name: Annotated[str, Among(tuple(PROPS))]
    size_m: Annotated[list[Annotated[float, Between(1e-4, 1.0)]], Size(1, 3)]
    rgba: RGBA


@dataclasses.dataclass(frozen=True)
class Placed(Prop):
    """One with places to try; see :func:`tries`."""

    angles_rad: Annotated[list[Annotated[float, Between(-np.pi, np.pi)]], Size(1, 100)]
    gaps_m: Annotated[list[Fraction], Size(1, 100)]


class _Sizes:
    """Each prop once, its size in as many numbers as its kind has, and a gap for every angle."""

    def allows(self, props: Sequence[Record]) -> bool:
        """Whether they are so."""
        return len({prop["name"] for prop in props}) == len(props) and all(
            len(prop["size_m"]) == LENGTHS[PROPS[prop["name"]]]
            and len(prop.get("angles_rad", ())) == len(prop.get("gaps_m", ()))
            for prop in props
        )

    def __str__(self) -> str:
        return "that differ in name, each with the numbers of its kind"


def props(kind: type[Prop], most: int) -> Any:
    """Type of a record's ``props``."""
    return Annotated[list[kind], Size(1, most), _Sizes()]  # type: ignore[valid-type]


def with_props(xml: str, inside_m: Sequence[float]) -> str:
    """A model's MJCF with the props behind all other bodies, so that no index changes.

    They are compiled at a point (3,) inside the scene, for MuJoCo derives a camera's near and far planes from the
    scene's extent, and with contacts, for it gives bounding boxes to what can touch alone; :func:`parked` takes them
    away and switches them off.
    """
    root = ET.fromstring(xml)
    world = root.find("worldbody")
    if world is None:
        raise ValueError("the MJCF has no <worldbody>")
    place = " ".join(repr(float(value)) for value in inside_m)
    hidden = {"contype": str(COLLIDES), "conaffinity": str(COLLIDES), "mass": "0", "group": "1", "rgba": "1 1 1 0"}
    for name, kind in PROPS.items():
        body = ET.SubElement(world, "body", name=name, pos=place)
        ET.SubElement(body, "geom", hidden, name=name, type=kind, size="0.01 0.01 0.01")
    return ET.tostring(root, encoding="unicode")


def parked(model: mujoco.MjModel) -> mujoco.MjModel:
    """The same model with its props far below the floor, where they touch nothing."""
    for number, name in enumerate(PROPS):
        body, geom = model.body(name).id, model.geom(name).id
        model.body_pos[body] = 0.3 * number, 0.0, PARKED_Z_M
        # of a body without mass the compiler has the inertial frame in an odd place, and its box with it
        model.body_ipos[body], model.body_sameframe[body] = 0.0, SAME_FRAME_BODY
        model.bvh_aabb[model.body_bvhadr[body], :3] = 0.0
        for bits in (model.geom_contype, model.geom_conaffinity):
            bits[geom] = 0
        for bits in (model.body_contype, model.body_conaffinity):
            bits[body] = 0
    return model


def unseen(model: mujoco.MjModel) -> None:
    """Make all props of a model invisible, as they are when parked."""
    for name in PROPS:
        model.geom_rgba[model.geom(name).id, 3] = 0.0


def lowest_m(model: mujoco.MjModel, data: mujoco.MjData, geoms: Sequence[str]) -> float:
    """Height of the lowest point of geometries in the world, by their bounding boxes."""
    lowest = np.inf
    for name in geoms:
        geom = model.geom(name).id
        up = data.geom_xmat[geom].reshape(3, 3)[2]
        centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
        lowest = min(lowest, float(data.geom_xpos[geom][2] + up @ centre - np.abs(up) @ half))
    return lowest


def hand_body(scene: MujocoScene) -> int:
    """Index of the body of the robot's hand, the gripper's or the disc that pushes."""
    return int(scene.model.body(scene.task.robot.hand_body).id)


def radius_m(scene: MujocoScene) -> float:
    """Radius of the circle about the object's origin that holds all of it, seen from above."""
    centre = scene.data.xpos[scene.model.body(scene.task.object_body).id]
    geoms = [scene.model.geom(name).id for name in scene.task.object_geoms]
    away = scene.data.geom_xpos[geoms] - centre
    return float((np.hypot(away[:, 0], away[:, 1]) + scene.model.geom_rbound[geoms]).max())


def tries(rng: np.random.Generator, angle_rad: tuple[float, float], gap_m: tuple[float, float], count: int) -> Record:
    """Places to try in turn: directions and gaps to the object, uniform within bounds."""
    angles, gaps = rng.uniform(*angle_rad, count), rng.uniform(*gap_m, count)
    return {"angles_rad": angles.tolist(), "gaps_m": gaps.tolist()}


class PropEffect(Effect):
    """Brings props into the scene while active; where they stand is decided when it starts, and remembered.

    The record's ``props`` is a list: each has a ``name``, ``size_m`` (as MuJoCo's for its kind) and ``rgba``.
    """

    solid = True
    """Whether they touch things."""

    def __init__(self, record: Record, stream: Stream) -> None:
        super().__init__(record, stream)
        self.props: list[Record] = record["props"]
        self.memory_size = 1 + 4 * len(self.props)
        self._decided = False
        self._poses = np.zeros((len(self.props), 4))

    def places(self, scene: MujocoScene, prop: Record) -> Array:
        """Poses (n, 4) that are tried in turn, x, y, z in metres and yaw in rad: the first that is free is taken."""
        raise NotImplementedError

    def edit(self, scene: MujocoScene) -> None:
        """Put the props where they stand."""
        if not self._decided:
            self._poses = self._decide(scene)
            self._decided = True
        for prop, pose in zip(self.props, self._poses, strict=True):
            self._put(scene.model, prop, pose)

    def furnish(self, model: mujoco.MjModel) -> None:
        """Give the props their sizes and colours."""
        for prop in self.props:
            geom = model.geom(prop["name"]).id
            model.geom_size[geom, : len(prop["size_m"])] = prop["size_m"]
            model.geom_rgba[geom] = prop["rgba"]

    def recall(self) -> Array:
        """Whether the places are decided, and the places."""
        return np.concatenate([[float(self._decided)], self._poses.ravel()])

    def remember(self, memory: Array) -> None:
        """Take the places up again."""
        self._decided, self._poses = bool(memory[0]), memory[1:].reshape(-1, 4).copy()

    def _decide(self, scene: MujocoScene) -> Array:
        """The first free place of each prop (n, 4), or the one with the most room where none is."""
        import mujoco

        model, others = scene.model, _movable(scene)
        poses: list[Array] = []
        for prop in self.props:
            room, best = -np.inf, np.zeros(4)
            geom = model.geom(prop["name"]).id
            for pose in self.places(scene, prop):
                self._put(model, prop, pose)
                mujoco.mj_kinematics(model, scene.data)
                gap = min(mujoco.mj_geomDistance(model, scene.data, geom, other, NEAR_M, None) for other in others)
                if gap > room:
                    room, best = gap, pose
                if room > CLEAR_M:
                    break
            self._put(model, prop, best)
            others, poses = [*others, geom], [*poses, best]
        self.undo()
        return np.array(poses)

    def _put(self, model: mujoco.MjModel, prop: Mapping[str, Any], pose: Array) -> None:
        """All that the compiler would set of a prop of this size at this pose."""
        body, geom = model.body(prop["name"]).id, model.geom(prop["name"]).id
        half, rbound = bounds(PROPS[prop["name"]], prop["size_m"])
        size = np.zeros(3)
        size[: len(prop["size_m"])] = prop["size_m"]
        bits = COLLIDES if self.solid else 0
        for field, index, value in (
            ("body_pos", body, pose[:3]),
            ("body_quat", body, [np.cos(pose[3] / 2), 0.0, 0.0, np.sin(pose[3] / 2)]),
            ("geom_size", geom, size),
            ("geom_rbound", geom, rbound),
            ("geom_aabb", (geom, slice(3, 6)), half),
            ("bvh_aabb", (model.body_bvhadr[body], slice(3, 6)), half),
            ("geom_rgba", geom, prop["rgba"]),
            ("geom_contype", geom, bits),
            ("geom_conaffinity", geom, bits),
            ("body_contype", body, bits),  # the broad phase reads these
            ("body_conaffinity", body, bits),
        ):
            self.change(model, field, index, value)


def bounds(kind: str, size_m: Sequence[float]) -> tuple[Array, float]:
    """Half lengths (3,) of a geometry's box and the radius of its sphere about the centre, as MuJoCo compiles them."""
    if kind == "box":
        return np.array(size_m), float(np.sqrt(np.sum(np.square(size_m))))
    if kind == "cylinder":
        radius, half = size_m
        return np.array([radius, radius, half]), float(np.sqrt(radius * radius + half * half))
    return np.full(3, size_m[0]), float(size_m[0])


def half_height_m(prop: Mapping[str, Any]) -> float:
    """Half of a prop's height."""
    return float(bounds(PROPS[prop["name"]], prop["size_m"])[0][2])


def around(scene: MujocoScene, prop: Mapping[str, Any], towards_rad: float = 0.0) -> Array:
    """Poses (n, 4) on the support round the object, from the ``angles_rad`` and ``gaps_m`` of a drawn prop."""
    centre = scene.data.xpos[scene.model.body(scene.task.object_body).id]
    half, _ = bounds(PROPS[prop["name"]], prop["size_m"])
    height = scene.task.support_m + scene.task.rise_m(scene.data) + half[2]
    away = radius_m(scene) + half[0] + np.array(prop["gaps_m"])  # a prop faces the object
    angles = towards_rad + np.array(prop["angles_rad"])
    columns = (
        centre[0] + away * np.cos(angles),
        centre[1] + away * np.sin(angles),
        np.full(len(angles), height),
        angles,
    )
    return np.stack(columns, axis=1)


def _movable(scene: MujocoScene) -> list[int]:
    """Geometries that a prop may not overlap: all that can move and touch, and where the object is to be put."""
    model = scene.model
    touches = (model.geom_contype | model.geom_conaffinity) != 0
    moves = model.body_weldid[model.geom_bodyid] != 0
    if scene.task.receptacle is not None:
        moves |= model.geom_bodyid == model.body(scene.task.receptacle.body).id
    return [int(geom) for geom in np.flatnonzero(touches & moves)]
