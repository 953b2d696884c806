"""A guard in the loop: what it does, that it is part of every moment, and that live is what branches say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tests.toy import BareTask, ToyExpert, ToyPolicy, ToyScene, ToyTask, broken
from workbench.attribution.branching import intervene
from workbench.detectors.scores.always import Always
from workbench.detectors.scores.elapsed import Elapsed
from workbench.detectors.scores.random import Random
from workbench.errors import ConfigError
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.scoring import FittedScore
from workbench.monitoring.window import Window
from workbench.rollouts.guard import Guard
from workbench.rollouts.launch import Launch, Start
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.stored import start_at
from workbench.types import (
    Alarm,
    Array,
    Episode,
    Intervention,
    Moment,
    Note,
    Observation,
    Passed,
    PolicyCall,
    PolicyOutput,
    Record,
    Stream,
    Threshold,
    episode_index,
)

HORIZON = 60


class Stuck:
    """A score that counts the calls in a row at which the policy saw the same place."""

    needs: Sequence[str] = ("embedding",)

    def begin(self) -> Record:
        return {"place": np.array([np.nan]), "alike": np.zeros(1)}

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        assert call.embedding is not None
        for memory, place in zip(memories, call.embedding, strict=True):
            memory["alike"] = memory["alike"] + 1 if memory["place"] == place else np.zeros(1)
            memory["place"] = place.copy()
        return np.array([float(memory["alike"][0]) for memory in memories])

    def state(self) -> Mapping[str, Array]:
        return {}

    def load(self, state: Mapping[str, Array]) -> None: ...


def monitor(*after: float) -> Monitor:
    """Alarms once the place has been the same at so many calls in a row, one threshold a call."""
    threshold = Threshold(np.array([each - 0.5 for each in after]), np.ones(1), 0.1, 9, "nothing")
    return Monitor("stuck", FittedScore("stuck", Stuck(), frozenset(), 0), Window(), "Fixed", 0.1, threshold)


@dataclasses.dataclass
class Does:
    """A strategy that asks for one thing, and counts in its memory how often it was asked."""

    asked: Intervention | None
    name: str = "does"
    needs: Sequence[str] = ()
    alarms: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def begin(self) -> Record:
        return {"times": 0}

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        memory["times"] += 1
        self.alarms.append((alarm.step, alarm.number))
        return self.asked


def guard(asked: Intervention | None, *after: float, **options: Any) -> Guard:
    return Guard(monitor(*(after or (1,))), Does(asked), horizon=HORIZON, **options)


def launch(number: int = 0, breaks: int = 6, rots: int = 1000) -> Launch:
    return Launch(Stream(3, episode_index("test", number)), (broken(breaks, rots),))


def rolled(launches: Sequence[Launch], policy: ToyPolicy | None = None, **options: Any) -> list[Episode]:
    found = dict(Lockstep(ToyTask(), policy or ToyPolicy(), 3, **options).record_numbered(launches))
    return [found[number] for number in range(len(launches))]


def test_without_an_alarm_the_guard_changes_nothing():
    policy, launches = ToyPolicy(lazy=0.3), [launch(number) for number in range(4)]
    bare = rolled(launches, policy, samples=2)
    for asked, after in ((Intervention(ToyExpert()), 99), (None, 1)):
        for one, other in zip(bare, rolled(launches, policy, samples=2, guard=guard(asked, after)), strict=True):
            assert one.record == other.record
            for key, rows in one.steps.items():
                assert np.array_equal(rows, other.steps[key])
            for key in one.calls.keys() - {"seconds"}:
                assert np.array_equal(one.calls[key], other.calls[key])
            assert not other.calls["intervened"].any()
            assert not other.steps["relieved"].any()


def test_on_an_alarm_another_drives_and_hands_back():
    """Broken at 6; calls at 8 and 12 see the same place, so the alarm is at 12; the expert mends at once."""
    (episode,) = rolled([launch()], guard=guard(Intervention(ToyExpert(), steps=3)))
    assert episode.record["success"]
    assert episode.calls["intervened"].tolist() == [step == 12 for step in episode.calls["step"]]
    assert np.flatnonzero(episode.steps["relieved"]).tolist() == [12, 13, 14]
    assert episode.steps["action"][12:16].ravel().tolist() == [5.0, 5.0, 5.0, 1.0]
    # The policy plans anew when it drives again, and not where its old chunk would have ended.
    assert episode.calls["step"].tolist()[:6] == [0, 4, 8, 12, 15, 19]
    assert episode.calls["margin"].shape == episode.calls["step"].shape


def test_calls_of_whoever_relieves_are_none_of_the_policys():
    (episode,) = rolled([launch(breaks=1000)], guard=guard(Intervention(ToyExpert()), 0))
    assert episode.calls["step"].tolist() == [0]
    assert episode.calls["chunk"].shape == (1, 6, 1)
    assert (episode.steps["action"] == 5.0).all()


def test_more_time_ends_at_the_horizon_wherever_the_alarm_was():
    (ended,) = rolled([launch(rots=0)], guard=guard(Intervention(more_time=True)))
    assert (ended.record["length"], ended.record["success"]) == (HORIZON, False)
    (ended,) = rolled([launch(rots=0)], guard=guard(Intervention(fresh_noise=True)))
    assert ended.record["length"] == ToyTask().deadline


def test_a_robot_that_asks_stands_still_and_has_not_succeeded():
    lockstep = Lockstep(ToyTask(), ToyPolicy(), 1, guard=guard(Intervention(stops=True)))
    (outcome,) = lockstep.outcomes([launch()])
    assert (outcome.stopped, outcome.success, outcome.length) == (True, False, 12)
    (episode,) = lockstep.record([launch()])
    assert (episode.record["outcome"], episode.record["length"]) == ("stopped", 12)


@pytest.mark.parametrize(
    ("options", "alarms"),
    [
        ({}, [(12, 0)]),
        ({"most": 3}, [(12, 0), (20, 1), (28, 2)]),
        ({"most": 3, "cool_down": 8}, [(12, 0), (24, 1), (36, 2)]),
        ({"most": 3, "held": True}, [(12, 0), (16, 1), (20, 2)]),
        ({"most": 3, "cool_down": 4, "held": True}, [(12, 0), (20, 1), (28, 2)]),
    ],
)
def test_how_often_it_acts(options: Record, alarms: list[tuple[int, int]]) -> None:
    """Anew, the monitor first has to see the same place at two calls again."""
    watching = guard(Intervention(fresh_noise=True), 1, **options)
    Lockstep(ToyTask(), ToyPolicy(), 1, guard=watching).outcomes([launch(rots=0)])
    strategy = watching.strategy
    assert isinstance(strategy, Does)
    assert strategy.alarms == alarms


def test_behind_an_intervention_the_monitor_begins_anew_or_goes_on():
    """The threshold of the first call never alarms, so that anew the alarms come later than held."""
    heard = {}
    for held in (False, True):
        watching = guard(Intervention(fresh_noise=True), 1e9, 1e9, 1, most=9, held=held)
        Lockstep(ToyTask(), ToyPolicy(), 1, guard=watching).outcomes([launch(rots=0)])
        heard[held] = [step for step, _ in watching.strategy.alarms]  # type: ignore[attr-defined]
    assert heard[True] == [12, 16, 20, 24, 28, 32, 36]
    assert heard[False] == [12, 24, 36]


def triggered(score: Any, threshold: float) -> Monitor:
    """A monitor of a baseline's score, as a fit makes it."""
    fixed = Threshold(np.array([threshold]), np.ones(1), 0.1, 9, "none: a trigger")
    return Monitor("trigger", FittedScore("trigger", score, frozenset(), 0), Window(), "Fixed", 0.1, fixed)


def test_a_guard_that_acts_periodically_or_at_a_time_needs_no_trigger_of_its_own():
    """``always`` alarms at every call, so that the cool-down is the period; ``elapsed`` alarms once its time is up."""
    policy = Noisy(history=2)
    for score, threshold, options, steps in (
        (Always(), 0.0, {"most": 4, "cool_down": 7}, [0, 8, 16, 24]),
        (Always(), 0.0, {"most": 2, "cool_down": 11}, [0, 12]),
        (Elapsed(), 9.0, {}, [12]),
    ):
        watching = Guard(triggered(score, threshold), Does(Intervention(fresh_noise=True)), horizon=HORIZON, **options)
        (episode,) = rolled_on(Slow(), policy, [launch(rots=0)], guard=watching)
        assert episode.calls["step"][episode.calls["intervened"]].tolist() == steps


def test_random_alarms_are_those_that_the_stored_episode_says():
    """At the first call whose number exceeds the threshold that any other score would have been calibrated to."""
    policy, launches = Noisy(history=2), [launch(number, rots=0) for number in range(12)]
    watching = Guard(triggered(Random(), 0.8), Does(Intervention(fresh_noise=True)), horizon=HORIZON)
    bare = rolled_on(Slow(), policy, launches)
    heard = []
    for acted, episode in zip(rolled_on(Slow(), policy, launches, guard=watching), bare, strict=True):
        chunks, steps = episode.calls["chunk"], episode.calls["step"]
        said = Random().update([{}] * len(steps), PolicyCall(steps, chunks, None, None, policy.execute))
        heard.append(acted.calls["step"][acted.calls["intervened"]].tolist())
        assert heard[-1] == steps[said > 0.8][:1].tolist()
    assert len({*map(tuple, heard)}) > 3


def test_what_cannot_be_is_refused():
    for options in ({"most": 0}, {"cool_down": -1}):
        with pytest.raises(ConfigError, match="must be at least 1"):
            guard(None, **options)
    silent = dataclasses.replace(monitor(1), threshold=None, reason="too few episodes")
    with pytest.raises(ConfigError, match=r"can never alarm \(too few episodes"):
        Guard(silent, Does(None), horizon=HORIZON)


class Noisy(ToyPolicy):
    """Its chunk depends on all that it saw, and on the noise of the call."""

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        seen = observation["place"][:, :, 0]
        assert seen.shape == (len(noise), self.history)
        weights = np.linspace(0.01, 0.05, self.history)
        drawn = np.array([rng.random((self.horizon, 1)) for rng in noise])
        own = (seen * weights).sum(axis=1) % 0.1  # a matrix product rounds by the number of rows
        chunk = 0.1 + 0.3 * drawn + own[:, None, None]
        return PolicyOutput(chunk, None, np.round(seen[:, -1:]))


class Slow(BareTask):
    """Sees the step, too, so that histories differ from step to step."""

    def scene(self) -> ToyScene:
        return _Slow(self)


class _Slow(ToyScene):
    def observe(self) -> Observation:
        return {"place": np.array([self._place + 0.001 * self._step])}


DRIVERS = {
    "expert": Intervention(ToyExpert(), steps=5, fresh_noise=True, more_time=True),
    "another": Intervention(Noisy(history=3, execute=3), steps=7, fresh_noise=True, more_time=True),
    "factual noise": Intervention(Noisy(history=1, execute=2), steps=4, more_time=True),
    "privileged history": Intervention(Noisy(history=4, execute=3, privileged=True), steps=9, fresh_noise=True),
    "anew": Intervention(fresh_noise=True, more_time=True),
    "told": Intervention(instruction="count to ten"),
}


class Counting(Noisy):
    """A driver whose actions are less and less, by what it remembers; after ``left`` calls its work is done."""

    def plan(  # type: ignore[override]
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        *,
        memories: Sequence[Record],
    ) -> PolicyOutput:
        output = super().plan(observation, noise, samples)
        for memory in memories:
            memory["left"] -= 1
            memory["past"] = np.append(memory["past"], memory["left"])
            memory["over"] = memory["left"] == 0
        share = np.array([memory["past"].mean() / 10 for memory in memories])
        return dataclasses.replace(output, chunk=output.chunk * share[:, None, None])


REMEMBERED: Record = {"left": 4, "past": np.zeros(0)}
DRIVERS |= {
    "remembering": Intervention(
        Counting(history=2, execute=2), steps=30, fresh_noise=True, more_time=True, memory=REMEMBERED
    ),
    "remembering for long": Intervention(Counting(history=1, execute=3), fresh_noise=True, memory=REMEMBERED),
}


class Tiring:
    """A shield that lets through less and less of what it is asked for, and starts afresh every seven steps."""

    reasons: Sequence[str] = ("tired",)
    softens = False

    def begin(self) -> Record:
        return {"steps": np.zeros(1)}

    def act(self, memory: Record, moment: Moment) -> Passed:
        memory["steps"] += 1
        share = 1 - float(memory["steps"][0]) % 7 / 20
        before = 0.0 if moment.before is None else float(moment.before[0])
        return Passed(moment.action * share + 0.01 * before, note=Note("tired", False, share, 1.0))


@pytest.mark.parametrize("shields", [{}, {"tiring": Tiring()}], ids=["bare", "shielded"])
@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("history", [1, 2, 5])
def test_a_recorded_branch_is_branched_again_bit_for_bit(name: str, history: int, shields: dict[str, Any]) -> None:
    """From any step of a guarded episode the rest is the same; and again from any step of that rest."""
    policy = Noisy(history=history)
    watching = guard(DRIVERS[name], 1, most=3, cool_down=6)
    lockstep = Lockstep(Slow(), policy, 3, guard=watching, shields=shields)
    launches = [launch(number, breaks=4 + number, rots=0 if number % 2 else 1000) for number in range(6)]
    whole = {n: each for n, each in lockstep.record_numbered(launches)}
    assert any(episode.calls["intervened"].any() for episode in whole.values())
    random = np.random.default_rng(history)
    steps = [sorted({*map(int, random.integers(0, whole[n].record["length"], 4))}) for n in range(len(launches))]
    moments = lockstep.starts(launches, steps)
    for number, found in enumerate(moments):
        assert sorted(found) == steps[number]
        again = [dataclasses.replace(launches[number], start=start) for start in found.values()]
        rest = dict(lockstep.record_numbered(again))
        for place, start in enumerate(found.values()):
            refuse_difference(whole[number], rest[place], start.snapshot.step)
        later = lockstep.starts(again[:1], [[whole[number].record["length"] - 1]])[0]
        for start in later.values():
            (end,) = lockstep.record([dataclasses.replace(launches[number], start=start)])
            refuse_difference(whole[number], end, start.snapshot.step)


def refuse_difference(whole: Episode, rest: Episode, first: int) -> None:
    """The rows of a branch are those of the episode from that step on."""
    assert rest.record["success"] == whole.record["success"]
    for key, rows in rest.steps.items():
        if key != "modes":
            assert np.array_equal(rows, whole.steps[key][first:]), key
    assert np.array_equal(rest.memory, whole.memory[first:])


@pytest.mark.parametrize("name", ["expert", "another", "anew", "remembering", "remembering for long"])
def test_live_is_what_the_branch_from_the_first_alarm_says(name: str) -> None:
    policy, launches = Noisy(history=2), [launch(number, breaks=4 + number) for number in range(6)]
    live = rolled_on(Slow(), policy, launches, guard=guard(DRIVERS[name], 1))
    bare = rolled_on(Slow(), policy, launches)
    compared = 0
    for acted, episode in zip(live, bare, strict=True):
        if not acted.calls["intervened"].any():
            continue
        step = int(acted.calls["step"][acted.calls["intervened"]][0])
        branch = intervene(episode, step, DRIVERS[name], policy, horizon=HORIZON)
        (found,) = Lockstep(Slow(), policy, 1).record([branch])
        refuse_difference(acted, Episode(found.record, without_guard(found.steps), {}, found.memory), step)
        assert acted.record["length"] == step + found.record["length"]
        compared += 1
    assert compared >= 3


def rolled_on(task: Any, policy: Any, launches: Sequence[Launch], **options: Any) -> list[Episode]:
    found = dict(Lockstep(task, policy, 2, **options).record_numbered(launches))
    return [found[number] for number in range(len(launches))]


def without_guard(steps: Mapping[str, Array]) -> dict[str, Array]:
    return {key: rows for key, rows in steps.items() if key != "relieved"}


def test_a_driver_whose_work_is_done_hands_back_before_its_time() -> None:
    """Four calls of two steps, whose memory begins as it was given at every intervention and in every episode."""
    launches = [launch(number, rots=0) for number in range(3)]
    watching = guard(DRIVERS["remembering"], 1, most=2, cool_down=1)
    for episode in rolled_on(Slow(), Noisy(history=2), launches, guard=watching):
        first, second = episode.calls["step"][episode.calls["intervened"]]
        relieved = np.flatnonzero(episode.steps["relieved"]).tolist()
        # The call at which the last of its actions is planned says so; the policy drives from the next step on.
        assert relieved == [*range(first, first + 7), *range(second, second + 7)]
    assert REMEMBERED["left"] == 4
    assert not len(REMEMBERED["past"])


@dataclasses.dataclass
class Sometimes(Does):
    """Gives its driver a memory, or none, by the step of the alarm."""

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        given = REMEMBERED if alarm.step % 8 else None
        return Intervention(EITHER, 12, fresh_noise=True, more_time=True, memory=given)


class Either(Counting):
    """Drives with a memory and without."""

    def plan(  # type: ignore[override]
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        memories: Sequence[Record] | None = None,
    ) -> PolicyOutput:
        if memories is None:
            return Noisy.plan(self, observation, noise)
        return super().plan(observation, noise, samples, memories=memories)


EITHER = Either(history=2, execute=2)


def test_scenes_whose_driver_remembers_stay_apart_from_those_of_the_same_that_does_not():
    launches = [launch(number, breaks=4 + 2 * number, rots=0) for number in range(6)]
    watching = Guard(monitor(1), Sometimes(None), horizon=HORIZON)
    together = dict(Lockstep(Slow(), Noisy(history=2), 6, guard=watching).record_numbered(launches))
    kinds = set()
    for number, one in enumerate(launches):
        (alone,) = Lockstep(Slow(), Noisy(history=2), 1, guard=watching).record([one])
        refuse_difference(together[number], alone, 0)
        kinds |= {int(step) % 8 for step in alone.calls["step"][alone.calls["intervened"]]}
    assert kinds == {0, 4}


@dataclasses.dataclass
class Following(Does):
    """Counts the calls that it has followed, and lets another drive for as many steps."""

    needs: Sequence[str] = ("observation/place",)

    def follow(self, memory: Record, call: PolicyCall) -> None:
        assert len(call.step) == 1
        memory["seen"] = [*memory.get("seen", []), (int(call.step[0]), float(call.observation["place"][0, -1, 0]))]

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        assert memory["seen"][-1][0] == alarm.step
        told: Record = {"left": len(memory["seen"]), "past": np.array([place for _, place in memory["seen"]])}
        return Intervention(Counting(history=2, execute=2), steps=9, fresh_noise=True, more_time=True, memory=told)


@pytest.mark.parametrize("held", [False, True])
def test_a_strategy_that_follows_is_shown_every_call_of_the_policy(held: bool) -> None:
    """Whether there is an alarm or not, in its own episode alone, and none of whoever relieves it."""
    watching = Guard(monitor(1), Following(None), horizon=HORIZON, most=2, held=held)
    launches = [launch(number, breaks=4 + number, rots=0) for number in range(5)]
    policy = Noisy(history=2)
    lockstep = Lockstep(Slow(), policy, 3, guard=watching)
    whole = {number: episode for number, episode in lockstep.record_numbered(launches)}
    steps = [[episode.record["length"] - 1] for episode in whole.values()]
    ends = lockstep.starts(launches, [steps[list(whole).index(number)] for number in range(5)])
    for number, moments in enumerate(ends):
        (end,) = moments.values()
        assert end.guard is not None
        calls, steps_of = whole[number].calls["step"], whole[number].steps["obs/place"][:, 0]
        assert end.guard.strategy["seen"] == [(int(step), float(steps_of[step])) for step in calls]
    random = np.random.default_rng(0)
    for number, episode in whole.items():
        step = int(random.integers(0, episode.record["length"]))
        (moments,) = lockstep.starts([launches[number]], [[step]])
        (rest,) = lockstep.record([dataclasses.replace(launches[number], start=moments[step])])
        refuse_difference(episode, rest, step)


def test_arms_meet_the_same_noise_at_the_same_step_after_a_hand_back():
    """Addressed by the number of the call, noise would have moved on by as many calls as the relief has made."""
    seen: dict[str, dict[int, float]] = {}

    class Listening(Noisy):
        def plan(self, observation: Any, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
            self.heard = [float(rng.random()) for rng in noise]
            return super().plan(observation, noise, samples)

    for name, asked in {
        "short": Intervention(ToyExpert(), steps=1, fresh_noise=True),
        "long": Intervention(ToyExpert(), steps=5, fresh_noise=True),
        "none": Intervention(fresh_noise=True),
    }.items():
        policy = Listening(history=1, execute=1)
        lockstep, at = Lockstep(Slow(), policy, 1), dict[int, float]()
        (episode,) = rolled_on(Slow(), policy, [launch(rots=0)])
        branch = intervene(episode, 8, asked, policy, horizon=HORIZON)
        for step in range(13, 20):
            (moment,) = lockstep.starts([branch], [[step]])
            policy.heard = []
            lockstep.starts([dataclasses.replace(branch, start=moment[step])], [[step + 1]])
            at[step] = policy.heard[0]
        seen[name] = at
    assert seen["short"] == seen["long"] == seen["none"]
    assert len(set(seen["none"].values())) == 7


@pytest.mark.parametrize("history", [2, 3, 4, 5, 6])
def test_a_policy_sees_all_that_it_looks_back_on(history: int) -> None:
    """With four observations or more, the first calls of an episode were handed fewer than there were."""
    handed: dict[int, list[float]] = {}

    class Looking(ToyPolicy):
        def plan(self, observation: Any, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
            places = observation["place"][0, :, 0]
            handed[round(places[-1] % 1 * 1000)] = places.tolist()
            return super().plan(observation, noise, samples)

    policy = Looking(history=history, execute=1)
    (episode,) = rolled_on(Slow(), policy, [launch(breaks=1000)])
    live = dict(handed)
    for step in range(8):
        want = [float(episode.steps["obs/place"][max(0, step - back)][0]) for back in reversed(range(history))]
        assert live[step] == want
        start = start_at(episode, step, policy)
        handed.clear()
        Lockstep(Slow(), policy, 1).starts([Launch(Stream(3, 400_000), (), start)], [[step + 1]])
        if step:
            assert handed[step] == want


def test_a_start_of_a_guarded_episode_shares_nothing_with_it():
    lockstep = Lockstep(ToyTask(), ToyPolicy(), 1, guard=guard(Intervention(fresh_noise=True), 1, most=9))
    (moments,) = lockstep.starts([launch(rots=0)], [[10, 30]])
    early, late = moments[10].guard, moments[30].guard
    assert early is not None
    assert late is not None
    assert (early.interventions, early.strategy) == (0, {"times": 0})
    assert late.interventions >= 1
    assert isinstance(moments[10], Start)
