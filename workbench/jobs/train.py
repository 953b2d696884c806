"""Train a policy on the demonstrations of its task."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from workbench.config import Run, build, digest
from workbench.errors import CheckpointError
from workbench.progress import console, progress
from workbench.store import Store
from workbench.types import Demonstration, Episode, Record


def run(run: Run, trainer: Record) -> None:
    """Train on ``datasets/<demos>.zarr`` into the checkpoint folder; an unfinished training goes on."""
    if run.checkpoint.exists() and not run.overwrite:
        raise CheckpointError(
            f"{run.shown(run.checkpoint)} holds a trained policy; overwrite=true trains it anew, name=... keeps both"
        )
    policy = run.policy(trained=False)
    demonstrations = read_demonstrations(run.demos, policy.cameras)
    # Named after what decides the training, so that an interrupted one goes on and a changed one starts anew.
    unfinished = run.folder / f"training-{digest([trainer, run.config['policy'], run.seed, len(demonstrations)])}"
    with progress("training", int(trainer["iterations"])) as advance:
        curve = build({**trainer, "_partial_": True})(
            policy,
            demonstrations,
            task=run.task.name,
            seed=run.seed,
            folder=unfinished,
            progress=lambda iteration, loss: advance(1),
        )
    policy.save(run.checkpoint)
    shutil.rmtree(unfinished, ignore_errors=True)
    run.update_metrics(policy={"training": dataclasses.asdict(curve)})
    console.print(f"trained on {len(demonstrations)} demonstrations: {run.shown(run.checkpoint)}")


def read_demonstrations(path: Path, cameras: Sequence[str] = ()) -> list[Demonstration]:
    """Every demonstration that succeeded, with the images of some cameras."""
    store = Store.open(path)
    wanted = ("obs/*", "action", *(f"images/{camera}" for camera in cameras))
    rows = [number for number, success in enumerate(store.episodes["success"]) if success]
    return [demonstration(store.episode(number, steps=wanted, calls=())) for number in rows]


def demonstration(episode: Episode) -> Demonstration:
    """What can be learned from an episode: observations, images where there are any, and the actions asked for."""
    observation = {
        key.removeprefix("obs/"): values for key, values in episode.steps.items() if key.startswith(("obs/", "images/"))
    }
    return Demonstration(observation, episode.steps["action"], str(episode.record["instruction"]))
