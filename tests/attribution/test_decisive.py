"""Effect and decisive step, against answers that are known by counting, and what a replacement is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.toy import ToyExpert, ToyPolicy, ToyScene, ToyTask, broken, turned
from workbench.attribution.branching import branch, drive
from workbench.attribution.decisive import Decision, Detour, call_at, effect_step, find_decision, take_detour
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import start_at, stream_of
from workbench.stats.proportions import paired_gain
from workbench.types import Array, Episode, Record, Stream

WINDOWS = (1, 4, 8)


def rolled(records: tuple[Record, ...], policy: ToyPolicy, index: int = 0) -> Episode:
    (episode,) = Lockstep(ToyTask(), policy, 1).record([Launch(Stream(1, index), records)])
    return episode


def decide(episode: Episode, policy: ToyPolicy, onset: int = -1, windows=WINDOWS, task=None) -> Decision:
    task = task or ToyTask()
    twin = rolled((), policy, int(episode.record["index"])) if episode.record["perturbation"] else None
    onset = episode.record["t_inj"] if onset < 0 else onset
    search = find_decision(episode, twin, onset, policy, ToyExpert(), task.scene(), windows, 16)
    ((decision, _),) = drive([search], Lockstep(task, policy, 8))
    return decision


@pytest.mark.parametrize(("breaks", "steps", "end"), [(5, 1, 8), (5, 3, 8), (6, 3, 12), (8, 4, 12), (4, 6, 12)])
def test_a_fault_of_the_action_channel_is_undone_by_the_twins_actions(breaks, steps, end):
    # Nothing mends (rots = 0): only actions that bypass the fault, for as long as it lasts, avoid the break.
    episode = rolled((turned(breaks, steps),), ToyPolicy())
    assert not episode.record["success"]
    decision = decide(episode, ToyPolicy())
    assert (decision.step, decision.end, decision.by) == (breaks, end, "twin")
    assert decision.responsibility == 1.0
    assert 0 < decision.low < 1.0 == decision.high


@pytest.mark.parametrize(("breaks", "rots"), [(5, 100), (6, 9)])
def test_a_break_is_undone_by_the_expert_once_it_is_there(breaks, rots):
    # The break acts not through actions: the twin's are the episode's own there, and change nothing.
    episode = rolled((broken(breaks, rots),), ToyPolicy())
    decision = decide(episode, ToyPolicy())
    assert (decision.step, decision.end, decision.by) == (breaks, 8, "expert")
    assert decision.responsibility == 1.0


@pytest.mark.parametrize("rots", [100, 0])
def test_nothing_is_decisive_when_nothing_helps_or_it_is_too_late(rots):
    record = turned(5, 30, rots)  # longer than any window
    decision = decide(rolled((record,), ToyPolicy()), ToyPolicy())
    assert dataclasses.replace(decision, detour_steps=0) == Decision()
    assert decision.detour_steps > 0


def decides(episode: Episode, step: int, window: int, policy: ToyPolicy) -> bool:
    """Whether the expert's actions for a window from a step are decisive, asked without any search."""
    made = take_detour(episode, None, step, call_at(episode, step + window), policy, ToyExpert(), ToyTask().scene())
    lockstep = Lockstep(ToyTask(), policy, 16)
    if made.start is None:
        return made.success
    (outcome,) = lockstep.outcomes([Launch(stream_of(episode), (), made.start)])
    return outcome.success and gain_of(episode, made, policy)[1] > 0


def gain_of(episode: Episode, made: Detour, policy: ToyPolicy) -> tuple[float, float, float]:
    """Responsibility of a detour, by branches."""
    assert made.start is not None
    noise = stream_of(episode).child("branch")
    arms = branch([made.start, start_at(episode, made.end, policy)], policy, 16, noise, task=ToyTask())
    first, second = ([outcome.success for outcome in arm] for arm in arms)
    return paired_gain(np.array(first), np.array(second))


def test_what_is_found_is_decisive_and_mostly_the_earliest_of_a_full_scan():
    # Nominal failures: idle calls piled up.  Whether replacement helps is asked of every step and window.
    policy, sound, earliest = ToyPolicy(lazy=0.38), 0, 0
    for index in range(60):
        episode = rolled((), policy, index)
        if episode.record["success"]:
            continue
        onset = 16
        decision = decide(episode, policy, onset)
        first = max(0, onset - WINDOWS[-1])
        if decision.step >= 0:
            windows = [w for w in WINDOWS if call_at(episode, decision.step + w) <= decision.end]
            assert [decides(episode, decision.step, w, policy) for w in windows].index(True) == len(windows) - 1
            sound += 1
        steps = range(first, len(episode.steps["action"]))
        flips = (step for step in steps if any(decides(episode, step, window, policy) for window in WINDOWS))
        earliest += decision.step == next(flips, -1)
    assert sound >= 2
    assert earliest >= sound


def test_replacing_actions_by_themselves_is_the_episode():
    policy = ToyPolicy(lazy=0.4)
    episode = rolled((broken(9, 0),), policy)
    for step in (0, 3, 8, 21):
        end = call_at(episode, step + 4)
        twin = dataclasses.replace(episode, record=episode.record | {"success": True}, steps=dict(episode.steps))
        twin.steps["applied"] = twin.steps["applied"] + 1e-9  # not the same, so that they are taken
        made = take_detour(episode, twin, step, end, policy, ToyExpert(), ToyTask().scene())
        want = start_at(episode, end, policy)
        assert made.by == "twin"
        assert made.start is not None
        assert made.start.snapshot.step == end
        assert made.start.calls == want.calls
        assert len(made.start.queue) == len(want.queue) == 0
        np.testing.assert_allclose(made.start.snapshot.state, want.snapshot.state, atol=1e-7)
        np.testing.assert_array_equal(made.start.snapshot.memory, want.snapshot.memory)
        for mine, theirs in zip(made.start.history, want.history, strict=True):
            np.testing.assert_allclose(mine["place"], theirs["place"], atol=1e-7)


def test_luck_is_not_decisive():
    # An idle call less at the start wins a few lost episodes, most of which would be won with other noise anyway.
    policy, lucky = ToyPolicy(lazy=0.3), 0
    for index in range(40):
        episode = rolled((), policy, index)
        if episode.record["success"]:
            continue
        made = take_detour(episode, None, 0, 4, policy, ToyExpert(), ToyTask().scene())
        lockstep = Lockstep(ToyTask(), policy, 16)
        (outcome,) = lockstep.outcomes([Launch(Stream(1, index), (), made.start)])
        gain, low, _ = gain_of(episode, made, policy)
        if outcome.success and low <= 0:
            assert gain < 0.5
            assert decide(episode, policy, onset=0, windows=(1,)).step != 0
            lucky += 1
    assert lucky >= 1


def test_effect_is_the_first_step_that_differs_from_the_twin():
    policy = ToyPolicy()
    twin = rolled((), policy)
    assert effect_step(rolled((broken(9, 0),), policy), twin) == 10  # it stands still at 9, which is seen at 10
    assert effect_step(twin, twin) == -1
    late = rolled((broken(19, 0),), policy)
    assert effect_step(late, twin) == 20  # the twin ended there, with all of its states the same


class CountingScene(ToyScene):
    steps = 0

    def step(self, action: Array, as_asked: bool = False):
        CountingScene.steps += 1
        return super().step(action, as_asked)


class CountingTask(ToyTask):
    def scene(self) -> ToyScene:
        return CountingScene(self)


def test_every_simulated_step_is_counted():
    policy, task = ToyPolicy(), CountingTask()
    episode = rolled((turned(6, 30, 30),), policy)
    twin = rolled((), policy)
    search = find_decision(episode, twin, 6, policy, ToyExpert(), task.scene(), WINDOWS, 16)
    CountingScene.steps = 0
    ((decision, steps),) = drive([search], Lockstep(task, policy, 8))
    assert CountingScene.steps == steps + decision.detour_steps > 0
