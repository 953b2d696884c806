"""Make docs/image_faults.png: what the camera sees of Lift and PickPlaceCan under every fault of images.

Run: .venv/bin/python docs/image_faults.py docs/image_faults.png [--size 128]
Each fault has the middle magnitude of its yaml; faults of time are seen 12 control steps after their start.
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

from workbench.envs.faults.pixels import ImageFault
from workbench.policies.expert import Expert
from workbench.types import Array, Stream

CONF = Path(__file__).parents[1] / "conf"
TASKS = ("lift", "pick_place_can")
START, AFTER = 6, 12
SHOWN = {"surface_colour": {"part": "table"}, "light": {"tint_fraction": 0.4}, "camera_pose": {"angle_rad": 0.05}}
"""What a yaml leaves open and the picture shows."""
CERTAIN = {"camera_dropout": {"drop_probability": 1.0}}
MARGIN, HEAD, GAP, COLUMNS = 4, 16, 16, 5


def faults() -> dict[str, Any]:
    """Every fault of images whose magnitude is in the middle of its yaml's bounds, by name."""
    found = {}
    for path in sorted((CONF / "perturbation").glob("*.yaml")):
        settings = yaml.safe_load(path.read_text())[path.stem]
        fault = instantiate(settings, _convert_="all")
        if isinstance(fault, ImageFault):
            bounds = getattr(fault, fault.magnitude.name)
            middle = (bounds[0] + bounds[1]) / 2
            changes = {fault.magnitude.name: round(middle) if fault.magnitude.whole else middle}
            found[path.stem] = instantiate({**settings, **changes, **SHOWN.get(path.stem, {})}, _convert_="all")
    return found


def tile(task: Any, name: str, fault: Any, actions: list[Array]) -> Array:
    """What the first camera sees (size, size, 3): its depth in grey, near is bright, if that has holes."""
    stream, scene = Stream(0, 1), task.scene()
    records = []
    if fault:
        now = {"start_step": START, "duration_steps": 1000}
        records = [fault.draw(stream, task) | now | CERTAIN.get(name, {})]
    scene.begin(stream, records)
    for action in actions:
        scene.step(action)
    images = scene.images()
    if name != "depth_holes":
        return np.asarray(images["images/agentview"])
    depth = images["depth/agentview"]
    seen = np.isfinite(depth)
    near, far = np.quantile(depth[seen], (0.02, 0.95))
    grey = np.where(seen, 40 + 215 * np.clip((far - depth) / (far - near), 0, 1), 0).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def expert_actions(task: Any) -> list[Array]:
    """What the expert does in the first control steps."""
    scene, expert, actions = task.scene(), Expert(task), []
    before = scene.begin(Stream(0, 1))
    now = before
    for _ in range(START + AFTER):
        actions.append(expert.action({key: np.stack([before[key], now[key]]) for key in now}))
        before, (now, *_) = now, scene.step(actions[-1])
    return actions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", type=int, default=128, help="pixels of one image")
    options = parser.parse_args()
    shown = {"no fault": None, **faults()}
    cameras = {"names": ["agentview", "wrist"], "width_px": options.size, "height_px": options.size, "depth": True}
    pitch, rows = options.size + MARGIN, -(-len(shown) // COLUMNS)
    width = len(TASKS) * (COLUMNS * pitch + GAP)
    sheet = Image.new("RGB", (width, HEAD + rows * (pitch + HEAD)), "white")
    draw = ImageDraw.Draw(sheet)
    for block, name in enumerate(TASKS):
        settings = yaml.safe_load((CONF / "task" / f"{name}.yaml").read_text())
        task = instantiate({**settings, "cameras": cameras}, _convert_="all")
        actions, left = expert_actions(task), block * (COLUMNS * pitch + GAP)
        draw.text((left, 2), f"task {name}", fill="gray")
        for number, (label, fault) in enumerate(shown.items()):
            row, column = divmod(number, COLUMNS)
            x, y = left + column * pitch, HEAD + row * (pitch + HEAD)
            draw.text((x, y + 2), label, fill="black")
            sheet.paste(Image.fromarray(tile(task, label, fault, actions)), (x, y + HEAD))
    sheet.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
