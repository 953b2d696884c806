"""Robots and tables taken out of robosuite, once, and kept small.

robosuite (Zhu et al., arXiv 2009.12293, 2020; here 1.5.1) takes seconds to build an environment, and its models carry
64 MB of meshes that never touch anything.  What a simulation needs of one is written to a small file in the user's
cache: the MJCF without what only an image shows, the MJCF with it, and the controller's numbers.  A second process
neither imports robosuite nor builds its environment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import sys
import tempfile
import types
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from workbench.envs.caching import cache_folder
from workbench.envs.faults.props import parked, with_props
from workbench.errors import ConfigError
from workbench.types import Array, Shape
from workbench.types.robot import Arm, Fingers, Robot

FORMAT = 2
"""Raise it when what is cached changes, so that older caches are left alone."""
SIDE_CAMERA = {"name": "sideview", "pos": "0.1 1.5 1.7", "xyaxes": "-1 0 0 0 -0.5 0.86"}
"""Looks at the workspace from the robot's left; robosuite has one at its tables, but not at its bins."""
INSIDE_M = (0.0, 0.0, 0.9)
"""A point of every robosuite scene, above the table's middle."""


@dataclasses.dataclass(frozen=True)
class RobotCell:
    """One arm with a gripper at its table, as robosuite configures it.

    Attributes
    ----------
    robot : whose names and scales are those of the model.
    xml : MJCF of what moves, touches or has mass; mesh files relative to :func:`assets_folder`.
    visual_xml : the complete MJCF, for viewers.
    kp, damping_ratio : of the operational-space controller, per axis (x, y, z, rotation x, y, z).
    substeps : physics steps per control step.
    """

    robot: Robot
    xml: str
    visual_xml: str
    kp: tuple[float, ...]
    damping_ratio: float
    substeps: int

    @property
    def arm(self) -> Arm:
        """That of its robot; a robot without one has no cell."""
        assert self.robot.arm is not None
        return self.robot.arm

    @property
    def fingers(self) -> Fingers:
        """Those of its robot; a robot without any has no cell."""
        assert self.robot.fingers is not None
        return self.robot.fingers

    @functools.cached_property
    def digest(self) -> str:
        """Names the model: MJCF with the props and the bytes of its meshes, but no path of this machine."""
        digest = hashlib.sha256(with_props(self.xml, INSIDE_M).encode())
        for mesh in ET.fromstring(self.xml).iter("mesh"):
            digest.update((assets_folder() / mesh.attrib["file"]).read_bytes())
        return digest.hexdigest()[:16]

    def compiled(self) -> mujoco.MjModel:
        """A new compiled model of :attr:`xml`, and the props."""
        return parked(mujoco.MjModel.from_xml_string(with_props(_with_assets(self.xml), INSIDE_M)))

    def compiled_visual(self) -> mujoco.MjModel:
        """A new compiled model of :attr:`visual_xml` and the props (about 64 MB), in any case with a ``sideview``."""
        root = ET.fromstring(_with_assets(self.visual_xml))
        if not any(camera.get("name") == SIDE_CAMERA["name"] for camera in root.iter("camera")):
            ET.SubElement(_child(root, "worldbody"), "camera", SIDE_CAMERA)
        xml = with_props(ET.tostring(root, encoding="unicode"), INSIDE_M)
        return parked(mujoco.MjModel.from_xml_string(xml))


def assets_folder() -> Path:
    """Folder of the installed robosuite's meshes and textures; robosuite itself is not imported."""
    spec = importlib.util.find_spec("robosuite")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("robosuite is not installed: pip install 'robosuite>=1.5.1,<1.5.2'")
    return Path(spec.submodule_search_locations[0]) / "models" / "assets"


@functools.cache
def robot_cell(environment: str, robot: Robot, control_hz: int, without: tuple[str, ...] = ()) -> RobotCell:
    """The robot cell of one of robosuite's environments, such as ``Lift`` with a Panda; cached where possible.

    ``without`` names bodies of the world that are left out: what robosuite itself only clears away at reset.

    Raises
    ------
    ConfigError
        If the robot has no arm or no fingers, or robosuite has other names or scales for it than its record.
    """
    if not robot.robosuite or robot.arm is None or robot.fingers is None:
        raise ConfigError(f"robot {robot.name} is no arm with fingers of robosuite's, so it has no cell there")
    version = importlib.metadata.version("robosuite")
    less = "".join(f"-no{body}" for body in without)
    name = f"{environment}-{robot.robosuite}-{control_hz}hz{less}-robosuite{version}-format{FORMAT}.json"
    path = (cache_folder() or Path(os.devnull)) / name  # nothing can be read or written below the null device
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
        return RobotCell(robot, **(stored | {"kp": tuple(stored["kp"])}))
    except (OSError, ValueError, TypeError, KeyError):
        cell = _build(environment, robot, control_hz, without)
        fields = dataclasses.asdict(cell)
        del fields["robot"]
        _write_atomically(path, json.dumps(fields))
        return cell


def _write_atomically(path: Path, text: str) -> None:
    """Several workers may write at once, and a cache that cannot be written only costs time."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError as error:
        logging.getLogger(__name__).warning("cannot cache the robot cell in %s: %s", path.parent, error)


def visual_shapes(model: mujoco.MjModel) -> list[Shape]:
    """What robosuite shows of a compiled visual model: its geometries of group 1."""
    return [_shape(model, int(geom)) for geom in np.flatnonzero(model.geom_group == 1)]


def _shape(model: mujoco.MjModel, geom: int) -> Shape:
    kind = mujoco.mjtGeom(int(model.geom_type[geom])).name.removeprefix("mjGEOM_").lower()
    vertices, faces = np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int32)
    if kind == "mesh":
        mesh = int(model.geom_dataid[geom])
        vertex, face = int(model.mesh_vertadr[mesh]), int(model.mesh_faceadr[mesh])
        vertices = model.mesh_vert[vertex : vertex + model.mesh_vertnum[mesh]].astype(np.float64)
        faces = model.mesh_face[face : face + model.mesh_facenum[mesh]].copy()
    return Shape(
        name=model.geom(geom).name,
        body=model.body(int(model.geom_bodyid[geom])).name,
        kind=kind,
        position_m=model.geom_pos[geom].copy(),
        quaternion=model.geom_quat[geom].copy(),
        size_m=model.geom_size[geom].copy(),
        rgba=_colour(model, geom),
        vertices_m=vertices,
        faces=faces,
    )


def _colour(model: mujoco.MjModel, geom: int) -> Array:
    """Colour (4,) of a geometry: its material's, times the mean of its texture, as viewers here have no textures."""
    material = int(model.geom_matid[geom])
    if material < 0:
        return np.asarray(model.geom_rgba[geom], dtype=np.float64)
    colour = np.array(model.mat_rgba[material], dtype=np.float64)
    texture = int(model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB])
    if texture >= 0:
        channels = int(model.tex_nchannel[texture])
        size = int(model.tex_width[texture] * model.tex_height[texture]) * channels
        pixels = model.tex_data[model.tex_adr[texture] : model.tex_adr[texture] + size].reshape(-1, channels)
        colour[:3] *= pixels[:, :3].mean(axis=0) / 255
    return colour


def quiet_robosuite() -> None:
    """Keep robosuite's INFO and WARNING lines off the terminal; its import resets levels, so this is a filter."""
    logger = logging.getLogger("robosuite_logs")
    if not any(filter_ is _only_errors for filter_ in logger.filters):
        logger.addFilter(_only_errors)


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def make_environment(environment: str, robot: str, control_hz: int, arm_controller: str = "OSC_POSE") -> Any:
    """An environment of robosuite's own, without any rendering; the reference that our controllers are compared with.

    ``arm_controller`` is a type of robosuite's, with its default numbers.
    """
    quiet_robosuite()
    with _opencv_optional(), _own_gl_choice():
        import robosuite
        from robosuite.controllers import load_composite_controller_config, load_part_controller_config

    controllers = load_composite_controller_config(robot=robot)
    if arm_controller != "OSC_POSE":
        arm = controllers["body_parts"]["right"]
        controllers["body_parts"]["right"] = load_part_controller_config(default_controller=arm_controller) | {
            "gripper": arm["gripper"]
        }
    return robosuite.make(
        environment,
        robots=robot,
        controller_configs=controllers,
        control_freq=control_hz,
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        ignore_done=True,
    )


@contextlib.contextmanager
def _opencv_optional() -> Iterator[None]:
    """Let robosuite be imported where OpenCV cannot be, for want of a GL library: only its windows need it."""
    try:
        importlib.import_module("cv2")
    except ImportError:
        sys.modules["cv2"] = types.ModuleType("cv2", "stands in for OpenCV, which cannot be loaded here")
        try:
            yield
        finally:
            del sys.modules["cv2"]
    else:
        yield


@contextlib.contextmanager
def _own_gl_choice() -> Iterator[None]:
    """Take back what robosuite's import writes into the environment: its choice of a GL backend is not the person's."""
    before = {name: os.environ.get(name) for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _same_draws() -> Iterator[None]:
    """Fix the sizes that robosuite draws from numpy's global generator as it builds: the cached model must not vary."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _build(environment: str, robot: Robot, control_hz: int, without: tuple[str, ...]) -> RobotCell:
    with _same_draws():
        env = make_environment(environment, robot.robosuite, control_hz)
    arm = env.robots[0].part_controllers["right"]
    if arm.name != "OSC_POSE" or arm.impedance_mode != "fixed" or not arm.uncoupling or arm.input_ref_frame != "base":
        raise NotImplementedError(f"only robosuite's default OSC_POSE controller is supported, not {arm.name}")
    xml = _without_bodies(env.model.get_xml(), without)
    cell = RobotCell(
        robot,
        xml=_physics_only(xml),
        visual_xml=_relative_files(xml),
        kp=tuple(map(float, arm.kp)),
        damping_ratio=float(arm.kd[0] / (2 * arm.kp[0] ** 0.5)),
        substeps=int(env.control_timestep / env.model_timestep),
    )
    _compare(cell, env.robots[0])
    env.close()
    return cell


def _compare(cell: RobotCell, theirs: Any) -> None:
    """Refuse a record that says otherwise than robosuite's own robot."""
    robot, arm, fingers = cell.robot, cell.arm, cell.fingers
    controller, gripper = theirs.part_controllers["right"], theirs.gripper["right"]
    geoms = gripper.important_geoms
    scale = (controller.output_max - controller.output_min) / (controller.input_max - controller.input_min)
    pairs: dict[str, tuple[Any, Any]] = {
        "joints": (robot.joints, tuple(theirs.robot_model.arm_joints)),
        "actuators": (robot.actuators, tuple(theirs.robot_model.arm_actuators)),
        "contact_geoms": (robot.contact_geoms, (*geoms["left_finger"], *geoms["right_finger"])),
        "action_m and action_rad": ((robot.action_m,) * 3 + (arm.action_rad,) * 3, tuple(map(float, scale))),
        "home_rad": (arm.home_rad, tuple(map(float, theirs.init_qpos))),
        "grip_site": (arm.grip_site, str(controller.ref_name)),
        "base_site": (arm.base_site, f"{controller.naming_prefix}{controller.part_name}_center"),
        "fingers.joints": (fingers.joints, tuple(gripper.joints)),
        "fingers.actuators": (fingers.actuators, tuple(gripper.actuators)),
        "fingers.left_pads": (fingers.left_pads, tuple(geoms["left_fingerpad"])),
        "fingers.right_pads": (fingers.right_pads, tuple(geoms["right_fingerpad"])),
        "fingers.start_m": (fingers.start_m, tuple(map(float, gripper.init_qpos))),
        "fingers.speed": (fingers.speed, float(gripper.speed)),
    }
    if other := [f"{name}={ours} but {has}" for name, (ours, has) in pairs.items() if ours != has]:
        raise ConfigError(
            f"the record of robot {robot.name} does not agree with robosuite's {robot.robosuite}: {'; '.join(other)}; "
            f"put robosuite's own into envs/robots/{robot.name}.py"
        )


def _with_assets(xml: str) -> str:
    root = ET.fromstring(xml)
    for element in (*root.iter("mesh"), *root.iter("texture")):
        if "file" in element.attrib:
            element.set("file", str(assets_folder() / element.attrib["file"]))
    return ET.tostring(root, encoding="unicode")


def _relative_files(xml: str) -> str:
    root = ET.fromstring(xml)
    for element in (*root.iter("mesh"), *root.iter("texture")):
        if "file" in element.attrib:
            path = os.path.normpath(element.attrib["file"])
            element.set("file", os.path.relpath(path, assets_folder()))
    return ET.tostring(root, encoding="unicode")


def _without_bodies(xml: str, names: tuple[str, ...]) -> str:
    """Drop bodies of the world, and the meshes that nothing else uses."""
    root = ET.fromstring(xml)
    world = _child(root, "worldbody")
    for name in names:
        world.remove(next(body for body in world.findall("body") if body.get("name") == name))
    used = {geom.get("mesh") for geom in root.iter("geom")}
    assets = _child(root, "asset")
    for mesh in [mesh for mesh in assets.findall("mesh") if mesh.get("name") not in used]:
        assets.remove(mesh)
    return ET.tostring(root, encoding="unicode") if names else xml


def _physics_only(xml: str) -> str:
    """Drop what neither moves, touches nor weighs: visual geometries, cameras, lights, mocap targets, sensors.

    robosuite counts only geometries of group 0 for inertias, and the visual ones are of group 1 and touch nothing, so
    the dynamics do not change; a test compares the two compiled models.
    """
    root = ET.fromstring(_relative_files(xml))
    _drop_visual(_child(root, "worldbody"))
    meshes = {geom.get("mesh") for geom in root.iter("geom")}
    assets = _child(root, "asset")
    for asset in list(assets):
        if asset.tag != "mesh" or asset.get("name") not in meshes:
            assets.remove(asset)
    for sensors in root.findall("sensor"):
        root.remove(sensors)
    for element in (*root.iter("geom"), *root.iter("site")):
        element.attrib.pop("material", None)
    size = _child(root, "size")
    size.attrib.clear()
    size.set("memory", "16M")  # robosuite's njmax=5000 reserves 1.3 GB of address space per scene
    return ET.tostring(root, encoding="unicode")


def _drop_visual(body: ET.Element) -> None:
    for child in list(body):
        unseen = child.tag == "geom" and child.get("contype") == "0" and child.get("conaffinity") == "0"
        if unseen or child.tag in ("camera", "light") or child.get("mocap") == "true":
            body.remove(child)
        elif child.tag == "body":
            _drop_visual(child)


def _child(root: ET.Element, tag: str) -> ET.Element:
    element = root.find(tag)
    if element is None:
        raise ValueError(f"robosuite's MJCF has no <{tag}>")
    return element
