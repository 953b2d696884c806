"""What a scene looks like: images, depth and bodies from a task's cameras, drawn when they are asked for.

Importing this module loads neither MuJoCo nor a GL library.  A process has one GL context; a cell has one compiled
render model a profile, which all its scenes share: the joint positions and the edits of the scene at hand are copied
into it before it draws.  MuJoCo draws with 64 MB of meshes per robosuite cell, so copying is what keeps this small.

Two profiles, equal in what stands where::

    fast   no shadows, reflections, sky or multisampling; large meshes thinned to about one vertex per cubic centimetre
    full   what the cell's MJCF says (robosuite's lights cast no shadows), four samples a pixel

All images of a process are to be drawn from one thread.  A GL backend is chosen at the first of them: ``MUJOCO_GL``
(``egl``, ``osmesa``, ``glfw``) if it is set, else EGL, else OSMesa.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import ConfigError, RenderError, UnknownNameError
from workbench.types import Array, Stream, Task
from workbench.types.abilities import robot_of

if TYPE_CHECKING:
    import mujoco

    from workbench.envs.scene import Cell, MujocoTask

PROFILES = ("fast", "full")
LARGEST_PX = 4096
THINNED_M = 0.01
"""Edge of the cubes to which the fast profile thins large meshes ..."""
THINNED_SHARE = 1 / 16
"""... or this share of a smaller mesh's diagonal, so that a finger stays a finger."""
LARGE_FACES = 300
SAMPLES = 4
"""Samples a pixel of the full profile, MuJoCo's and robosuite's default."""

BACKENDS: Mapping[str, str] = {"egl": "EGLPlatform", "osmesa": "OSMesaPlatform", "glfw": "GLXPlatform"}
"""What ``MUJOCO_GL`` may name -> PyOpenGL's class for it."""
AUTOMATIC = ("egl", "osmesa")
"""Backends that need no screen, in the order in which they are tried."""
_UNSET = ("", "enable", "enabled", "on", "true", "1")
_OFF = ("disable", "disabled", "off", "false", "0")
_REMEDY = (
    "Install one (Debian: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6), or leave images off "
    "with task.cameras=null"
)
_POSES = ("body_pos", "body_quat")
_LOOKS = ("geom_pos", "geom_quat", "geom_size", "geom_rgba", "geom_matid")


@dataclasses.dataclass(frozen=True)
class Cameras:
    """Which cameras look, and how.

    Attributes
    ----------
    names : ``agentview``, ``wrist``, ``side``, or a name of the model's own.
    profile : ``fast`` or ``full``.
    width_px, height_px : size of every image.
    depth : whether distances are measured too.
    segmentation : whether bodies are told apart too.
    """

    names: tuple[str, ...] = ("agentview",)
    profile: str = "fast"
    width_px: int = 84
    height_px: int = 84
    depth: bool = False
    segmentation: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Cameras:
        """Cameras from plain settings; raises ConfigError or UnknownNameError for what cannot be meant."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in settings:
            if key not in known:
                raise UnknownNameError("setting of task.cameras", str(key), known)
        names = settings.get("names", cls.names)
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise ConfigError(f"task.cameras.names={names!r} must be a list of cameras, such as [agentview, wrist]")
        return cls(**{**settings, "names": tuple(names)})

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(f"task.cameras.names={list(self.names)} must name at least one camera, and none twice")
        if self.profile not in PROFILES:
            raise UnknownNameError("profile of task.cameras", str(self.profile), PROFILES)
        for key in ("width_px", "height_px"):
            size = getattr(self, key)
            if type(size) is not int or not 1 <= size <= LARGEST_PX:
                raise ConfigError(f"task.cameras.{key}={size!r} must be a whole number of pixels in 1..{LARGEST_PX}")
        for key in ("depth", "segmentation"):
            if type(getattr(self, key)) is not bool:
                raise ConfigError(f"task.cameras.{key}={getattr(self, key)!r} must be true or false")


class Renderer:
    """Draws the scenes of one cell in one profile; made by :func:`renderer_of`.

    Visible are the geometries of group 1, as in robosuite.
    """

    def __init__(self, small: mujoco.MjModel, visual: mujoco.MjModel, profile: str) -> None:
        import mujoco

        _check_same_joints(small, visual)
        self._small, self._model = small, visual
        _context()
        if profile == "fast":
            thin_meshes(visual)
        visual.vis.quality.offsamples = SAMPLES if profile == "full" else 0
        # what its window would be large: only images of the size that is asked for are drawn
        visual.vis.global_.offwidth, visual.vis.global_.offheight = 1, 1
        self._gl = mujoco.MjrContext(visual, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._gl.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        _FREED_AT_EXIT.append(self._gl)
        self._data = mujoco.MjData(visual)
        self._drawn = mujoco.MjvScene(visual, maxgeom=visual.ngeom + 1)
        if profile == "fast":
            for flag in ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE"):
                self._drawn.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [0, 1, 0, 0, 0, 0]
        self._option.sitegroup[:] = 0
        self._as_compiled = {name: getattr(visual, name).copy() for name in (*_POSES, *_LOOKS)}
        self._as_edited = self._as_compiled
        self._episode: tuple[MujocoTask, Stream] | None = None
        self._aliases: Mapping[str, str] = {}
        self._bodies = _pairs(_names(small, "body"), _names(visual, "body"))
        self._geoms = _same_geoms(small, visual)
        self._mocap = self._bodies[:, (small.body_mocapid[self._bodies[0]] >= 0)]
        self._body_of = np.full(visual.nbody, -1, dtype=np.int32)
        self._body_of[self._bodies[1]] = self._bodies[0]

    def pose(
        self,
        task: MujocoTask,
        stream: Stream,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        qpos: Array | None = None,
    ) -> mujoco.MjModel:
        """Take over what a scene shows: the episode's edits, those of perturbations, and where everything is.

        ``qpos`` (nq,) takes the place of the data's joint positions.  Returns the model that will be drawn, which all
        scenes share: what is changed in it must be put back once it is drawn.
        """
        import mujoco

        if self._episode is None or self._episode[0] is not task or self._episode[1] != stream:
            self._edit(task, stream)
        for name, values in self._as_edited.items():
            getattr(self._model, name)[:] = values
        here, there = self._bodies
        for name in _POSES:
            getattr(self._model, name)[there] = getattr(model, name)[here]
        here, there = self._geoms
        for name in ("geom_pos", "geom_quat", "geom_size"):
            getattr(self._model, name)[there] = getattr(model, name)[here]
        # the small model's colours are not meant to be seen: only a new one counts, and takes the material's place
        new = (model.geom_rgba[here] != self._small.geom_rgba[here]).any(axis=1)
        self._model.geom_rgba[there[new]], self._model.geom_matid[there[new]] = model.geom_rgba[here[new]], -1
        self._data.qpos[:] = data.qpos if qpos is None else qpos
        self._data.time = data.time
        here, there = model.body_mocapid[self._mocap[0]], self._model.body_mocapid[self._mocap[1]]
        self._data.mocap_pos[there], self._data.mocap_quat[there] = data.mocap_pos[here], data.mocap_quat[here]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        return self._model

    def images(self, cameras: Cameras) -> dict[str, Array]:
        """What the cameras see of the scene that was posed last; see :meth:`MujocoScene.images`."""
        import mujoco

        mujoco.mj_camlight(self._model, self._data)
        _context().make_current()
        self._make_room(cameras.width_px, cameras.height_px)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gl)  # renderers share what is bound
        seen: dict[str, Array] = {}
        for name in cameras.names:
            camera = mujoco.MjvCamera()
            camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._camera(name)
            categories = mujoco.mjtCatBit.mjCAT_ALL
            mujoco.mjv_updateScene(self._model, self._data, self._option, None, camera, categories, self._drawn)
            seen[f"images/{name}"] = self._pixels(cameras)[0]
            if cameras.depth or cameras.segmentation:
                depth, bodies = self._measured(cameras)
                if cameras.depth:
                    seen[f"depth/{name}"] = depth
                if cameras.segmentation:
                    seen[f"segmentation/{name}"] = bodies
        return seen

    def projection(self, name: str, width_px: int, height_px: int) -> Array:
        """(3, 4) of a camera in the scene that was drawn last; see :class:`workbench.types.Picture`."""
        camera = self._camera(name)
        centre_m, axes = self._data.cam_xpos[camera], self._data.cam_xmat[camera].reshape(3, 3)
        focal_px = 0.5 * height_px / np.tan(0.5 * np.deg2rad(self._model.cam_fovy[camera]))
        lens = np.array([[focal_px, 0.0, 0.5 * width_px], [0.0, focal_px, 0.5 * height_px], [0.0, 0.0, 1.0]])
        to_camera = np.diag([1.0, -1.0, -1.0]) @ axes.T  # MuJoCo's cameras look along -z, with y upwards
        return np.asarray(lens @ np.column_stack([to_camera, -to_camera @ centre_m]))

    def _edit(self, task: MujocoTask, stream: Stream) -> None:
        for name, values in self._as_compiled.items():
            getattr(self._model, name)[:] = values
        task.edit(self._model, stream.child("scene").at())
        self._as_edited = {name: getattr(self._model, name).copy() for name in self._as_compiled}
        self._episode, self._aliases = (task, stream), aliases(task)

    def _camera(self, name: str) -> int:
        """Index of a camera of the model."""
        known = _names(self._model, "camera")
        own = self._aliases.get(name, name)
        if own not in known:
            ours = [alias for alias, meant in self._aliases.items() if meant in known]
            raise UnknownNameError("camera of this task", name, [*known, *ours])
        return known[own]

    def _make_room(self, width_px: int, height_px: int) -> None:
        import mujoco

        width, height = max(width_px, self._gl.offWidth), max(height_px, self._gl.offHeight)
        if (width, height) != (self._gl.offWidth, self._gl.offHeight):
            mujoco.mjr_resizeOffscreen(width, height, self._gl)

    def _pixels(self, cameras: Cameras) -> tuple[Array, Array]:
        """(H, W, 3) uint8 and (H, W) float32 depth buffer, from the top left."""
        import mujoco

        colours = np.empty((cameras.height_px, cameras.width_px, 3), dtype=np.uint8)
        buffer = np.empty((cameras.height_px, cameras.width_px), dtype=np.float32)
        view = mujoco.MjrRect(0, 0, cameras.width_px, cameras.height_px)
        mujoco.mjr_render(view, self._drawn, self._gl)
        mujoco.mjr_readPixels(colours, buffer, view, self._gl)
        return colours[::-1].copy(), buffer[::-1]  # GL's origin is at the bottom

    def _measured(self, cameras: Cameras) -> tuple[Array, Array]:
        """(H, W) float32 metres along the camera's axis and (H, W) int32 bodies of the small model."""
        import mujoco

        flags = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)
        for flag in flags:
            self._drawn.flags[flag] = 1
        colours, buffer = self._pixels(cameras)
        for flag in flags:
            self._drawn.flags[flag] = 0
        number = colours.astype(np.int32) @ np.array([1, 2**8, 2**16], dtype=np.int32)  # one more than the segid
        bodies = np.full(self._drawn.ngeom + 1, -1, dtype=np.int32)
        for shown in self._drawn.geoms[: self._drawn.ngeom]:
            bodies[shown.segid + 1] = self._body_of[self._model.geom_bodyid[shown.objid]]
        near = self._model.vis.map.znear * self._model.stat.extent
        far = self._model.vis.map.zfar * self._model.stat.extent
        # reversed depth: 1 at the near plane, 0 at the far one
        depth = near * far / (near + buffer.astype(np.float64) * (far - near))
        depth[number == 0] = np.inf
        return depth.astype(np.float32), bodies[number]


def aliases(task: Task) -> Mapping[str, str]:
    """Our names of cameras -> those in a task's model; any other name is the model's own."""
    robot = robot_of(task)
    arm = None if robot is None else robot.arm
    return {"side": "sideview"} if arm is None else {"wrist": arm.wrist_camera, "side": "sideview"}


@functools.cache
def renderer_of(cell: Cell, profile: str) -> Renderer:
    """The renderer that all scenes of a cell share in this process.

    Raises
    ------
    RenderError
        If there is no GL library to draw with.
    """
    from workbench.envs.scene import pristine

    _context()  # before seconds are spent on meshes
    return Renderer(pristine(cell), cell.compiled_visual(), profile)


def thin_meshes(model: mujoco.MjModel) -> None:
    """Merge the vertices of each small cube of a model's large meshes, in place (they are only looked at).

    Vertex clustering after Rossignac & Borrel (Modeling in Computer Graphics, 1993).  Faces keep the normals and
    texture coordinates of their corners, so shading and textures stay.
    """
    for mesh in np.flatnonzero(model.mesh_facenum > LARGE_FACES):
        first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        first_face, faces_count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        vertices = model.mesh_vert[first : first + count].astype(np.float64)
        old = slice(first_face, first_face + faces_count)
        merged, faces, kept = _clustered(vertices, model.mesh_face[old])
        new = slice(first_face, first_face + len(faces))
        model.mesh_vert[first : first + len(merged)] = merged
        model.mesh_face[new] = faces
        for corners in (model.mesh_facenormal, model.mesh_facetexcoord):
            corners[new] = corners[old][kept]
        model.mesh_vertnum[mesh], model.mesh_facenum[mesh] = len(merged), len(faces)
        model.mesh_graphadr[mesh] = -1  # its hull was of the old vertices


def _clustered(vertices_m: Array, faces: Array) -> tuple[Array, Array, Array]:
    """Merged vertices (V, 3), faces (F, 3) with three different corners, and which of the old faces they were (F,)."""
    edge_m = min(THINNED_M, THINNED_SHARE * float(np.linalg.norm(np.ptp(vertices_m, axis=0))))
    _, cluster = np.unique(np.round(vertices_m / edge_m).astype(np.int64), axis=0, return_inverse=True)
    cluster = cluster.reshape(-1)
    count = np.bincount(cluster)
    merged = np.stack([np.bincount(cluster, vertices_m[:, axis]) / count for axis in range(3)], axis=1)
    corners = cluster[faces]
    ordered = np.sort(corners, axis=1)
    different = np.flatnonzero((ordered[:, 0] < ordered[:, 1]) & (ordered[:, 1] < ordered[:, 2]))
    # the two sides of a thin part fall together: a face and its reverse are not the same, or one side would be open
    turn = (corners.argmin(axis=1)[:, None] + np.arange(3)) % 3
    _, unique = np.unique(np.take_along_axis(corners, turn, axis=1)[different], axis=0, return_index=True)
    kept = different[np.sort(unique)]
    return merged, corners[kept], kept


def _names(model: mujoco.MjModel, kind: str) -> dict[str, int]:
    """Name -> index of a model's named bodies, geometries or cameras."""
    counts = {"body": model.nbody, "geom": model.ngeom, "camera": model.ncam, "joint": model.njnt}
    named = {getattr(model, kind)(index).name: index for index in range(counts[kind])}
    return {name: index for name, index in named.items() if name}


def _pairs(here: Mapping[str, int], there: Mapping[str, int]) -> Array:
    """(2, n) indices of what has the same name in two models."""
    shared = [name for name in here if name in there]
    return np.array([[here[name] for name in shared], [there[name] for name in shared]], dtype=np.int64).reshape(2, -1)


def _same_geoms(small: mujoco.MjModel, visual: mujoco.MjModel) -> Array:
    """(2, n) indices of geometries of the small model and of those that show them.

    That is the geometry of the same name, and its visual twin: robosuite calls it ``<name>_vis``.  A twin of another
    shape or place (a mesh around a collision box) is left alone.
    """
    here, there = _names(small, "geom"), _names(visual, "geom")
    twins = {name: there[f"{name}_vis"] for name in here if f"{name}_vis" in there}
    both = np.concatenate([_pairs(here, there), _pairs(here, twins)], axis=1)
    alike = small.geom_type[both[0]] == visual.geom_type[both[1]]
    for name in ("geom_pos", "geom_quat", "geom_size"):
        alike &= (getattr(small, name)[both[0]] == getattr(visual, name)[both[1]]).all(axis=1)
    return both[:, alike]


def _check_same_joints(small: mujoco.MjModel, visual: mujoco.MjModel) -> None:
    here, there = list(_names(small, "joint")), list(_names(visual, "joint"))
    if here != there or small.nq != visual.nq:
        raise ValueError(f"the small and the visual model of a cell must have the same joints, not {here} and {there}")


_FREED_AT_EXIT: list[Any] = []


def _free() -> None:
    """Free the renderers and then their context; left to the interpreter's exit, EGL would raise."""
    while _FREED_AT_EXIT:
        _FREED_AT_EXIT.pop().free()


@functools.cache
def backend() -> str:
    """Name of the GL backend that works here; raises RenderError if none does."""
    return _opened()[0]


def _context() -> Any:
    return _opened()[1]


@functools.cache
def _opened() -> tuple[str, Any]:
    """The process's GL context, current, and the name of its backend."""
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked in _OFF:
        raise RenderError(f"MUJOCO_GL={asked} switches images off; unset it, or set task.cameras=null")
    if asked not in (*_UNSET, *BACKENDS):
        raise RenderError(f"MUJOCO_GL={asked} is no GL backend; unset it, or set it to one of {', '.join(BACKENDS)}")
    tried = []
    for name in AUTOMATIC if asked in _UNSET else (asked,):
        try:
            context = _start(name)
        except Exception as error:  # each binding raises what it likes, AttributeError of a missing library included
            tried.append(f"{name} ({_reason(str(error))})")
            continue
        _FREED_AT_EXIT.append(context)
        atexit.register(_free)
        return name, context
    because = f" as MUJOCO_GL={asked} asks" if asked in BACKENDS else ""
    raise RenderError(f"no GL library to draw images with; tried{because}: {'; '.join(tried)}. {_REMEDY}")


def _start(name: str) -> Any:
    """A current GL context of one backend, in which MuJoCo can draw."""
    import mujoco

    if name == "egl":
        _try_egl()
    with _pyopengl_for(name):
        context = importlib.import_module(f"mujoco.{name}").GLContext(64, 64)
        context.make_current()
    empty = mujoco.MjModel.from_xml_string("<mujoco/>")
    mujoco.MjrContext(empty, mujoco.mjtFontScale.mjFONTSCALE_50).free()
    return context


def _try_egl() -> None:
    """Open EGL in another process first: a libEGL without a driver, once loaded, would keep OSMesa from working."""
    code = "from mujoco.egl import GLContext; GLContext(64, 64).make_current()"
    kept = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True)
    if done.returncode:
        raise RenderError(next((line for line in done.stderr.splitlines() if "Error:" in line), "it crashed"))


def _reason(said: str) -> str:
    """What PyOpenGL said, in one line and in words."""
    return "its library is not installed" if "'NoneType' object has no attribute" in said else " ".join(said.split())


@contextlib.contextmanager
def _pyopengl_for(name: str) -> Iterator[None]:
    """Let PyOpenGL be imported for one backend: it binds itself to one for good, ours or robosuite's choice."""
    platform = sys.modules.get("OpenGL.platform")
    if platform is not None and type(getattr(platform, "PLATFORM", None)).__name__ != BACKENDS[name]:
        for module in [each for each in sys.modules if each.split(".")[0] == "OpenGL" or each == f"mujoco.{name}"]:
            del sys.modules[module]
    before = os.environ.pop("PYOPENGL_PLATFORM", None)
    try:
        yield
    finally:
        os.environ.pop("PYOPENGL_PLATFORM", None)
        if before is not None:
            os.environ["PYOPENGL_PLATFORM"] = before
