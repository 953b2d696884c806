"""Pairs of instructions that a policy cannot tell apart: nearly equal chunks from one state, for goals that differ.

After MultiMon (Tong et al., NeurIPS 2023), which looks for inputs with equal outputs that should differ.  Here such a
pair is only a suspicion, as two goals may begin with the same motion: it is verified on episodes that were rolled
apart from it, by which goal was fulfilled where one of the two was asked for.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from workbench.attribution.instructions import DEED
from workbench.errors import ConfigError, StoreError
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import stream_of
from workbench.stats.proportions import clopper_pearson
from workbench.store import Store
from workbench.types import Array, Observation, Policy, PolicyOutput, Record, Split, Stream, Task, episode_index
from workbench.types.abilities import goals_of, of_episode

SPLIT: Split = "select"
"""Split whose episodes lend the states: never that of the episodes by which a pair is verified."""
SCENES = 8


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two instructions and what the policy makes of them.

    Attributes
    ----------
    first, second : names of the goals.
    alike : states from which the two chunks are no further apart than two chunks of one instruction.
    states : that were looked at.
    ratio : median distance of the two chunks, in such distances of one instruction; below 1 they cannot be told apart.
    asked : fresh episodes that asked for either of the two.
    right : of them, those in which the goal was fulfilled that was asked for.
    swapped : those in which the other one of the two was, and not that one.
    """

    first: str
    second: str
    alike: int
    states: int
    ratio: float
    asked: int
    right: int
    swapped: int

    @property
    def suspected(self) -> bool:
        """Whether the two chunks are alike from at least half of the states."""
        return 2 * self.alike >= self.states

    def record(self) -> Record:
        """Plain data, with exact 95 % intervals of the three shares."""
        shares = {"alike": self.states, "right": self.asked, "swapped": self.asked}
        intervals = {f"{name}_ci95": list(clopper_pearson(getattr(self, name), of)) for name, of in shares.items()}
        return {**dataclasses.asdict(self), "suspected": self.suspected, **intervals}


def confused_instructions(store: Store, task: Task, policy: Policy, *, states: int = 50, seed: int = 0) -> list[Pair]:
    """All pairs of a task's instructions, those first whose chunks are nearest; verified by the nominal test episodes.

    Parameters
    ----------
    store : of test episodes that this policy rolled; those without a fault count.
    states : first calls of other episodes at which the policy is asked for every goal, with the same noise.
    seed : decides those states.

    Raises
    ------
    ConfigError
        if the task has one instruction alone, the policy does not listen, or ``states`` is below 1.
    StoreError
        if the store is of another task, or holds no such episode.
    """
    if len(goals_of(task)) < 2:
        raise ConfigError(f"task {task.name} has one instruction alone, so there is no other to confuse it with")
    if not policy.listens:
        raise ConfigError(
            f"{type(policy).__name__} is told nothing, so it confuses no instructions; choose one that listens"
        )
    if states < 1:
        raise ConfigError(f"states={states} must be at least 1")
    if store.header.task != task.name:
        raise StoreError(f"{store.path} holds episodes of task {store.header.task}, not {task.name}")
    done = _fulfilled(store, task)
    goals = goals_of(task)
    apart, own = _distances(task, policy, states, seed)
    pairs = []
    for i, j in itertools.combinations(range(len(goals)), 2):
        ratio = apart[:, i, j] / np.maximum((own[:, i] + own[:, j]) / 2, 1e-12)
        pairs.append(_pair(list(goals)[i], list(goals)[j], ratio, done))
    return sorted(pairs, key=lambda pair: pair.ratio)


def _pair(first: str, second: str, ratio: Array, done: Sequence[tuple[str, frozenset[str]]]) -> Pair:
    of_either = [
        (asked in reached, ({first, second} - {asked}).pop() in reached)
        for asked, reached in done
        if asked in (first, second)
    ]
    return Pair(
        first,
        second,
        alike=int((ratio <= 1).sum()),
        states=len(ratio),
        ratio=float(np.median(ratio)),
        asked=len(of_either),
        right=sum(right for right, _ in of_either),
        swapped=sum(other and not right for right, other in of_either),
    )


def _fulfilled(store: Store, task: Task) -> list[tuple[str, frozenset[str]]]:
    """Of every nominal test episode: the goal that it asked for, and those that were fulfilled at any step."""
    rows, goals = store.episodes, goals_of(task)
    arrays = [f"predicates/{DEED}{goal}" for goal in goals]
    if missing := {name.removeprefix("predicates/") for name in arrays} - set(task.predicate_names):
        raise ConfigError(f"task {task.name} does not say which of its goals are fulfilled: it lacks {min(missing)}")
    found = []
    for row in range(len(store)):
        if rows["split"][row] == "test" and not rows["perturbation"][row]:
            episode = store.episode(row, steps=arrays, calls=())
            asked = next(iter(goals_of(of_episode(task, stream_of(episode)))))
            reached = {goal for goal, name in zip(goals, arrays, strict=True) if (episode.steps[name] > 0).any()}
            found.append((asked, frozenset(reached)))
    if not found:
        raise StoreError(f"{store.path} holds no nominal test episode to verify by; roll some with: workbench rollout")
    return found


def _distances(task: Task, policy: Policy, states: int, seed: int) -> tuple[Array, Array]:
    """Distances (S, K, K) of the chunks of K instructions, and (S, K) of two chunks of one, in action units."""
    asked = _AskedEverything(policy, list(goals_of(task).values()))
    launches = [Launch(Stream(seed, episode_index(SPLIT, number)), deadline=1) for number in range(states)]
    Lockstep(task, cast(Policy, asked), min(SCENES, states), images=False).outcomes(launches)
    chunks, again = np.concatenate(asked.chunks), np.concatenate(asked.again)
    apart = np.sqrt(((chunks[:, :, None] - chunks[:, None]) ** 2).mean(axis=(-2, -1)))
    own: Array = np.sqrt(((chunks - again) ** 2).mean(axis=(-2, -1)))
    return apart, own


class _AskedEverything:
    """A policy that at every call is asked for each of K instructions, too, with the noise of the call."""

    def __init__(self, policy: Policy, instructions: Sequence[str]) -> None:
        self._policy, self._instructions = policy, instructions
        self.chunks: list[Array] = []
        self.again: list[Array] = []
        """Of every call (N, K, execute, A): the chunk, and one more with other noise."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        *,
        instructions: Sequence[str] = (),
        **asked: Any,
    ) -> PolicyOutput:
        """The policy's own answer; what it says to the others is kept."""
        plan: Any = self._policy.plan
        outputs = [
            plan(observation, copy.deepcopy(noise), 1, instructions=[each] * len(noise)) for each in self._instructions
        ]
        run = self._policy.execute
        self.chunks.append(np.stack([np.asarray(each.chunk)[:, :run] for each in outputs], axis=1))
        self.again.append(np.stack([np.asarray(each.samples)[:, 0, :run] for each in outputs], axis=1))
        answer: PolicyOutput = plan(observation, noise, samples, instructions=instructions, **asked)
        return answer


def suspects(pairs: Sequence[Pair]) -> Mapping[str, int]:
    """How many pairs were suspected, and of them how many were swapped in any fresh episode."""
    suspected = [pair for pair in pairs if pair.suspected]
    return {"pairs": len(pairs), "suspected": len(suspected), "swapped": sum(pair.swapped > 0 for pair in suspected)}
