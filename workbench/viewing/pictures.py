"""Pictures of a stored episode: the exact state restored and drawn, with the hand's path and the plan in it."""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image, ImageDraw

from workbench.config import shown
from workbench.errors import ActionError, ConfigError, DivergedError, StoreError
from workbench.rollouts.setup import refuse_other_task
from workbench.rollouts.stored import snapshot_at
from workbench.store import Store
from workbench.types import Array, HasPictures, HasShapes, Picture, Task, ability
from workbench.types.abilities import trails_of
from workbench.viewing.colours import PATH_COLOUR, PLAN_COLOUR

DRAWN_PX = (960, 720)
"""Width and height of what is drawn, of which a part is shown; lines and edges are smoothed when it is made smaller."""
SMALLER = 24
"""How much smaller is what is drawn only to learn where a camera stands."""
RECENT_S, OLD_ALPHA = 2.0, 110
"""Seconds of the path that are drawn in full; what lies before fades, so that a long path hides nothing."""
LEAST_SHARE = 0.42
"""Of the width that is drawn: no closer than this does a picture come."""
MARGIN_SHARE = 0.3
"""Of the larger side of what moves, on every side of it."""
WHO = "a picture"

LEGEND = "line: the hand's path so far; dots: the plan of the last policy call, had it been carried out as planned"


class Pictures:
    """Draws moments of one stored episode through one camera, all with the same detail of what the camera sees.

    Parameters
    ----------
    store, number, task : where the episode lies, and the task that it was rolled in.
    camera : through which it is seen.
    width_px : of a picture; three quarters of it is its height.

    Raises
    ------
    ConfigError
        If the task's scene cannot be photographed, or nothing says where its hand is.
    StoreError
        If the store keeps no state of the episode.
    UnknownNameError, RenderError
        If the task has no such camera, or nothing can be drawn on this machine.
    """

    def __init__(self, store: Store, number: int, task: Task, camera: str, width_px: int) -> None:
        refuse_other_task(store, task)
        refuse_stateless(store, number)
        if not 64 <= width_px <= DRAWN_PX[0]:
            raise ConfigError(f"a picture is 64 to {DRAWN_PX[0]} pixels wide, not {width_px}")
        self.episode, self.camera = store.episode(number, calls=("step", "chunk")), camera
        self.size_px = (width_px, round(width_px * DRAWN_PX[1] / DRAWN_PX[0]))
        self._recent = round(RECENT_S * store.header.control_hz)
        self._scene, self._trails = task.scene(), trails_of(task)
        self._drawn = ability(self._scene, HasPictures, WHO)
        self._bodies = ability(self._scene, HasShapes, WHO)
        if not self._trails:
            raise ConfigError(
                f"{WHO} needs the hand's path, and task {task.name} names no body of a hand: give it trails"
            )
        self.paths_m = self._paths()
        self._plans: dict[int, Array] = {}
        self._box = self._shown_part()

    def __len__(self) -> int:
        return len(self.episode.steps["action"])

    def at(self, step: int) -> Array:
        """(H, W, 3) uint8: the moment before action ``step``, the path up to there, and the plan that was under way."""
        call = int(np.searchsorted(self.episode.calls["step"], step, side="right")) - 1
        plan_m = self._plan(call) if call >= 0 else np.zeros((0, 3))
        picture = self._picture(step)
        image = Image.fromarray(picture.pixels).convert("RGBA")
        scale = self._box[2] / self.size_px[0]  # so that lines are as wide however close the picture comes
        path = projected(picture, self.paths_m[0][: step + 1])
        faded = Image.new("RGBA", image.size)
        _line(ImageDraw.Draw(faded), path[: -self._recent], scale, OLD_ALPHA)
        image.alpha_composite(faded)
        draw = ImageDraw.Draw(image)
        _line(draw, path[-self._recent - 1 :], scale, 255)
        _dots(draw, projected(picture, plan_m), scale)
        _disc(draw, path[-1], 5.5 * scale, PATH_COLOUR, (255, 255, 255), scale)
        left, top, width, height = self._box
        seen = image.resize(self.size_px, Image.Resampling.LANCZOS, (left, top, left + width, top + height))
        return np.asarray(seen.convert("RGB"))

    def _picture(self, step: int, size_px: tuple[int, int] = DRAWN_PX) -> Picture:
        self._scene.restore(snapshot_at(self.episode, step))
        return self._drawn.picture(self.camera, *size_px)

    def _paths(self) -> list[Array]:
        """(T, 3) of every body that is worth following, the hand's first, in metres."""
        rows = []
        for step in range(len(self)):
            self._scene.restore(snapshot_at(self.episode, step))
            poses = self._bodies.body_poses()
            rows.append([poses[body][0] for body in self._trails])
        return [np.array(path_m) for path_m in zip(*rows, strict=True)]

    def _plan(self, call: int) -> Array:
        """(<= H + 1, 3) where the hand would have gone by a call's chunk, in metres.

        The chunk is carried out in the restored scene as it was asked for, faults that had not struck yet left out; it
        ends where the physics diverges or the task refuses an action.
        """
        if call not in self._plans:
            first = int(self.episode.calls["step"][call])
            self._scene.restore(self._scene.without_pending(snapshot_at(self.episode, first)))
            hand_m = [self._bodies.body_poses()[self._trails[0]][0]]
            for action in np.asarray(self.episode.calls["chunk"][call], np.float64):
                try:
                    self._scene.step(action, as_asked=True)
                except (ActionError, DivergedError):
                    break
                hand_m.append(self._bodies.body_poses()[self._trails[0]][0])
            self._plans[call] = np.array(hand_m)
        return self._plans[call]

    def _shown_part(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of what is shown of all that is drawn: where something moves, if it stands."""
        small = (DRAWN_PX[0] // SMALLER, DRAWN_PX[1] // SMALLER)
        first, last = self._picture(0, small), self._picture(len(self) - 1, small)
        whole = (0.0, 0.0, float(DRAWN_PX[0]), float(DRAWN_PX[1]))
        if not np.array_equal(first.projection, last.projection):
            return whole
        points = SMALLER * np.concatenate([projected(first, path_m) for path_m in self.paths_m])
        inside = points[(points >= 0).all(axis=1) & (points < DRAWN_PX).all(axis=1)]
        return part_around(inside, whole[2:]) if len(inside) else whole


def part_around(points: Array, size: tuple[float, float]) -> tuple[float, float, float, float]:
    """Left, top, width and height of the part of an image that shows points (N, 2) with a margin, in its own form."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN_SHARE * float((high - low).max())
    wanted = (high - low + 2 * margin) / size
    share = min(1.0, max(LEAST_SHARE, float(wanted.max())))
    extent = share * np.array(size)
    corner = np.clip((low + high - extent) / 2, 0.0, np.array(size) - extent)
    return float(corner[0]), float(corner[1]), float(extent[0]), float(extent[1])


def refuse_stateless(store: Store, number: int) -> None:
    """StoreError where nothing of an episode's state is kept."""
    if "state" not in store.step_names(number):
        raise StoreError(
            f"episode {store.uids[number]} of {shown(store.path)} holds no state, so nothing of it can be drawn; "
            "episodes that were rolled here do: workbench rollout"
        )


def projected(picture: Picture, points_m: Array) -> Array:
    """(N, 2) pixels, column and row, of world points (N, 3) in metres; NaN for what lies behind the camera."""
    u, v, ahead = picture.projection @ np.column_stack([points_m, np.ones(len(points_m))]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ahead[:, None] > 0, np.column_stack([u / ahead, v / ahead]), np.nan)


def _line(draw: ImageDraw.ImageDraw, points: Array, scale: float, alpha: int) -> None:
    """A path with a white edge; it breaks where it lies behind the camera."""
    ends = [-1, *np.flatnonzero(~np.isfinite(points).all(axis=1)), len(points)]
    pieces = [points[first + 1 : end] for first, end in itertools.pairwise(ends)]
    for colour, width in (((255, 255, 255, alpha), 5.5), ((*PATH_COLOUR, alpha), 3.0)):
        for piece in pieces:
            if len(piece) > 1:
                draw.line([*map(tuple, piece)], colour, max(1, round(width * scale)), joint="curve")


def _dots(draw: ImageDraw.ImageDraw, points: Array, scale: float) -> None:
    for point in points[1:]:
        _disc(draw, point, 3.0 * scale, PLAN_COLOUR, (0, 0, 0), scale)


def _disc(
    draw: ImageDraw.ImageDraw, at: Array, radius: float, fill: tuple[int, ...], edge: tuple[int, ...], scale: float
) -> None:
    if not np.isfinite(at).all():  # behind the camera
        return
    x, y = at
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill, edge, max(1, round(1.2 * scale)))
