"""A film strip: an episode in as many pictures as it has events, each with what it shows in words."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from workbench.config import write_bytes
from workbench.store import Store
from workbench.types import Array, Task
from workbench.types.text import visible
from workbench.viewing.choice import chosen
from workbench.viewing.colours import event_colour
from workbench.viewing.notes import Moment, moments_of, title_of
from workbench.viewing.pictures import LEGEND, Pictures

CAMERA, WIDTH_PX = "agentview", 360
ACROSS = 4
"""Pictures side by side at most."""
GAP, BAR, TITLE, TEXT, SMALL = 12, 8, 22, 16, 14
"""Pixels: between pictures, of the coloured bar above one, and of three sizes of letters."""
INK, SOFT, PAPER = (20, 22, 26), (90, 95, 102), (255, 255, 255)
JPEG_QUALITY = 82
Line = tuple[str, int, tuple[int, int, int]]
"""Text, size and colour."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a film strip.

    Attributes
    ----------
    moment : what it shows.
    pixels : (H, W, 3) uint8 RGB.
    """

    moment: Moment
    pixels: Array

    def jpeg(self) -> bytes:
        """The picture as a small file."""
        return encoded(Image.fromarray(self.pixels), "JPEG", quality=JPEG_QUALITY)


@dataclasses.dataclass(frozen=True)
class FilmStrip:
    """An episode in pictures; shows itself in a notebook.

    Attributes
    ----------
    uid, title : of the episode.
    frames : in the order of time.
    legend : what is drawn into them.
    """

    uid: str
    title: str
    frames: Sequence[Frame]
    legend: str = LEGEND

    def image(self) -> Image.Image:
        """All pictures on one sheet, with their words below them."""
        return _sheet(self)

    def save(self, path: str | Path) -> Path:
        """Write the sheet as a PNG file; an existing one is replaced."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, self.png())
        return path

    def png(self) -> bytes:
        """The sheet as a PNG file."""
        return encoded(self.image(), "PNG", optimize=True)

    def _repr_png_(self) -> bytes:
        return self.png()


def film_strip(
    store: Store, episode: int | str, task: Task, *, camera: str = CAMERA, width_px: int = WIDTH_PX
) -> FilmStrip:
    """An episode in pictures: at its start, where its fault struck, at onset, decisive step and point of no return, and
    at its end; those that were measured.  Events of one step share a picture.

    The exact state is restored and drawn, so a store needs no images.  Drawn in are the path of the hand so far, and
    where the plan of the last policy call would have led it: carried out from that call, without faults that had not
    struck by then.  All pictures show the same part of what the camera sees.

    Parameters
    ----------
    store, task : where the episode lies, and the task that it was rolled in.
    episode : its number, its uid, or ``auto`` as of :func:`workbench.view`.
    camera : of the task: agentview, wrist, side, or a name of the model's own.
    width_px : of one picture.

    Raises
    ------
    StoreError
        If the store keeps no state of the episode, as where it was imported.
    UnknownNameError
        If there is no such episode or camera.
    ConfigError
        If the task's scene cannot be photographed.
    RenderError
        If this machine has no GL library to draw with.
    """
    number = chosen(store, episode)
    pictures = Pictures(store, number, task, camera, width_px)
    record = pictures.episode.record
    moments = moments_of(record, store.header.control_hz)
    return FilmStrip(record["uid"], title_of(record), [Frame(each, pictures.at(each.step)) for each in moments])


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as a file of a kind that Pillow knows."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own letters: the same ones on every machine."""
    return ImageFont.load_default(size)


def wrapped(text: str, width_px: float, size: int) -> list[str]:
    """Lines of a text that are at most so wide; a word that is wider is broken."""
    letters, lines, line = font(size), list[str](), ""
    for word in visible(text).split():
        if letters.getlength(f"{line} {word}".strip()) <= width_px:
            line = f"{line} {word}".strip()
            continue
        lines += [line] if line else []
        while letters.getlength(word) > width_px:
            fits = next(n for n in range(len(word) - 1, 0, -1) if letters.getlength(word[:n]) <= width_px or n == 1)
            lines, word = [*lines, word[:fits]], word[fits:]
        line = word
    return [*lines, line] if line else lines


def _sheet(strip: FilmStrip) -> Image.Image:
    across = -(-len(strip.frames) // -(-len(strip.frames) // ACROSS))  # rows as full as each other
    height, width = strip.frames[0].pixels.shape[:2]
    captions = [_caption(frame.moment, width) for frame in strip.frames]
    rows = [range(first, min(first + across, len(captions))) for first in range(0, len(captions), across)]
    heights = [BAR + height + 8 + max(_height(captions[number]) for number in row) + GAP for row in rows]
    whole = across * width + (across + 1) * GAP
    head = wrapped(strip.title, whole - 2 * GAP, TITLE)
    foot = [(line, SMALL, SOFT) for line in wrapped(strip.legend, whole - 2 * GAP, SMALL)]
    top = GAP + len(head) * (TITLE + 6) + 4
    sheet = Image.new("RGB", (whole, top + sum(heights) + _height(foot) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (GAP, GAP), [(line, TITLE, INK) for line in head])
    for row, tall in zip(rows, heights, strict=True):
        for place, number in enumerate(row):
            corner = (GAP + place * (width + GAP), top)
            _bar(draw, corner, width, strip.frames[number].moment.events)
            sheet.paste(Image.fromarray(strip.frames[number].pixels), (corner[0], top + BAR))
            _write(draw, (corner[0], top + BAR + height + 8), captions[number])
        top += tall
    _write(draw, (GAP, top), foot)
    return sheet


def _caption(moment: Moment, width_px: int) -> list[Line]:
    """Lines of a caption."""
    lines: list[Line] = [(line, TEXT, INK) for line in wrapped(moment.title, width_px, TEXT)]
    lines += [(moment.time, SMALL, SOFT)]
    return lines + [(line, SMALL, INK) for words in moment.words for line in wrapped(words, width_px, SMALL)]


def _height(lines: Sequence[Line]) -> int:
    return sum(size + 6 for _, size, _ in lines)


def _write(draw: ImageDraw.ImageDraw, corner: tuple[int, int], lines: Sequence[Line]) -> None:
    x, y = corner
    for text, size, colour in lines:
        draw.text((x, y), text, fill=colour, font=font(size))
        y += size + 6


def _bar(draw: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, events: Sequence[str]) -> None:
    """The colours of a moment's events above its picture, a part each."""
    edges = np.linspace(corner[0], corner[0] + width, len(events) + 1).round().astype(int)
    for event, left, right in zip(events, edges[:-1], edges[1:], strict=True):
        draw.rectangle([left, corner[1], right - 1, corner[1] + BAR - 1], fill=event_colour(event))
