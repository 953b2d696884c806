"""Train a policy on the demonstrations of its task."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from workbench.config import Run, build, digest
from workbench.errors import CheckpointError, ConfigError
from workbench.progress import console, progress
from workbench.store import Store
from workbench.types import Demonstration, Episode, Record


def run(run: Run, trainer: Record, seed: int) -> None:
    """Train on ``datasets/<demos>.zarr`` into the checkpoint folder; an unfinished training goes on."""
    if run.zoo:
        raise ConfigError(
            f"policy=zoo/{run.zoo} is trained: there is nothing to train; policy=flow trains one of your own, and "
            "workbench zoo makes an entry of the zoo again"
        )
    if run.checkpoint.exists() and not run.overwrite:
        raise CheckpointError(
            f"{run.shown(run.checkpoint)} holds a trained policy; overwrite=true trains it anew, name=... keeps both"
        )
    policy = run.policy(trained=False)
    demonstrations = read_demonstrations(run.demos, policy.cameras)
    # Named after what decides the training, so that an interrupted one goes on and a changed one starts anew.
    unfinished = run.folder / f"training-{digest([trainer, run.config['policy'], seed, len(demonstrations)])}"
    wall, cpu = time.perf_counter(), time.process_time()
    with progress("training", int(trainer["iterations"])) as advance:
        curve = build({**trainer, "_partial_": True})(
            policy,
            demonstrations,
            task=run.task.name,
            seed=seed,
            folder=unfinished,
            progress=lambda iteration, loss: advance(1),
        )
    policy.save(run.checkpoint)
    shutil.rmtree(unfinished, ignore_errors=True)
    seconds = {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    run.update_metrics(policy={"training": dataclasses.asdict(curve) | {"seconds": seconds}})
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
