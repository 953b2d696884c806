"""Demonstrations of the scripted expert of a task."""

from __future__ import annotations

from workbench.config import Run
from workbench.execution.progress import console
from workbench.rollouts.collecting import collect
from workbench.rollouts.setup import Recording
from workbench.types import Episodes, Record


def run(run: Run, episodes: Episodes, expert: Record, noise: Record | None) -> None:
    """Collect demonstrations into ``datasets/<demos>.zarr``; those that are there already are kept."""
    recording = Recording(**run.config["rollout"])
    settings = {"seed": run.seed, "recording": recording, "runner": run.runner}
    stored = collect(run.task, episodes=episodes, into=run.demos, expert=expert, noise=noise, **settings)
    successes = int(sum(stored.episodes["success"]))
    run.update_metrics(demonstrations={"episodes": len(stored), "successes": successes})
    console.print(f"{successes} of {len(stored)} demonstrations succeed: {run.shown(run.demos)}")
