"""What each fault of images and of the robot's own readings does, on Lift with small cameras."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from workbench.envs.faults.specification import describe, effect_of
from workbench.envs.perturbations.surface_colour import _geoms
from workbench.envs.sensors.cameras import Cameras, backend, renderer_of
from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.peg_insertion import PegInsertion
from workbench.envs.tasks.push_t import PushT
from workbench.errors import ConfigError, RenderError, UnknownNameError
from workbench.types import Stream

try:
    backend()
    MISSING = ""
except RenderError as error:
    MISSING = str(error)
draws = pytest.mark.skipif(bool(MISSING), reason=MISSING)

ROOT = Path(__file__).parents[2]
GEOMETRIC = [
    "camera_pose",
    "camera_fov",
    "occlusion",
    "camera_dropout",
    "camera_freeze",
    "camera_latency",
    "camera_swap",
]
PHOTOMETRIC = ["light", "surface_colour", "defocus_blur", "motion_blur", "image_noise", "exposure"]
IMAGE_FAULTS = [*GEOMETRIC, *PHOTOMETRIC, "depth_holes"]
ONE_CAMERA = [name for name in IMAGE_FAULTS if name not in ("light", "surface_colour", "camera_swap")]
CAMERAS = {"names": ["agentview", "wrist"], "width_px": 32, "height_px": 32, "depth": True, "segmentation": True}
STREAM = Stream(5, 7)
START, DURATION, END = 4, 4, 11
NOW = {"start_step": START, "stage": None, "predicate": None, "duration_steps": DURATION}
CERTAIN = {"camera_dropout": {"drop_probability": 1.0}}
"""So that a few steps are enough to see it."""


def build(name: str, **changes):
    """The specification of a yaml, as the command line would make it."""
    part = yaml.safe_load((ROOT / f"conf/perturbation/{name}.yaml").read_text())[name] | changes
    module, _, kind = part["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**{key: part[key] for key in part if key != "_target_"})


def drawn(name: str, task=None, **parameters):
    return build(name).draw(STREAM, task or TASK) | NOW | CERTAIN.get(name, {}) | parameters


TASK = Lift(cameras=CAMERAS)


class Run:
    """Everything seen in an episode of given actions, step by step."""

    def __init__(self, records, scene=None, actions=None) -> None:
        self.scene = scene or TASK.scene()
        self.images, self.seen, self.true, self.snapshots = [], [], [], []
        self.look(self.scene.begin(STREAM, records))
        self.go_on(ACTIONS if actions is None else actions)

    def go_on(self, actions) -> None:
        for action in actions:
            self.look(self.scene.step(action)[0])

    def look(self, observation) -> None:
        self.images.append(self.scene.images())
        self.seen.append(observation)
        self.true.append(dict(self.scene.truth().observation))
        self.snapshots.append(self.scene.snapshot())


ACTIONS = np.random.default_rng(1).uniform(-1, 1, (END, 7))


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)


@pytest.fixture(scope="module")
def nominal():
    return Run([])


@pytest.fixture(scope="module")
def other_scene():
    return Lift(cameras=CAMERAS).scene()


@pytest.fixture(scope="module", params=IMAGE_FAULTS)
def faulty(request):
    return Run([drawn(request.param)])


# Laws


@draws
def test_images_differ_while_it_is_active_and_at_no_other_step(faulty, nominal):
    equal = [same(*pair) for pair in zip(faulty.images, nominal.images, strict=True)]
    assert all(equal[:START]), "identity before the start"
    assert not all(equal[START : START + DURATION])
    assert all(equal[START + DURATION :]), "identity after the end"
    for ours, theirs in zip(faulty.snapshots, nominal.snapshots, strict=True):
        assert ours.state.tobytes() == theirs.state.tobytes()


@draws
def test_images_keep_their_shapes_and_types(faulty, nominal):
    for ours, theirs in zip(faulty.images, nominal.images, strict=True):
        assert {k: (v.shape, v.dtype) for k, v in ours.items()} == {k: (v.shape, v.dtype) for k, v in theirs.items()}


@draws
@pytest.mark.parametrize("name", IMAGE_FAULTS)
def test_looking_twice_shows_the_same_and_leaves_the_renderer_clean(name, other_scene, nominal):
    """Another scene of the process, which shares the renderer, is drawn in between."""
    scene, model = TASK.scene(), renderer_of(TASK.cell, "fast")._model
    fields = ("cam_pos", "cam_quat", "cam_fovy", "light_diffuse", "light_ambient", "light_specular", "light_dir")
    before = [getattr(model, field).tobytes() for field in fields] + [bytes(model.vis.headlight.diffuse)]
    scene.begin(STREAM, [drawn(name, start_step=0)])
    other_scene.begin(STREAM)
    for action in ACTIONS[:3]:
        scene.step(action)
        other_scene.step(action)
    first = scene.images()
    kept = {key: value.copy() for key, value in first.items()}
    assert same(other_scene.images(), nominal.images[3])
    assert same(scene.images(), first)
    assert same(first, kept), "what was handed out is not changed later"
    assert np.array_equal(scene.render(), first["images/agentview"])
    assert [getattr(model, f).tobytes() for f in fields] + [bytes(model.vis.headlight.diffuse)] == before


@draws
@pytest.mark.parametrize("at", [0, START - 1, START, START + 2, START + DURATION])
def test_a_restored_snapshot_goes_on_bit_for_bit(faulty, other_scene, at):
    """In a scene that has other faults behind it."""
    other_scene.begin(Stream(9, 9), [drawn("camera_latency", start_step=1), drawn("light", start_step=0)])
    for action in ACTIONS[:3]:
        other_scene.step(-action)
    other_scene.images()
    other_scene.restore(faulty.snapshots[at])
    for step in range(at, END + 1):
        assert same(other_scene.images(), faulty.images[step]), step
        assert other_scene.snapshot().memory.tobytes() == faulty.snapshots[step].memory.tobytes()
        if step < END:
            other_scene.step(ACTIONS[step])


@draws
@pytest.mark.parametrize("name", ONE_CAMERA)
def test_a_fault_of_one_camera_leaves_the_other_alone(name, nominal):
    record = build(name, camera="wrist").draw(STREAM, TASK)
    assert record["cameras"] == ["wrist"]
    run = Run([record | NOW | CERTAIN.get(name, {})], actions=ACTIONS[: START + 2])
    pairs = list(zip(run.images, nominal.images[: START + 3], strict=True))
    for ours, theirs in pairs:
        assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours if key.endswith("agentview"))
    assert not all(same(*pair) for pair in pairs)


@draws
@pytest.mark.parametrize("name", [*GEOMETRIC, *PHOTOMETRIC])
def test_depth_and_segmentation_follow_faults_of_geometry_alone(name, nominal):
    run = Run([drawn(name)], actions=ACTIONS[: START + 2])
    ours, theirs = run.images[-1], nominal.images[START + 2]
    for camera in CAMERAS["names"]:
        changed = {kind: not np.array_equal(ours[f"{kind}/{camera}"], theirs[f"{kind}/{camera}"]) for kind in KINDS}
        assert changed["depth"] == changed["segmentation"] == (name in GEOMETRIC)
        if name != "surface_colour":  # which may be of the table, that the wrist's camera does not see
            assert changed["images"]


KINDS = ("images", "depth", "segmentation")


@pytest.mark.parametrize("name", IMAGE_FAULTS)
def test_draws_depend_on_seed_and_episode_alone_and_replay_from_json(name):
    first = build(name).draw(STREAM, TASK)
    for other in IMAGE_FAULTS:
        build(other).draw(STREAM, TASK)
    assert build(name).draw(STREAM, TASK) == first == json.loads(json.dumps(first))
    assert any(build(name).draw(Stream(0, episode), TASK) != first for episode in range(5))
    key = build(name).magnitude.name
    low, high = getattr(build(name), key)
    values = [build(name).draw(Stream(0, episode), TASK)[key] for episode in range(40)]
    lengths = np.array([np.linalg.norm(value) for value in values])
    assert low * (1 - 1e-12) <= lengths.min() < low + 0.25 * (high - low)
    assert high - 0.25 * (high - low) < lengths.max() <= high * (1 + 1e-12)
    assert describe(first).startswith(f"{name}: ")


@pytest.mark.parametrize("name", IMAGE_FAULTS)
def test_tasks_without_cameras_and_unknown_cameras_are_refused(name):
    with pytest.raises(ConfigError, match="takes none"):
        build(name).draw(STREAM, Lift())
    if name not in ("light", "surface_colour"):
        with pytest.raises(UnknownNameError, match="Did you mean 'wrist'"):
            build(name, camera="wirst").draw(STREAM, TASK)


@pytest.mark.parametrize("name", IMAGE_FAULTS)
def test_impossible_magnitudes_and_axes_are_refused(name):
    magnitude = build(name).magnitude
    for value in (0, -1, magnitude.high * 1.01, magnitude.low * 0.99, "1", None, [magnitude.high, magnitude.low]):
        with pytest.raises(ConfigError, match=magnitude.name):
            build(name, **{magnitude.name: value})
    if magnitude_axes := build(name).axes:
        with pytest.raises(UnknownNameError, match=magnitude_axes[0]):
            build(name, axis="sideways")


def test_what_a_fault_needs_of_the_cameras():
    one = Lift(cameras={"names": ["side"]})
    with pytest.raises(ConfigError, match=r"needs two cameras.*one \(side\)"):
        build("camera_swap").draw(STREAM, one)
    with pytest.raises(ConfigError, match=r"task\.cameras\.depth=true"):
        build("depth_holes").draw(STREAM, one)


# What each one does to the geometry


def table_points(images, pose, fovy_rad, camera="agentview") -> np.ndarray:
    """(n, 3) points of the table in the world, cast back through a camera at a pose (position, rotation)."""
    position, rotation = pose
    depth, size = images[f"depth/{camera}"].astype(float), CAMERAS["height_px"]
    tangent = np.tan(fovy_rad / 2)
    rows, columns = np.mgrid[:size, :size]
    right, up = (2 * (columns + 0.5) / size - 1) * tangent, (1 - 2 * (rows + 0.5) / size) * tangent
    table = images[f"segmentation/{camera}"] == TABLE
    inner = table & np.roll(table, 1, 0) & np.roll(table, -1, 0) & np.roll(table, 1, 1) & np.roll(table, -1, 1)
    rays = np.stack([right * depth, up * depth, -depth], axis=-1)[inner]
    return position + rays @ rotation.T


TABLE = list(TASK.scene().body_poses()).index("table")


@pytest.fixture(scope="module")
def agentview():
    """Position, rotation and field of view of the camera as it is."""
    if MISSING:
        pytest.skip(MISSING)
    camera = renderer_of(TASK.cell, "fast")._model.camera("agentview")
    rotation = Rotation.from_quat(np.array(camera.quat)[[1, 2, 3, 0]]).as_matrix()
    return (np.array(camera.pos), rotation), np.deg2rad(float(camera.fovy[0]))


def seen_with(record, **changes):
    scene = TASK.scene()
    scene.begin(STREAM, [record | NOW | {"start_step": 0} | changes])
    return scene.images()


@draws
def test_camera_pose_is_moved_and_turned_in_its_own_frame(agentview):
    (position, rotation), fovy_rad = agentview
    offset_m, rotation_rad = [0.08, -0.05, 0.1], [0.1, -0.06, 0.2]
    images = seen_with(drawn("camera_pose", offset_m=offset_m, rotation_rad=rotation_rad))
    moved = position + rotation @ offset_m, rotation @ Rotation.from_rotvec(rotation_rad).as_matrix()
    points = table_points(images, moved, fovy_rad)
    assert len(points) > 300
    assert np.abs(points[:, 2] - 0.8).max() < 0.002
    assert np.abs(table_points(images, (position, rotation), fovy_rad)[:, 2] - 0.8).max() > 0.02


@draws
@pytest.mark.parametrize(("axis", "factor"), [("wider", 1.4), ("narrower", 1 / 1.4)])
def test_camera_fov_scales_the_vertical_field_of_view(agentview, axis, factor):
    pose, fovy_rad = agentview
    points = table_points(seen_with(drawn("camera_fov", fovy_scale=1.4, axis=axis)), pose, factor * fovy_rad)
    assert len(points) > 100
    assert np.abs(points[:, 2] - 0.8).max() < 0.002


def test_a_named_axis_is_the_direction_either_way():
    records = [build("camera_pose", axis="y").draw(Stream(0, episode), TASK) for episode in range(20)]
    offsets = np.array([record["offset_m"] for record in records])
    assert not offsets[:, [0, 2]].any()
    assert {-1.0, 1.0} == set(np.sign(offsets[:, 1]))
    free = np.array([build("camera_pose").draw(Stream(0, episode), TASK)["offset_m"] for episode in range(200)])
    assert np.abs((free / np.linalg.norm(free, axis=1)[:, None]).mean(axis=0)).max() < 0.15
    turned = build("camera_pose", angle_rad=0.1).draw(STREAM, TASK)
    assert np.linalg.norm(turned["rotation_rad"]) == pytest.approx(0.1)
    assert not any(build("camera_pose").draw(STREAM, TASK)["rotation_rad"])


@draws
def test_occlusion_covers_its_part_at_one_place(nominal):
    record = drawn("occlusion", area_fraction=0.16, place_fraction=[1.0, 0.25], grey_level=77)
    run = Run([record])
    rows, columns = slice(32 - 13, 32), slice(5, 5 + 13)  # 0.4 of 32, rounded; a quarter of the 19 that are left
    patch = np.zeros((32, 32), dtype=bool)
    patch[rows, columns] = True
    for step in range(START, START + DURATION):
        for camera in CAMERAS["names"]:
            for kind, value in (("images", 77), ("depth", np.float32(0.01)), ("segmentation", -1)):
                seen, true = (run_.images[step][f"{kind}/{camera}"] for run_ in (run, nominal))
                assert (seen[patch] == value).all()
                assert np.array_equal(seen[~patch], true[~patch])


@draws
def test_dropout_blackens_whole_frames(nominal):
    run = Run([drawn("camera_dropout")])
    lost = run.images[START]
    assert not lost["images/wrist"].any()
    assert np.isinf(lost["depth/wrist"]).all()
    assert (lost["segmentation/wrist"] == -1).all()


def test_dropout_has_its_probability_step_by_step_and_camera_by_camera():
    effect = effect_of(drawn("camera_dropout", drop_probability=0.3), STREAM)
    images = {f"images/{name}": np.ones((2, 2, 3), np.uint8) for name in CAMERAS["names"]}

    class At:
        step_index = 0

    lost = np.zeros((400, 2), dtype=bool)
    for At.step_index in range(400):
        seen = effect.images(At, images)
        lost[At.step_index] = [not seen[key].any() for key in images]
    assert (np.abs(lost.mean(axis=0) - 0.3) < 0.1).all()  # 4.4 standard deviations
    assert abs(np.corrcoef(lost.T)[0, 1]) < 0.2
    assert all(image.all() for image in images.values())


@draws
def test_freeze_shows_the_image_of_its_first_step(nominal):
    run = Run([drawn("camera_freeze")])
    for step in range(START, START + DURATION):
        assert same(run.images[step], nominal.images[START])


@draws
@pytest.mark.parametrize("latency_steps", [1, 3, 6])
def test_latency_shows_the_image_of_k_steps_ago(nominal, latency_steps):
    run = Run([drawn("camera_latency", latency_steps=latency_steps)])
    for step in range(START, START + DURATION):
        assert same(run.images[step], nominal.images[max(step - latency_steps, 0)])


@draws
def test_a_frozen_image_keeps_the_faults_of_its_moment_and_no_later_ones(nominal):
    freeze, noise = drawn("camera_freeze"), drawn("image_noise", start_step=0, duration_steps=END + 1)
    grainy, held, later = Run([noise]), Run([noise, freeze]), Run([freeze, noise])
    for step in range(START, START + DURATION):
        assert same(held.images[step], grainy.images[START]), "the noise before it stands still"
        assert same(later.images[step], held.images[step]) == (step == START), "that behind it goes on"
    assert not same(later.images[START + 1], later.images[START + 2])
    light = drawn("light", start_step=START + 2)
    for records in ([freeze, light], [light, freeze]):
        assert same(Run(records).images[START + 3], nominal.images[START]), "the lamp failed after that moment"
    dark = Run([freeze, drawn("light", start_step=START - 1)])
    assert not same(dark.images[START + 1], nominal.images[START]), "and this one before it"


@draws
def test_a_late_image_arrives_with_the_noise_of_its_step():
    noise = drawn("image_noise", start_step=0, duration_steps=END + 1)
    grainy, late = Run([noise]), Run([noise, drawn("camera_latency", latency_steps=3)])
    for step in range(START, START + DURATION):
        assert same(late.images[step], grainy.images[step - 3])


@draws
def test_of_two_that_show_the_past_the_later_one_decides(nominal):
    freeze, late = drawn("camera_freeze"), drawn("camera_latency", latency_steps=3)
    assert same(Run([freeze, late]).images[START + 2], nominal.images[START - 1])
    assert same(Run([late, freeze]).images[START + 2], nominal.images[START])


@draws
def test_swap_exchanges_the_two(nominal):
    run = Run([drawn("camera_swap")])
    for step in range(START, START + DURATION):
        for kind in KINDS:
            for here, there in (CAMERAS["names"], CAMERAS["names"][::-1]):
                assert np.array_equal(run.images[step][f"{kind}/{here}"], nominal.images[step][f"{kind}/{there}"])


def test_swap_draws_a_pair_that_holds_the_named_camera():
    three = Lift(cameras={"names": ["agentview", "wrist", "side"]})
    pairs = [build("camera_swap", camera="side").draw(Stream(0, n), three)["cameras"] for n in range(20)]
    assert {tuple(pair) for pair in pairs} == {("agentview", "side"), ("wrist", "side")}
    free = {tuple(build("camera_swap").draw(Stream(0, n), three)["cameras"]) for n in range(30)}
    assert len(free) == 3


@draws
def test_depth_holes_take_their_part_of_the_depth_and_nothing_else(nominal):
    run = Run([drawn("depth_holes", hole_fraction=0.25)])
    places = []
    for step in range(START, START + DURATION):
        seen, true = run.images[step], nominal.images[step]
        assert all(np.array_equal(seen[key], true[key]) for key in seen if not key.startswith("depth"))
        places.append(effect_of(drawn("depth_holes", hole_fraction=0.25), STREAM).holes((32, 32), "agentview", step))
        assert places[-1].sum() == 256
        assert np.isinf(seen["depth/agentview"][places[-1]]).all()
        assert np.array_equal(seen["depth/agentview"][~places[-1]], true["depth/agentview"][~places[-1]])
    assert not np.array_equal(places[0], places[1])


# What each one does to the pixels


@draws
def test_light_dims_tints_and_tilts(nominal):
    plain = nominal.images[0]["images/agentview"].astype(float)
    white = {"tint_scale": [1.0, 1.0, 1.0], "tilt_rad": [0.0, 0.0]}
    means = [
        seen_with(drawn("light", brightness_scale=scale, **white))["images/agentview"].mean() for scale in (0.2, 0.6)
    ]
    assert 0.15 * plain.mean() < means[0] < 0.5 * means[1]
    assert means[1] < 0.8 * plain.mean()
    red = seen_with(drawn("light", brightness_scale=0.9, tint_scale=[1.0, 0.1, 0.1], tilt_rad=[0.0, 0.0]))
    channels = red["images/agentview"].mean(axis=(0, 1)) / plain.mean(axis=(0, 1))
    assert channels[0] > 3 * channels[1]
    tilted = seen_with(drawn("light", brightness_scale=0.2, **white | {"tilt_rad": [0.0, 1.0]}))["images/agentview"]
    upright = seen_with(drawn("light", brightness_scale=0.2, **white))["images/agentview"]
    assert not np.array_equal(tilted, upright)
    record = build("light", tint_fraction=0.8, tilt_rad=0.5).draw(STREAM, TASK)
    assert min(record["tint_scale"]) == pytest.approx(0.2)
    assert max(record["tint_scale"]) == pytest.approx(1.0)
    assert np.hypot(*record["tilt_rad"]) == pytest.approx(0.5)


@draws
@pytest.mark.parametrize("part", ["object", "table", "robot"])
def test_surface_colour_paints_that_part_and_nothing_else(part):
    scene = TASK.scene()
    scene.begin(STREAM)
    before, names = scene.images(), list(scene.body_poses())
    scene.begin(STREAM, [drawn("surface_colour", start_step=0, part=part, mix_fraction=1.0, hue_rad=2.0)])
    after = scene.images()
    of_part = {"object": ("cube",), "table": ("table",), "robot": ("robot0", "gripper0", "fixed")}[part]
    for camera in CAMERAS["names"]:
        bodies = before[f"segmentation/{camera}"]
        inside = np.isin(bodies, [index for index, name in enumerate(names) if name.startswith(of_part)])
        changed = (before[f"images/{camera}"] != after[f"images/{camera}"]).any(axis=2)
        assert not (changed & ~inside).any()
        if inside.any():
            assert changed[inside].mean() > 0.8
    assert changed.any() or part == "robot"


@draws
def test_surface_colour_is_the_mixture_with_a_hue_that_far_away():
    scene = TASK.scene()
    model = renderer_of(TASK.cell, "fast")._model
    effect = effect_of(drawn("surface_colour", part="table", hue_rad=np.pi, mix_fraction=0.5), STREAM)
    assert effect._painted(np.array([1.0, 0.0, 0.0])) == pytest.approx([0.5, 0.5, 0.5])
    assert effect._painted(np.array([0.2, 0.2, 0.2])) == pytest.approx([0.1, 0.4, 0.4])
    table = _geoms(scene, model, "table")
    assert {model.body(model.geom_bodyid[geom]).name for geom in table} == {"table"}
    mean = effect._colour(model, table[0])
    with effect.looked(scene, model):
        assert model.geom_matid[table].tolist() == [-1] * len(table)
        assert np.allclose(model.geom_rgba[table[0], :3], effect._painted(mean), atol=1e-6)
    assert (model.geom_matid[table] >= 0).all()


def test_every_part_of_push_t_is_found():
    scene = PushT().scene()
    model = scene.task.cell.compiled_visual()
    names = {
        part: {model.geom(geom).name for geom in _geoms(scene, model, part)} for part in ("object", "table", "robot")
    }
    assert names == {"object": {"bar", "stem"}, "table": {"table"}, "robot": {"disc"}}


def pixels_of(name, image, step=0, camera="agentview", **parameters) -> np.ndarray:
    seen = effect_of(drawn(name, **parameters), STREAM).pixels(image, camera, step)
    assert seen.dtype == np.uint8
    assert seen.shape == image.shape
    return seen


def dot(size=65) -> np.ndarray:
    """Black with a white square of 3 x 3 in the middle."""
    image = np.zeros((size, size, 3), dtype=np.uint8)
    image[size // 2 - 1 : size // 2 + 2, size // 2 - 1 : size // 2 + 2] = 255
    return image


def spread(image) -> np.ndarray:
    """(2, 2) covariance of where the light is, columns and rows (upwards), in pixels."""
    weights = image[..., 1].astype(float)
    rows, columns = np.nonzero(weights)
    return np.cov(np.stack([columns, -rows]), aweights=weights[rows, columns], ddof=0)


FLAT = np.full((40, 60, 3), 100, dtype=np.uint8)


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur"])
def test_blur_leaves_a_flat_image_and_its_edges(name):
    assert np.array_equal(pixels_of(name, FLAT), FLAT)


def test_defocus_spreads_a_dot_by_its_standard_deviation():
    """In pixels of the height, whatever the width, and no colour into another."""
    before, after = spread(dot()), spread(pixels_of("defocus_blur", dot(), sigma_fraction=2.0 / 65))
    assert np.diag(after - before) == pytest.approx([4.0, 4.0], rel=0.15)  # rounding takes the tails
    red = dot() * np.array([1, 0, 0], dtype=np.uint8)
    assert not pixels_of("defocus_blur", red, sigma_fraction=2.0 / 65)[..., 1:].any()


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur"])
def test_the_weakest_blur_shows_in_the_smallest_image(name):
    kind = build(name).magnitude
    turned = {"angle_rad": 0.0} if name == "motion_blur" else {}
    assert not np.array_equal(pixels_of(name, dot(16), **turned, **{kind.name: kind.low}), dot(16))


@pytest.mark.parametrize("angle_rad", [0.0, np.pi / 2, 0.6, 2.5])
def test_motion_smears_a_dot_along_the_line(angle_rad):
    length_px = 13.0
    after = pixels_of("motion_blur", dot(), length_fraction=length_px / 65, angle_rad=angle_rad)
    grown = spread(after) - spread(dot())
    along, across = np.array([[np.cos(angle_rad), np.sin(angle_rad)], [-np.sin(angle_rad), np.cos(angle_rad)]])
    assert along @ grown @ along == pytest.approx(length_px**2 / 12, rel=0.15)
    assert abs(across @ grown @ across) < 0.8
    assert after.astype(float).sum() == pytest.approx(dot().astype(float).sum(), rel=0.05)


def test_motion_blur_takes_its_axis():
    angles = {axis: build("motion_blur", axis=axis).draw(STREAM, TASK)["angle_rad"] for axis in ("x", "y")}
    assert angles == {"x": 0.0, "y": np.pi / 2}


def test_noise_has_its_standard_deviation_and_is_new_every_step_and_camera():
    grey = np.full((60, 60, 3), 128, dtype=np.uint8)
    noise = {"std_fraction": 0.05, "shot_fraction": 0.0}
    seen = [
        pixels_of("image_noise", grey, step, camera, **noise).astype(float) - 128
        for step, camera in ((0, "agentview"), (1, "agentview"), (0, "wrist"))
    ]
    for one in seen:
        assert one.std() == pytest.approx(0.05 * 255, rel=0.05)
        assert abs(one.mean()) < 1.0
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(seen[first].ravel(), seen[second].ravel())[0, 1]) < 0.05
    assert np.array_equal(pixels_of("image_noise", grey, 1, **noise), seen[1] + 128)


def test_shot_noise_grows_with_the_root_of_the_light():
    shot = {"std_fraction": 0.01, "shot_fraction": 0.08}
    for level in (40, 160):
        image = np.full((60, 60, 3), level, dtype=np.uint8)
        std = pixels_of("image_noise", image, **shot).astype(float).std() / 255
        assert std == pytest.approx(np.sqrt(0.01**2 + 0.08**2 * level / 255), rel=0.05)


@pytest.mark.parametrize(("axis", "factor"), [("over", 2.0), ("under", 0.5)])
def test_exposure_doubles_or_halves_the_light(axis, factor):
    seen = pixels_of("exposure", FLAT, exposure_scale=2.0, axis=axis)
    light = (seen / 255.0) ** 2.2 / (FLAT / 255.0) ** 2.2
    assert np.allclose(light, factor, rtol=0.03)
    assert (pixels_of("exposure", FLAT, exposure_scale=256.0, axis="over") == 255).all()
    assert {build("exposure").draw(Stream(0, n), TASK)["axis"] for n in range(12)} == {"over", "under"}


# The robot's own readings


def state_run(record, task=None) -> Run:
    scene = (task or Lift()).scene()
    return Run([record], scene, ACTIONS[:, : scene.task.action_size])


def errors(run, key) -> np.ndarray:
    return np.array([seen[key] - true[key] for seen, true in zip(run.seen, run.true, strict=True)])


ACTIVE = slice(START, START + DURATION)


def only_seen_wrong(run, *keys) -> None:
    """Nothing but these keys, and they only while the fault is active, differ from the truth."""
    for step, (seen, true) in enumerate(zip(run.seen, run.true, strict=True)):
        for key in true:
            active = START <= step < START + DURATION and key in keys
            assert active or seen[key].tobytes() == true[key].tobytes(), (step, key)


def test_proprioception_bias_is_the_stored_vector_on_the_hand():
    run = state_run(drawn("proprioception_bias", Lift(), offset_m=[0.03, -0.01, 0.02]))
    only_seen_wrong(run, "eef_pos")
    assert np.allclose(errors(run, "eef_pos")[ACTIVE], [0.03, -0.01, 0.02], atol=1e-15)


def test_proprioception_bias_of_the_fingers_and_of_the_disc():
    fingers = build("proprioception_bias", reading="fingers", offset_m=0.01)
    signs = {tuple(np.sign(fingers.draw(Stream(0, n), Lift())["offset_m"])) for n in range(12)}
    assert signs == {(1.0, -1.0), (-1.0, 1.0)}
    run = state_run(fingers.draw(STREAM, Lift()) | NOW)
    only_seen_wrong(run, "gripper_qpos")
    assert np.allclose(np.abs(errors(run, "gripper_qpos")[ACTIVE]), 0.01, atol=1e-15)
    disc = build("proprioception_bias").draw(STREAM, PushT())
    assert len(disc["offset_m"]) == 2
    run = state_run(disc | NOW, PushT())
    only_seen_wrong(run, "pusher_pos")
    assert np.allclose(errors(run, "pusher_pos")[ACTIVE], disc["offset_m"], atol=1e-15)
    with pytest.raises(ConfigError, match="gripper_qpos"):
        build("proprioception_bias", reading="fingers").draw(STREAM, PushT())
    with pytest.raises(ConfigError, match="x and y alone"):
        build("proprioception_bias", axis="z").draw(STREAM, PushT())
    along = build("proprioception_bias", axis="z").draw(STREAM, Lift())["offset_m"]
    assert along[:2] == [0.0, 0.0]
    assert 0.018 <= abs(along[2]) <= 0.035


def test_proprioception_noise_is_gaussian_on_the_hand_and_new_every_step():
    record = drawn("proprioception_noise", Lift(), std_m=0.05, start_step=0, duration_steps=300)
    scene = Lift().scene()
    wrong = [scene.begin(STREAM, [record])["eef_pos"] - scene.truth().observation["eef_pos"]]
    for _ in range(200):
        seen = scene.step(np.zeros(7))[0]
        assert np.array_equal(seen["eef_pos"], scene.observe()["eef_pos"])
        wrong.append(seen["eef_pos"] - scene.truth().observation["eef_pos"])
    noise = np.array(wrong)
    assert np.allclose(noise.std(axis=0), 0.05, atol=0.01)
    assert len({row.tobytes() for row in noise}) == 201
    only_seen_wrong(state_run(drawn("proprioception_noise", Lift())), "eef_pos")
    only_seen_wrong(state_run(drawn("proprioception_noise", PushT()), PushT()), "pusher_pos")


@pytest.mark.parametrize("delay_steps", [1, 3, 6])
@pytest.mark.parametrize("kind", [Lift, PushT])
def test_proprioception_delay_shows_readings_of_k_steps_ago(delay_steps, kind):
    keys = ("eef_pos", "eef_quat", "gripper_qpos") if kind is Lift else ("pusher_pos",)
    record = build("proprioception_delay", delay_steps=delay_steps).draw(STREAM, kind()) | NOW
    run = state_run(record, kind())
    only_seen_wrong(run, *keys)
    for step in range(START, START + DURATION):
        for key in keys:
            assert np.array_equal(run.seen[step][key], run.true[max(step - delay_steps, 0)][key])


def test_force_torque_bias_is_the_stored_wrench_and_needs_a_sensor():
    task = PegInsertion()
    record = build("force_torque_bias", torque_nm=[0.5, 1.0]).draw(STREAM, task) | NOW
    assert 5 <= np.linalg.norm(record["force_n"]) <= 20
    assert 0.5 <= np.linalg.norm(record["torque_nm"]) <= 1.0
    assert not any(build("force_torque_bias").draw(STREAM, task)["torque_nm"])
    run = state_run(record, task)
    only_seen_wrong(run, "wrench")
    assert np.allclose(errors(run, "wrench")[ACTIVE], [*record["force_n"], *record["torque_nm"]], atol=1e-12)
    with pytest.raises(ConfigError, match="task=peg_insertion"):
        build("force_torque_bias").draw(STREAM, Lift())
    axis = build("force_torque_bias", axis="z").draw(STREAM, task)["force_n"]
    assert axis[:2] == [0.0, 0.0]


@draws
def test_restored_readings_go_on_bit_for_bit():
    """Of a fault that remembers, in a scene that had another one."""
    run = Run([drawn("proprioception_delay", delay_steps=3)])
    other = Lift(cameras=CAMERAS).scene()
    for at in (0, START, START + 2):
        other.begin(Stream(9, 9), [drawn("proprioception_delay", delay_steps=5)])
        other.step(ACTIONS[0])
        assert same(other.restore(run.snapshots[at]), run.seen[at])
        for step in range(at, END):
            assert same(other.step(ACTIONS[step])[0], run.seen[step + 1])


@draws
def test_the_profile_full_and_other_sizes_take_all_faults():
    cameras = Cameras(("agentview", "wrist"), "full", 30, 20, depth=True)
    task = Lift(
        cameras={"names": ["agentview", "wrist"], "profile": "full", "width_px": 30, "height_px": 20, "depth": True}
    )
    assert task.cameras == cameras
    scene = task.scene()
    scene.begin(STREAM)
    before = scene.images()
    records = [drawn(name, task, start_step=0) for name in IMAGE_FAULTS if name != "camera_dropout"]
    scene.begin(STREAM, records)
    scene.step(ACTIONS[0])
    seen = scene.images()
    assert {k: (v.shape, v.dtype) for k, v in seen.items()} == {k: (v.shape, v.dtype) for k, v in before.items()}
    scene.begin(STREAM)
    assert same(scene.images(), before)
