"""Branching: exact copies of a moment, rolled on with other noise, another driver or another action.

A search asks questions (launches) and is told how they ended.  Searches are written as generators, so that the
questions of many episodes are rolled together in one lockstep.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Generator, Sequence
from typing import TypeVar

import numpy as np

from workbench.rollouts.launch import Launch, Outcome, Past, Start, fresh_noise
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import bare, bare_start, perturbations_of, start_at, stream_of
from workbench.stats.proportions import clopper_pearson
from workbench.types import Episode, Intervention, Policy, Scene, Snapshot, Stream, Task

Answer = TypeVar("Answer")
Search = Generator[list[Launch], list[Outcome], Answer]

THETA = 0.5
"""Value below which an episode counts as lost to the policy."""
CONFIDENCE = 0.95
NOISE = "branch"
"""Name of the stream from which branches of an episode draw their noise."""


def branch(
    starts: Sequence[Start | Snapshot], policy: Policy, count: int, noise: Stream, *, task: Task, scenes: int = 16
) -> list[list[Outcome]]:
    """K branches from each start, all in one lockstep; returns the K outcomes of every start, in order.

    Branch k meets the same noise whatever start it leaves from (common random numbers), so that a difference between
    starts is one of the starts.  What is still to come of the starts' perturbations comes as it was drawn.

    Parameters
    ----------
    starts : where to branch from; a bare snapshot is one of which the policy remembers nothing.
    policy : who drives.
    count : K.
    noise : its child ``k`` is the noise of branch k, counted by policy call.
    task : makes the scenes.
    scenes : how many of them step together.
    """
    moments = [bare(start) if isinstance(start, Snapshot) else start for start in starts]
    launches = [launch for start in moments for launch in branches_from(start, noise, range(count))]
    outcomes = Lockstep(task, policy, scenes).outcomes(launches)
    return [outcomes[place * count : (place + 1) * count] for place in range(len(moments))]


def branches_from(start: Start, noise: Stream, numbers: Sequence[int]) -> list[Launch]:
    """Launches of the branches with these numbers; the one place that says what noise a branch meets."""
    snapshot = start.snapshot
    return [Launch(snapshot.stream, snapshot.perturbations, start, noise.child(str(number))) for number in numbers]


def drive(searches: Sequence[Search[Answer]], lockstep: Lockstep) -> list[tuple[Answer, int]]:
    """Run many searches side by side; the questions of one round are rolled together.

    Returns each search's answer, and the control steps that were simulated for it.
    """
    answers: dict[int, Answer] = {}
    questions: dict[int, list[Launch]] = {}
    steps = [0] * len(searches)

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
            ended = [next(outcomes) for _ in launches]
            steps[number] += sum(map(simulated_steps, launches, ended))
            advance(number, ended)
    return [(answers[number], steps[number]) for number in range(len(searches))]


def simulated_steps(launch: Launch, outcome: Outcome) -> int:
    """Control steps that a launch took."""
    return outcome.length - (launch.start.snapshot.step if launch.start else 0)


@dataclasses.dataclass(frozen=True)
class Value:
    """Success rate of the policy over branches from one step, with its 95 % interval.

    Branches are added until the interval clears THETA, at ``looks`` numbers of branches at most; an interval that is
    looked at repeatedly and kept as soon as it pleases covers too rarely.  The 5 % are therefore shared by the looks
    in equal parts, and each interval is the exact one (Clopper and Pearson, Biometrika 1934) at its part.  By the union
    bound one value's interval covers with at least 95 % however the looks end.  Nothing is promised about the
    intervals of several values at once.
    """

    successes: int
    branches: int
    looks: int = 1

    @property
    def rate(self) -> float:
        return self.successes / self.branches

    @property
    def interval(self) -> tuple[float, float]:
        return clopper_pearson(self.successes, self.branches, 1 - (1 - CONFIDENCE) / self.looks)

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of THETA."""
        low, high = self.interval
        return low > THETA or high < THETA

    def settled(self, rounds: Sequence[int]) -> bool:
        """Whether no further round would be looked at."""
        return self.clear or self.branches >= rounds[-1]


def measure_value(
    episode: Episode, step: int, policy: Policy, scene: Scene, rounds: Sequence[int], known: Value | None = None
) -> Search[Value]:
    """V(step): branch until the interval clears THETA or the rounds are used up; goes on from what is ``known``.

    A fault that has not struck yet is left out: nothing of it can be seen in the scene, and a value must not be lost
    to what is still to come.  Branches are those of :func:`branch`, with the noise of the episode's own stream.
    """
    value = known or Value(0, 0, len(rounds))
    for _ in [total for total in rounds if total > value.branches]:
        value = yield from _look(episode, step, policy, scene, rounds, value)
        if value.clear:
            break
    return value


def glance(episode: Episode, step: int, policy: Policy, scene: Scene, rounds: Sequence[int]) -> Search[Value]:
    """V(step) as :func:`measure_value`, except that a first look at which all branches end alike is enough."""
    value = yield from _look(episode, step, policy, scene, rounds, Value(0, 0, len(rounds)))
    if 0 < value.successes < value.branches:
        value = yield from measure_value(episode, step, policy, scene, rounds, value)
    return value


def _look(
    episode: Episode, step: int, policy: Policy, scene: Scene, rounds: Sequence[int], value: Value
) -> Search[Value]:
    """The value with the branches of the next round."""
    start = start_at(episode, step, policy)
    start = dataclasses.replace(start, snapshot=scene.without_pending(start.snapshot))
    total = next(total for total in rounds if total > value.branches)
    outcomes = yield branches_from(start, stream_of(episode).child(NOISE), range(value.branches, total))
    return Value(value.successes + sum(outcome.success for outcome in outcomes), total, len(rounds))


@dataclasses.dataclass(frozen=True)
class Onset:
    """First step after which the value stays below THETA, and the interval that the branches leave open.

    Attributes
    ----------
    step : by the values' point estimates.
    low, high : the onset lies behind the last step whose value is clearly above THETA, and no later than the first
        step from ``step`` on whose value is clearly below.  Each of the two is decided with 95 % confidence; both rest
        on the value staying on its side between the calls that were measured.
    """

    step: int
    low: int
    high: int


def find_onset(episode: Episode, policy: Policy, scene: Scene, rounds: Sequence[int]) -> Search[Onset]:
    """Onset of a failed episode by binary search over its policy calls, checked behind what it finds.

    Between two calls the queued actions are fixed, so the value is constant there but for a fault that strikes: a
    search over the calls is a search over all steps.  The value at the end of a failed episode is 0.

    A binary search finds *a* call at which the value falls below THETA; it may rise again later.  So one call is
    measured in every stretch of 1, 2, 4, ... calls behind it, up to a sixth of all calls, which the search itself has
    partly done; the last call; and those next to a call whose value is above one quarter.  If the value is back at
    THETA anywhere, all calls behind the last such one are measured.  A return shorter than these stretches may be
    missed.  On the way a first look at which all branches end alike is enough; then the calls on either side of the
    onset are measured in full, outwards until one is clear.
    """
    calls = [int(step) for step in episode.calls["step"]]
    measured: dict[int, Value] = {}

    def look(wanted: Sequence[int]) -> Search[None]:
        for call in wanted:
            if call not in measured:
                measured[call] = yield from glance(episode, calls[call], policy, scene, rounds)

    def bounds() -> tuple[int, int]:
        """The last call that is not below THETA, and the first one behind it that is."""
        above = max((call for call, value in measured.items() if value.rate >= THETA), default=-1)
        return above, min((call for call in measured if call > above), default=len(calls))

    def doubtful(above: int, below: int) -> list[int]:
        """The next call on each side of the onset to be measured in full, as long as none there is clear."""
        found = []
        for lost, side in ((True, [c for c in measured if c >= below]), (False, [c for c in measured if c <= above])):
            outwards = sorted(side, reverse=not lost)
            sure = (n for n, c in enumerate(outwards) if measured[c].clear and (measured[c].rate < THETA) == lost)
            doubted = outwards[: next(sure, len(outwards))]
            found += [call for call in doubted if not measured[call].settled(rounds)][:1]
        return found

    checked = False
    while True:
        above, below = bounds()
        if below - above > 1:
            yield from look([(above + below) // 2])
        elif not checked:
            checked = True
            yield from look(_unseen(below, len(calls), measured, max(1, len(calls) // 6)))
            for call in range(below + 1, len(calls)):
                if call - 1 in measured and measured[call - 1].rate > THETA / 2:
                    yield from look([call])
            if bounds()[0] > above:
                yield from look(range(len(calls) - 1, bounds()[0], -1))
        elif unclear := doubtful(above, below):
            for call in unclear:
                measured[call] = yield from measure_value(episode, calls[call], policy, scene, rounds, measured[call])
        else:
            break
    surely_above = max((call for call, value in measured.items() if value.interval[0] > THETA), default=-1)
    lost = [call for call, value in measured.items() if call >= below and value.interval[1] < THETA]
    found = below, surely_above + 1, min(lost, default=len(calls))
    return Onset(*(first_step(episode, calls, call) for call in found))


def _unseen(first: int, end: int, seen: Container[int], longest: int) -> list[int]:
    """The first of every stretch of 1, 2, 4, ... calls behind ``first`` of which none was measured; and the last."""
    wanted, begin, size = [], first + 1, 1
    while begin < end:
        if not any(call in seen for call in range(begin, min(begin + size, end))):
            wanted.append(begin)
        begin, size = begin + size, min(2 * size, longest)
    return wanted if end - 1 in (first, *wanted) or end - 1 in seen else [*wanted, end - 1]


def first_step(episode: Episode, calls: Sequence[int], call: int) -> int:
    """First step whose value is that of a call: behind the call before it, or where the fault struck since."""
    first = calls[call - 1] + 1 if call else 0
    last = calls[call] if call < len(calls) else int(episode.record["length"])
    injected = int(episode.record["t_inj"])
    return injected if first <= injected <= last else first


@dataclasses.dataclass(frozen=True)
class PointOfNoReturn:
    """1 + last step from which the reference expert still succeeds within the task's deadline; 0 if from none.

    Attributes
    ----------
    step : the expert is deterministic, so that it succeeds from ``step - 1`` and fails from ``step`` is exact.
    low, high : ``low`` is ``step``, which is proved; ``high`` is the first step of the stride from which on the expert
        failed at every step of the stride.  Between the two, recoverability was taken to be monotone.
    """

    step: int
    low: int
    high: int


def find_point_of_no_return(
    episode: Episode, stride: int, *, deadline: int | None = None, known: int = 0
) -> Search[PointOfNoReturn]:
    """The point of no return of an episode.

    A stride over the whole episode comes first, since recoverability need not be monotone, and the steps beside the
    injection, where it most often turns; the gap behind the last success is then halved.

    Parameters
    ----------
    deadline : control step of the episode at which a try ends without success; None for the task's.
    known : one past a step from which the expert succeeds; nothing is tried before it.
    """
    stream, records = stream_of(episode), perturbations_of(episode)
    length = len(episode.steps["action"])

    def ask(steps: Sequence[int]) -> Search[list[bool]]:
        outcomes = yield [Launch(stream, records, bare_start(episode, step), deadline=deadline) for step in steps]
        return [outcome.success for outcome in outcomes]

    injected = int(episode.record["t_inj"])
    beside = {step for step in (injected - 1, injected, injected + 1) if 0 <= step < length} if injected >= 0 else set()
    coarse = sorted(step for step in {*range(0, length, stride), *beside} if step >= known)
    found = yield from ask(coarse)
    last = max((step for step, success in zip(coarse, found, strict=True) if success), default=known - 1)
    if last < 0:
        return PointOfNoReturn(0, 0, 0)
    lost = high = next((step for step in coarse if step > last), length)
    while lost - last > 1:
        middle = (last + lost) // 2
        (success,) = yield from ask([middle])
        if success:
            last = middle
        else:
            lost = middle
    return PointOfNoReturn(last + 1, last + 1, high)


def intervene(
    episode: Episode, step: int, asked: Intervention, policy: Policy, *, horizon: int, branch: int = 0
) -> Launch:
    """Branch from a policy call of a stored episode, with what a strategy asks for there.

    Branches of one number meet the same fresh noise at the same control step, whatever is asked for and wherever they
    leave from; a live rollout meets that of branch 0.

    Parameters
    ----------
    horizon : control step at which it ends if it is given more time.
    """
    stream, driver = stream_of(episode), asked.driver or policy
    start = start_at(episode, step, policy, driver.history)
    start = dataclasses.replace(
        start,
        queue=np.zeros((0, 0)),
        wheel=start.wheel.turned(asked, step, fresh_noise(stream, branch), horizon),
        past=Past(episode, step, planned=True),
    )
    return Launch(stream, perturbations_of(episode), start)
