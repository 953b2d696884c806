"""Images per second on Lift, each camera in both profiles, interleaved.

Run on a quiet machine, on one core::

    OMP_NUM_THREADS=1 taskset -c 0 python -m tests.benchmarks.rendering [turns]

One image is the whole call: the scene's state copied into the render model, drawn, and read back.  Each turn draws ten
images of one camera in ``fast`` and then in ``full``, with a control step before each image; the ratio is the median
over the turns.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from workbench.envs.scene import MujocoScene
from workbench.envs.sensors.cameras import backend
from workbench.envs.tasks.lift import Lift
from workbench.types import Stream

TURN = 10
CAMERAS = ("agentview", "wrist", "side")


def scene_of(camera: str, profile: str, size: int) -> MujocoScene:
    """A scene that has drawn once, so that the model is compiled and its meshes are uploaded."""
    scene = Lift(cameras={"names": [camera], "profile": profile, "width_px": size, "height_px": size}).scene()
    scene.images()
    return scene


def turn(scene: MujocoScene, repetition: int) -> float:
    """Seconds an image."""
    scene.begin(Stream(0, repetition))
    rng, seconds = np.random.default_rng(repetition), 0.0
    for _ in range(TURN):
        scene.step(rng.uniform(-1, 1, 7))
        start = time.perf_counter()
        scene.images()
        seconds += time.perf_counter() - start
    return seconds / TURN


def main(turns: int) -> None:
    """Measure and print the table."""
    start = time.perf_counter()
    scene_of("agentview", "fast", 84)
    print(f"backend {backend()}; first image after {time.perf_counter() - start:.1f} s")
    print(f"{'camera':12s} {'pixels':>9s} {'fast, 1/s':>10s} {'full, 1/s':>10s} {'ratio':>7s}")
    for size in (84, 256):
        for camera in CAMERAS:
            fast, full = scene_of(camera, "fast", size), scene_of(camera, "full", size)
            pairs = [(turn(fast, repetition), turn(full, repetition)) for repetition in range(turns)]
            rates = [1 / statistics.median(seconds) for seconds in zip(*pairs, strict=True)]
            ratio = statistics.median(slow / quick for quick, slow in pairs)
            print(f"{camera:12s} {size:4d}x{size:<4d} {rates[0]:10.0f} {rates[1]:10.0f} {ratio:7.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
