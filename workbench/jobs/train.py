"""Train a policy on the demonstrations of its task."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from workbench.config import Run, build, digest
from workbench.errors import CheckpointError, StoreError
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
    """Every demonstration that succeeded, with the images of some cameras; refuses demonstrations without them."""
    store = Store.open(path)
    images = [f"images/{camera}" for camera in cameras]
    rows = [number for number, success in enumerate(store.episodes["success"]) if success]
    for number in rows:
        missing = [key.removeprefix("images/") for key in images if key not in store.step_names(number)]
        if missing:
            raise StoreError(
                f"the demonstrations in {path} have no images of camera {' and '.join(missing)}; collect some: "
                f"workbench collect demos=NAME task.cameras={{names:[{','.join(cameras)}]}}, and train with demos=NAME"
            )
    wanted = ("obs/*", "action", *images)
    return [demonstration(store.episode(number, steps=wanted, calls=()), cameras) for number in rows]


def demonstration(episode: Episode, cameras: Sequence[str] = ()) -> Demonstration:
    """What can be learned from an episode: observations, images of some cameras, and the actions asked for."""
    observation = {
        key.removeprefix("obs/"): values for key, values in episode.steps.items() if key.startswith("obs/")
    } | {f"images/{camera}": episode.steps[f"images/{camera}"] for camera in cameras}
    return Demonstration(observation, episode.steps["action"], str(episode.record["instruction"]))
