"""One episode as a Rerun recording: the scene in 3-D, what the monitors said, and where it went wrong.

The only module that knows rerun.  It needs no renderer and opens no port: everything goes to one ``.rrd`` file,
together with a layout, so ``rerun FILE`` shows it at once.

Timelines: ``step`` (control steps) and ``time`` (seconds since the start of the episode).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import StoreError
from workbench.types import Array, Shape

if TYPE_CHECKING:
    import rerun as rr
    import rerun.blueprint as rrb

APPLICATION = "failure-workbench"

# Cool colours for what is measured, warm ones for what happens: no event is taken for a series.
# None so dark or so bright that it vanishes in the viewer's dark or light theme.
SERIES_COLOURS = (
    (0, 114, 178),
    (0, 158, 115),
    (86, 180, 233),
    (96, 86, 170),
    (40, 125, 125),
    (130, 140, 60),
    (120, 120, 120),
)
EVENT_COLOURS: Mapping[str, tuple[int, int, int]] = {
    "injected": (204, 121, 167),
    "onset": (230, 159, 0),
    "point of no return": (213, 94, 0),
    "success": (0, 140, 90),
    "failure": (150, 75, 62),
}
ALARM_COLOUR = (225, 45, 70)
OTHER_EVENT_COLOUR = (110, 90, 70)
NOMINAL_COLOUR = (205, 210, 215)
STAGE_COLOURS = ((166, 189, 219), (103, 169, 207), (54, 144, 192), (2, 129, 138), (1, 100, 80), (1, 70, 54))
THRESHOLD_COLOUR = (110, 110, 110)
BACKGROUND_COLOUR = (171, 181, 191)
GROUND_COLOUR = (140, 150, 161)
FURNITURE_BRIGHTNESS = 0.78
MARKS = "threshold, events"
"""Series of one name share one row of the legend; the lanes and the log name each event in its own colour."""
LEGEND_ROOM = 0.15
"""Height that one row of the legend takes above the margins, which reach from -1 to 1."""
GROUND_HALF_M = 1.5
ROOM_HALF_M = 1.0
"""A box of the world with a half length above this is a wall: it would stand between the eye and the robot."""
CELL_M = 0.0025
"""Meshes are thinned to about one vertex per cube of this edge; finer detail is not seen at arm's length."""
CREASE_COSINE = float(np.cos(np.deg2rad(40.0)))
"""Faces that meet at a sharper angle keep an edge between them instead of being shaded as one surface."""


@dataclasses.dataclass(frozen=True)
class MonitorTrace:
    """What one monitor said during an episode.

    Attributes
    ----------
    call_steps : (C,) control step of each policy call.
    score, threshold : (C,) windowed score and the threshold it is compared with; an alarm is a score above it.
    alarm_step : control step of the first alarm, or -1.
    """

    call_steps: Array
    score: Array
    threshold: Array
    alarm_step: int

    def relative_margin(self) -> Array:
        """(C,) score minus threshold as a share of its largest absolute value, so monitors share one axis.

        Signs and crossings are those of the real numbers; NaN where either is not finite.
        """
        with np.errstate(invalid="ignore"):
            margin = np.asarray(self.score, np.float64) - np.asarray(self.threshold, np.float64)
        margin[~np.isfinite(margin)] = np.nan
        finite = np.abs(margin[np.isfinite(margin)])
        largest = float(finite.max()) if len(finite) else 0.0
        relative: Array = margin / largest if largest > 0 else margin
        return relative


def record_episode(
    path: Path,
    *,
    title: str,
    shapes: Sequence[Shape],
    poses: Mapping[str, tuple[Array, Array]],
    steps: int,
    control_hz: float,
    stages: Sequence[str],
    stage: Array,
    monitors: Mapping[str, MonitorTrace],
    events: Mapping[str, int],
    actions: Array,
    trails: Sequence[str],
    images: Mapping[str, Array] | None = None,
    notes: str = "",
) -> Path:
    """Write one episode as a Rerun recording with its layout.

    Parameters
    ----------
    path
        The ``.rrd`` file; an existing one is replaced.
    title
        Shown as the name of the recording.
    shapes
        Visual geometry, logged once below the body that carries it.
    poses
        Body -> positions (T, 3) in metres and quaternions (T, 4) as (w, x, y, z), world frame.
    steps
        T, control steps of the episode.
    control_hz
        Control steps per second.
    stages
        Names of the task's stages, in order.
    stage
        (T,) index of the first stage not yet reached; ``len(stages)`` once all are.
    monitors
        Name -> what it said.
    events
        Name -> control step; negative ones did not happen and are left out.  ``injected``, ``onset``,
        ``point of no return``, ``success`` and ``failure`` have colours of their own; alarms come from ``monitors``.
    actions
        (T, A) as executed.
    trails
        Bodies whose paths are drawn, such as the end effector and the target object.
    images
        Camera -> (T, H, W, 3) uint8 RGB.
    notes
        Markdown shown beside the log.
    """
    import rerun as rr

    happened = sorted(((name, int(step)) for name, step in events.items() if step >= 0), key=lambda event: event[1])
    recording = rr.RecordingStream(APPLICATION, recording_id=path.stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    recording.save(path, default_blueprint=_layout(poses, trails, monitors, control_hz, list(images or {})))
    recording.send_recording_name(title)
    writer = _Writer(recording, control_hz)
    _write_scene(writer, shapes, poses, steps)
    _write_trails(writer, poses, trails, happened)
    _write_images(writer, images or {})
    _write_monitors(writer, monitors)
    _write_actions(writer, actions)
    _write_stages(writer, stages, stage)
    _write_condition(writer, happened)
    _write_alarms(writer, monitors)
    _write_log(writer, happened, monitors)
    _write_marks(writer, happened, actions)
    recording.log("notes", rr.TextDocument(notes or title, media_type="text/markdown"), static=True)
    recording.disconnect()  # writes the file's footer
    return path


def verify(path: Path) -> list[str]:
    """Read a recording back and list the entities that hold data; StoreError if it is missing or damaged."""
    from rerun.chunk import RrdReader

    if not path.is_file():
        raise StoreError(f"there is no recording at {path}; make one with `workbench view`")
    try:
        reader = RrdReader(path)
        if not reader.blueprints():
            raise StoreError(f"{path} holds no layout; write it again with `workbench view`")
        chunks = list(reader.stream())
    except StoreError:
        raise
    except Exception as error:  # rerun raises bare exceptions for unreadable files
        raise StoreError(f"{path} cannot be read as a Rerun recording: {error}") from None
    return sorted({chunk.entity_path for chunk in chunks if chunk.num_rows})


class _Writer:
    """A recording together with its two timelines."""

    def __init__(self, recording: rr.RecordingStream, control_hz: float) -> None:
        self.recording = recording
        self.control_hz = control_hz

    def static(self, entity: str, *parts: Any) -> None:
        """Log what does not change."""
        self.recording.log(entity, *parts, static=True)

    def columns(self, entity: str, at: Array, columns: Any) -> None:
        """Send a column with one row per control step in ``at``."""
        import rerun as rr

        step = np.asarray(at, np.int64)
        times = [rr.TimeColumn("step", sequence=step), rr.TimeColumn("time", duration=step / self.control_hz)]
        rr.send_columns(entity, times, columns, recording=self.recording)

    def series(self, entity: str, name: str, colour: Sequence[int], at: Array, values: Array, width: float = 2) -> None:
        """Send one line of a plot; values that are not finite are left out."""
        import rerun as rr

        values = np.asarray(values, np.float64)
        finite = np.isfinite(values)
        # Aggregation would replace the crossing of a threshold by a mean over a few steps.
        style = rr.SeriesLines(colors=[colour], widths=[width], names=[name], aggregation_policy="off")
        self.static(entity, style)
        self.columns(entity, np.asarray(at)[finite], rr.Scalars.columns(scalars=values[finite]))

    def lane(self, entity: str, at: Array, states: Sequence[tuple[str, Sequence[int]]]) -> None:
        """Send one lane of the state timeline: at each step of ``at`` it takes a (text, colour)."""
        import rerun as rr

        texts = [text for text, _ in states]
        self.static(entity, rr.StateConfiguration(values=texts, labels=texts, colors=[colour for _, colour in states]))
        self.columns(entity, at, rr.StateChange.columns(state=texts))


def _entity(*parts: str) -> str:
    import rerun as rr

    return str(rr.new_entity_path(list(parts)))


def _write_scene(
    writer: _Writer, shapes: Sequence[Shape], poses: Mapping[str, tuple[Array, Array]], steps: int
) -> None:
    import rerun as rr

    writer.static("scene", rr.ViewCoordinates.RIGHT_HAND_Z_UP)
    seen = [shape for shape in shapes if shape.body in poses and not _is_wall(shape) and shape.rgba[3] > 0]
    for body in dict.fromkeys(shape.body for shape in seen):
        positions_m, quaternions = (np.asarray(part, np.float32) for part in poses[body])
        xyzw = quaternions[:, [1, 2, 3, 0]]
        entity = _entity("scene", body)
        if np.ptp(positions_m, axis=0).max() < 1e-6 and np.ptp(xyzw, axis=0).max() < 1e-6:
            writer.static(entity, rr.Transform3D(translation=positions_m[0], quaternion=xyzw[0]))
        else:
            moving = rr.Transform3D.columns(translation=positions_m, quaternion=xyzw)
            writer.columns(entity, np.arange(steps), moving)
    for number, shape in enumerate(seen):
        _write_shape(writer, shape, shape.name or f"shape {number}")


def _is_wall(shape: Shape) -> bool:
    return shape.body == "world" and shape.kind == "box" and float(np.max(shape.size_m)) > ROOM_HALF_M


def _write_shape(writer: _Writer, shape: Shape, name: str) -> None:
    import rerun as rr

    geometry = _geometry(shape)
    if geometry is not None:
        xyzw = np.asarray(shape.quaternion, np.float32)[[1, 2, 3, 0]]
        pose = rr.Transform3D(translation=np.asarray(shape.position_m, np.float32), quaternion=xyzw)
        writer.static(_entity("scene", shape.body, name), pose, geometry)


def _geometry(shape: Shape) -> Any:
    """Rerun's archetype for a shape in its own frame, or None for a mesh of which nothing is left."""
    import rerun as rr

    size_m = np.asarray(shape.size_m, np.float32)
    colour = np.clip(np.asarray(shape.rgba, np.float64), 0.0, 1.0)
    if shape.kind != "mesh":  # furniture is made of these, and a white robot must stand out from a white table
        colour[:3] *= min(1.0, FURNITURE_BRIGHTNESS / max(float(colour[:3].max()), 1e-6))
    colour = np.round(colour * 255).astype(np.uint8)
    solid = {"colors": [colour], "fill_mode": "solid"}
    if shape.kind == "box":
        return rr.Boxes3D(half_sizes=[size_m], **solid)
    if shape.kind == "sphere":
        return rr.Ellipsoids3D(half_sizes=[np.full(3, size_m[0])], **solid)
    if shape.kind == "ellipsoid":
        return rr.Ellipsoids3D(half_sizes=[size_m], **solid)
    if shape.kind == "cylinder":
        return rr.Cylinders3D(lengths=[2 * size_m[1]], radii=[size_m[0]], **solid)
    if shape.kind == "capsule":
        # Rerun's capsule starts at the origin, MuJoCo's has its middle there.
        start = [0.0, 0.0, -size_m[1]]
        return rr.Capsules3D(lengths=[2 * size_m[1]], radii=[size_m[0]], translations=[start], **solid)
    if shape.kind == "plane":
        return _ground(size_m)
    vertices_m, normals, faces = thin_mesh(np.asarray(shape.vertices_m), np.asarray(shape.faces))
    if not len(faces):
        return None
    return rr.Mesh3D(vertex_positions=vertices_m, vertex_normals=normals, triangle_indices=faces, albedo_factor=colour)


def _ground(size_m: Array) -> Any:
    """A matt square instead of MuJoCo's endless textured plane, darker than the background so that both are seen."""
    import rerun as rr

    x, y = (min(float(half), GROUND_HALF_M) if half > 0 else GROUND_HALF_M for half in size_m[:2])
    return rr.Boxes3D(half_sizes=[[x, y, 0.001]], colors=[GROUND_COLOUR], fill_mode="solid")


def thin_mesh(vertices_m: Array, faces: Array) -> tuple[Array, Array, Array]:
    """Merge the vertices of each small cube into one, and give each face's corners normals to shade with.

    Vertex clustering after Rossignac & Borrel (Modeling in Computer Graphics, 1993).  Corners of one vertex share a
    normal with those neighbouring faces that meet at less than 40 degrees, so that edges stay edges.

    Parameters
    ----------
    vertices_m
        (V, 3) positions.
    faces
        (F, 3) indices into them.

    Returns
    -------
    (V', 3) float32 vertices, (V', 3) float32 unit normals and (F', 3) uint32 faces; empty if all faces vanish.
    """
    diagonal_m = float(np.linalg.norm(np.ptp(vertices_m, axis=0))) if len(vertices_m) else 0.0
    cell_m = max(min(CELL_M, diagonal_m / 40), 1e-6)
    _, cluster = np.unique(np.round(vertices_m / cell_m).astype(np.int64), axis=0, return_inverse=True)
    cluster = cluster.reshape(-1)
    count = np.bincount(cluster)
    merged = np.stack([np.bincount(cluster, vertices_m[:, axis]) / count for axis in range(3)], axis=1)
    kept = cluster[faces].reshape(-1, 3)
    area = np.cross(merged[kept[:, 1]] - merged[kept[:, 0]], merged[kept[:, 2]] - merged[kept[:, 0]])
    length = np.linalg.norm(area, axis=1)
    kept, area, length = kept[length > 1e-12], area[length > 1e-12], length[length > 1e-12]
    if not len(kept):
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32)
    normals = _corner_normals(kept, area, area / length[:, None])
    key = np.column_stack([kept.reshape(-1), np.round(normals * 32).astype(np.int64)])
    _, first, index = np.unique(key, axis=0, return_index=True, return_inverse=True)
    vertices = merged[kept.reshape(-1)[first]].astype(np.float32)
    return vertices, normals[first].astype(np.float32), index.reshape(-1, 3).astype(np.uint32)


def _corner_normals(faces: Array, area: Array, unit: Array) -> Array:
    """(3 F, 3) unit normals of all corners: area-weighted over the faces around its vertex within the crease angle."""
    owner = np.repeat(np.arange(len(faces)), 3)
    order = np.argsort(faces.reshape(-1), kind="stable")
    sorted_vertex, sorted_face = faces.reshape(-1)[order], owner[order]
    valence = np.bincount(sorted_vertex)
    start = np.cumsum(valence) - valence
    total = np.zeros((len(order), 3))
    # The n-th neighbour of every corner at once; a vertex has few faces, so this loop is short.
    for turn in range(int(valence.max())):
        has = turn < valence[sorted_vertex]
        neighbour = sorted_face[start[sorted_vertex[has]] + turn]
        smooth = np.einsum("ij,ij->i", unit[sorted_face[has]], unit[neighbour]) > CREASE_COSINE
        total[has] += area[neighbour] * smooth[:, None]
    normals = np.empty_like(total)
    normals[order] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return normals


def _write_trails(
    writer: _Writer,
    poses: Mapping[str, tuple[Array, Array]],
    trails: Sequence[str],
    happened: Sequence[tuple[str, int]],
) -> None:
    """Paths as thin lines, with the events as points on the first of them."""
    import rerun as rr

    for number, body in enumerate(trails):
        path_m = np.asarray(poses[body][0], np.float32)
        writer.static(_entity("trails", body), rr.LineStrips3D([path_m], colors=[_colour(number)], radii=[0.002]))
    if trails and happened:
        path_m = np.asarray(poses[trails[0]][0], np.float32)
        points_m = path_m[[min(step, len(path_m) - 1) for _, step in happened]]
        colours = [EVENT_COLOURS.get(name, OTHER_EVENT_COLOUR) for name, _ in happened]
        labels = [name for name, _ in happened]
        writer.static(
            "trails/events", rr.Points3D(points_m, colors=colours, radii=0.006, labels=labels, show_labels=False)
        )


def _write_images(writer: _Writer, images: Mapping[str, Array]) -> None:
    import rerun as rr

    for camera, pixels in images.items():
        steps, height, width, _ = pixels.shape
        layout = rr.components.ImageFormat(width=width, height=height, color_model="RGB", channel_datatype="U8")
        writer.static(_entity("images", camera), rr.Image.from_fields(format=layout))
        writer.columns(_entity("images", camera), np.arange(steps), rr.Image.columns(buffer=pixels.reshape(steps, -1)))


def _colour(number: int) -> tuple[int, int, int]:
    return SERIES_COLOURS[number % len(SERIES_COLOURS)]


def _write_monitors(writer: _Writer, monitors: Mapping[str, MonitorTrace]) -> None:
    """Margins of all monitors in one plot, and each monitor's score with its threshold in one of its own."""
    alarms: list[tuple[int, float]] = []
    for number, (name, trace) in enumerate(monitors.items()):
        margin = trace.relative_margin()
        writer.series(_entity("margins", name), name, _colour(number), trace.call_steps, margin)
        writer.series(_entity("scores", name, "score"), "score", _colour(number), trace.call_steps, trace.score)
        threshold = _entity("scores", name, "threshold")
        writer.series(threshold, "threshold", THRESHOLD_COLOUR, trace.call_steps, trace.threshold, 1)
        if trace.alarm_step >= 0:
            call = int(np.searchsorted(trace.call_steps, trace.alarm_step))
            alarms.append((trace.alarm_step, float(margin[call])))
            _write_alarm_marks(writer, _entity("scores", name, "alarm"), [(trace.alarm_step, float(trace.score[call]))])
    if monitors:
        ends = np.concatenate([trace.call_steps for trace in monitors.values()])
        span = np.array([ends.min(), ends.max()])
        writer.series("margins/threshold", MARKS, THRESHOLD_COLOUR, span, np.zeros(2), 1)
    if alarms:
        _write_alarm_marks(writer, "marks/margins/alarm", sorted(alarms))


def _write_alarm_marks(writer: _Writer, entity: str, alarms: Sequence[tuple[int, float]]) -> None:
    import rerun as rr

    style = rr.SeriesPoints(colors=[ALARM_COLOUR], names=["alarm"], markers="diamond", marker_sizes=[6])
    writer.static(entity, style)
    at, values = np.array([step for step, _ in alarms]), [value for _, value in alarms]
    writer.columns(entity, at, rr.Scalars.columns(scalars=values))


def _write_actions(writer: _Writer, actions: Array) -> None:
    for index in range(actions.shape[1]):
        series = actions[:, index]
        writer.series(f"actions/a{index}", f"a{index}", _colour(index), np.arange(len(actions)), series, 1.5)


def _write_stages(writer: _Writer, stages: Sequence[str], stage: Array) -> None:
    names = [*stages, "done"]
    index = np.asarray(stage, np.int64)
    changes = np.flatnonzero(np.diff(index, prepend=-1))
    states = [(names[i], STAGE_COLOURS[min(int(i), len(STAGE_COLOURS) - 1)]) for i in index[changes]]
    writer.lane("states/stage", changes, states)


def _write_condition(writer: _Writer, happened: Sequence[tuple[str, int]]) -> None:
    """One lane that shows the last event: nominal, then injected, onset, point of no return, ...

    Events of the same step share their entry, or the last would hide the others.
    """
    names: dict[int, list[str]] = {}
    for name, step in happened:
        names.setdefault(step, []).append(name)
    texts = [f"{', '.join(same)} @ {step}" for step, same in names.items()]
    colours = [EVENT_COLOURS.get(same[-1], OTHER_EVENT_COLOUR) for same in names.values()]
    states = list(zip(texts, colours, strict=True))
    if 0 not in names:
        states.insert(0, ("nominal", NOMINAL_COLOUR))
    writer.lane("states/condition", np.array(sorted({0, *names})), states)


def _write_alarms(writer: _Writer, monitors: Mapping[str, MonitorTrace]) -> None:
    for number, (name, trace) in enumerate(monitors.items()):
        at, states = [0], [("quiet", NOMINAL_COLOUR)]
        if trace.alarm_step >= 0:
            at, states = [*at, trace.alarm_step], [*states, (f"alarm @ {trace.alarm_step}", _colour(number))]
        # Lanes are headed by their path, in which a + would be shown as \\+.
        writer.lane(_entity("states", "monitor", *name.split("+")), np.array(at), states)


def _write_log(writer: _Writer, happened: Sequence[tuple[str, int]], monitors: Mapping[str, MonitorTrace]) -> None:
    import rerun as rr

    alarms = [(f"alarm: {name}", trace.alarm_step) for name, trace in monitors.items() if trace.alarm_step >= 0]
    for text, step in sorted([*happened, *alarms], key=lambda event: event[1]):
        level = "INFO" if text == "success" else "ERROR" if text in EVENT_COLOURS else "WARN"
        other = ALARM_COLOUR if text.startswith("alarm: ") else OTHER_EVENT_COLOUR
        colour = (*EVENT_COLOURS.get(text, other), 255)
        writer.columns("log", np.array([step]), rr.TextLog.columns(text=[text], level=[level], color=[colour]))


def _write_marks(writer: _Writer, happened: Sequence[tuple[str, int]], actions: Array) -> None:
    """An upright line for each event in the plots of the margins and the actions."""
    low, high = (float(actions.min()), float(actions.max())) if actions.size else (-1.0, 1.0)
    for name, step in happened:
        colour = EVENT_COLOURS.get(name, OTHER_EVENT_COLOUR)
        at = np.array([step, step])  # two values at one step draw an upright line
        writer.series(_entity("marks", "margins", name), MARKS, colour, at, np.array([-1.0, 1.0]), 1.5)
        writer.series(_entity("marks", "actions", name), MARKS, colour, at, np.array([low, high]), 1.5)


def _layout(
    poses: Mapping[str, tuple[Array, Array]],
    trails: Sequence[str],
    monitors: Mapping[str, MonitorTrace],
    control_hz: float,
    cameras: Sequence[str],
) -> rrb.Blueprint:
    """The scene, what cameras saw and the lanes to the left, the plots and the log to the right."""
    import rerun.blueprint as rrb

    margins = rrb.TimeSeriesView(
        name="Monitors: margin to the threshold",
        origin="/margins",
        contents=["/margins/**", "/marks/margins/**"],
        axis_y=rrb.ScalarAxis(range=(-1.05, 1.1 + LEGEND_ROOM * (len(monitors) + 2))),
        plot_legend=rrb.PlotLegend(corner="lefttop"),
    )
    scores = [
        rrb.TimeSeriesView(name=f"{name}: score", origin=_entity("scores", name), contents="$origin/**")
        for name in monitors
    ]
    actions = rrb.TimeSeriesView(
        name="Actions, as executed",
        origin="/actions",
        contents=["/actions/**", "/marks/actions/**"],
        plot_legend=rrb.PlotLegend(visible=False),
    )
    log = rrb.TextLogView(name="Events", origin="/log", columns=rrb.TextLogColumns(text_log_columns=["body"]))
    notes = rrb.TextDocumentView(name="Notes", origin="/notes")
    seen = [rrb.Spatial2DView(name=camera, origin=_entity("images", camera)) for camera in cameras]
    left = rrb.Vertical(
        _scene_view(poses, trails),
        *([rrb.Horizontal(*seen)] if seen else []),
        rrb.StateTimelineView(name="Stages and events", origin="/states"),
        row_shares=[5, 2, 2] if seen else [5, 2],
    )
    right = rrb.Vertical(
        rrb.Tabs(margins, *scores, active_tab=0), actions, rrb.Horizontal(log, notes), row_shares=[3, 2, 2]
    )
    return rrb.Blueprint(
        rrb.Horizontal(left, right, column_shares=[5, 4]),
        rrb.TimePanel(state="collapsed", timeline="step", fps=control_hz, play_state="playing", loop_mode="all"),
        rrb.BlueprintPanel(state="hidden"),
        rrb.SelectionPanel(state="hidden"),
    )


def _scene_view(poses: Mapping[str, tuple[Array, Array]], trails: Sequence[str]) -> rrb.Spatial3DView:
    """The 3-D view, with the eye in front of whatever moves and a little above it."""
    import rerun.blueprint as rrb

    moved = [np.asarray(p) for p, _ in poses.values() if len(p) and np.ptp(p, axis=0).max() > 0.01]
    paths = moved or [np.asarray(poses[body][0]) for body in trails] or [np.zeros((1, 3))]
    points_m = np.concatenate(paths)
    low, high = points_m.min(axis=0), points_m.max(axis=0)
    centre, radius_m = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 0.3)
    if trails:  # what is manipulated is where the eye should rest
        paths_m = np.concatenate([np.asarray(poses[body][0]) for body in trails])
        centre = (centre + (paths_m.min(axis=0) + paths_m.max(axis=0)) / 2) / 2
    direction = np.array([0.85, -0.8, 0.5])
    eye = centre + 2.2 * radius_m * direction / np.linalg.norm(direction)
    return rrb.Spatial3DView(
        name="Scene",
        origin="/scene",
        contents=["/scene/**", "/trails/**"],
        background=rrb.Background(color=BACKGROUND_COLOUR, kind="solidcolor"),
        line_grid=rrb.LineGrid3D(visible=False),
        eye_controls=rrb.EyeControls3D(position=eye, look_target=centre, eye_up=(0, 0, 1), kind="orbital"),
    )
