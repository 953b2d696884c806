"""Demonstrations of the scripted expert, with noise on what is executed and none on what is stored (DART).

Source of the idea: Laskey et al., DART: Noise Injection for Robust Imitation Learning, CoRL 2017.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.config import data_path, made, shown
from workbench.errors import ConfigError, StoreError
from workbench.execution.executor import Executor
from workbench.execution.processes import Processes
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.rolling import drawn, roll
from workbench.rollouts.setup import Recording, Setup
from workbench.store import Store
from workbench.types import EPISODES_PER_SPLIT, Demonstration, Episode, Record, Task
from workbench.types.abilities import demonstration_noise_of

NOISE: Record = {"_target_": "workbench.envs.perturbations.action_noise.ActionNoise", "std_fraction": None}
"""Noise on the executed action; as strong as the task bears unless it says how strong."""


def collect(
    task: Task,
    *,
    episodes: int,
    into: str | Path,
    expert: Mapping[str, Any] = EXPERT,
    noise: Mapping[str, Any] | None = NOISE,
    seed: int = 0,
    recording: Recording | None = None,
    runner: Executor | None = None,
) -> Store:
    """Collect demonstrations of the train split into a store; those that are there already are kept.

    Parameters
    ----------
    into : name of a store in ``datasets/``, or its path.
    expert : configuration of who demonstrates.
    noise : configuration of the noise on what is executed; None for none.

    Raises
    ------
    OtherSettingsError
        if the store was made with another task, expert, noise or seed.
    """
    if not 1 <= episodes <= EPISODES_PER_SPLIT:
        raise ConfigError(f"job.episodes={episodes} must be at least 1, and at most {EPISODES_PER_SPLIT}")
    strength = with_strength(noise, task) if noise else None
    specifications = [made(strength)] if strength else []
    demonstrated = {"policy": "expert", "expert": dict(expert), "noise": strength}
    launches = [drawn(task, specifications, "train", number, seed) for number in range(episodes)]
    # An expert says nothing of its calls, and whoever learns from it may want to see what it saw.
    kept = dataclasses.replace(recording or Recording(samples=0), signals=(), images=True)
    setup = Setup(task, made(expert, task=task), kept, runner or Processes())
    path = data_path(into)
    roll(setup, path, launches, [specifications], seed=seed, demonstrated=demonstrated)
    return Store.open(path)


def with_strength(noise: Mapping[str, Any], task: Task) -> Record:
    """The noise's specification, as strong as the task bears unless it says how strong."""
    if noise.get("std_fraction", 0) is not None:
        return dict(noise)
    return {**noise, "std_fraction": list(demonstration_noise_of(task))}


def read_demonstrations(
    store: Store, task: Task, observations: Sequence[str] | None = None, cameras: Sequence[str] = ()
) -> list[Demonstration]:
    """Every demonstration of a store that succeeded: what a policy reads, the images of some cameras, and the actions.

    Parameters
    ----------
    observations : keys that it reads; None for all.
    """
    if store.header.task != task.name:
        raise StoreError(
            f"{shown(store.path)} holds demonstrations of task {store.header.task!r}, not {task.name!r}; "
            "choose others with demos=..., or another task=..."
        )
    seen = seen_by(observations, cameras)
    rows = [number for number, success in enumerate(store.episodes["success"]) if success]
    for number in rows:
        missing = [camera for camera in cameras if f"images/{camera}" not in store.step_names(number)]
        if missing:
            raise StoreError(
                f"the demonstrations in {shown(store.path)} have no images of camera {' and '.join(missing)}; "
                f"collect some: workbench collect demos=NAME task.cameras={{names:[{','.join(cameras)}]}}, and train "
                "with demos=NAME"
            )
    return [demonstration(store.episode(number, steps=("action", *seen), calls=()), seen) for number in rows]


def seen_by(observations: Sequence[str] | None, cameras: Sequence[str]) -> tuple[str, ...]:
    """Names or patterns of the arrays of an episode that a policy learns to act on."""
    return (*(f"obs/{key}" for key in observations or ["*"]), *(f"images/{camera}" for camera in cameras))


def demonstration(episode: Episode, seen: Sequence[str]) -> Demonstration:
    """What can be learned from an episode: what is seen, what was told, and the actions asked for."""
    observation = {
        key.removeprefix("obs/"): values
        for key, values in episode.steps.items()
        if any(fnmatch.fnmatchcase(key, pattern) for pattern in seen)
    }
    return Demonstration(observation, episode.steps["action"], str(episode.record["instruction"]))
