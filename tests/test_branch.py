"""Onset, point of no return and interventions, against answers that are known by counting."""

from __future__ import annotations

import numpy as np
import pytest

from tests.toy import GOAL, ToyExpert, ToyPolicy, ToyTask, broken
from workbench.branch import (
    Value,
    bare_start,
    drive,
    find_onset,
    find_point_of_no_return,
    intervene,
    measure_value,
    replay,
    start_at,
)
from workbench.rollout import Launch, Lockstep
from workbench.types import Episode, Stream

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
    (onset,) = drive([find_onset(episode, policy, ToyTask().scene(), (4,))], Lockstep(ToyTask(), policy, 8))
    # Branches from before the break succeed, for nothing that is still to come may be held against them.
    assert (onset.step, onset.low, onset.high) == (breaks, breaks, breaks)


def test_onset_equals_a_full_scan_over_the_calls():
    # 40 steps, 20 needed: at most 5 of 10 calls may be idle, so the value falls as idle calls pile up.
    policy, task = ToyPolicy(lazy=0.45), ToyTask()
    lockstep = Lockstep(task, policy, 32)
    compared = 0
    for index in range(40):
        (episode,) = Lockstep(task, policy, 1).record([Launch(Stream(3, index))])
        if episode.record["success"]:
            continue
        (onset,) = drive([find_onset(episode, policy, task.scene(), (64,))], lockstep)
        values = drive(
            [measure_value(episode, int(step), policy, task.scene(), (64,)) for step in episode.calls["step"]], lockstep
        )
        below = [value.rate < 0.5 for value in values]
        if below != sorted(below):
            continue  # not monotone: a binary search may stop at another crossing
        first = below.index(True) if any(below) else len(below)
        expected = 0 if first == 0 else int(episode.calls["step"][first - 1]) + 1
        assert onset.step == expected
        assert onset.low <= onset.step <= onset.high
        compared += 1
    assert compared >= 5


@pytest.mark.parametrize(("breaks", "rots"), [(3, 100), (3, 12), (10, 25), (10, 11)])
@pytest.mark.parametrize("stride", [1, 7, 20])
def test_point_of_no_return_by_counting(breaks, rots, stride):
    episode = failed(breaks, rots)
    (found,) = drive([find_point_of_no_return(episode, stride)], Lockstep(ToyTask(), ToyExpert(), 4))
    place = breaks  # the policy had come so far when it broke
    in_time = DEADLINE - (GOAL - place) - 1  # last step at which mending leaves enough steps
    assert found == 1 + min(in_time, rots - 1)


def test_point_of_no_return_is_zero_when_the_expert_never_succeeds():
    episode = failed(0, 0)
    assert drive([find_point_of_no_return(episode, 10)], Lockstep(ToyTask(), ToyExpert(), 4)) == [0]


def test_a_branch_from_any_step_with_the_episodes_own_noise_is_the_episode():
    policy, task = ToyPolicy(lazy=0.4), ToyTask()
    lockstep = Lockstep(task, policy, 16)
    for index in range(10):
        (episode,) = Lockstep(task, policy, 1).record([Launch(Stream(5, index))])
        starts = range(len(episode.steps["action"]))
        outcomes = lockstep.outcomes([Launch(Stream(5, index), (), start_at(episode, step, policy)) for step in starts])
        assert {(o.success, o.length) for o in outcomes} == {(episode.record["success"], episode.record["length"])}


def test_a_branch_without_the_queue_is_not_the_episode():
    policy = ToyPolicy(lazy=0.4)
    (episode,) = Lockstep(ToyTask(), policy, 1).record([Launch(Stream(5, 1))])
    assert len(start_at(episode, 6, policy).queue) == 2
    assert len(bare_start(episode, 6).queue) == 0
    assert len(start_at(episode, 4, policy).queue) == 0
    assert start_at(episode, 4, policy).calls == 1


def test_value_stops_as_soon_as_the_interval_is_clear():
    assert Value(4, 4).clear
    assert Value(0, 4).clear
    assert not Value(3, 4).clear
    episode, policy = failed(3, 0), ToyPolicy()
    (value,) = drive([measure_value(episode, 8, policy, ToyTask().scene(), (4, 8, 16))], Lockstep(ToyTask(), policy, 8))
    assert value == Value(0, 4)


def test_branches_share_their_noise_across_steps():
    policy = ToyPolicy(lazy=0.5)
    (episode,) = Lockstep(ToyTask(), policy, 1).record([Launch(Stream(9, 2))])
    questions = [next(measure_value(episode, step, policy, ToyTask().scene(), (3,))) for step in (0, 8)]
    assert [launch.noise for launch in questions[0]] == [launch.noise for launch in questions[1]]
    assert len({launch.noise for launch in questions[0]}) == 3


class Waits:
    name, replans, fresh_noise, extends = "waits", True, True, True

    def driver(self, policy: ToyPolicy) -> ToyPolicy:
        return policy


class Goes(Waits):
    name, replans, fresh_noise, extends = "goes", False, False, False


class Mends(Waits):
    name = "mends"

    def driver(self, policy: ToyPolicy) -> ToyPolicy:
        return ToyExpert()


def test_interventions_are_paired_and_continue_is_the_factual_episode():
    episode, policy = failed(6, 100), ToyPolicy()
    launches = {each.name: intervene(episode, 8, each, policy, 40) for each in (Waits(), Goes(), Mends())}
    assert launches["waits"].noise == launches["mends"].noise is not None
    assert launches["goes"].noise is None
    assert (launches["waits"].deadline, launches["goes"].deadline) == (48, None)
    (factual,) = Lockstep(ToyTask(), policy, 1).outcomes([launches["goes"]])
    (mended,) = Lockstep(ToyTask(), ToyExpert(), 1).outcomes([launches["mends"]])
    assert (factual.success, factual.length, mended.success) == (False, DEADLINE, True)


def test_replay_says_where_it_differs():
    episode = failed(6, 0, lazy=0.3)
    scene = ToyTask().scene()
    assert replay(scene, episode, whole=True).max_abs_error == 0.0
    assert replay(scene, episode, first=17).first_difference == -1
    episode.steps["action"] = episode.steps["action"].copy()
    episode.steps["action"][2] += 0.5 if episode.steps["action"][2] < 0.5 else -0.5
    assert replay(scene, episode, whole=True).first_difference == 3
    assert np.isfinite(replay(scene, episode, whole=True).max_abs_error)
