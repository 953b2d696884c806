"""Train a policy on the demonstrations of its task."""

from __future__ import annotations

import dataclasses
import fnmatch
import shutil
from collections.abc import Callable, Mapping, Sequence

from workbench.config import Run, build, digest
from workbench.errors import CheckpointError, ConfigError, StoreError
from workbench.execution.progress import console, progress
from workbench.reporting.report import terminal_tables
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store
from workbench.types import Demonstration, Episode, Policy, Record, Stream, episode_index


def run(run: Run, seed: int, evaluation: Mapping[str, int], trainer: Record) -> None:
    """Train on ``datasets/<demos>.zarr`` into the checkpoint folder; an unfinished training goes on.

    Parameters
    ----------
    seed
        of the training alone: several policies can be trained on the same demonstrations.
    evaluation
        ``episodes`` to roll in simulation, and ``every`` how many iterations; 0 and 0 for never.
    trainer
        what trains, and its settings.
    """
    if run.zoo:
        raise ConfigError(
            f"policy=zoo/{run.zoo} is trained: there is nothing to train; policy=flow trains one of your own, and "
            "workbench zoo makes an entry of the zoo again"
        )
    if run.checkpoint.exists() and not run.overwrite:
        raise CheckpointError(
            f"{run.shown(run.checkpoint)} holds a trained policy; overwrite=true trains it anew, name=... keeps both"
        )
    evaluate = evaluator(run, **evaluation)
    policy = run.policy(trained=False)
    demonstrations = read_demonstrations(run, policy.cameras)
    # Named after what decides the training, so that an interrupted one goes on and a changed one starts anew.  Where it
    # computes decides nothing: one that was begun on another device goes on here.
    asked = {name: value for name, value in trainer.items() if name != "device"}
    decides = [asked, evaluation, seed, run.seed, run.config["policy"], run.config["task"], len(demonstrations)]
    unfinished = run.folder / f"training-{digest(decides)}"
    with progress("training", int(trainer["iterations"])) as advance:
        curve = build({**trainer, "_partial_": True})(
            policy,
            demonstrations,
            task=run.task.name,
            groups=run.task.action_groups,
            seed=seed,
            evaluate=evaluate,
            evaluate_every=evaluation["every"],
            folder=unfinished,
            progress=lambda iteration, loss: advance(1),
        )
    policy.save(run.checkpoint)
    shutil.rmtree(unfinished, ignore_errors=True)
    run.update_metrics(policy={"training": dataclasses.asdict(curve)})
    console.print(*terminal_tables(run.metrics(), only=("training",)))
    console.print(f"trained on {len(demonstrations)} demonstrations: {run.shown(run.checkpoint)}")


def evaluator(run: Run, episodes: int, every: int) -> Callable[[Policy], Record] | None:
    """What rolls a policy in nominal episodes of the select split, the same ones each time; None for never.

    The test split is never touched: what was looked at in training is no longer new.
    """
    if episodes < 0 or every < 0 or bool(episodes) != bool(every):
        raise ConfigError(
            f"job.evaluation.episodes={episodes} and job.evaluation.every={every} must both be 0, "
            "for no evaluation, or both at least 1, for example 50 and 1000"
        )
    if not episodes:
        return None
    launches = [Launch(Stream(run.seed, episode_index("select", number))) for number in range(episodes)]

    def evaluate(policy: Policy) -> Record:
        ended = Lockstep(run.task, policy, run.config["runner"]["scenes"]).outcomes(launches)
        return {"episodes": len(ended), "successes": sum(each.success for each in ended)}

    return evaluate


def read_demonstrations(run: Run, cameras: Sequence[str] = ()) -> list[Demonstration]:
    """Every demonstration that succeeded: what the policy reads, the images of some cameras, and the actions."""
    store = Store.open(run.demos)
    if store.header.task != run.task.name:
        raise StoreError(
            f"{run.shown(run.demos)} holds demonstrations of task {store.header.task!r}, not {run.task.name!r}; "
            "choose others with demos=..., or another task=..."
        )
    seen = seen_by(run, cameras)
    rows = [number for number, success in enumerate(store.episodes["success"]) if success]
    for number in rows:
        missing = [camera for camera in cameras if f"images/{camera}" not in store.step_names(number)]
        if missing:
            raise StoreError(
                f"the demonstrations in {run.shown(run.demos)} have no images of camera {' and '.join(missing)}; "
                f"collect some: workbench collect demos=NAME task.cameras={{names:[{','.join(cameras)}]}}, and train "
                "with demos=NAME"
            )
    return [demonstration(store.episode(number, steps=("action", *seen), calls=()), seen) for number in rows]


def seen_by(run: Run, cameras: Sequence[str]) -> tuple[str, ...]:
    """Names or patterns of the arrays of an episode that a run's policy learns to act on."""
    observations = run.config["policy"].get("observations") or ["*"]
    return (*(f"obs/{key}" for key in observations), *(f"images/{camera}" for camera in cameras))


def demonstration(episode: Episode, seen: Sequence[str]) -> Demonstration:
    """What can be learned from an episode: what is seen, what was told, and the actions asked for."""
    observation = {
        key.removeprefix("obs/"): values
        for key, values in episode.steps.items()
        if any(fnmatch.fnmatchcase(key, pattern) for pattern in seen)
    }
    return Demonstration(observation, episode.steps["action"], str(episode.record["instruction"]))
