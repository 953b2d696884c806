"""A policy trained on demonstrations, and rolled on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from workbench.config import build, described, digest, remove, resolve, shown, weights_digest
from workbench.errors import CheckpointError, ConfigError
from workbench.execution.ledger import Entry, Ledger, deciding, differing, plain
from workbench.execution.progress import console, progress
from workbench.rollouts.collecting import read_demonstrations
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import refuse_other_task
from workbench.store import Store
from workbench.types import Count, Demonstration, Episodes, Policy, Record, Stream, Task, episode_index
from workbench.types.abilities import action_groups_of

TRAINER: Record = {"_target_": "workbench.policies.learning.training.train"}
"""What trains, with its own settings."""


class Evaluation(TypedDict):
    """So many episodes of the select split, every so many iterations; both 0 for never."""

    episodes: Episodes
    every: Count


def train(
    policy: Policy,
    demonstrations: Store | Sequence[Demonstration],
    task: Task,
    *,
    into: Path,
    trainer: Mapping[str, Any] = TRAINER,
    seed: int = 0,
    run_seed: int = 0,
    evaluation: Evaluation | None = None,
    scenes: int = 25,
    overwrite: bool = False,
) -> Any:
    """Train a policy into a checkpoint folder and return the curve of the training; an unfinished one goes on.

    One that is done already with these settings is kept.

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
        if the folder holds another trained policy, unless ``overwrite`` trains it anew.
    """
    counts = evaluation or Evaluation(episodes=0, every=0)
    evaluate = evaluator(task, counts["episodes"], counts["every"], run_seed, scenes)
    if isinstance(demonstrations, Store):
        refuse_other_task(demonstrations, task, policy.cameras)
        learnt: Any = demonstrations.digest(labels=False)
    else:
        learnt = [content(each) for each in demonstrations]
    asked = plain(
        {
            "trainer": deciding(with_defaults(trainer)),
            "evaluation": counts,
            "seed": seed,
            "run seed": run_seed if evaluate else None,
            "policy": described(policy),
            "task": described(task),
            "demonstrations": digest(learnt),
        }
    )
    training = Training(into, asked)
    if (kept := training.kept(overwrite)) is not None:
        return curve_of(trainer, kept)
    if isinstance(demonstrations, Store):
        seen = described(policy).get("observations"), policy.cameras
        demonstrations = read_demonstrations(demonstrations, task, *seen)
    began = time.monotonic()
    training.begin()
    with progress("iterations", int(parameter(trainer, "iterations"))) as advance:
        curve = build({**trainer, "_partial_": True})(
            policy,
            demonstrations,
            task=task.name,
            groups=action_groups_of(task),
            seed=seed,
            evaluate=evaluate,
            evaluate_every=counts["every"],
            folder=training.folder,
            progress=lambda iteration, loss: advance(1),
        )
    policy.save(into)
    training.end(time.monotonic() - began, dataclasses.asdict(curve))
    return curve


class Training:
    """A training as the ledger beside its checkpoint knows it: begun, or done, with what is told of it.

    Its state is kept in a folder of its own until the weights and then the ledger are written.  So it is known of every
    checkpoint which settings made it, and a training that was ended at any moment goes on.

    Parameters
    ----------
    into : folder of the checkpoint.
    asked : what decides the training, plain data.
    """

    def __init__(self, into: Path, asked: Record) -> None:
        self.into, self.asked = into, asked
        self.ledger = Ledger(into.parent / "training.json")
        self.folder = _state_folder(into, asked)

    def kept(self, overwrite: bool) -> Record | None:
        """What is told of this very training if it is done; None if it is to be done, or to go on.

        Raises
        ------
        CheckpointError
            if there is another policy that is not to be overwritten.
        """
        if not self.into.exists() or overwrite:
            return None
        entry, remedy = self.ledger.entry(self.into.name), "overwrite=true trains it anew, name=... keeps both"
        if entry is None or not entry.record:
            raise CheckpointError(f"{shown(self.into)} holds a trained policy; {remedy}")
        if differs := differing(entry.made_with, self.asked):
            raise CheckpointError(
                f"{shown(self.into)} holds a trained policy, made with another {' and '.join(differs)}; {remedy}"
            )
        if entry.ended:
            remove(self.folder)
            kept: Record = entry.record
            return kept
        if weights_digest(self.into) == entry.record["replaces"]:
            raise CheckpointError(f"{shown(self.into)} holds an earlier trained policy; {remedy}")
        return None  # it was ended between the weights and what is told of it

    def begin(self) -> None:
        """Note that it goes on; says what another unfinished one leaves behind."""
        before = self.ledger.entry(self.into.name)
        if before is not None and (before.made_with != self.asked or before.ended):
            before = None
        self._say_what_is_left(self.ledger.entry(self.into.name))
        replaces = before.record if before and before.record else {"replaces": weights_digest(self.into)}
        self.ledger.begin(self.into.name, self.asked, replaces)

    def _say_what_is_left(self, before: Entry | None) -> None:
        for behind in sorted(self.into.parent.glob("training-*/")):
            if behind != self.folder:
                known = before is not None and behind == _state_folder(self.into, before.made_with)
                changed = differing(before.made_with, self.asked) if before is not None and known else []
                what = f"another {' and '.join(changed)}" if changed else "other settings"
                console.print(f"an unfinished training with {what} is left behind: {shown(behind)}", markup=False)

    def end(self, seconds: float, told: Record) -> None:
        """Note what is told of it; its state is needed no longer."""
        self.ledger.end(self.into.name, seconds, plain(told))
        remove(self.folder)


def _state_folder(into: Path, asked: Record) -> Path:
    """Folder of the state of a training, named after what decides it."""
    return into.parent / f"training-{digest(asked)}"


def curve_of(trainer: Mapping[str, Any], record: Record) -> Any:
    """The curve that a trainer returned, from what was kept of it."""
    kind = typing.get_type_hints(resolve(trainer["_target_"]))["return"]
    try:
        return kind(**record)
    except TypeError as error:
        raise CheckpointError(
            f"training.json holds no curve of {trainer['_target_']} ({error}); move it away"
        ) from None


def with_defaults(node: Mapping[str, Any]) -> Record:
    """A configuration with its target's own defaults in the place of what it does not say."""
    parameters = inspect.signature(resolve(node["_target_"])).parameters.values()
    defaults = {each.name: each.default for each in parameters if type(each.default) in (int, float, str, bool)}
    return {**defaults, **node}


def content(demonstration: Demonstration) -> str:
    """Digest of a demonstration."""
    hashed = hashlib.sha256(demonstration.instruction.encode())
    for name, rows in sorted({**demonstration.observation, "actions": demonstration.actions}.items()):
        values = np.ascontiguousarray(rows)
        hashed.update(f"{name} {values.dtype} {values.shape}".encode())
        hashed.update(values.tobytes())
    return hashed.hexdigest()


def parameter(node: Mapping[str, Any], name: str) -> Any:
    """A setting of a configuration, or its target's own default."""
    default = inspect.signature(resolve(node["_target_"])).parameters[name].default
    return node.get(name, default)


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
