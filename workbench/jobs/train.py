"""Train a policy on the demonstrations of its task."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.config import Run, build
from workbench.errors import CheckpointError
from workbench.progress import console, progress
from workbench.store import Store
from workbench.types import Array, Record

Demonstration = tuple[dict[str, Array], Array]


def run(run: Run, trainer: Record) -> None:
    """Train on ``datasets/<demos>.zarr`` into the checkpoint folder; an unfinished training goes on."""
    if run.checkpoint.exists() and not run.overwrite:
        raise CheckpointError(
            f"{run.shown(run.checkpoint)} holds a trained policy; overwrite=true trains it anew, name=... keeps both"
        )
    demonstrations = read_demonstrations(run.demos)
    policy = run.policy(trained=False)
    with progress("training", int(trainer["iterations"])) as advance:
        curve = fit(run, policy, demonstrations, trainer, run.folder / "training", advance)
    policy.save(run.checkpoint)
    run.update_metrics(policy={"training": curve})
    console.print(f"trained on {len(demonstrations)} demonstrations: {run.shown(run.checkpoint)}")


def read_demonstrations(path: Path) -> list[Demonstration]:
    """Observations and asked actions of every demonstration that succeeded."""
    store = Store.open(path)
    found = []
    for number, success in enumerate(store.episodes["success"]):
        if success:
            episode = store.episode(number, steps=("obs/*", "action"), calls=())
            observation = {
                key.removeprefix("obs/"): value for key, value in episode.steps.items() if key.startswith("obs/")
            }
            found.append((observation, episode.steps["action"]))
    return found
