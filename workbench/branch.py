"""Branching: exact copies of a moment, rolled on with other noise, another driver or another action.

A search asks questions (launches) and is told how they ended.  Searches are written as generators, so that the
questions of many episodes are rolled together in one lockstep.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Sequence
from typing import TypeVar

import numpy as np

from workbench.errors import DivergedError
from workbench.metrics import wilson
from workbench.rollout import Launch, Lockstep, Outcome, Start
from workbench.types import Array, Episode, Policy, Record, Scene, Snapshot, Strategy, Stream

Answer = TypeVar("Answer")
Search = Generator[list[Launch], list[Outcome], Answer]

THETA = 0.5
"""Value below which an episode counts as lost to the policy."""


def stream_of(episode: Episode) -> Stream:
    """Random stream of a stored episode."""
    return Stream(int(episode.record["seed"]), int(episode.record["index"]))


def perturbations_of(episode: Episode) -> tuple[Record, ...]:
    """Drawn perturbations of a stored episode."""
    return tuple(json.loads(episode.record["perturbations"]))


def snapshot_at(episode: Episode, step: int) -> Snapshot:
    """The stored snapshot before action ``step``."""
    return Snapshot(
        episode.record["task"],
        episode.record["model"],
        step,
        episode.steps["state"][step],
        episode.memory[step],
        stream_of(episode),
        perturbations_of(episode),
    )


def start_at(episode: Episode, step: int, policy: Policy) -> Start:
    """Everything that a branch needs at a stored step: the scene's snapshot and the policy's memory."""
    keys = [key.removeprefix("obs/") for key in episode.steps if key.startswith("obs/")]
    first = max(0, step - policy.history + 1)
    history = tuple({key: episode.steps[f"obs/{key}"][past] for key in keys} for past in range(first, step))
    called = episode.calls["step"]
    calls = int(np.searchsorted(called, step, side="left"))
    queue: Array = np.zeros((0, 0))
    if calls:
        # The first action of the last chunk was run at its call; what is left of it is still to come.
        chunk = episode.calls["chunk"][calls - 1][: policy.execute]
        queue = np.asarray(chunk[step - int(called[calls - 1]) :], dtype=np.float64)
    return Start(snapshot_at(episode, step), history, queue, calls)


def bare_start(episode: Episode, step: int) -> Start:
    """A start for a driver that remembers nothing of the episode so far."""
    return Start(snapshot_at(episode, step), (), np.zeros((0, 0)), 0)


def drive(searches: Sequence[Search[Answer]], lockstep: Lockstep) -> list[Answer]:
    """Run many searches side by side; the questions of one round are rolled together."""
    answers: dict[int, Answer] = {}
    questions: dict[int, list[Launch]] = {}

    def advance(number: int, outcomes: list[Outcome] | None) -> None:
        try:
            questions[number] = next(searches[number]) if outcomes is None else searches[number].send(outcomes)
        except StopIteration as stop:
            questions.pop(number, None)
            answers[number] = stop.value

    for number in range(len(searches)):
        advance(number, None)
    while questions:
        asked = dict(questions)
        outcomes = iter(lockstep.outcomes([launch for launches in asked.values() for launch in launches]))
        for number, launches in asked.items():
            advance(number, [next(outcomes) for _ in launches])
    return [answers[number] for number in range(len(searches))]


@dataclasses.dataclass(frozen=True)
class Value:
    """Success rate of the policy over branches from one step, with its 95 % Wilson interval."""

    successes: int
    branches: int

    @property
    def rate(self) -> float:
        return self.successes / self.branches

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.successes, self.branches)

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of THETA."""
        low, high = self.interval
        return low > THETA or high < THETA


def measure_value(episode: Episode, step: int, policy: Policy, scene: Scene, rounds: Sequence[int]) -> Search[Value]:
    """V(step): branch until the interval clears THETA or the rounds are used up.

    A fault that has not struck yet is left out: nothing of it can be seen in the scene, and a value must not be lost
    to what is still to come.  Branch k draws its noise from a stream of its own, counted by policy call: the same k
    meets the same noise whatever step it starts from (common random numbers).
    """
    start = start_at(episode, step, policy)
    start = dataclasses.replace(start, snapshot=scene.without_pending(start.snapshot))
    stream, records = start.snapshot.stream, start.snapshot.perturbations
    value = Value(0, 0)
    for total in rounds:
        outcomes = yield [
            Launch(stream, records, start, stream.child("branch", str(k))) for k in range(value.branches, total)
        ]
        value = Value(value.successes + sum(outcome.success for outcome in outcomes), total)
        if value.clear:
            break
    return value


@dataclasses.dataclass(frozen=True)
class Onset:
    """First step after which the value stays below THETA, and the interval that the branches leave open."""

    step: int
    low: int
    high: int


def find_onset(episode: Episode, policy: Policy, scene: Scene, rounds: Sequence[int]) -> Search[Onset]:
    """Onset of a failed episode by binary search over its policy calls.

    Between two calls the queued actions are fixed, so the value is constant there but for a fault that strikes: a
    search over the calls is a search over all steps.  The value at the end of a failed episode is 0.
    """
    calls = [int(step) for step in episode.calls["step"]]
    measured: dict[int, Value] = {}
    above, below = -1, len(calls)
    while below - above > 1:
        middle = (above + below) // 2
        measured[middle] = yield from measure_value(episode, calls[middle], policy, scene, rounds)
        if measured[middle].rate < THETA:
            below = middle
        else:
            above = middle
    surely_above = max((call for call, value in measured.items() if value.interval[0] > THETA), default=-1)
    surely_below = min((call for call, value in measured.items() if value.interval[1] < THETA), default=len(calls))
    found = below, min(surely_above + 1, below), max(surely_below, below)
    return Onset(*(_first_step(episode, calls, call) for call in found))


def _first_step(episode: Episode, calls: Sequence[int], call: int) -> int:
    """First step whose value is that of a call: behind the call before it, or where the fault struck since."""
    first = calls[call - 1] + 1 if call else 0
    last = calls[call] if call < len(calls) else int(episode.record["length"])
    injected = int(episode.record["t_inj"])
    return injected if first <= injected <= last else first


def find_point_of_no_return(episode: Episode, stride: int) -> Search[int]:
    """1 + last step from which the reference expert still succeeds within the task's deadline; 0 if from none.

    A stride over the whole episode comes first, since recoverability need not be monotone; the gap behind the last
    success is then halved.
    """
    stream, records = stream_of(episode), perturbations_of(episode)
    length = len(episode.steps["action"])

    def ask(steps: Sequence[int]) -> Search[list[bool]]:
        outcomes = yield [Launch(stream, records, bare_start(episode, step)) for step in steps]
        return [outcome.success for outcome in outcomes]

    coarse = list(range(0, length, stride))
    found = yield from ask(coarse)
    if not any(found):
        return 0
    last = max(step for step, success in zip(coarse, found, strict=True) if success)
    lost = min(last + stride, length)
    while lost - last > 1:
        middle = (last + lost) // 2
        (success,) = yield from ask([middle])
        if success:
            last = middle
        else:
            lost = middle
    return last + 1


def intervene(episode: Episode, step: int, strategy: Strategy, policy: Policy, allowance: int) -> Launch:
    """Branch from an alarm with a strategy at the wheel.

    Strategies that draw fresh noise share it, so that a comparison between them is paired.
    """
    driver = strategy.driver(policy)
    start = start_at(episode, step, policy)
    if strategy.replans:
        start = dataclasses.replace(start, queue=np.zeros((0, 0)))
    if driver.privileged:
        # What the robot saw is not what a privileged driver is handed.
        start = dataclasses.replace(start, history=())
    stream = stream_of(episode)
    return Launch(
        stream,
        perturbations_of(episode),
        start,
        stream.child("intervention") if strategy.fresh_noise else None,
        step + allowance if strategy.extends else None,
    )


@dataclasses.dataclass(frozen=True)
class Replayed:
    """How a replay compares with what is stored: 0.0 and -1 mean bit for bit."""

    max_abs_error: float
    first_difference: int


def replay(scene: Scene, episode: Episode, first: int = 0, whole: bool = False) -> Replayed:
    """Run the stored actions again, from the seed (``whole``) or from the snapshot at ``first``.

    The physics has to diverge where it did; anywhere else that is an infinite error.
    """
    if whole:
        scene.begin(stream_of(episode), perturbations_of(episode))
    else:
        scene.restore(snapshot_at(episode, first))
    error, difference = 0.0, -1
    for step in range(first, len(episode.steps["action"])):
        snapshot = scene.snapshot()
        pairs = (snapshot.state, episode.steps["state"][step]), (snapshot.memory, episode.memory[step])
        # NaN fails every comparison and would pass for no difference.
        now = max(float(np.nan_to_num(np.abs(have - want), nan=np.inf).max(initial=0.0)) for have, want in pairs)
        if now > 0 and difference < 0:
            difference = step
        error = max(error, now)
        if not np.isfinite(error):
            break
        diverges = episode.record["outcome"] == "diverged" and step == len(episode.steps["action"]) - 1
        try:
            scene.step(episode.steps["action"][step])
            diverged = False
        except DivergedError:
            diverged = True
        if diverged != diverges:
            return Replayed(np.inf, step)
    return Replayed(error, difference)
