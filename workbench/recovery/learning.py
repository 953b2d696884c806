"""A recovery head: the policy, trained further on the expert's verified recoveries from its own failures."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import build, described, digest, shown
from workbench.errors import ConfigError, StoreError
from workbench.execution.executor import Executor, batches
from workbench.execution.ledger import deciding, plain
from workbench.execution.progress import progress
from workbench.recovery.tables import BRANCH_ARRAYS
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.collecting import demonstration, read_demonstrations, seen_by
from workbench.rollouts.gate import calls_remembered
from workbench.rollouts.launch import Launch
from workbench.rollouts.setup import Setup, branching_setup
from workbench.rollouts.stored import bare_start, perturbations_of, stream_of
from workbench.rollouts.training import TRAINER, Training, parameter, with_defaults
from workbench.store import Store
from workbench.types import Demonstration, Policy, Record, Shield, Task
from workbench.types.abilities import action_groups_of

EPISODES_PER_BATCH = 15


@dataclasses.dataclass(frozen=True)
class Learnt:
    """What a head learnt from: failed episodes, and recoveries from them that were carried out and succeeded."""

    failed_episodes: int
    verified_recoveries: int

    def record(self) -> Record:
        """The section ``head`` of ``metrics.json``."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Episodes for one worker, each with the control steps from which the expert is to recover."""

    setup: Setup
    store: Path
    expert: Record
    allowance_steps: int
    starts: Sequence[tuple[int, tuple[int, ...]]]


def train_head(
    store: Store,
    demonstrations: Store,
    task: Task,
    policy: Policy,
    *,
    into: Path,
    moments: int = 4,
    allowance_steps: int = 100,
    trainer: Mapping[str, Any] = TRAINER,
    expert: Mapping[str, Any] = EXPERT,
    seed: int = 0,
    runner: Executor | None = None,
    until: str = "success",
    overwrite: bool = False,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
) -> Learnt | None:
    """Train the policy further on recoveries from failed episodes of the fit split, and on its demonstrations.

    A head that is there already, of these settings, is kept; an unfinished training goes on.  One of an earlier
    version, which did not say how it was trained, is taken as it is, and nothing is known of what it learnt from.

    Parameters
    ----------
    into : folder of the head's weights; what is unfinished stands beside it.
    policy : whose weights the head begins with; it is the head afterwards, unless that was there.
    moments : from how many moments of each failed episode the expert is begun.
    allowance_steps : control steps that it has from there on.
    shields : those behind which the store was rolled; they stand before the actuators in the recoveries, too.

    Raises
    ------
    CheckpointError
        if the folder holds another head, unless ``overwrite`` trains it anew.
    """
    if moments < 1 or allowance_steps < 1:
        raise ConfigError(f"job.moments={moments} and job.allowance_steps={allowance_steps} must be at least 1")
    setup = branching_setup(store, task, policy, runner, shields, until)
    starts, header = recovery_starts(store, moments), setup.header(seed).config
    asked: Record = {
        "trainer": deciding(with_defaults(trainer)),
        "expert": dict(expert),
        "moments": moments,
        "allowance_steps": allowance_steps,
        "seed": seed,
        "until": until,
        **{key: header[key] for key in ("policy", "weights", "shields") if key in header},
        "task": described(task),
        "failures": digest([store.uids[number] for number, _ in starts]),
        "demonstrations": demonstrations.digest(labels=False),
    }
    training = Training(into, plain(asked))
    if into.exists() and into.name not in training.ledger and not overwrite:
        return None
    if (kept := training.kept(overwrite)) is not None:
        return Learnt(**kept)
    training.begin()
    began = time.monotonic()
    items = [Batch(setup, store.path, dict(expert), allowance_steps, p) for p in batches(starts, EPISODES_PER_BATCH)]
    recoveries = verified_recoveries(items, setup)
    seen = described(policy).get("observations"), policy.cameras
    with progress("iterations of the head", int(parameter(trainer, "iterations"))) as advance:
        build({**trainer, "_partial_": True})(
            policy,
            [*recoveries, *read_demonstrations(demonstrations, task, *seen)],
            task=task.name,
            groups=action_groups_of(task),
            seed=seed,
            folder=training.folder,
            progress=lambda iteration, loss: advance(1),
        )
    policy.save(into)
    learnt = Learnt(len(starts), len(recoveries))
    training.end(time.monotonic() - began, learnt.record())
    return learnt


def verified_recoveries(items: Sequence[Batch], runner: Executor | Setup) -> list[Demonstration]:
    """Recoveries of all batches in their order, whoever finishes first: the order decides what a training holds out."""
    found: dict[int, list[list[Demonstration]]] = {}
    with progress("moments", sum(len(item.starts) for item in items)) as advance:
        for place, recovered in runner.map_unordered(recovery_batch, list(enumerate(items))):
            found[place] = recovered
            advance(len(recovered))
    return [recovery for place in range(len(items)) for each in found[place] for recovery in each]


def recovery_starts(store: Store, moments: int) -> list[tuple[int, tuple[int, ...]]]:
    """Failed episodes of the fit split, each with the control steps from which a recovery begins."""
    rows = store.episodes
    failed = [number for number in range(len(store)) if rows["split"][number] == "fit" and not rows["success"][number]]
    if not failed:
        raise StoreError(
            f"{shown(store.path)} has no failed episode in the fit split to learn recoveries from; roll some with "
            "perturbation=[...] job.episodes.fit=50"
        )
    return [(number, moments_of(int(rows["length"][number]), moments)) for number in failed]


def moments_of(length: int, moments: int) -> tuple[int, ...]:
    """Control steps spread evenly over an episode, neither its first nor its last."""
    return tuple(int(step) for step in np.linspace(0, length, moments + 2)[1:-1])


def recovery_batch(numbered: tuple[int, Batch]) -> tuple[int, list[list[Demonstration]]]:
    """The expert's branches that succeed, as demonstrations, for each episode of a batch; with the batch's place."""
    place, batch = numbered
    setup, store = batch.setup, Store.open(batch.store)
    launches, owner, remembered = [], [], calls_remembered(setup.shields)
    for row, (number, steps) in enumerate(batch.starts):
        episode = store.episode(number, steps=BRANCH_ARRAYS, calls=remembered)
        for step in steps:
            start, deadline = bare_start(episode, step), step + batch.allowance_steps
            launches.append(Launch(stream_of(episode), perturbations_of(episode), start, deadline=deadline))
            owner.append(row)
    found: list[list[Demonstration]] = [[] for _ in batch.starts]
    cameras = setup.policy.cameras
    lockstep = setup.lockstep("expert", setup.expert(batch.expert), images=bool(cameras))
    seen = seen_by(described(setup.policy).get("observations"), cameras)
    for number, episode in lockstep.record_numbered(launches):
        if episode.record["success"] and len(episode.steps["action"]) > 1:
            found[owner[number]].append(demonstration(episode, seen))
    return place, found
