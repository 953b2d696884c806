"""Make docs/curves.svg: success of the scripted policy against the magnitude of each fault, on several tasks.

Run: .venv/bin/python docs/curves.py --episodes 32 [--faults mass slip ...] [--tasks lift stack ...]
Every curve is kept in runs/curves/ as soon as it is measured, so an interrupted call goes on where it stopped, and a
second one only draws.  Needs matplotlib, of the extra "dev".
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path

# One thread a process, before numpy starts its own; see workbench.runner.
from workbench.runner import use_one_thread

use_one_thread()

import numpy as np  # noqa: E402

from workbench.config import Run, compose, digest, write_text  # noqa: E402
from workbench.crew import versions  # noqa: E402
from workbench.dial import Dial, dials  # noqa: E402
from workbench.errors import ConfigError  # noqa: E402
from workbench.jobs.search import measured_with, roll_points  # noqa: E402
from workbench.metrics import wilson  # noqa: E402
from workbench.progress import progress  # noqa: E402
from workbench.types import Record, Stream  # noqa: E402

FAULTS = (
    "mass", "friction", "push", "object_shift", "object_pose_bias", "object_pose_noise",
    "action_bias", "action_noise", "latency", "observation_freeze", "grasp_omitted", "slip",
)  # fmt: skip
TASKS = ("lift", "stack", "pick_place_can")
POINTS = 7
ACROSS = 4
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
"""Of Okabe and Ito (Color Universal Design, 2008), which colour-blind people can tell apart."""
MARKERS = "osD^v"
UNITS = {"m": "m", "n": "N", "steps": "control steps", "rad": "rad", "s": "s", "scale": "factor", "fraction": "share"}


@dataclasses.dataclass(frozen=True)
class Curve:
    """Successes at rising severities."""

    task: str
    magnitudes: list[float]
    successes: list[int]
    episodes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--episodes", type=int, default=32, help="at each of the seven magnitudes of a curve")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".svg"))
    options = parser.parse_args()
    curves: dict[str, list[Curve]] = {fault: [] for fault in options.faults}
    found: dict[str, Dial] = {}
    for task in options.tasks:  # task by task: the workers keep its scenes
        for fault in options.faults:
            words = ["policy=expert", f"task={task}", f"perturbation=[{fault}]", f"runner.workers={options.workers}"]
            run = Run(compose(words))
            (found[fault],) = dials(run.config["perturbation"], axes=False)
            if curve := measured(run, found[fault], options.episodes):
                curves[fault].append(curve)
    draw(curves, found, options.tasks, options.episodes, options.picture)


def measured(run: Run, dial: Dial, episodes: int) -> Curve | None:
    """The curve, from its file or rolled now; None where the task cannot have the fault."""
    try:
        dial.at(dial.scale.low).draw(Stream(run.seed, 0), run.task)
    except ConfigError as error:
        print(f"{run.task.name}: {error}")
        return None
    severities = np.linspace(0, 1, POINTS)
    magnitudes = sorted({dial.scale.magnitude(severity) for severity in severities}, key=dial.scale.severity)
    settings = {**measured_with(run), "fault": dial.node, "episodes": episodes, "versions": versions()}
    path = run.root / "runs" / "curves" / f"{run.task.name}-{dial.name}.json"
    kept: Record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if (kept.get("settings"), kept.get("magnitudes")) != (digest(settings), magnitudes):
        with progress(f"{run.task.name}: {dial.name}", len(magnitudes) * episodes) as advance:
            asked = np.array([[dial.scale.severity(magnitude)] for magnitude in magnitudes])
            failed = roll_points(run, [dial], "select", asked, range(episodes))
            advance(failed.size)
        successes = (~failed).sum(1).tolist()
        kept = {"settings": digest(settings), "magnitudes": magnitudes, "successes": successes}
        write_text(path, json.dumps(kept))
    return Curve(run.task.name, kept["magnitudes"], kept["successes"], episodes)


def draw(
    curves: dict[str, list[Curve]], found: dict[str, Dial], tasks: list[str], episodes: int, picture: Path
) -> None:
    """One panel a fault, one line a task, the stronger fault to the right."""
    import matplotlib as mpl

    mpl.use("svg" if picture.suffix == ".svg" else "agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update(
        {"svg.hashsalt": "curves", "font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
    )
    across = min(ACROSS, len(curves))
    down = -(-len(curves) // across)
    size = (4.0 * across, 2.9 * down + 0.8)
    figure, panels = plt.subplots(down, across, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for number, panel in enumerate(panels.flat):
        panel.set_visible(number < len(curves))
    for panel, (fault, lines) in zip(panels.flat, curves.items(), strict=False):
        _panel(panel, found[fault], lines, tasks)
    for row in panels:
        row[0].set_ylabel("success")
    handles = [
        plt.Line2D([], [], color=COLOURS[place], marker=MARKERS[place], label=task.replace("_", " "))
        for place, task in enumerate(tasks)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(tasks), frameon=False, fontsize=13)
    told = f"The strongest fault is to the right; {episodes} episodes a point, bars are 95 % intervals (Wilson)."
    figure.supxlabel(told, fontsize=11)
    metadata = {"Date": None} if picture.suffix == ".svg" else None  # the same numbers, the same file
    figure.savefig(picture, dpi=100, facecolor="white", metadata=metadata)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


def _panel(panel, dial: Dial, lines: list[Curve], tasks: list[str]) -> None:
    """Curves of one fault; tasks are set apart a little, so that their bars do not cover one another."""
    panel.set_title(dial.label.replace("_", " "), fontweight="bold")
    panel.axhline(0.5, color="0.75", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    for curve in lines:
        place = tasks.index(curve.task)
        shift = 0.012 * (place - (len(tasks) - 1) / 2)
        x = [dial.scale.severity(magnitude) + shift for magnitude in curve.magnitudes]
        rates = [successes / curve.episodes for successes in curve.successes]
        bounds = np.array([wilson(successes, curve.episodes) for successes in curve.successes])
        bars = np.abs(bounds.T - rates)
        style = {"color": COLOURS[place], "marker": MARKERS[place], "markersize": 5, "linewidth": 1.6}
        panel.errorbar(x, rates, bars, capsize=2, elinewidth=1, **style)
    shown = sorted({dial.scale.magnitude(severity) for severity in np.linspace(0, 1, 4)})
    panel.set_xticks(
        [dial.scale.severity(magnitude) for magnitude in shown],
        [f"{one:.2g}" if one < 100 else f"{one:.0f}" for one in shown],
    )
    name, _, unit = dial.parameter.rpartition("_")
    panel.set_xlabel(f"{name.replace('_', ' ')} ({UNITS.get(unit, unit)})")
    panel.set_ylim(-0.04, 1.04)
    panel.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])


if __name__ == "__main__":
    main()
