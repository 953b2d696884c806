"""Episodes of a policy, nominal or with faults, rolled into a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config.files import data_path, shown
from workbench.config.named import parts
from workbench.errors import ConfigError, OtherSettingsError, UnknownNameError
from workbench.execution.executor import Executor, batches
from workbench.execution.ledger import refuse_other
from workbench.execution.processes import Processes
from workbench.execution.progress import progress
from workbench.rollouts.guard import Guard, GuardSettings
from workbench.rollouts.launch import Launch
from workbench.rollouts.setup import (
    NEW_STORE,
    Recording,
    Setup,
    known_uids,
    telling_what_is_kept,
    try_cameras,
    write_episodes,
)
from workbench.rollouts.shielding import shields_for
from workbench.store import Store, StoreHeader
from workbench.types import (
    EPISODES_PER_SPLIT,
    SPLITS,
    Perturbation,
    Policy,
    Record,
    Shield,
    Split,
    Stream,
    Task,
    episode_index,
)
from workbench.types.faults import faults_in


@dataclasses.dataclass(frozen=True)
class Batch:
    """Launches for one worker, and the store that they go into."""

    setup: Setup
    store: Path
    header: StoreHeader
    launches: Sequence[Launch]


def rollout(
    task: Task,
    policy: Policy,
    perturbations: Iterable[Perturbation | str] | Mapping[str, Perturbation] = (),
    *,
    episodes: int | Mapping[str, int],
    into: str | Path,
    one_each: bool = False,
    seed: int = 0,
    samples: int = 32,
    signals: Sequence[str] = (),
    images: bool = True,
    until: str = "success",
    runner: Executor | None = None,
    guard: GuardSettings | Guard | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
) -> Store:
    """Roll episodes into a store; those that are there already are kept, so that the same call goes on.

    Parameters
    ----------
    perturbations : faults or their names, all of them in every episode; with ``one_each`` each in episodes of its own.
    episodes : how many of each split (train, fit, select, calibrate, test); a number alone is of ``test``.
    into : name of a store in ``datasets/``, or its path.
    seed : with the split and the number of an episode it decides every random draw.
    samples : chunks that the policy draws beside the one that is run, for scores that need them.
    signals : what else the policy is asked to say of every call.
    images : whether the store keeps what the task's cameras see.
    until : ``success`` stops an episode at success, ``deadline`` runs on.
    runner : where they are rolled, such as ``Processes(workers=2)``; None for this process.  It changes no episode.
    guard : a monitor and a strategy that watch every call of the policy and act; None for nobody.
    shields : the last gates before the actuators, in this order: shields, as :func:`workbench.shield` makes them, or
        their names.  What they let through is recorded as ``shielded``, what they say as ``shields/<name>``.

    Raises
    ------
    OtherSettingsError
        if the store was made by another policy, task or recording, or with other shields.
    ConfigError
        if a fault does not suit the task or the policy.
    """
    if not isinstance(guard, Guard | GuardSettings | None):
        raise ConfigError(f"guard takes a wb.Guard(monitor, strategy, horizon=...), not a {type(guard).__name__}")
    specifications = list(parts("perturbation", perturbations).values())
    counts = {"test": episodes} if isinstance(episodes, int) else episodes
    launches = planned(task, specifications, counts, one_each, seed)
    if one_each:
        refuse_alike(task, specifications)
    for specification in specifications:
        specification.suits(policy)
    recording = Recording(until, samples, signals, images)
    setup = Setup(task, policy, recording, runner or Processes(), guard, shields_for(task, shields))
    path = data_path(into)
    roll(setup, path, launches, [[one] for one in specifications] if one_each else [specifications], seed=seed)
    return Store.open(path)


def roll(
    setup: Setup,
    path: Path,
    launches: Sequence[Launch],
    groups: Sequence[Sequence[Perturbation]],
    *,
    seed: int,
    demonstrated: Record | None = None,
) -> None:
    """Roll what of some launches is not yet in a store.

    Parameters
    ----------
    groups : of faults, from which the launches were drawn.
    demonstrated : of demonstrations, what their header says of who made them; None for episodes of a policy.
    """
    try_cameras(setup.task)
    header = setup.header(seed, **demonstrated or {})
    done = known_uids(path, header)
    if done:
        refuse_other_faults(Store.open(path), setup.task, groups, alone=demonstrated is not None)
    wanted = [launch for launch in launches if launch.uid not in done]
    said = {"policy": header.config["policy"], "task": header.config["task"]}
    said |= {f"shield {name}": one for name, one in header.config.get("shields", {}).items()}
    if wanted and done and (unnamed := [part for part, each in said.items() if by_hand(each)]):
        raise OtherSettingsError(
            f"{shown(path)} holds episodes of a {unnamed[0]} that was made by hand, which cannot be told from another; "
            f"give the {unnamed[0]} a name (name=...) and roll into a new store, or choose another one"
        )
    bar, size = ("demonstrations", 1) if demonstrated else ("episodes", 2)
    with telling_what_is_kept(path), progress(bar, len(launches)) as advance:
        advance(len(launches) - len(wanted))
        items = [Batch(setup, path, header, part) for part in batches(wanted, size * setup.runner.scenes)]
        for rows in setup.map_unordered(roll_batch, items):
            advance(len(rows))


def refuse_other_faults(
    store: Store, task: Task, groups: Iterable[Sequence[Perturbation]], cell: str = "", alone: bool = False
) -> None:
    """Refuse to add to a store in which faults of the same names were drawn with other settings.

    They would be counted together. A draw is addressed by seed and episode, so it can be done again.

    Parameters
    ----------
    groups : faults of an episode, each group one kind of it.
    cell : of a data set, in which they lie; "" for none. Other cells may have other magnitudes.
    alone : whether the store holds nothing else.

    Raises
    ------
    OtherSettingsError
        that names what differs.
    """
    rows = store.episodes
    for group in groups:
        names = "+".join(record["name"] for record in drawn(task, group, "test", 0, 0).perturbations)
        if alone and (others := {*rows["perturbation"]} - {names}):
            raise OtherSettingsError(
                f"{shown(store.path)} was made with {others.pop() or 'no'} noise, not {names or 'none'}; {NEW_STORE}"
            )
        counted = (rows["cell"] == cell) | (rows["cell"] == "") | (cell == "")  # tables count by name alone
        for row in np.flatnonzero((rows["perturbation"] == names) & counted):
            stream = Stream(int(rows["seed"][row]), int(rows["index"][row]))
            stored = faults_in(rows["perturbations"][row], f"{store.path}, perturbations of {rows['uid'][row]}")
            before = {each["name"]: each for each in stored}
            now = {each["name"]: each for each in (one.draw(stream, task) for one in group)}
            refuse_other(shown(store.path), {"perturbation": before}, {"perturbation": now}, NEW_STORE)


def by_hand(described: Any) -> bool:
    """Whether a part was made by hand and has no name by which it could be told from another of its class."""
    return isinstance(described, Mapping) and described.get("by") == "hand" and not described.get("name")


def roll_batch(batch: Batch) -> list[Record]:
    """Roll one batch in this process."""
    return write_episodes(batch.store, batch.header, batch.setup.recorder(), batch.launches)


def planned(
    task: Task, specifications: Sequence[Perturbation], episodes: Mapping[str, int], one_each: bool, seed: int
) -> list[Launch]:
    """What is to be rolled; with ``one_each`` every perturbation gets that many episodes of its own."""
    if one_each and not specifications:
        raise ConfigError("job.one_each=true needs perturbations, for example perturbation=[slip,object_shift]")
    groups = [[one] for one in specifications] if one_each else [list(specifications)]
    launches = []
    for split, count in episodes.items():
        if split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        if not 0 <= count * len(groups) <= EPISODES_PER_SPLIT:
            each = f" of each of {len(groups)} perturbations" if one_each else ""
            raise ConfigError(
                f"job.episodes.{split}={count}{each} must be 0 or more, and at most {EPISODES_PER_SPLIT} in all: "
                "a split has so many numbers of episodes"
            )
        for number in range(count * len(groups)):
            launches.append(drawn(task, groups[number // count], split, number, seed))
    return launches


def refuse_alike(task: Task, specifications: Sequence[Perturbation]) -> None:
    """ConfigError for two faults of one name, each in episodes of its own: tables count by name alone."""
    names = [str(one.draw(Stream(0, 0), task)["name"]) for one in specifications]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"fault {name} is asked for {names.count(name)} times, and its episodes would be counted together, "
                "whatever its settings: roll each into a store of its own"
            )


def refuse_unsuitable(specifications: Iterable[Perturbation], task: Task, policy: Policy | None, seed: int) -> None:
    """ConfigError if a task or a policy cannot have one of some faults; None for a policy that is yet to be trained."""
    for one in specifications:
        one.draw(Stream(seed, 0), task)
        if policy is not None:
            one.suits(policy)


def drawn(
    task: Task, specifications: Iterable[Perturbation], split: Split, number: int, seed: int, cell: str = ""
) -> Launch:
    """One episode, its perturbations drawn."""
    stream = Stream(seed, episode_index(split, number))
    return Launch(stream, tuple(one.draw(stream, task) for one in specifications), cell=cell)
