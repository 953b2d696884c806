import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rerun.chunk import RrdReader

from workbench.errors import StoreError
from workbench.types import Array, Shape
from workbench.viewing.choice import interest
from workbench.viewing.episode import MonitorTrace, ShownEpisode, record_episode
from workbench.viewing.meshes import thin_mesh
from workbench.viewing.session import entities_of

T = 40


def shape(name: str, body: str, kind: str, size: tuple[float, ...], **more: Array) -> Shape:
    empty = {"vertices_m": np.zeros((0, 3)), "faces": np.zeros((0, 3), np.int32)} | more
    return Shape(name, body, kind, np.zeros(3), np.array([1.0, 0, 0, 0]), np.array(size), np.ones(4), **empty)


def sphere(rings: int) -> tuple[Array, Array]:
    """Vertices and faces of a unit sphere of radius 0.1 m, every face with vertices of its own."""
    up, around = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, 2 * rings), indexing="ij")
    grid = 0.1 * np.stack([np.sin(up) * np.cos(around), np.sin(up) * np.sin(around), np.cos(up)], axis=-1)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    corners = np.concatenate([np.stack([a, b, c], axis=2).reshape(-1, 3), np.stack([a, c, d], axis=2).reshape(-1, 3)])
    return corners, np.arange(len(corners)).reshape(-1, 3)


CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.1
CUBE_FACES = np.array([
    [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
    [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
])  # fmt: skip


def poses() -> dict[str, tuple[Array, Array]]:
    still, turn = np.zeros((T, 3)), np.tile([1.0, 0, 0, 0], (T, 1))
    moving = still + np.linspace(0, 0.3, T)[:, None]
    turned = np.stack([np.cos(np.linspace(0, 1, T)), np.sin(np.linspace(0, 1, T)), 0 * turn[:, 0], 0 * turn[:, 0]], 1)
    return {"world": (still, turn), "arm link": (moving, turned), "cube": (moving * 0.5, turn)}


def record(path: Path, **changes: object) -> Path:
    vertices, faces = sphere(12)
    calls = np.arange(0, T, 4)
    arguments = {
        "title": "lift, slip",
        "shapes": [
            shape("floor", "world", "plane", (3, 3, 0.1)),
            shape("wall", "world", "box", (3, 3, 0.1)),
            shape("box", "cube", "box", (0.02, 0.02, 0.02)),
            shape("ball", "cube", "sphere", (0.02, 0, 0)),
            shape("egg", "cube", "ellipsoid", (0.02, 0.01, 0.01)),
            shape("rod", "arm link", "capsule", (0.02, 0.1, 0)),
            shape("tin", "arm link", "cylinder", (0.02, 0.1, 0)),
            shape("hull", "arm link", "mesh", (0, 0, 0), vertices_m=vertices, faces=faces),
        ],
        "poses": poses(),
        "control_hz": 20.0,
        "stages": ("reach", "grasp"),
        "stage": np.repeat([0, 1, 2], [10, 20, 10]),
        "monitors": {
            "rnd+band": MonitorTrace(calls, np.linspace(0, 2, 10), np.ones(10), 24),
            "uncalibrated": MonitorTrace(calls, np.full(10, np.nan), np.zeros(10), -1),
        },
        "events": {"injected": 5, "onset": 12, "point of no return": 30, "failure": T - 1, "success": -1},
        "actions": np.zeros((T, 7)),
        "trails": ("arm link", "cube"),
        "notes": "# notes",
    }
    return record_episode(path, ShownEpisode(**(arguments | changes)))  # type: ignore[arg-type]


def column(path: Path, entity: str, component: str) -> list[tuple[int, object]]:
    """(step, value) of every row of a component."""
    rows = []
    for chunk in RrdReader(path).stream():
        if chunk.entity_path == entity and "step" in chunk.timeline_names:
            batch = chunk.to_record_batch()
            (name,) = [name for name in batch.schema.names if name.endswith(component)]
            rows += zip(batch.column("step").to_pylist(), batch.column(name).to_pylist(), strict=True)
    return sorted(rows)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("view") / "deep" / "episode.rrd")


def test_every_shape_is_below_its_body_except_walls(recording: Path) -> None:
    entities = [entity for entity in entities_of(recording) if entity.startswith("/scene/")]
    carried = {"cube": ["ball", "box", "egg"], "arm\\ link": ["hull", "rod", "tin"], "world": ["floor"]}
    expected = [f"/scene/{body}/{name}" for body, names in carried.items() for name in names]
    assert sorted(entities) == sorted(expected + [f"/scene/{body}" for body in carried])


def test_moving_bodies_have_a_pose_a_step_and_still_ones_one(recording: Path) -> None:
    rows = column(recording, "/scene/arm\\ link", "translation")
    assert [step for step, _ in rows] == list(range(T))
    np.testing.assert_allclose([value[0] for _, value in rows], poses()["arm link"][0], atol=1e-6)
    w_last = [value[0] for _, value in column(recording, "/scene/arm\\ link", "quaternion")]
    np.testing.assert_allclose(w_last, poses()["arm link"][1][:, [1, 2, 3, 0]], atol=1e-6)
    assert column(recording, "/scene/world", "translation") == []
    static = [c for c in RrdReader(recording).stream() if c.entity_path == "/scene/world"]
    assert [chunk.is_static for chunk in static] == [True]


def test_images_stand_at_their_steps(tmp_path: Path, recording: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (T, 3, 4, 3)).astype(np.uint8)
    path = record(tmp_path / "seen.rrd", images={"agentview": pixels, "wrist": 255 - pixels})
    rows = column(path, "/images/wrist", "buffer")
    assert [step for step, _ in rows] == list(range(T))
    assert all(np.array_equal(value[0], (255 - pixels[step]).reshape(-1)) for step, value in rows)
    (layout,) = [c for c in RrdReader(path).stream() if c.entity_path == "/images/wrist" and c.is_static]
    batch = layout.to_record_batch()
    (name,) = [name for name in batch.schema.names if name.endswith("format")]
    shape = batch.column(name).to_pylist()[0][0]
    assert (shape["width"], shape["height"]) == (4, 3)
    assert not [entity for entity in entities_of(recording) if entity.startswith("/images")]


def test_events_stand_at_their_steps(recording: Path) -> None:
    log = [(step, text[0]) for step, text in column(recording, "/log", "text")]
    alarm = (24, "alarm: rnd+band")
    assert log == [(5, "injected"), (12, "onset"), alarm, (30, "point of no return"), (39, "failure")]
    marks = [(step, value[0]) for step, value in column(recording, "/marks/margins/onset", "scalars")]
    assert sorted(marks) == [(12, -1.0), (12, 1.0)]
    assert "/marks/margins/success" not in entities_of(recording)


def test_lanes_change_when_the_episode_does(recording: Path) -> None:
    stages = [(step, text[0]) for step, text in column(recording, "/states/stage", "state")]
    assert stages == [(0, "reach"), (10, "grasp"), (30, "done")]
    condition = [(step, text[0]) for step, text in column(recording, "/states/condition", "state")]
    assert condition[:2] == [(0, "nominal"), (5, "injected @ 5")]
    monitors = {e: [t[0] for _, t in column(recording, e, "state")] for e in entities_of(recording) if "/monitor/" in e}
    assert monitors == {
        "/states/monitor/rnd/band": ["quiet", "alarm @ 24"],
        "/states/monitor/uncalibrated": ["quiet"],
    }


def test_no_event_hides_another_of_the_same_step(tmp_path: Path) -> None:
    path = record(tmp_path / "same.rrd", events={"injected": 5, "onset": 5, "failure": 39})
    condition = [(step, text[0]) for step, text in column(path, "/states/condition", "state")]
    assert condition == [(0, "nominal"), (5, "injected, onset @ 5"), (39, "failure @ 39")]
    path = record(tmp_path / "first.rrd", events={"injected": 0, "failure": 39})
    condition = [(step, text[0]) for step, text in column(path, "/states/condition", "state")]
    assert condition == [(0, "injected @ 0"), (39, "failure @ 39")]


def test_the_most_telling_episode() -> None:
    best = interest(10, 80, [24, 40])
    worse = [
        interest(10, 79, [24, 40]),  # a shorter stretch
        interest(10, 80, [24, -1]),  # fewer alarms in time
        interest(10, 90, [24, 40, 8]),  # one before the fault
        interest(10, 90, [88, 95][1:]),  # none before the point of no return
        interest(0, 99, [24, 40, 48]),  # there from the start
    ]
    assert [best, *worse] == sorted([best, *worse], reverse=True)
    assert interest(10, 80, [10]) < interest(10, 80, [-1]), "an alarm at the very step cannot be the fault's"


def test_time_is_in_seconds(recording: Path) -> None:
    (chunk,) = [c for c in RrdReader(recording).stream() if c.entity_path == "/actions/a0" and not c.is_static]
    seconds = [time.total_seconds() for time in chunk.to_record_batch().column("time").to_pylist()]
    np.testing.assert_allclose(seconds, np.arange(T) / 20.0, atol=1e-9)


def test_margins_keep_their_sign_and_share_a_scale() -> None:
    trace = MonitorTrace(np.arange(4), np.array([1.0, 5.0, 9.0, np.nan]), np.array([5.0, 5.0, 1.0, np.inf]), 2)
    np.testing.assert_allclose(trace.relative_margin(), [-0.5, 0.0, 1.0, np.nan])
    flat = MonitorTrace(np.arange(2), np.ones(2), np.ones(2), -1)
    np.testing.assert_array_equal(flat.relative_margin(), [0.0, 0.0])


def test_an_alarm_is_marked_where_it_crossed(recording: Path) -> None:
    (entity,) = [e for e in entities_of(recording) if e.startswith("/scores/rnd") and e.endswith("alarm")]
    ((step, value),) = column(recording, entity, "scalars")
    assert step == 24
    assert value[0] == pytest.approx(np.linspace(0, 2, 10)[6])  # type: ignore[index]


def test_an_episode_without_monitors_or_events_is_recorded(tmp_path: Path) -> None:
    path = record(tmp_path / "plain.rrd", monitors={}, events={"injected": -1}, trails=(), notes="")
    assert "/states/stage" in entities_of(path)
    assert not [entity for entity in entities_of(path) if entity.startswith(("/log", "/marks", "/margins"))]


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path, recording: Path) -> None:
    with pytest.raises(StoreError, match="there is no recording"):
        entities_of(tmp_path / "none.rrd")
    (tmp_path / "broken.rrd").write_bytes(b"not a recording")
    with pytest.raises(StoreError, match="cannot be read"):
        entities_of(tmp_path / "broken.rrd")


def test_no_port_is_opened_and_no_recording_is_made_global(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rerun as rr

    monkeypatch.setattr(socket.socket, "bind", lambda *_: pytest.fail("a port was opened"))
    for name in ("serve_grpc", "connect_grpc", "spawn"):
        monkeypatch.setattr(rr.RecordingStream, name, lambda *_, **__: pytest.fail("left the process"))
    record(tmp_path / "quiet.rrd")
    assert rr.get_global_data_recording() is None


def test_importing_the_module_does_not_import_rerun() -> None:
    code = "import sys, workbench.viewing.recording; assert 'rerun' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_thinning_merges_fine_detail_and_keeps_the_form() -> None:
    vertices, faces = sphere(150)
    thin, normals, kept = thin_mesh(vertices, faces)
    assert len(kept) < 0.7 * len(faces)
    assert len(thin) < 0.3 * len(vertices)
    np.testing.assert_allclose(np.linalg.norm(thin, axis=1), 0.1, atol=0.002)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    outward = np.sum(normals * thin, axis=1) / np.linalg.norm(thin, axis=1)
    assert np.median(outward) > 0.98, "a round surface is shaded round"


def test_edges_stay_edges() -> None:
    vertices, normals, faces = thin_mesh(CUBE, CUBE_FACES)
    assert len(faces) == 12
    assert len(vertices) == 24, "three normals at each corner of a cube"
    np.testing.assert_allclose(np.abs(normals).max(axis=1), 1.0, atol=1e-6)
    assert (np.sum(normals * vertices, axis=1) > 0).all(), "normals point outwards"


def test_a_mesh_of_which_nothing_is_left_is_empty() -> None:
    point = np.zeros((3, 3))
    _, _, faces = thin_mesh(point, np.array([[0, 1, 2]]))
    assert faces.shape == (0, 3)
