"""What rolls: a task, a policy, and how; the same in every worker process, where it is made again by name."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from workbench.config import Run, build, described, made, made_policy, origin_of, shown, versions, weights_digest
from workbench.config.moved import where_now
from workbench.config.parts import travelling
from workbench.errors import (
    ConfigError,
    OtherSettingsError,
    PolicyServerError,
    StoreError,
    UnknownNameError,
    WorkerError,
)
from workbench.execution.executor import Executor, Item, Result
from workbench.execution.ledger import refuse_other
from workbench.execution.processes import Processes
from workbench.rollouts.gate import Shields, plan_needs
from workbench.rollouts.guard import Guard, GuardSettings
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.shielding import again, described_shields, shields_for, shields_of, travelling_shields
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Episode, Policy, Record, Shield, Task
from workbench.types.abilities import HasImages, ability, image_sizes_of
from workbench.types.reading import Between, Size, Source, checked

DEMONSTRATED = ("expert", "noise")
"""Keys of a header of demonstrations; earlier versions did not write them."""
UNTIL = ("success", "deadline")
"""What ends an episode."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """What is asked of a policy and kept of an episode.

    Attributes
    ----------
    until : ``success`` stops an episode at success, ``deadline`` runs on.
    samples : B, chunks drawn beside the one that is run, for detectors.
    signals : what else the policy is asked to say of every call.
    images : whether what the task's cameras see is kept at every step.
    """

    until: str = "success"
    samples: int = 32
    signals: Sequence[str] = ()
    images: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "signals", list(self.signals))
        if self.until not in UNTIL:
            raise UnknownNameError("value of rollout.until", self.until, UNTIL)
        if self.samples < 0:
            raise ConfigError(f"rollout.samples={self.samples} must be 0 or more")


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What a header says was asked of the policy; earlier versions asked for no signals."""

    samples: Annotated[int, Between(0, 2**20)] = 0
    signals: Annotated[list[str], Size(0, 1000)] = dataclasses.field(default_factory=list)


def recording_of(store: Store, until: str) -> Recording:
    """How the episodes of a store were recorded, for branches that the policy is to be asked as much in."""
    source, said = Source(f"the header of {shown(store.path)}", StoreError), store.header.config.get("rollout", {})
    rows = checked(dict[str, Any], said, source, "rollout")
    asked = checked(_Asked, {key: rows[key] for key in ("samples", "signals") if key in rows}, source, "rollout")
    return Recording(until, asked.samples, asked.signals)


@dataclasses.dataclass(frozen=True)
class Setup:
    """A task and a policy, and how they are rolled.

    It travels to worker processes by the configurations of its parts; one with a part that was made by hand stays in
    its own process.

    Attributes
    ----------
    runner : where it is rolled, and how many scenes step together there.
    guard : who watches and acts, by name or made by hand; None for nobody.
    shields : stand before the actuators, whoever drives, in this order.
    """

    task: Task
    policy: Policy
    recording: Recording = dataclasses.field(default_factory=Recording)
    runner: Executor = dataclasses.field(default_factory=Processes)
    guard: GuardSettings | Guard | None = None
    shields: Shields = dataclasses.field(default_factory=dict)

    @property
    def _made_by_hand(self) -> list[object]:
        """Parts beside task and policy of which each must have been made by a configuration to travel."""
        return [*self.shields.values(), *([self.guard] if isinstance(self.guard, Guard) else [])]

    def __reduce__(self) -> tuple[Any, ...]:
        task, policy, *_ = travelling(self.task, self.policy, *self._made_by_hand)
        by_name = dataclasses.asdict(self.guard) if isinstance(self.guard, GuardSettings) else None
        plain = {
            "guard": by_name,
            "task": task.node,
            "policy": policy.node,
            "weights": str(policy.weights or ""),
            "recording": dataclasses.asdict(self.recording),
            "scenes": self.runner.scenes,
            "shields": travelling_shields(self.shields),
        }
        # The digest makes new weights another setup, for processes that keep the one before.
        return _again, (json.dumps(plain, sort_keys=True), weights_digest(policy.weights))

    def map_unordered(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results of a function over items that hold this setup, as they come; see :class:`Executor`.

        Raises
        ------
        ConfigError
            if it would have to travel to other processes, and has a part that was made by hand.
        """
        if self.runner.workers > 1 and len(items) > 1:
            travelling(self.task, self.policy, *self._made_by_hand)
            travelling_shields(self.shields)
        yield from self.runner.map_unordered(function, items)

    def header(self, seed: int, licence: str = "CC-BY-4.0", **said: Any) -> StoreHeader:
        """Header of a store that this setup writes: what decides its episodes, and what made it.

        ``said`` are further keys of its configuration, or stand in the place of those of this setup.
        """
        origin = origin_of(self.policy)
        guard = {} if self.guard is None else {"guard": self.guard.described()}
        return StoreHeader(
            task=self.task.name,
            control_hz=self.task.control_hz,
            deadline=self.task.deadline,
            config={
                "policy": described(self.policy),
                "weights": weights_digest(origin.weights) if origin else "",
                "task": described(self.task),
                "rollout": dataclasses.asdict(self.recording),
                **guard,
                **({"shields": described_shields(self.shields)} if self.shields else {}),
                **said,
            },
            versions=versions(),
            seed=seed,
            licence=licence,
        )

    def lockstep(
        self,
        name: str,
        policy: Policy,
        samples: int = 0,
        images: bool = True,
        signals: Sequence[str] = (),
        guard: Guard | None = None,
    ) -> Lockstep:
        """Scenes for one driver in this process, kept for the next batch under a name.

        Where shields judge plans, the policy is asked for as much as it is when episodes are recorded.
        """
        kept = self._locksteps
        if plan_needs(self.shields) and not policy.privileged:
            samples, signals = self.recording.samples, self.recording.signals
        if name not in kept:
            kept[name] = Lockstep(
                self.task,
                policy,
                self.runner.scenes,
                samples=samples,
                signals=signals,
                images=images,
                until=self.recording.until,
                guard=guard,
                shields=self.shields,
            )
        return kept[name]

    @functools.cached_property
    def _locksteps(self) -> dict[str, Lockstep]:
        return {}

    def recorder(self) -> Lockstep:
        """Scenes that the policy drives, with everything that is to be recorded, and the guard."""
        asked = self.recording
        guard = self.guard.made(self.task, self.policy) if isinstance(self.guard, GuardSettings) else self.guard
        return self.lockstep("policy", self.policy, asked.samples, asked.images, asked.signals, guard)

    def expert(self, node: Record) -> Policy:
        """The reference expert that a job names."""
        policy: Policy = build(node, task=self.task)
        return policy


def setup_of(run: Run) -> Setup:
    """The setup that a run's configuration asks for."""
    return Setup(run.task, run.policy(), Recording(**run.config["rollout"]), run.runner, shields=shields_of(run))


@functools.lru_cache(maxsize=4)
def _again(plain: str, weights: str) -> Setup:
    """The same setup in another process, kept with its scenes from batch to batch."""
    said = json.loads(plain)
    task = made(said["task"])
    policy = made_policy(said["policy"], task, Path(said["weights"]))
    guard = GuardSettings(**said["guard"]) if said["guard"] else None
    runner, shields = Processes(scenes=said["scenes"]), again(said["shields"], task)
    return Setup(task, policy, Recording(**said["recording"]), runner, guard, shields)


NEW_STORE = "choose another one with name=NAME or store=NAME, or move it away"
OTHER_SOURCE = "name those that it was made with, or another store with store=NAME"


def known_uids(store: Path, header: StoreHeader) -> set[str]:
    """Uids that a store holds already; OtherSettingsError for one that was made with other settings, or another seed.

    Everything that adds to a store asks here first.
    """
    if not store.exists():
        return set()
    found = Store.open(store)
    refuse_other(shown(store), _recorded(found.header, header), _recorded(header, found.header), NEW_STORE)
    return set(found.uids)


def _recorded(header: StoreHeader, other: StoreHeader) -> Record:
    """What decides the episodes of a store, and its licence; what cannot is left out.

    Stores of earlier versions say nothing of who demonstrated, and with which noise: then it is not asked.
    """
    config = {key: value for key, value in header.config.items() if key in other.config or key not in DEMONSTRATED}
    unseen = {"samples", "signals"} if config.get("policy") == "expert" else set()
    if isinstance(task := config.get("task"), Mapping) and task.get("cameras", True) is None:
        unseen |= {"images"}
    if isinstance(rollout := config.get("rollout"), Mapping):
        config["rollout"] = {key: value for key, value in rollout.items() if key not in unseen}
    return {**config, "seed": header.seed, "licence": header.licence}


def refuse_other_task(store: Store, task: Task, cameras: Sequence[str] = ()) -> None:
    """Refuse to go on from the episodes of a store that were made with another task.

    Parameters
    ----------
    cameras : those whose images are read; without any it does not matter which there were.

    Raises
    ------
    OtherSettingsError
        if any setting is another one that both the store and the task name.
    """
    before, now = store.header.config.get("task"), described(task)
    if store.header.task != task.name:
        raise OtherSettingsError(
            f"{shown(store.path)} was made with task {store.header.task!r}, not {task.name!r}; {OTHER_SOURCE}"
        )
    if isinstance(before, Mapping):
        kept, asked = alike(before, now, () if cameras else ("cameras",))
        refuse_other(shown(store.path), {"task": kept}, {"task": asked}, OTHER_SOURCE)


def refuse_other_source(store: Store, setup: Setup) -> None:
    """Refuse to go on from the episodes of a store that were rolled with another task, policy, end or other shields.

    Everything that branches from stored episodes, or rolls them again, asks here first.

    Raises
    ------
    OtherSettingsError
        if any setting is another one that both name.
    """
    refuse_other_task(store, setup.task, setup.policy.cameras)
    if store.header.config.get("guard"):
        raise OtherSettingsError(
            f"{shown(store.path)} was rolled with a guard, which drove part of its episodes: what is branched from it "
            f"would be none of the policy's; {OTHER_SOURCE}"
        )
    kept, now = store.header.config, setup.header(store.header.seed).config
    before, asked = ({"shields": each.get("shields", {})} for each in (kept, now))
    refuse_other(shown(store.path), before, asked, OTHER_SOURCE)
    if not isinstance(kept.get("policy"), Mapping):
        return
    before, asked = (_source(each) for each in (kept, now))
    refuse_other(shown(store.path), *_shared(before, asked), OTHER_SOURCE)


def branching_setup(
    store: Store,
    task: Task,
    policy: Policy,
    runner: Executor | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
    until: str = "success",
) -> Setup:
    """How branches of a store's episodes are rolled: as these were, behind the same shields.

    Raises
    ------
    OtherSettingsError
        if they were rolled with another task or policy, or behind other shields.
    """
    setup = Setup(task, policy, recording_of(store, until), runner or Processes(), shields=shields_for(task, shields))
    refuse_other_source(store, setup)
    return setup


def _source(config: Record) -> Record:
    """What of a header's configuration decides the rest of an episode, beside its task."""
    return {
        "policy": config["policy"],
        "weights": config.get("weights") or None,
        "rollout": {"until": config.get("rollout", {}).get("until")},
    }


def _shared(before: Record, now: Record) -> tuple[Record, Record]:
    """Two sources as far as both say what they are."""
    policies = alike(before["policy"], now["policy"])
    weights = (before["weights"], now["weights"]) if before["weights"] and now["weights"] else (None, None)
    untils = before["rollout"]["until"] or now["rollout"]["until"], now["rollout"]["until"]
    first, second = (
        {"policy": policy, "weights": digest, "rollout": {"until": until}}
        for policy, digest, until in zip(policies, weights, untils, strict=True)
    )
    return first, second


def alike(before: Mapping[str, Any], now: Mapping[str, Any], hidden: Collection[str] = ()) -> tuple[Record, Record]:
    """Two configurations with the keys that both have; what has moved since is named as it is today."""
    both = [key for key in before if key in now and key not in hidden]
    first, second = ({key: each[key] for key in both} for each in (before, now))
    for each in (first, second):
        if "_target_" in each:
            each["_target_"] = where_now(str(each["_target_"]))
    return first, second


def write_episodes(
    store: Path,
    header: StoreHeader,
    lockstep: Lockstep,
    launches: Sequence[Launch],
    finish: Callable[[Episode], None] | None = None,
) -> list[Record]:
    """Roll launches into a part of the store that is this process's own; returns the rows of ``episodes/``.

    ``finish`` completes an episode's record before it is written.
    """
    rows: list[Record] = []
    lockstep.prepare()
    with StoreWriter.open_own(store, header) as writer:  # one part a worker, however many batches it rolls
        for episode in lockstep.record(launches):
            if finish is not None:
                finish(episode)
            writer.append(episode)
            rows.append(episode.record)
    return rows


@contextlib.contextmanager
def telling_what_is_kept(path: Path) -> Iterator[None]:
    """Where the policy's server or a worker is lost, say what the store holds by then, and how to go on."""
    try:
        yield
    except WorkerError as error:
        count = len(Store.open(path)) if path.exists() else 0
        raise WorkerError(f"{error}. Finished episodes in {shown(path)}: {count}") from None
    except PolicyServerError as error:
        kept = "nothing was kept"
        if path.exists():
            store = Store.open(path)
            kept = (
                f"{len(store)} finished episodes are kept in {shown(path)}, and {store.aborted} that were "
                "under way are marked aborted and count for nothing"
            )
        raise PolicyServerError(
            f"{str(error).rstrip('.')}. {kept}. Once the server answers again, run the same command to go on"
        ) from None


def try_cameras(task: Task) -> None:
    """Draw one image, where any are asked for, so that what is wrong with them is said before a store is made."""
    if image_sizes_of(task):
        ability(task.scene(), HasImages, "task.cameras").images()
