"""Onset, point of no return and interventions, against answers that are known by counting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.toy import GOAL, ToyExpert, ToyPolicy, ToyScene, ToyTask, broken
from workbench.attribution.branching import (
    THETA,
    Onset,
    PointOfNoReturn,
    Value,
    branch,
    drive,
    find_onset,
    find_point_of_no_return,
    intervene,
    measure_value,
)
from workbench.attribution.replaying import replay_episode
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import bare_start, snapshot_at, start_at, stream_of
from workbench.types import Episode, Intervention, PolicyOutput, Stream

DEADLINE = ToyTask().deadline


def failed(breaks: int, rots: int, lazy: float = 0.0, index: int = 0) -> Episode:
    launch = Launch(Stream(1, index), (broken(breaks, rots),))
    (episode,) = Lockstep(ToyTask(), ToyPolicy(lazy), 1).record([launch])
    assert not episode.record["success"]
    return episode


@pytest.mark.parametrize("breaks", [1, 4, 5, 9, 17])
def test_onset_of_a_fault_that_cannot_be_overcome_is_its_injection(breaks):
    episode = failed(breaks, 0)
    policy = ToyPolicy()
    ((onset, _),) = drive([find_onset(episode, policy, ToyTask().scene(), (8,))], Lockstep(ToyTask(), policy, 8))
    # Branches from before the break succeed, for nothing that is still to come may be held against them.
    assert (onset.step, onset.low, onset.high) == (breaks, breaks, breaks)


def scanned(values: list[float]) -> int:
    """First call from which on every value is below THETA."""
    return 1 + max((call for call, value in enumerate(values) if value >= THETA), default=-1)


def bisected(values: list[float]) -> int:
    """What a binary search alone finds."""
    above, below = -1, len(values)
    while below - above > 1:
        middle = (above + below) // 2
        above, below = (above, middle) if values[middle] < THETA else (middle, below)
    return below


def test_onset_equals_a_full_scan_over_the_calls():
    # 40 steps, 20 needed: at most 5 of 10 calls may be idle, so the value falls as idle calls pile up, and may rise.
    policy, task = ToyPolicy(lazy=0.45), ToyTask()
    lockstep = Lockstep(task, policy, 32)
    compared = misled = 0
    for index in range(30):
        (episode,) = Lockstep(task, policy, 1).record([Launch(Stream(3, index))])
        if episode.record["success"]:
            continue
        ((onset, _),) = drive([find_onset(episode, policy, task.scene(), (64,))], lockstep)
        answers = drive(
            [measure_value(episode, int(step), policy, task.scene(), (64,)) for step in episode.calls["step"]], lockstep
        )
        values = [value.rate for value, _ in answers]
        first = scanned(values)
        assert onset.step == (0 if first == 0 else int(episode.calls["step"][first - 1]) + 1)
        assert onset.low <= onset.step <= onset.high
        compared += 1
        misled += bisected(values) != first
    assert compared >= 5
    assert misled >= 1, "a binary search alone must not pass"


class Curve:
    """Stands for measured values: call -> successes of 8 branches, clear unless they are 2 to 6."""

    def __init__(self, successes: list[int]) -> None:
        self.successes, self.asked = successes, list[int]()

    def __call__(self, episode, step, policy, scene, rounds, known=None):
        self.asked.append(step)
        return Value(self.successes[step], 8)
        yield


def onset_on(curve: Curve, monkeypatch: pytest.MonkeyPatch) -> Onset:
    monkeypatch.setattr("workbench.attribution.branching.glance", curve)
    count = len(curve.successes)
    record = {"t_inj": -1, "length": count}
    episode = Episode(record, {}, {"step": np.arange(count)}, np.zeros((0, 0)))
    ((onset, _),) = drive(
        [find_onset(episode, ToyPolicy(), ToyTask().scene(), (8,) if type(curve) is Curve else (4, 8, 16))],
        Lockstep(ToyTask(), ToyPolicy(), 1),
    )
    return onset


@pytest.mark.parametrize(("first", "end"), [(20, 40), (47, 58), (62, 64), (9, 10)])
def test_a_value_that_comes_back_is_found_and_scanned(monkeypatch, first, end):
    # Lost at call 8, back from ``first`` to ``end``: only the last loss is the onset.
    curve = Curve([8] * 8 + [0] * 56)
    curve.successes[first:end] = [8] * (end - first)
    onset = onset_on(curve, monkeypatch)
    assert bisected([value / 8 for value in curve.successes]) in (8, end)
    assert (onset.step, onset.low, onset.high) == (end,) * 3
    assert len(curve.asked) == len(set(curve.asked)), "no call is measured twice"
    assert set(range(end, 64)) <= set(curve.asked) or bisected([v / 8 for v in curve.successes]) == end


def test_unclear_values_widen_the_interval_and_their_neighbours_are_measured(monkeypatch):
    # Falls slowly, and is back at one half once, where a stretch of 4 calls would have jumped over it.
    curve = Curve([8] * 20 + [5, 5, 5, 3, 3, 3, 2, 3, 4, 2, 0] + [0] * 33)
    onset = onset_on(curve, monkeypatch)
    assert (onset.step, onset.low, onset.high) == (29, 20, 30)


class Glances(Curve):
    """At some calls the first look was luck: call -> successes of 16 branches once it is measured in full."""

    def __init__(self, successes: list[int], luck: dict[int, int]) -> None:
        super().__init__(successes)
        self.luck, self.in_full = luck, set[int]()

    def __call__(self, episode, step, policy, scene, rounds):
        self.asked.append(step)
        return Value(self.successes[step] // 2, 4, 3)
        yield

    def measure(self, episode, step, policy, scene, rounds, known):
        self.in_full.add(step)
        return Value(self.luck.get(step, 2 * self.successes[step]), 16, 3)
        yield


@pytest.mark.parametrize(
    ("luck", "found"),
    [({}, 20), ({20: 12}, 21), ({19: 3}, 19), ({19: 3, 18: 2}, 18), ({19: 8}, 20), ({20: 12, 21: 16, 22: 16}, 23)],
)
def test_the_two_calls_beside_the_onset_are_measured_in_full(monkeypatch, luck, found):
    glances = Glances([8] * 20 + [0] * 40, luck)
    monkeypatch.setattr("workbench.attribution.branching.measure_value", glances.measure)
    onset = onset_on(glances, monkeypatch)
    assert onset.step == found
    assert {found - 1, found, *luck} <= glances.in_full
    assert len(glances.in_full) <= 4 + len(luck)
    assert onset.high < 30, "an unclear value beside the onset is followed outwards to a clear one"
    assert onset.low <= onset.step <= onset.high


@pytest.mark.parametrize("first", [0, 1, 7, 31, 62, 63])
def test_a_binary_search_with_its_check_costs_a_fraction_of_a_scan(monkeypatch, first):
    curve = Curve([8] * first + [0] * (64 - first))
    assert onset_on(curve, monkeypatch).step == first
    assert len(curve.asked) <= 15


@pytest.mark.parametrize(("breaks", "rots"), [(3, 100), (3, 12), (10, 25), (10, 11)])
@pytest.mark.parametrize("stride", [1, 7, 20])
def test_point_of_no_return_by_counting(breaks, rots, stride):
    episode = failed(breaks, rots)
    ((found, _),) = drive([find_point_of_no_return(episode, stride)], Lockstep(ToyTask(), ToyExpert(), 4))
    place = breaks  # the policy had come so far when it broke
    in_time = DEADLINE - (GOAL - place) - 1  # last step at which mending leaves enough steps
    assert found.step == found.low == 1 + min(in_time, rots - 1)
    assert found.step <= found.high < found.step + stride
    assert found.high % stride == 0 or found.high in (breaks - 1, breaks, breaks + 1, DEADLINE)


def test_point_of_no_return_is_zero_when_the_expert_never_succeeds():
    episode = failed(0, 0)
    ((found, steps),) = drive([find_point_of_no_return(episode, 10)], Lockstep(ToyTask(), ToyExpert(), 4))
    assert found == PointOfNoReturn(0, 0, 0)
    assert steps == 40 + 39 + 30 + 20 + 10  # the stride, and the step behind the injection


def test_a_branch_from_any_step_with_the_episodes_own_noise_is_the_episode():
    policy, task = ToyPolicy(lazy=0.4), ToyTask()
    lockstep = Lockstep(task, policy, 16)
    for index in range(10):
        (episode,) = Lockstep(task, policy, 1).record([Launch(Stream(5, index))])
        starts = range(len(episode.steps["action"]))
        outcomes = lockstep.outcomes([Launch(Stream(5, index), (), start_at(episode, step, policy)) for step in starts])
        assert {(o.success, o.length) for o in outcomes} == {(episode.record["success"], episode.record["length"])}


class Unhurried(ToyScene):
    """Runs chunks to their end, as a fault of the policy channel may have it."""

    def queue(self, chunk, execute):
        return chunk


@dataclasses.dataclass
class UnhurriedTask(ToyTask):
    def scene(self):
        return Unhurried(self)


def test_a_branch_goes_on_with_a_chunk_of_which_a_fault_runs_more():
    policy, task = ToyPolicy(lazy=0.4), UnhurriedTask()
    for index in range(10):
        (episode,) = Lockstep(task, policy, 1).record([Launch(Stream(5, index))])
        assert list(np.diff(episode.calls["step"])) == [6] * (len(episode.calls["step"]) - 1)
        starts = range(len(episode.steps["action"]))
        launches = [Launch(Stream(5, index), (), start_at(episode, step, policy)) for step in starts]
        outcomes = Lockstep(task, policy, 16).outcomes(launches)
        assert {(o.success, o.length) for o in outcomes} == {(episode.record["success"], episode.record["length"])}


def test_a_branch_without_the_queue_is_not_the_episode():
    policy = ToyPolicy(lazy=0.4)
    (episode,) = Lockstep(ToyTask(), policy, 1).record([Launch(Stream(5, 1))])
    assert len(start_at(episode, 6, policy).queue) == 2
    assert len(bare_start(episode, 6).queue) == 0
    assert len(start_at(episode, 4, policy).queue) == 0
    assert start_at(episode, 4, policy).calls == 1


def test_value_stops_as_soon_as_the_interval_is_clear():
    assert Value(8, 8).clear
    assert Value(0, 7, looks=2).clear
    assert not Value(0, 6, looks=2).clear
    assert not Value(7, 8).clear
    episode, policy = failed(3, 0), ToyPolicy()
    search = measure_value(episode, 8, policy, ToyTask().scene(), (4, 8, 16))
    ((value, steps),) = drive([search], Lockstep(ToyTask(), policy, 8))
    assert value == Value(0, 8, 3)
    assert steps == 8 * (DEADLINE - 8)


def coverage(share: float, rounds: tuple[int, ...], made: Callable[[int, int], Value]) -> float:
    """Probability that the interval at which a sequence of looks ends holds the true share, by enumeration."""
    reached, covered, before = {0: 1.0}, 0.0, 0
    for total in rounds:
        added = np.array([math.comb(total - before, k) for k in range(total - before + 1)], float)
        added *= share ** np.arange(len(added)) * (1 - share) ** np.arange(len(added))[::-1]
        grown: dict[int, float] = {}
        for successes, weight in reached.items():
            for more, part in enumerate(added):
                grown[successes + more] = grown.get(successes + more, 0.0) + weight * part
        ended = {k for k in grown if made(k, total).clear or total == rounds[-1]}
        covered += sum(w for k, w in grown.items() if k in ended and holds(made(k, total), share))
        reached, before = {k: w for k, w in grown.items() if k not in ended}, total
    return covered


def holds(value: Value, share: float) -> bool:
    low, high = value.interval
    return low <= share <= high


@pytest.mark.parametrize("rounds", [(8, 16), (4, 8, 16), (7, 14, 28)])
def test_the_interval_covers_however_often_it_was_looked_at(rounds):
    shares = np.linspace(0.005, 0.995, 67)
    assert min(coverage(share, rounds, lambda k, n: Value(k, n, len(rounds))) for share in shares) >= 0.95


def test_an_interval_that_ignores_the_looks_covers_too_rarely():
    assert min(coverage(share, (7, 8, 9, 10, 11, 12, 13, 14), Value) for share in np.linspace(0.4, 0.6, 41)) < 0.95


class Draws(ToyPolicy):
    """Notes (place, first draw) of every policy call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, float]] = []

    def plan(self, observation, noise, samples=0):
        self.seen.extend(
            (float(place), rng.random()) for place, rng in zip(observation["place"][:, -1, 0], noise, strict=True)
        )
        return super().plan(observation, noise, samples)


def test_branches_from_many_starts_meet_the_same_noise():
    policy, episodes = Draws(), [failed(9, 0, index=index) for index in range(3)]
    starts = [start_at(episode, 8, policy) for episode in episodes]
    noise = Stream(77, 0, ("mine",))
    branch(starts, policy, 4, noise, task=ToyTask(), scenes=12)
    first = [draw for place, draw in policy.seen if place == 8][:12]
    assert first[:4] == first[4:8] == first[8:]
    assert len(set(first)) == 4
    # From another step of the same episode, branch k meets at call c what it meets there from any other step.
    policy.seen.clear()
    branch([start_at(episodes[0], 4, policy)], policy, 4, noise, task=ToyTask())
    assert [draw for place, draw in policy.seen if place == 8][:4] == first[:4]


def test_branch_gives_the_outcomes_of_every_start_in_order():
    policy, task = ToyPolicy(lazy=0.45), ToyTask()
    (episode,) = Lockstep(task, policy, 1).record([Launch(Stream(3, 3))])
    steps, noise = (0, 12, 24, 39), stream_of(episode).child("branch")
    found = branch([start_at(episode, step, policy) for step in steps], policy, 16, noise, task=task, scenes=5)
    values = drive(
        [measure_value(episode, step, policy, task.scene(), (16,)) for step in steps], Lockstep(task, policy, 3)
    )
    # One definition of a branch: the value of a step is measured with these very outcomes.
    assert [sum(outcome.success for outcome in each) for each in found] == [value.successes for value, _ in values]
    assert all(len(each) == 16 for each in found)
    bare = branch([snapshot_at(episode, 12)], policy, 2, noise, task=task)
    assert bare == branch([bare_start(episode, 12)], policy, 2, noise, task=task)


def test_branches_share_their_noise_across_steps():
    policy = ToyPolicy(lazy=0.5)
    (episode,) = Lockstep(ToyTask(), policy, 1).record([Launch(Stream(9, 2))])
    questions = [next(measure_value(episode, step, policy, ToyTask().scene(), (3,))) for step in (0, 8)]
    assert [launch.noise for launch in questions[0]] == [launch.noise for launch in questions[1]]
    assert len({launch.noise for launch in questions[0]}) == 3


def test_interventions_are_paired_and_anything_but_nothing_is_asked_at_once():
    episode, policy = failed(6, 100), ToyPolicy()
    asked = {
        "waits": Intervention(fresh_noise=True, more_time=True),
        "goes": Intervention(),
        "mends": Intervention(ToyExpert(), fresh_noise=True, more_time=True),
    }
    launches = {name: intervene(episode, 8, each, policy, horizon=60) for name, each in asked.items()}
    wheels = {name: launch.start.wheel for name, launch in launches.items() if launch.start}
    assert wheels["waits"].noise == wheels["mends"].noise is not None
    assert wheels["goes"].noise is None
    assert (wheels["waits"].deadline, wheels["goes"].deadline) == (60, None)
    other = intervene(episode, 12, asked["waits"], policy, horizon=60, branch=1)
    assert other.start is not None
    assert other.start.wheel.noise != wheels["waits"].noise
    outcomes = dict(zip(asked, Lockstep(ToyTask(), policy, 2).outcomes(list(launches.values())), strict=True))
    assert (outcomes["goes"].success, outcomes["goes"].length) == (False, DEADLINE)
    assert (outcomes["waits"].success, outcomes["waits"].length) == (False, 60)
    assert outcomes["mends"].success


def test_replay_says_where_it_differs():
    episode = failed(6, 0, lazy=0.3)
    scene = ToyTask().scene()
    assert replay_episode(scene, episode, whole=True).max_abs_error == 0.0
    assert replay_episode(scene, episode, first=17).first_difference == -1
    episode.steps["action"] = episode.steps["action"].copy()
    episode.steps["action"][2] += 0.5 if episode.steps["action"][2] < 0.5 else -0.5
    assert replay_episode(scene, episode, whole=True).first_difference == 3
    assert np.isfinite(replay_episode(scene, episode, whole=True).max_abs_error)


def test_the_steps_beside_the_injection_are_tried_whatever_the_stride():
    asked: list[int] = []
    search = find_point_of_no_return(failed(10, 0), 20)
    asked.extend(launch.start.snapshot.step for launch in next(search) if launch.start)
    assert asked == [0, 9, 10, 11, 20]


class Remembering(ToyPolicy):
    """Its chunk depends on what it saw before, and on the noise of the call."""

    def plan(self, observation, noise, samples=0):
        seen = observation["place"][:, :, 0]
        drawn = np.array([rng.random() for rng in noise])
        move = 0.2 + 0.3 * drawn + 0.3 * (seen[:, -1] - seen[:, 0])
        ramp = np.linspace(1.0, 0.5, self.horizon)
        return PolicyOutput(np.clip(move, 0, 1)[:, None, None] * ramp[None, :, None])


@pytest.mark.parametrize(
    ("step", "forgotten"),
    [
        (6, {}),
        (8, {}),
        (8, {"history": ()}),
        (6, {"queue": np.zeros((0, 0))}),
        (8, {"calls": 0}),
    ],
)
def test_a_branch_goes_on_as_the_episode_did_and_each_thing_remembered_matters(step, forgotten):
    """Observation history, queued actions and the number of the call are the policy's part of a snapshot."""
    policy = Remembering()
    (episode,) = Lockstep(ToyTask(), policy, 1).record([Launch(Stream(3, 5))])
    start = dataclasses.replace(start_at(episode, step, policy), **forgotten)
    (going_on,) = Lockstep(ToyTask(), policy, 1).record([Launch(Stream(3, 5), start=start)])
    rest = episode.steps["state"][step:]
    same = len(rest) == len(going_on.steps["state"]) and np.array_equal(rest, going_on.steps["state"])
    assert same == (not forgotten)
