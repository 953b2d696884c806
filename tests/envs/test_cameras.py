"""Cameras: the same geometry in both profiles, the right scene, exact repetition, and nothing at all unless asked."""

from __future__ import annotations

import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from tests.toy import ToyPolicy
from workbench.envs.sensors.cameras import Cameras, backend, renderer_of, thin_meshes
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.stack import Stack
from workbench.errors import ConfigError, RenderError, UnknownNameError, WorkbenchError
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import PolicyOutput, Stream

try:
    backend()
    MISSING = ""
except RenderError as error:
    MISSING = str(error)
draws = pytest.mark.skipif(bool(MISSING), reason=MISSING)

NAMES = ["agentview", "wrist", "side"]
ALL = {"names": NAMES, "depth": True, "segmentation": True}


@pytest.fixture
def scene():
    scene = Lift(cameras=ALL).scene()
    scene.begin(Stream(0, 3))
    return scene


def pixels_of(scene, images, camera, body) -> np.ndarray:
    return images[f"segmentation/{camera}"] == list(scene.body_poses()).index(body)


def put_cube(scene, x, y, z=0.83) -> None:
    scene.data.joint("cube_joint0").qpos[:3] = x, y, z
    mujoco.mj_forward(scene.model, scene.data)


@draws
def test_what_is_asked_for_comes_in_its_shape_and_type(scene):
    task = Lift(cameras={"names": ["side"], "width_px": 40, "height_px": 30})
    other = task.scene()
    assert {name: (image.shape, image.dtype.name) for name, image in other.images().items()} == {
        "images/side": ((30, 40, 3), "uint8")
    }
    images = scene.images()
    assert set(images) == {f"{kind}/{name}" for kind in ("images", "depth", "segmentation") for name in NAMES}
    for name in NAMES:
        assert (images[f"images/{name}"].shape, images[f"images/{name}"].dtype) == ((84, 84, 3), np.uint8)
        assert (images[f"depth/{name}"].shape, images[f"depth/{name}"].dtype) == ((84, 84), np.float32)
        assert (images[f"segmentation/{name}"].shape, images[f"segmentation/{name}"].dtype) == ((84, 84), np.int32)


@draws
@pytest.mark.parametrize("camera", NAMES)
def test_profiles_agree_in_geometry(camera):
    """Also that each draws its own image, in turns: they share one GL context."""
    seen = {}
    for profile in ("full", "fast", "full"):
        scene = Lift(cameras={**ALL, "names": [camera], "profile": profile, "width_px": 168, "height_px": 168}).scene()
        scene.begin(Stream(0, 3))
        seen[profile] = scene.images()
    fast, full = seen["fast"], seen["full"]
    cubes = [pixels_of(scene, images, camera, "cube_main") for images in (fast, full)]
    assert (cubes[0] & cubes[1]).sum() > 0.95 * (cubes[0] | cubes[1]).sum() > 10
    same = fast[f"segmentation/{camera}"] == full[f"segmentation/{camera}"]
    assert same.mean() > 0.97
    assert np.median(np.abs(fast[f"depth/{camera}"] - full[f"depth/{camera}"])) < 0.001
    difference = np.abs(fast[f"images/{camera}"].astype(float) - full[f"images/{camera}"])
    assert 0 < difference.mean() < 8, "full is smoothed, and otherwise alike"


@draws
def test_the_origin_is_at_the_top_left_and_colours_are_rgb(scene):
    images = scene.images()
    cube = pixels_of(scene, images, "agentview", "cube_main")
    red, green, blue = images["images/agentview"][cube].mean(axis=0)
    assert red > 2 * green
    assert red > 2 * blue
    table, robot = (pixels_of(scene, images, "side", name) for name in ("table", "robot0_link4"))
    assert np.nonzero(robot)[0].mean() < np.nonzero(table)[0].mean(), "the arm is above the table"
    before = np.array(np.nonzero(cube)).mean(axis=1)
    put_cube(scene, 0.1, 0.2)
    images = scene.images()
    after = np.array(np.nonzero(pixels_of(scene, images, "agentview", "cube_main"))).mean(axis=1)
    assert after[0] > before[0] + 5, "the camera looks back at the robot: nearer to it is lower"
    assert after[1] > before[1] + 10, "and the world's y axis runs to the right"


@draws
def test_moving_the_object_moves_its_pixels_and_nothing_else(scene):
    """The cube is taken far away: what changes is where it was."""
    before = scene.images()
    cube = pixels_of(scene, before, "agentview", "cube_main")
    put_cube(scene, 20.0, 20.0)
    after = scene.images()
    changed = (before["images/agentview"] != after["images/agentview"]).any(axis=2)
    assert np.array_equal(changed, cube)
    assert not pixels_of(scene, after, "agentview", "cube_main").any()


@draws
def test_pixels_are_those_of_the_state(scene):
    first = scene.images()
    again = scene.images()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    snapshot = scene.snapshot()
    for _ in range(5):
        scene.step(np.ones(7))
    moved = scene.images()
    assert all(not np.array_equal(first[name], moved[name]) for name in first)
    scene.restore(snapshot)
    restored = scene.images()
    assert all(np.array_equal(first[name], restored[name]) for name in first)


@draws
def test_two_scenes_share_a_renderer_and_keep_their_images():
    task, other_task = Lift(cameras=ALL), Lift(cameras={**ALL, "names": ["agentview"]})
    one, two = task.scene(), other_task.scene()
    assert renderer_of(task.cell, "fast") is renderer_of(other_task.cell, "fast")
    one.begin(Stream(0, 1))
    two.begin(Stream(0, 2))
    alone = one.images()
    other = two.images()
    assert not np.array_equal(alone["images/agentview"], other["images/agentview"])
    again = one.images()
    assert all(np.array_equal(alone[name], again[name]) for name in alone)
    fresh = task.scene()
    fresh.begin(Stream(0, 2))
    assert np.array_equal(fresh.images()["images/agentview"], other["images/agentview"])


@draws
def test_tasks_of_other_cells_do_not_disturb_one_another(scene):
    before = scene.images()
    stack = Stack(cameras={"names": ["agentview"], "width_px": 300, "height_px": 200}).scene()
    image = stack.images()["images/agentview"]
    assert image.shape == (200, 300, 3)
    after = scene.images()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert np.array_equal(stack.images()["images/agentview"], image)


@draws
def test_depth_is_that_of_the_geometry(scene):
    """Every pixel of the table, cast back along its ray, lies at the height of the table's top."""
    put_cube(scene, 0.0, 0.0, 0.821)
    images = scene.images()
    visual = scene.task.cell.compiled_visual()
    camera = visual.camera("agentview")
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, camera.quat)
    tangent = np.tan(np.deg2rad(camera.fovy[0]) / 2)
    rows, columns = np.mgrid[:84, :84]
    right, up = (2 * (columns + 0.5) / 84 - 1) * tangent, (1 - 2 * (rows + 0.5) / 84) * tangent
    depth = images["depth/agentview"].astype(float)
    points = camera.pos + np.stack([right * depth, up * depth, -depth], axis=-1) @ rotation.reshape(3, 3).T
    table = pixels_of(scene, images, "agentview", "table")
    inner = table & np.roll(table, 1, 0) & np.roll(table, -1, 0)
    assert inner.sum() > 3000
    assert np.abs(points[inner][:, 2] - 0.8).max() < 0.001
    cube = pixels_of(scene, images, "agentview", "cube_main")
    assert np.abs(points[cube] - [0, 0, 0.821]).max() < 0.04


@draws
def test_edits_of_the_episode_and_of_perturbations_show(scene):
    """The drawn size of the cube, a larger one, another colour, a table elsewhere; and all of it taken back."""
    put_cube(scene, 0.0, 0.0)
    before = scene.images()
    cube = pixels_of(scene, before, "wrist", "cube_main").sum()
    scene.task.resize(scene.model, np.full(3, 0.04))
    scene.model.geom("cube_g0").rgba[:] = 0, 0, 1, 1
    larger = scene.images()
    place = pixels_of(scene, larger, "wrist", "cube_main")
    assert place.sum() > 2 * cube
    assert larger["images/wrist"][place].mean(axis=0)[2] > 2 * larger["images/wrist"][place].mean(axis=0)[0]
    scene.model.body("table").pos[2] -= 0.3
    assert scene.images()["depth/agentview"][70, 42] > before["depth/agentview"][70, 42] + 0.2
    scene.begin(Stream(0, 3))
    put_cube(scene, 0.0, 0.0)
    after = scene.images()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    scene.begin(Stream(0, 4))
    size = renderer_of(scene.task.cell, "fast")._model.geom("cube_g0_vis").size
    scene.images()
    assert np.array_equal(size, scene.model.geom("cube_g0").size)


PUCK = """<mujoco>
  <worldbody>
    {seen}
    <body name="puck"><freejoint/><geom name="puck" type="cylinder" size="0.1 0.02" group="1" rgba="0 0.8 0 1"/></body>
    <body name="pusher" mocap="true" pos="0.4 0 0"><geom name="tip" size="0.05" group="1" rgba="0 0 0.9 1"/></body>
  </worldbody>
</mujoco>"""
SEEN = """<light pos="0 0 3"/>
    <camera name="agentview" pos="0 0 2"/>
    <body name="target" mocap="true"><geom size="0.04" contype="0" conaffinity="0" group="1"/></body>"""


class PuckCell:
    """A cell of its own: primitives alone, a mocap body, and one that only the visual model has."""

    def compiled(self):
        return mujoco.MjModel.from_xml_string(PUCK.format(seen=""))

    def compiled_visual(self):
        return mujoco.MjModel.from_xml_string(PUCK.format(seen=SEEN))


class PuckTask:
    def edit(self, model, rng):
        pass


@draws
@pytest.mark.parametrize("profile", ["fast", "full"])
def test_cells_other_than_robosuites_and_what_hangs_on_no_joint(profile):
    cell, task, cameras = PuckCell(), PuckTask(), Cameras(segmentation=True, profile=profile)
    renderer, model = renderer_of(cell, profile), cell.compiled()
    data = mujoco.MjData(model)
    data.mocap_pos[0] = 0.4, 0.3, 0.0
    renderer.pose(task, Stream(0, 0), model, data)
    images = renderer.images(cameras)
    bodies = images["segmentation/agentview"]
    puck, pusher = (bodies == model.body(name).id for name in ("puck", "pusher"))
    assert puck[42, 42 + 4]
    assert not puck[42, 42], "the target lies on it, and is no body of the small model"
    assert bodies[42, 42] == -1
    row, column = np.array(np.nonzero(pusher)).mean(axis=1)
    assert column > 42 + 10, "to the right"
    assert row < 42 - 7, "and above"
    for part, colour in ((puck, 1), (pusher, 2)):
        assert images["images/agentview"][part].mean(axis=0).argmax() == colour
    with pytest.raises(UnknownNameError, match=r"'wrist'. Known: agentview"):
        renderer.images(Cameras(("wrist",)))


@draws
def test_models_that_do_not_fit_together_are_refused():
    class Odd(PuckCell):
        def compiled(self):
            return mujoco.MjModel.from_xml_string("<mujoco/>")

    with pytest.raises(ValueError, match="same joints"):
        renderer_of(Odd(), "fast")


@draws
def test_gymnasium_draws_the_first_camera(scene):
    check_env(scene)
    assert scene.render_mode == "rgb_array"
    assert scene.metadata["render_fps"] == 20
    scene.begin(Stream(0, 3))
    assert np.array_equal(scene.render(), scene.images()["images/agentview"])


def test_without_cameras_there_are_no_images():
    scene = Lift().scene()
    assert scene.images() == {}
    assert scene.render_mode is None
    with pytest.raises(ConfigError, match="no cameras"):
        scene.render()


@draws
def test_an_unknown_camera_is_refused_with_those_there_are():
    with pytest.raises(UnknownNameError, match=r"'wirst'. Did you mean 'wrist'\? Known: agentview, .*side"):
        Lift(cameras={"names": ["wirst"]}).scene().images()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"name": ["wrist"]}, r"'name'. Did you mean 'names'"),
        ({"names": "wrist"}, "must be a list"),
        ({"names": []}, "at least one"),
        ({"names": ["side", "side"]}, "none twice"),
        ({"profile": "quick"}, "Known: fast, full"),
        ({"width_px": 0}, "width_px=0"),
        ({"height_px": 84.0}, "height_px=84.0"),
        ({"width_px": True}, "width_px=True"),
        ({"depth": 1}, "depth=1"),
    ],
)
def test_wrong_settings_are_refused(settings, reason):
    with pytest.raises(WorkbenchError, match=reason):
        Lift(cameras=settings)


def test_defaults():
    assert Lift(cameras={}).cameras == Cameras(("agentview",), "fast", 84, 84, False, False)
    assert Lift(cameras=None).cameras is None


class Still(ToyPolicy):
    def plan(self, observation, noise, samples=0):
        return PolicyOutput(np.zeros((len(noise), self.horizon, 7)))


@draws
def test_recorded_episodes_keep_the_image_before_every_action(tmp_path):
    task = Lift(cameras={**ALL, "names": ["agentview", "wrist"]})
    task.deadline = 3
    lockstep = Lockstep(task, Still(), 2)
    launches = [Launch(Stream(0, number)) for number in range(2)]
    episodes = list(lockstep.record(launches))
    header = StoreHeader("lift", 20.0, 3, {}, {}, 0)
    with StoreWriter.open(tmp_path / "a.zarr", header) as writer:
        for episode in episodes:
            writer.append(episode)
    store = Store.open(tmp_path / "a.zarr")
    scene = task.scene()
    for number in range(2):
        steps = store.episode(store.uids.index(launches[number].uid)).steps
        assert steps["images/wrist"].shape == (3, 84, 84, 3)
        assert steps["depth/wrist"].dtype == np.float32
        assert steps["segmentation/agentview"].dtype == np.int32
        scene.begin(Stream(0, number))
        for step in range(3):
            for name, image in scene.images().items():
                assert np.array_equal(steps[name][step], image), (name, step)
            scene.step(steps["action"][step])


@draws
def test_images_are_drawn_only_for_what_is_recorded(monkeypatch):
    task = Lift(cameras={})
    task.deadline = 3
    monkeypatch.setattr("workbench.envs.scene.MujocoScene.images", lambda self: pytest.fail("an image was drawn"))
    assert len(Lockstep(task, Still(), 1).outcomes([Launch(Stream(0, 0))])) == 1


def test_thinning_leaves_a_mesh_of_the_same_outline():
    """Faces stay within the mesh's own range, point outwards, and enclose nearly the same volume."""
    model = Lift().cell.compiled_visual()
    mesh = model.mesh("robot0_link1_vis").id
    before, small = outline(model, mesh), outline(model, model.mesh("robot0_link0_vis_6").id)
    thin_meshes(model)
    after = outline(model, mesh)
    assert after["faces"] < before["faces"] / 5
    np.testing.assert_allclose(after["low"], before["low"], atol=0.006)
    np.testing.assert_allclose(after["high"], before["high"], atol=0.006)
    assert after["volume"] == pytest.approx(before["volume"], rel=0.1)
    assert outline(model, model.mesh("robot0_link0_vis_6").id)["volume"] == small["volume"], "a small one is left alone"


def outline(model, mesh) -> dict:
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    face, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    vertices = model.mesh_vert[first : first + count].astype(float)
    a, b, c = (vertices[model.mesh_face[face : face + faces, corner]] for corner in range(3))
    volume = float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)
    return {"faces": int(faces), "low": vertices.min(axis=0), "high": vertices.max(axis=0), "volume": volume}


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    return subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True, timeout=120
    )


HIDDEN = """
import sys
sys.modules["mujoco.egl"] = sys.modules["mujoco.osmesa"] = None  # importing them fails
import numpy as np
from workbench.envs.tasks.lift import Lift
from workbench.errors import RenderError
scene = Lift(cameras={}).scene()
scene.step(np.zeros(7))
try:
    scene.images()
except RenderError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({}, ["tried: egl (", "; osmesa (", "libegl1 libegl-mesa0 libgl1-mesa-dri", "task.cameras=null"]),
        ({"MUJOCO_GL": "osmesa"}, ["tried as MUJOCO_GL=osmesa asks: osmesa (", "libosmesa6"]),
        ({"MUJOCO_GL": "egl"}, ["tried as MUJOCO_GL=egl asks: egl (", "libegl1"]),
        ({"MUJOCO_GL": "off"}, ["MUJOCO_GL=off", "unset it"]),
        ({"MUJOCO_GL": "nonsense"}, ["MUJOCO_GL=nonsense", "egl, osmesa, glfw"]),
    ],
)
def test_without_a_gl_library_one_line_says_what_to_do(setting, said):
    """Stepping works all the same, although MuJoCo's own import falls over such a ``MUJOCO_GL``."""
    done = run(HIDDEN, **setting)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert all(words in done.stdout for words in said), done.stdout


UNASKED = """
import sys
import numpy as np
from workbench.envs.tasks.lift import Lift
scene = Lift().scene()
scene.step(np.zeros(7))
assert scene.images() == {}
assert "workbench.envs.sensors.cameras" not in sys.modules
assert not [name for name in sys.modules if name.split(".")[0] == "OpenGL" or name in ("mujoco.egl", "mujoco.osmesa")]
loaded = open("/proc/self/maps").read()
assert not [name for name in ("libEGL", "libGL", "libOSMesa", "libOpenGL", "swrast") if name in loaded]
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_without_cameras_no_gl_library_is_loaded():
    done = run(UNASKED)
    assert done.returncode == 0, done.stderr


DRAWS = """
from workbench.envs.tasks.lift import Lift
print(Lift(cameras={}).scene().images()["images/agentview"].max())
"""


@draws
def test_a_process_that_drew_ends_in_silence():
    """EGL's objects raise at the interpreter's exit unless they are freed before."""
    done = run(DRAWS)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 100


@draws
def test_robosuites_import_does_not_choose_the_backend():
    code = """
import os
from workbench.envs.robots.robosuite import make_environment
make_environment("Lift", "Panda", 20)
assert "MUJOCO_GL" not in os.environ and "PYOPENGL_PLATFORM" not in os.environ
"""
    done = run(code + DRAWS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 100
