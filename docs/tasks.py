"""Make docs/tasks.png: every task of conf/task at its start, from each camera, in both profiles.

Run: .venv/bin/python docs/tasks.py docs/tasks.png [--size 160]
Needs a GL library (Debian: libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra.utils import instantiate
from PIL import Image, ImageDraw

from workbench.envs.sensors.cameras import PROFILES
from workbench.errors import UnknownNameError
from workbench.types import Array, Stream

CAMERAS = ("agentview", "wrist", "side")
TASKS = sorted((Path(__file__).parents[1] / "conf" / "task").glob("*.yaml"))
MARGIN, HEAD = 4, 30


def tile(settings: dict[str, Any], camera: str, profile: str, size: int) -> Array:
    """One image (size, size, 3); grey where the task has no such camera."""
    cameras = {"names": [camera], "profile": profile, "width_px": size, "height_px": size}
    scene = instantiate({**settings, "cameras": cameras}, _convert_="all").scene()
    scene.begin(Stream(0, 0))
    try:
        image: Array = scene.images()[f"images/{camera}"]
    except UnknownNameError:
        image = np.full((size, size, 3), 128, dtype=np.uint8)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", type=int, default=160, help="pixels of one image")
    parser.add_argument("--tasks", nargs="*", help="names of tasks (default: all)")
    options = parser.parse_args()
    paths = [path for path in TASKS if not options.tasks or path.stem in options.tasks]
    columns = [(camera, profile) for camera in CAMERAS for profile in PROFILES]
    pitch = options.size + MARGIN
    sheet = Image.new("RGB", (len(columns) * pitch, len(paths) * (pitch + HEAD)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, path in enumerate(paths):
        settings = yaml.safe_load(path.read_text())
        draw.text((0, row * (pitch + HEAD) + 2), path.stem, fill="black")
        for column, (camera, profile) in enumerate(columns):
            x, y = column * pitch, row * (pitch + HEAD)
            draw.text((x, y + 15), f"{camera}, {profile}", fill="gray")
            sheet.paste(Image.fromarray(tile(settings, camera, profile, options.size)), (x, y + HEAD))
    # coverage, not counts: a small red cube keeps its red among thousands of greys
    sheet.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        options.picture, optimize=True
    )


if __name__ == "__main__":
    main()
