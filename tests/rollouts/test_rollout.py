"""The loop: order, batch size and who is asked when."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.toy import GOAL, ToyPolicy, ToyScene, ToyTask, broken
from workbench.attribution.branching import Replayed, replay
from workbench.errors import ConfigError, DivergedError
from workbench.rollouts.launch import Launch, uid_of
from workbench.rollouts.loop import Lockstep
from workbench.types import Episode, PolicyCall, Stream, episode_index, split_of


def rolled(scenes: int, order: list[int], **options) -> dict[str, Episode]:
    lockstep = Lockstep(ToyTask(), ToyPolicy(lazy=0.3), scenes, samples=3, **options)
    return {e.record["uid"]: e for e in lockstep.record([Launch(Stream(7, index)) for index in order])}


def test_an_episode_does_not_depend_on_batch_size_or_order():
    alone, together = rolled(1, list(range(12))), rolled(5, list(range(12))[::-1])
    assert alone.keys() == together.keys()
    for uid, episode in alone.items():
        assert episode.record == together[uid].record
        for key, rows in episode.steps.items():
            np.testing.assert_array_equal(rows, together[uid].steps[key])
        for key in ("step", "chunk", "samples", "embedding"):
            np.testing.assert_array_equal(episode.calls[key], together[uid].calls[key])


def test_noise_differs_between_episodes_and_between_calls():
    moves = [episode.calls["chunk"][:, 0, 0].tolist() for episode in rolled(4, list(range(12))).values()]
    assert len({tuple(m) for m in moves}) > 6
    assert any(len(set(m)) == 2 for m in moves)


def test_rows_stand_before_and_after_the_action():
    (episode,) = Lockstep(ToyTask(), ToyPolicy(), 1).record([Launch(Stream(0, 0))])
    assert episode.record["success"]
    assert episode.record["length"] == GOAL
    np.testing.assert_array_equal(episode.steps["obs/place"][:, 0], np.arange(GOAL))
    np.testing.assert_array_equal(episode.steps["state"][:, 0], np.arange(GOAL))
    assert episode.steps["stage"][-1] == 2
    assert episode.steps["reward"].tolist() == [0.0] * (GOAL - 1) + [1.0]
    assert episode.calls["step"].tolist() == [0, 4, 8, 12, 16]


def test_until_deadline_runs_on_and_keeps_the_success():
    (episode,) = Lockstep(ToyTask(), ToyPolicy(), 1, until="deadline").record([Launch(Stream(0, 0))])
    assert episode.record["success"]
    assert episode.record["length"] == ToyTask().deadline


def test_a_failure_runs_to_the_deadline_and_knows_when_it_was_injected():
    (episode,) = Lockstep(ToyTask(), ToyPolicy(), 1).record([Launch(Stream(0, 3), (broken(9, 0),))])
    assert not episode.record["success"]
    assert (episode.record["length"], episode.record["t_inj"], episode.record["perturbation"]) == (40, 9, "break")


def test_subscribers_see_every_call_and_every_episode():
    class Count:
        calls, ends = 0, 0

        def on_call(self, episodes: list[Stream], call: PolicyCall) -> None:
            assert len(episodes) == len(call.step) == len(call.chunk)
            self.calls += len(call.step)

        def on_end(self, episode: Episode) -> None:
            self.ends += 1

    count = Count()
    episodes = rolled(3, list(range(7)), subscribers=[count])
    assert count.ends == 7
    assert count.calls == sum(len(episode.calls["step"]) for episode in episodes.values())


def test_samples_do_not_change_what_is_run():
    with_samples = rolled(4, list(range(6)))
    lockstep = Lockstep(ToyTask(), ToyPolicy(lazy=0.3), 4)
    for episode in lockstep.record([Launch(Stream(7, index)) for index in range(6)]):
        np.testing.assert_array_equal(episode.steps["action"], with_samples[episode.record["uid"]].steps["action"])


@pytest.mark.parametrize("wrong", [{"until": "soon"}, {"scenes": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Lockstep(ToyTask(), ToyPolicy(), **{"scenes": 1, **wrong})


def test_uids_tell_seed_index_and_faults_apart():
    uids = {
        uid_of(Stream(seed, index), faults)
        for seed in (0, 1)
        for index in (0, 1)
        for faults in ((), (broken(1, 2),), (broken(1, 3),))
    }
    assert len(uids) == 12


def test_an_episode_and_its_twin_are_of_one_split():
    for split in ("train", "fit", "select", "calibrate", "test"):
        assert split_of(episode_index(split, 99_999)) == split
    with pytest.raises(ValueError, match="100000"):
        episode_index("fit", 100_000)


class Fragile(ToyScene):
    """Diverges at the seventh step of an episode with a fault."""

    def step(self, action):
        if self._records and self.step_index == 6:
            raise DivergedError("gone", np.clip(action, -0.5, 0.5))
        return super().step(action)


@dataclasses.dataclass
class FragileTask(ToyTask):
    def scene(self):
        return Fragile(self)


def test_a_divergence_ends_its_episode_can_be_replayed_and_the_run_goes_on():
    launches = [Launch(Stream(0, n), (broken(30, 40),) if n == 1 else ()) for n in range(3)]
    episodes = {e.record["index"]: e for e in Lockstep(FragileTask(), ToyPolicy(), 2).record(launches)}
    assert [episodes[n].record["outcome"] for n in range(3)] == ["success", "diverged", "success"]
    gone = episodes[1]
    assert gone.record["length"] == 7
    assert all(len(rows) == 7 for rows in gone.steps.values())
    assert gone.steps["applied"][-1] == 0.5
    assert gone.steps["reward"][-1] == 0.0
    scene = FragileTask().scene()
    assert replay(scene, gone, whole=True).max_abs_error == 0.0
    assert replay(scene, gone, first=3).max_abs_error == 0.0
    assert replay(ToyTask().scene(), gone, whole=True) == Replayed(np.inf, 6), "it has to diverge again"
    early = dataclasses.replace(gone, record=gone.record | {"outcome": "failure"})
    assert replay(scene, early, whole=True) == Replayed(np.inf, 6), "it must not diverge where it did not"


class Alterable(ToyPolicy):
    """Moves by a setting, and counts how often it is altered and asked."""

    def __init__(self, speed: float = 1.0) -> None:
        super().__init__()
        self.speed, self.made, self.asked = speed, [], []

    def altered(self, settings):
        self.made.append((settings, Alterable(settings["speed"])))
        return self.made[-1][1]

    def plan(self, observation, noise, samples=0):
        self.asked.append(len(noise))
        output = super().plan(observation, noise, samples)
        return dataclasses.replace(output, chunk=self.speed * output.chunk)


class Altering(ToyScene):
    """Halves the speed of every second episode, from the second call on."""

    def settings(self):
        return {"speed": 0.5} if self._stream.episode % 2 and self.step_index else {}


@dataclasses.dataclass
class AlteringTask(ToyTask):
    def scene(self):
        return Altering(self)


def test_scenes_whose_policy_is_changed_are_asked_by_themselves_and_the_others_as_ever():
    policy = Alterable()
    episodes = {
        e.record["index"]: e
        for e in Lockstep(AlteringTask(), policy, 4).record([Launch(Stream(0, n)) for n in range(4)])
    }
    for number, episode in episodes.items():
        actions = episode.steps["action"][:, 0]
        assert (actions[:4] == 1.0).all()
        assert (actions[4:] == (0.5 if number % 2 else 1.0)).all()
    (settings, other), *more = policy.made
    assert settings == {"speed": 0.5}
    assert not more  # made once, for all that have it
    assert policy.asked[0] == 4
    assert set(policy.asked[1:]) == set(other.asked) == {2}


def test_a_policy_that_cannot_be_changed_is_refused():
    with pytest.raises(ConfigError, match=r"ToyPolicy has nothing that .*speed.* could change"):
        list(Lockstep(AlteringTask(), ToyPolicy(), 1).record([Launch(Stream(0, 1))]))
