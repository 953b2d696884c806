"""A film of an episode: its pictures one after another, with its marks and a monitor's margin running below."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from workbench.config import replacing
from workbench.errors import UnknownNameError
from workbench.execution.progress import progress
from workbench.formats.video import write_video
from workbench.monitoring.monitor import AnyMonitor, needs_of
from workbench.monitoring.reading import offline
from workbench.store import Store
from workbench.types import Task
from workbench.viewing.choice import chosen
from workbench.viewing.colours import ALARM_COLOUR, THRESHOLD_COLOUR, event_colour, series_colour
from workbench.viewing.episode import MonitorTrace
from workbench.viewing.notes import Moment, moments_of, title_of
from workbench.viewing.pictures import Pictures
from workbench.viewing.recording import trace
from workbench.viewing.strip import CAMERA, INK, PAPER, SMALL, SOFT, TEXT, font, wrapped

KINDS = ("gif", "mp4")
EVERY = 2
"""Control steps from one picture of a film to the next."""
CURVE_PX, ROW_PX, EDGE_PX = 84, 20, 14
SAID = 3
"""Lines of text between a picture and its timeline."""
LEAST_GIF_MS = 20
"""Browsers show faster ones slowly."""
END_MS = 1500
"""So long the end is seen before a GIF begins anew."""


@dataclasses.dataclass(frozen=True)
class _Timeline:
    """What runs below the pictures: an axis of control steps with the events, and the margin of a monitor if given."""

    width_px: int
    steps: int
    moments: Sequence[Moment]
    name: str
    margin: MonitorTrace | None

    @property
    def height_px(self) -> int:
        return len(self._rows()) * ROW_PX + (CURVE_PX + ROW_PX if self.margin else 0) + EDGE_PX

    def at(self, step: float) -> float:
        """Column of a control step."""
        return EDGE_PX + step / max(self.steps - 1, 1) * (self.width_px - 2 * EDGE_PX)

    def draw(self, draw: ImageDraw.ImageDraw, top: int, now: int) -> None:
        rows = self._rows()
        foot = top + len(rows) * ROW_PX + (CURVE_PX if self.margin else 6)
        draw.line([self.at(0), foot, self.at(self.steps - 1), foot], SOFT, 1)
        for number, row in enumerate(rows):
            for moment, left in row:
                self._event(draw, moment, left, top + number * ROW_PX, foot)
        if self.margin:
            self._curve(draw, foot - CURVE_PX, now)
            draw.text((EDGE_PX, foot + 2), f"{self.name}: margin to its threshold", SOFT, font(SMALL))
        draw.line([self.at(now), top + len(rows) * ROW_PX - 4, self.at(now), foot + 4], INK, 3)

    def _rows(self) -> list[list[tuple[Moment, float]]]:
        """Events with the columns where their names begin, in rows in which no name covers another."""
        rows: list[list[tuple[Moment, float]]] = []
        letters = font(SMALL)
        for moment in self.moments:
            width = letters.getlength(moment.title)
            left = min(max(self.at(moment.step) - width / 2, EDGE_PX), max(self.width_px - EDGE_PX - width, EDGE_PX))
            for row in rows:
                last, begin = row[-1]
                if begin + letters.getlength(last.title) + 8 <= left:
                    row.append((moment, left))
                    break
            else:
                rows.append([(moment, left)])
        return rows

    def _event(self, draw: ImageDraw.ImageDraw, moment: Moment, left: float, top: int, foot: int) -> None:
        colour, x = event_colour(moment.events[-1]), self.at(moment.step)
        draw.line([x, top + SMALL + 3, x, foot], colour, 2)
        draw.text((left, top), moment.title, INK, font(SMALL))

    def _curve(self, draw: ImageDraw.ImageDraw, top: int, now: int) -> None:
        """The margin, in full up to now; the line in its middle is the threshold."""
        assert self.margin is not None
        middle, reach = top + CURVE_PX / 2, CURVE_PX / 2 - 6
        draw.line([self.at(0), middle, self.at(self.steps - 1), middle], THRESHOLD_COLOUR, 1)
        margin = self.margin.relative_margin()
        points = [
            (int(step), (self.at(step), middle - reach * value))
            for step, value in zip(self.margin.call_steps, margin, strict=True)
            if np.isfinite(value)
        ]
        faint, strong = (190, 196, 202), series_colour(0)
        draw.line([place for _, place in points], faint, 2)
        draw.line([place for step, place in points if step <= now], strong, 3)
        if 0 <= self.margin.alarm_step <= now:
            x, y = next(place for step, place in points if step == self.margin.alarm_step)
            draw.polygon([(x, y - 7), (x + 7, y), (x, y + 7), (x - 7, y)], ALARM_COLOUR, PAPER)


def film(
    store: Store,
    episode: int | str,
    task: Task,
    monitor: AnyMonitor | None = None,
    *,
    into: str | Path,
    kind: str = "gif",
    camera: str = CAMERA,
    width_px: int = 480,
) -> Path:
    """Write an episode as a film: pictures as of :func:`workbench.film_strip`, its events on a line below them.

    Parameters
    ----------
    store, episode, task, camera : as of :func:`workbench.film_strip`.
    monitor : whose margin runs along, with its first alarm; None for none.
    into : folder of the film, which is called after the uid; an existing one is replaced once this one is whole.
    kind : ``gif``, or ``mp4``, which needs the extra ``video``.
    width_px : of the film.

    Raises
    ------
    UnknownNameError
        For another kind.
    ConfigError
        If ``mp4`` is asked for and PyAV is not installed; and whatever :func:`workbench.film_strip` raises.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of film", kind, KINDS)
    judges = [] if monitor is None else [monitor]
    number = chosen(store, episode, judges)
    pictures = Pictures(store, number, task, camera, width_px + width_px % 2)
    control_hz, path = store.header.control_hz, Path(into) / f"{store.uids[number].replace(':', '-')}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets = _sheets(pictures, _timeline(store, number, pictures, monitor), control_hz)
    with replacing(path) as new:
        if kind == "mp4":
            write_video(new, map(np.asarray, sheets), control_hz / EVERY, "take job.kind=gif")
        else:
            _write_gif(new, sheets, control_hz / EVERY)
    return path


def _timeline(store: Store, number: int, pictures: Pictures, monitor: AnyMonitor | None) -> _Timeline:
    said = None
    if monitor is not None:
        calls = store.calls(number, needs_of([monitor]))
        said = trace(calls, offline([monitor], [calls])[monitor.name][0])
    moments = moments_of(pictures.episode.record, store.header.control_hz)
    return _Timeline(pictures.size_px[0], len(pictures), moments, monitor.name if monitor else "", said)


def _sheets(pictures: Pictures, timeline: _Timeline, control_hz: float) -> Iterator[Image.Image]:
    """Every second control step and the last one, drawn."""
    title = wrapped(title_of(pictures.episode.record), timeline.width_px - 2 * EDGE_PX, TEXT)[:1]
    head, (width, height) = TEXT + 12, pictures.size_px
    below = head + height + SAID * (SMALL + 6) + 12
    tall = below + timeline.height_px + 4
    steps = sorted({*range(0, len(pictures), EVERY), len(pictures) - 1})
    with progress("pictures", len(steps)) as advance:
        for step in steps:
            sheet = Image.new("RGB", (width, tall + tall % 2), PAPER)
            draw = ImageDraw.Draw(sheet)
            draw.text((EDGE_PX, 4), title[0], INK, font(TEXT))
            sheet.paste(Image.fromarray(pictures.at(step)), (0, head))
            _say(draw, timeline, step, step / control_hz, head + height + 4)
            timeline.draw(draw, below, step)
            yield sheet
            advance(1)


def _say(draw: ImageDraw.ImageDraw, timeline: _Timeline, now: int, seconds: float, top: int) -> None:
    """The time, and what happened last."""
    last = next(moment for moment in reversed(timeline.moments) if moment.step <= now)
    draw.text((EDGE_PX, top), f"step {now}, {seconds:.2f} s", INK, font(SMALL))
    words = wrapped(f"{last.events[-1]}: {last.words[-1]}", timeline.width_px - 2 * EDGE_PX, SMALL)
    for number, line in enumerate(words[: SAID - 1], start=1):
        draw.text((EDGE_PX, top + number * (SMALL + 6)), line, SOFT, font(SMALL))


def _write_gif(path: Path, sheets: Iterator[Image.Image], fps: float) -> None:
    """All pictures in the colours of three of them, so that no colour flickers and what stands still costs nothing."""
    shown, images = max(LEAST_GIF_MS, 10 * round(100 / fps)), list(sheets)
    samples = np.concatenate([np.asarray(images[place]) for place in (0, len(images) // 2, -1)])
    palette = Image.fromarray(samples).quantize(256, method=Image.Quantize.MAXCOVERAGE)
    first, *rest = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    stands = [shown] * len(rest) + [END_MS]
    first.save(path, "GIF", save_all=True, append_images=rest, duration=stands, loop=0)
