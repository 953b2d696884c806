"""Make docs/curves.svg: success of the scripted policy against the magnitude of each fault, on several tasks.

Run: .venv/bin/python docs/curves.py --episodes 24 [--faults mass slip ...] [--tasks lift stack ...]
Every curve is kept in runs/curves/ as soon as it is measured, so an interrupted call goes on where it stopped, and a
second one only draws.  Needs matplotlib, of the extra "figures".
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
from pathlib import Path

# One thread a process, before numpy starts its own; see workbench.execution.processes.
from workbench.execution.processes import use_one_thread

use_one_thread()

import numpy as np  # noqa: E402

from workbench.config import Run, compose, digest, write_text  # noqa: E402
from workbench.errors import ConfigError  # noqa: E402
from workbench.execution.progress import progress  # noqa: E402
from workbench.reporting.plots import axis_name  # noqa: E402
from workbench.rollouts.setup import Setup, setup_of, versions  # noqa: E402
from workbench.stats.proportions import clopper_pearson  # noqa: E402
from workbench.synthesis.axis import FaultAxis, fault_axes  # noqa: E402
from workbench.synthesis.searching import decides, failures_at  # noqa: E402
from workbench.types import Array, Record  # noqa: E402

FAULTS = (
    "translation", "rotation", "no_op", "action_noise", "action_bias", "latency",
    "mass", "friction", "object_shift", "push", "object_pose_bias", "proprioception_bias",
)  # fmt: skip
TASKS = ("lift", "stack", "pick_place_can")
POINTS, FINER = 7, 4
"""Points along the whole axis, and between the two of them between which success falls under one half."""
ACROSS = 4
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
"""Of Okabe and Ito (Color Universal Design, 2008), which colour-blind people can tell apart."""
MARKERS = "osD^v"


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
    parser.add_argument("--episodes", type=int, default=24, help="at each magnitude of a curve")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".svg"))
    options = parser.parse_args()
    curves: dict[str, list[Curve]] = {fault: [] for fault in options.faults}
    found: dict[str, FaultAxis] = {}
    for task in options.tasks:  # task by task: the workers keep its scenes
        for fault in options.faults:
            words = ["policy=expert", f"task={task}", f"perturbation=[{fault}]", f"runner.workers={options.workers}"]
            run = Run(compose(words))
            (found[fault],) = fault_axes(run.config["perturbation"])
            if curve := measured(run, found[fault], options.episodes):
                curves[fault].append(curve)
    draw(curves, found, options.tasks, options.episodes, options.picture)


def measured(run: Run, axis: FaultAxis, episodes: int) -> Curve | None:
    """The curve, from its file or rolled now; None where the task cannot have the fault."""
    setup = setup_of(run)
    try:
        axis.suits(setup.task, setup.policy, run.seed)
    except ConfigError as error:
        print(f"{setup.task.name}: {error}")
        return None
    decided = {**decides(setup, run.seed), "fault": axis.node, "episodes": episodes, "versions": versions()}
    settings = digest(decided)
    path = run.root / "runs" / "curves" / f"{run.task.name}-{axis.name}.json"
    kept: Record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if kept.get("settings") != settings:
        successes = rolled(setup, run.seed, axis, np.linspace(0, 1, POINTS), episodes)
        successes |= rolled(setup, run.seed, axis, between(axis, successes, episodes), episodes)
        magnitudes = sorted(successes, key=axis.scale.severity)
        kept = {"settings": settings, "magnitudes": magnitudes, "successes": [successes[each] for each in magnitudes]}
        write_text(path, json.dumps(kept))
    return Curve(run.task.name, kept["magnitudes"], kept["successes"], episodes)


def rolled(setup: Setup, seed: int, axis: FaultAxis, severities: Array, episodes: int) -> dict[float, int]:
    """Magnitude -> successes; every magnitude meets the same episodes, of the split ``select``."""
    magnitudes = sorted({axis.scale.magnitude(float(severity)) for severity in severities})
    if not magnitudes:
        return {}
    with progress(f"{setup.task.name}: {axis.name}", len(magnitudes) * episodes) as advance:
        asked = np.array([[axis.scale.severity(magnitude)] for magnitude in magnitudes])
        failed = failures_at(setup, [axis], asked, range(episodes), split="select", seed=seed)
        advance(failed.size)
    return dict(zip(magnitudes, (~failed).sum(1).tolist(), strict=True))


def between(axis: FaultAxis, successes: dict[float, int], episodes: int) -> Array:
    """Severities between the two neighbours between which success falls under one half; none if it does not."""
    ordered = sorted(successes, key=axis.scale.severity)
    for mild, strong in itertools.pairwise(ordered):
        if 2 * successes[mild] >= episodes > 2 * successes[strong]:
            return np.linspace(axis.scale.severity(mild), axis.scale.severity(strong), FINER + 2)[1:-1]
    return np.zeros(0)


def draw(
    curves: dict[str, list[Curve]], found: dict[str, FaultAxis], tasks: list[str], episodes: int, picture: Path
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
    told = f"The strongest fault is to the right; {episodes} episodes a point, bars are exact 95 % intervals."
    figure.supxlabel(told, fontsize=11)
    metadata = {"Date": None} if picture.suffix == ".svg" else None  # the same numbers, the same file
    figure.savefig(picture, dpi=100, facecolor="white", metadata=metadata)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


def _panel(panel, axis: FaultAxis, lines: list[Curve], tasks: list[str]) -> None:
    """Curves of one fault; tasks are set apart a little, so that their bars do not cover one another."""
    panel.set_title(axis.label.replace("_", " "), fontweight="bold")
    panel.axhline(0.5, color="0.75", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    for curve in lines:
        place = tasks.index(curve.task)
        shift = 0.012 * (place - (len(tasks) - 1) / 2)
        x = [axis.scale.severity(magnitude) + shift for magnitude in curve.magnitudes]
        rates = [successes / curve.episodes for successes in curve.successes]
        bounds = np.array([clopper_pearson(successes, curve.episodes) for successes in curve.successes])
        bars = np.abs(bounds.T - rates)
        style = {"color": COLOURS[place], "marker": MARKERS[place], "markersize": 5, "linewidth": 1.6}
        panel.errorbar(x, rates, bars, capsize=2, elinewidth=1, **style)
    shown = sorted({axis.scale.magnitude(severity) for severity in np.linspace(0, 1, 4)})
    panel.set_xticks(
        [axis.scale.severity(magnitude) for magnitude in shown],
        [f"{one:.2g}" if one < 100 else f"{one:.0f}" for one in shown],
    )
    panel.set_xlabel(axis_name(axis.parameter))
    panel.set_ylim(-0.04, 1.04)
    panel.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])


if __name__ == "__main__":
    main()
