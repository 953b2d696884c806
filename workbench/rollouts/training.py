"""A policy trained on demonstrations, and rolled on the way."""

from __future__ import annotations

import inspect
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.config import build, described, digest, resolve, shown
from workbench.errors import CheckpointError, ConfigError
from workbench.execution.ledger import Ledger, differing, plain
from workbench.execution.progress import console, progress
from workbench.rollouts.collecting import read_demonstrations
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store
from workbench.types import Demonstration, Policy, Record, Stream, Task, episode_index
from workbench.types.abilities import action_groups_of

TRAINER: Record = {"_target_": "workbench.policies.learning.training.train"}
"""What trains, with its own settings."""


def train(
    policy: Policy,
    demonstrations: Store | Sequence[Demonstration],
    task: Task,
    *,
    into: Path,
    trainer: Mapping[str, Any] = TRAINER,
    seed: int = 0,
    run_seed: int = 0,
    evaluation: Mapping[str, int] | None = None,
    scenes: int = 25,
    overwrite: bool = False,
) -> Any:
    """Train a policy into a checkpoint folder and return the curve of the training; an unfinished one goes on.

    Parameters
    ----------
    demonstrations : a store of them, of which those that succeeded are learned from, or the demonstrations themselves.
    into : folder of the checkpoint; what is unfinished stands beside it.
    trainer : configuration of what trains, and its settings.
    seed : of the training alone: several policies can be trained on the same demonstrations.
    run_seed : decides the episodes of the evaluation.
    evaluation : ``episodes`` to roll in simulation, and ``every`` how many iterations; None for never.
    scenes : that step together in an evaluation.

    Raises
    ------
    CheckpointError
        if the folder holds a trained policy, unless ``overwrite`` trains it anew.
    """
    if into.exists() and not overwrite:
        raise CheckpointError(
            f"{shown(into)} holds a trained policy; overwrite=true trains it anew, name=... keeps both"
        )
    counts = dict(evaluation or {"episodes": 0, "every": 0})
    evaluate = evaluator(task, counts["episodes"], counts["every"], run_seed, scenes)
    if isinstance(demonstrations, Store):
        seen = described(policy).get("observations"), policy.cameras
        demonstrations = read_demonstrations(demonstrations, task, *seen)
    # Where it computes and how often it saves decide nothing: a training that was begun otherwise goes on here.
    asked = {name: value for name, value in trainer.items() if name not in ("device", "save_every")}
    decides = [asked, counts, seed, run_seed, described(policy), described(task), len(demonstrations)]
    ledger, began = Ledger(into.parent / "training.json"), time.monotonic()
    unfinished = _unfinished(into, decides, ledger)
    with progress("iterations", int(parameter(trainer, "iterations"))) as advance:
        curve = build({**trainer, "_partial_": True})(
            policy,
            demonstrations,
            task=task.name,
            groups=action_groups_of(task),
            seed=seed,
            evaluate=evaluate,
            evaluate_every=counts["every"],
            folder=unfinished,
            progress=lambda iteration, loss: advance(1),
        )
    policy.save(into)
    ledger.end(into.name, time.monotonic() - began)
    shutil.rmtree(unfinished, ignore_errors=True)
    return curve


SETTINGS = ("trainer", "evaluation", "seed", "run seed", "policy", "task", "demonstrations")
"""What decides a training, in the order in which its digest is taken."""


def parameter(node: Mapping[str, Any], name: str) -> Any:
    """A setting of a configuration, or its target's own default."""
    default = inspect.signature(resolve(node["_target_"])).parameters[name].default
    return node.get(name, default)


def _unfinished(into: Path, decides: Sequence[Any], ledger: Ledger) -> Path:
    """Folder of the state of a training, named after what decides it; says what another one leaves behind."""
    now = plain(dict(zip(SETTINGS, decides, strict=True)))
    folder = into.parent / f"training-{digest(list(decides))}"
    before = ledger.entry(into.name)
    if before is not None and before.made_with != now and not before.ended:
        behind = into.parent / f"training-{digest([before.made_with[name] for name in SETTINGS])}"
        if behind.exists():
            changed = " and ".join(differing(before.made_with, now))
            console.print(f"an unfinished training with another {changed} is left behind: {shown(behind)}")
    ledger.begin(into.name, now)
    return folder


def evaluator(task: Task, episodes: int, every: int, seed: int, scenes: int) -> Callable[[Policy], Record] | None:
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
    launches = [Launch(Stream(seed, episode_index("select", number))) for number in range(episodes)]

    def evaluate(policy: Policy) -> Record:
        ended = Lockstep(task, policy, scenes).outcomes(launches)
        return {"episodes": len(ended), "successes": sum(each.success for each in ended)}

    return evaluate
