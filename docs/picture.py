"""Make docs/quickstart.png: a recording in Rerun's own viewer, without a window, at one control step.

Run: .venv/bin/python docs/picture.py runs/quickstart/recordings/FILE.rrd docs/quickstart.png --step 40
Needs Vulkan; without a graphics card Debian's mesa-vulkan-drivers and libvulkan1 will do.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path

import rerun_cli
from PIL import Image
from rerun.experimental import ViewerClient

PORT = 9998
TITLE_BAR_PIXELS = 36
VIEWER = Path(rerun_cli.__file__).parent / "rerun"  # the binary itself: a killed wrapper would leave it running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--step", type=int, default=40)
    options = parser.parse_args()
    words = [
        "--headless",
        "--bind",
        "127.0.0.1",
        "--window-size",
        "1600x1000",
        "--renderer",
        "vulkan",
        "--port",
        str(PORT),
    ]
    viewer = subprocess.Popen([VIEWER, options.recording, *words])
    try:
        time.sleep(5)
        client = ViewerClient.connect(f"rerun+http://127.0.0.1:{PORT}/proxy")
        time.sleep(10)  # until the notes of the start are gone
        client.set_time("step", sequence=options.step, play_state="paused")
        time.sleep(1)
        client.save_screenshot(str(options.picture))
        time.sleep(2)
    finally:
        viewer.kill()
    image = Image.open(options.picture).convert("RGB")
    image.crop((0, TITLE_BAR_PIXELS, *image.size)).quantize(256).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
