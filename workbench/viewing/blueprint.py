"""The layout of an episode's session: where the scene, the plots, the lanes and the log stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.types import Array
from workbench.viewing.colours import BACKGROUND_COLOUR
from workbench.viewing.session import entity_path

if TYPE_CHECKING:
    import rerun.blueprint as rrb

LEGEND_ROOM = 0.15
"""Height that one row of the legend takes above the margins, which reach from -1 to 1."""


def layout(
    poses: Mapping[str, tuple[Array, Array]],
    trails: Sequence[str],
    monitors: Sequence[str],
    control_hz: float,
    cameras: Sequence[str],
    strip: bool = False,
) -> rrb.Blueprint:
    """The scene, what cameras saw and the lanes to the left, the plots and the log to the right.

    With ``strip`` a film strip stands behind the notes.
    """
    import rerun.blueprint as rrb

    seen = [rrb.Spatial2DView(name=camera, origin=entity_path("images", camera)) for camera in cameras]
    left = rrb.Vertical(
        _scene_view(poses, trails),
        *([rrb.Horizontal(*seen)] if seen else []),
        rrb.StateTimelineView(name="Stages and events", origin="/states"),
        row_shares=[5, 2, 2] if seen else [5, 2],
    )
    return rrb.Blueprint(
        rrb.Horizontal(left, _plots(monitors, strip), column_shares=[5, 4]),
        rrb.TimePanel(state="collapsed", timeline="step", fps=control_hz, play_state="playing", loop_mode="all"),
        rrb.BlueprintPanel(state="hidden"),
        rrb.SelectionPanel(state="hidden"),
    )


def beside_layout(
    sides: Mapping[str, Mapping[str, tuple[Array, Array]]],
    trails: Sequence[str],
    control_hz: float,
    plot: str = "Monitor: margin to the threshold",
) -> rrb.Blueprint:
    """The scenes of several rollouts side by side on one timeline, lanes and a plot below, log and notes at the foot.

    Parameters
    ----------
    sides : name -> body -> poses.
    plot : heading of the plot, which shows what lies below ``margins``.
    """
    import rerun.blueprint as rrb

    everything = {f"{name}/{body}": pose for name, poses in sides.items() for body, pose in poses.items()}
    drawn = [f"{name}/{body}" for name in sides for body in trails]
    scenes = [_scene_view(everything, drawn, name.capitalize(), (name,)) for name in sides]
    margins = rrb.TimeSeriesView(name=plot, origin="/margins", plot_legend=rrb.PlotLegend(corner="lefttop"))
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(*scenes),
            rrb.Horizontal(rrb.StateTimelineView(name="Who drives, stages and outcomes", origin="/states"), margins),
            rrb.Horizontal(_log_view(), rrb.TextDocumentView(name="Notes", origin="/notes")),
            row_shares=[5, 3, 2],
        ),
        rrb.TimePanel(state="collapsed", timeline="step", fps=control_hz, play_state="playing", loop_mode="all"),
        rrb.BlueprintPanel(state="hidden"),
        rrb.SelectionPanel(state="hidden"),
    )


def _log_view() -> rrb.TextLogView:
    import rerun.blueprint as rrb

    return rrb.TextLogView(name="Events", origin="/log", columns=rrb.TextLogColumns(text_log_columns=["body"]))


def _plots(monitors: Sequence[str], strip: bool) -> rrb.Vertical:
    """Margins and scores, actions, and the log beside the notes."""
    import rerun.blueprint as rrb

    margins = rrb.TimeSeriesView(
        name="Monitors: margin to the threshold",
        origin="/margins",
        contents=["/margins/**", "/marks/margins/**"],
        axis_y=rrb.ScalarAxis(range=(-1.05, 1.1 + LEGEND_ROOM * (len(monitors) + 2))),
        plot_legend=rrb.PlotLegend(corner="lefttop"),
    )
    scores = [
        rrb.TimeSeriesView(name=f"{name}: score", origin=entity_path("scores", name), contents="$origin/**")
        for name in monitors
    ]
    actions = rrb.TimeSeriesView(
        name="Actions, as executed",
        origin="/actions",
        contents=["/actions/**", "/marks/actions/**"],
        plot_legend=rrb.PlotLegend(visible=False),
    )
    notes: rrb.View | rrb.Tabs = rrb.TextDocumentView(name="Notes", origin="/notes")
    if strip:
        notes = rrb.Tabs(notes, rrb.Spatial2DView(name="Film strip", origin="/strip"), active_tab=0)
    tabs = rrb.Tabs(margins, *scores, active_tab=0)
    return rrb.Vertical(tabs, actions, rrb.Horizontal(_log_view(), notes), row_shares=[3, 2, 2])


def _scene_view(
    poses: Mapping[str, tuple[Array, Array]], trails: Sequence[str], name: str = "Scene", root: Sequence[str] = ()
) -> rrb.Spatial3DView:
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
        name=name,
        origin=entity_path(*root, "scene"),
        contents=[f"{entity_path(*root, part)}/**" for part in ("scene", "trails")],
        background=rrb.Background(color=BACKGROUND_COLOUR, kind="solidcolor"),
        line_grid=rrb.LineGrid3D(visible=False),
        eye_controls=rrb.EyeControls3D(position=eye, look_target=centre, eye_up=(0, 0, 1), kind="orbital"),
    )
