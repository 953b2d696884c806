"""One episode as a session: the scene in 3-D, what the monitors said, and where it went wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.types import Array, Shape
from workbench.types.text import as_markdown
from workbench.viewing.blueprint import layout
from workbench.viewing.colours import (
    ALARM_COLOUR,
    EVENT_COLOURS,
    NOMINAL_COLOUR,
    OTHER_EVENT_COLOUR,
    STAGE_COLOURS,
    THRESHOLD_COLOUR,
    event_colour,
    series_colour,
)
from workbench.viewing.meshes import geometry, is_wall
from workbench.viewing.session import Session, entity_path

Poses = Mapping[str, tuple[Array, Array]]
"""Body -> positions (T, 3) in metres and quaternions (T, 4) as (w, x, y, z), world frame."""
MARKS = "threshold, events"
"""Series of one name share one row of the legend; the lanes and the log name each event in its own colour."""


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


@dataclasses.dataclass(frozen=True)
class ShownEpisode:
    """What is shown of an episode of T control steps.

    Attributes
    ----------
    title : name of the recording.
    shapes : visual geometry, logged once below the body that carries it.
    poses : where every body is at every step.
    control_hz : control steps per second.
    stages : names of the task's stages, in order.
    stage : (T,) index of the first stage not yet reached; ``len(stages)`` once all are.
    actions : (T, A) as executed.
    trails : bodies whose paths are drawn, such as the end effector and the target object.
    events : name -> control step; negative ones did not happen and are left out.  ``injected``, ``onset``,
        ``point of no return``, ``success`` and ``failure`` have colours of their own; alarms come from ``monitors``.
    monitors : name -> what it said.
    images : camera -> (T, H, W, 3) uint8 RGB.
    notes : Markdown shown beside the log.
    strip : a film strip as a PNG file, shown beside the notes; empty for none.
    name : by which the viewer tells recordings apart; "" for that of the file.
    """

    title: str
    shapes: Sequence[Shape]
    poses: Poses
    control_hz: float
    stages: Sequence[str]
    stage: Array
    actions: Array
    trails: Sequence[str]
    events: Mapping[str, int]
    monitors: Mapping[str, MonitorTrace]
    images: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    notes: str = ""
    strip: bytes = b""
    name: str = ""

    @property
    def happened(self) -> list[tuple[str, int]]:
        """The events that happened, in order."""
        happened = [(name, int(step)) for name, step in self.events.items() if step >= 0]
        return sorted(happened, key=lambda event: event[1])


def record_episode(path: Path, shown: ShownEpisode) -> Path:
    """Write an episode as a Rerun recording with its layout and return its path; an existing one is replaced."""
    import rerun as rr

    arranged = layout(
        shown.poses, shown.trails, list(shown.monitors), shown.control_hz, list(shown.images), bool(shown.strip)
    )
    happened = shown.happened
    with Session(path, shown.title, shown.control_hz, arranged, shown.name) as session:
        write_scene(session, shown.shapes, shown.poses, len(shown.actions))
        write_trails(session, shown.poses, shown.trails, happened)
        _write_images(session, shown.images)
        _write_monitors(session, shown.monitors)
        _write_actions(session, shown.actions)
        write_stages(session, shown.stages, shown.stage)
        write_condition(session, happened)
        _write_alarms(session, shown.monitors)
        _write_log(session, happened, shown.monitors)
        _write_marks(session, happened, shown.actions)
        session.static("notes", rr.TextDocument(shown.notes or as_markdown(shown.title), media_type="text/markdown"))
        if shown.strip:
            session.static("strip", rr.EncodedImage(contents=shown.strip, media_type="image/png"))
    return path


def write_scene(
    session: Session, shapes: Sequence[Shape], poses: Poses, steps: int, root: Sequence[str] = ("scene",)
) -> None:
    """Bodies with their shapes, below an entity of the recording."""
    import rerun as rr

    session.static(entity_path(*root), rr.ViewCoordinates.RIGHT_HAND_Z_UP)
    seen = [shape for shape in shapes if shape.body in poses and not is_wall(shape) and shape.rgba[3] > 0]
    for body in dict.fromkeys(shape.body for shape in seen):
        positions_m, quaternions = (np.asarray(part, np.float32) for part in poses[body])
        xyzw = quaternions[:, [1, 2, 3, 0]]
        entity = entity_path(*root, body)
        if np.ptp(positions_m, axis=0).max() < 1e-6 and np.ptp(xyzw, axis=0).max() < 1e-6:
            session.static(entity, rr.Transform3D(translation=positions_m[0], quaternion=xyzw[0]))
        else:
            moving = rr.Transform3D.columns(translation=positions_m, quaternion=xyzw)
            session.columns(entity, np.arange(steps), moving)
    for number, shape in enumerate(seen):
        _write_shape(session, shape, entity_path(*root, shape.body, shape.name or f"shape {number}"))


def _write_shape(session: Session, shape: Shape, entity: str) -> None:
    import rerun as rr

    drawn = geometry(shape)
    if drawn is not None:
        xyzw = np.asarray(shape.quaternion, np.float32)[[1, 2, 3, 0]]
        pose = rr.Transform3D(translation=np.asarray(shape.position_m, np.float32), quaternion=xyzw)
        session.static(entity, pose, drawn)


def write_trails(
    session: Session,
    poses: Poses,
    trails: Sequence[str],
    happened: Sequence[tuple[str, int]],
    root: Sequence[str] = ("trails",),
    labels: bool = False,
) -> None:
    """Paths as thin lines, with the events as points on the first of them; with ``labels`` all bear their names."""
    import rerun as rr

    for number, body in enumerate(trails):
        path_m = np.asarray(poses[body][0], np.float32)
        named = [body] if labels else None
        path = rr.LineStrips3D([path_m], colors=[series_colour(number)], radii=[0.002], labels=named)
        session.static(entity_path(*root, body), path)
    if trails and happened:
        path_m = np.asarray(poses[trails[0]][0], np.float32)
        points_m = path_m[[min(step, len(path_m) - 1) for _, step in happened]]
        colours = [event_colour(name) for name, _ in happened]
        names = [name for name, _ in happened]
        session.static(
            entity_path(*root, "events"),
            rr.Points3D(points_m, colors=colours, radii=0.006, labels=names, show_labels=labels),
        )


def _write_images(session: Session, images: Mapping[str, Array]) -> None:
    import rerun as rr

    for camera, pixels in images.items():
        steps, height, width, _ = pixels.shape
        entity = entity_path("images", camera)
        kind = rr.components.ImageFormat(width=width, height=height, color_model="RGB", channel_datatype="U8")
        session.static(entity, rr.Image.from_fields(format=kind))
        session.columns(entity, np.arange(steps), rr.Image.columns(buffer=pixels.reshape(steps, -1)))


def _write_monitors(session: Session, monitors: Mapping[str, MonitorTrace]) -> None:
    """Margins of all monitors in one plot, and each monitor's score with its threshold in one of its own."""
    alarms: list[tuple[int, float]] = []
    for number, (name, trace) in enumerate(monitors.items()):
        margin, colour = trace.relative_margin(), series_colour(number)
        score, threshold, alarm = (entity_path("scores", name, part) for part in ("score", "threshold", "alarm"))
        session.series(entity_path("margins", name), name, colour, trace.call_steps, margin)
        session.series(score, "score", colour, trace.call_steps, trace.score)
        session.series(threshold, "threshold", THRESHOLD_COLOUR, trace.call_steps, trace.threshold, 1)
        if trace.alarm_step >= 0:
            call = int(np.searchsorted(trace.call_steps, trace.alarm_step))
            alarms.append((trace.alarm_step, float(margin[call])))
            write_alarm_marks(session, alarm, [(trace.alarm_step, float(trace.score[call]))])
    if monitors:
        ends = np.concatenate([trace.call_steps for trace in monitors.values()])
        span = np.array([ends.min(), ends.max()])
        session.series("margins/threshold", MARKS, THRESHOLD_COLOUR, span, np.zeros(2), 1)
    if alarms:
        write_alarm_marks(session, "marks/margins/alarm", sorted(alarms))


def write_alarm_marks(session: Session, entity: str, alarms: Sequence[tuple[int, float]]) -> None:
    """Alarms (control step, value) as diamonds in a plot."""
    import rerun as rr

    style = rr.SeriesPoints(colors=[ALARM_COLOUR], names=["alarm"], markers="diamond", marker_sizes=[6])
    session.static(entity, style)
    at, values = np.array([step for step, _ in alarms]), [value for _, value in alarms]
    session.columns(entity, at, rr.Scalars.columns(scalars=values))


def _write_actions(session: Session, actions: Array) -> None:
    for index in range(actions.shape[1]):
        series = actions[:, index]
        session.series(f"actions/a{index}", f"a{index}", series_colour(index), np.arange(len(actions)), series, 1.5)


def write_stages(session: Session, stages: Sequence[str], stage: Array, lane: str = "states/stage") -> None:
    """One lane that shows the first stage that is not yet reached."""
    names = [*stages, "done"]
    index = np.asarray(stage, np.int64)
    changes = np.flatnonzero(np.diff(index, prepend=-1))
    states = [(names[i], STAGE_COLOURS[min(int(i), len(STAGE_COLOURS) - 1)]) for i in index[changes]]
    session.lane(lane, changes, states)


def write_condition(session: Session, happened: Sequence[tuple[str, int]], lane: str = "states/condition") -> None:
    """One lane that shows the last event: nominal, then injected, onset, point of no return, ...

    Events of the same step share their entry, or the last would hide the others.
    """
    names: dict[int, list[str]] = {}
    for name, step in happened:
        names.setdefault(step, []).append(name)
    texts = [f"{', '.join(same)} @ {step}" for step, same in names.items()]
    colours = [event_colour(same[-1]) for same in names.values()]
    states = list(zip(texts, colours, strict=True))
    if 0 not in names:
        states.insert(0, ("nominal", NOMINAL_COLOUR))
    session.lane(lane, np.array(sorted({0, *names})), states)


def _write_alarms(session: Session, monitors: Mapping[str, MonitorTrace]) -> None:
    for number, (name, trace) in enumerate(monitors.items()):
        at, states = [0], [("quiet", NOMINAL_COLOUR)]
        if trace.alarm_step >= 0:
            at, states = [*at, trace.alarm_step], [*states, (f"alarm @ {trace.alarm_step}", series_colour(number))]
        # Lanes are headed by their path, in which a + would be shown as \\+.
        session.lane(entity_path("states", "monitor", *name.split("+")), np.array(at), states)


def _write_log(session: Session, happened: Sequence[tuple[str, int]], monitors: Mapping[str, MonitorTrace]) -> None:
    import rerun as rr

    alarms = [(f"alarm: {name}", trace.alarm_step) for name, trace in monitors.items() if trace.alarm_step >= 0]
    for text, step in sorted([*happened, *alarms], key=lambda event: event[1]):
        level = "INFO" if text == "success" else "ERROR" if text in EVENT_COLOURS else "WARN"
        other = ALARM_COLOUR if text.startswith("alarm: ") else OTHER_EVENT_COLOUR
        colour = (*EVENT_COLOURS.get(text, other), 255)
        session.columns("log", np.array([step]), rr.TextLog.columns(text=[text], level=[level], color=[colour]))


def _write_marks(session: Session, happened: Sequence[tuple[str, int]], actions: Array) -> None:
    """An upright line for each event in the plots of the margins and the actions."""
    low, high = (float(actions.min()), float(actions.max())) if actions.size else (-1.0, 1.0)
    for name, step in happened:
        colour = event_colour(name)
        at = np.array([step, step])  # two values at one step draw an upright line
        session.series(entity_path("marks", "margins", name), MARKS, colour, at, np.array([-1.0, 1.0]), 1.5)
        session.series(entity_path("marks", "actions", name), MARKS, colour, at, np.array([low, high]), 1.5)
