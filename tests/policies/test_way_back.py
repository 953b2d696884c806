"""Strategies that move the robot themselves: home, and back along the own path."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from tests.rollouts.test_guard import triggered
from workbench.config import named
from workbench.detectors.scores.elapsed import Elapsed
from workbench.envs.tasks.lift import Lift
from workbench.errors import ConfigError, ObservationError
from workbench.policies.recovery.backtrack import Backtrack
from workbench.policies.recovery.home import OPENING_STROKES, Home
from workbench.policies.recovery.motion.hand import Hand
from workbench.policies.recovery.retreat import Retreat
from workbench.rollouts.guard import Guard
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.types import OVER, RECENT, Alarm, Array, Intervention, Observation, Policy, PolicyCall, Stream, Task

POLICY = cast(Policy, object())
EXECUTE = 4


def call_of(seen: Sequence[Observation]) -> PolicyCall:
    last = list(seen[-RECENT:])
    last = [seen[0]] * (RECENT - len(last)) + last
    observation = {key: np.stack([np.stack([each[key] for each in last])]) for key in last[0]}
    return PolicyCall(np.array([len(seen) - 1]), np.zeros((1, 8, 7)), None, None, EXECUTE, observation=observation)


class Episode:
    """A scene that is moved, and a strategy that is shown every call."""

    def __init__(self, task: Task, strategy: Home | Backtrack) -> None:
        self.scene, self.strategy, self.hand = task.scene(), strategy, Hand(task, "a test")
        self.memory, self.seen = strategy.begin(), [self.scene.observe()]
        strategy.follow(self.memory, call_of(self.seen))

    def move(self, action: Callable[[int], Array], steps: int) -> None:
        for _ in range(steps):
            self.scene.step(action(len(self.seen) - 1))
            self.seen.append(self.scene.observe())
            if (len(self.seen) - 1) % EXECUTE == 0:
                self.strategy.follow(self.memory, call_of(self.seen))

    def act(self) -> Intervention:
        return self.strategy.act(self.memory, Alarm(call_of(self.seen), POLICY, 100))

    def relieve(self, asked: Intervention) -> int:
        """Let the driver drive; how many steps it took."""
        told, driver = copy.deepcopy(asked.memory), cast(Any, asked.driver)
        assert told is not None
        for step in range(asked.steps or 0):
            if told.get(OVER):
                return step
            now = {key: value[None, None] for key, value in self.scene.observe().items()}
            self.scene.step(driver.plan(now, [np.random.default_rng(0)], memories=[told]).chunk[0, 0])
        return asked.steps or 0

    @property
    def pose(self) -> Array:
        return self.hand.poses(self.scene.observe())


def lowered(step: int) -> Array:
    """Down and aside, turning, with fingers that close after ten steps."""
    return np.array([0.3, 0.2, -0.5, 0.05, 0.0, 0.05, 1.0 if step >= 10 else -1.0])


@pytest.mark.parametrize("name", ["lift", "door", "pick_place_can"])
def test_home_lets_go_first_rises_before_it_goes_across_and_arrives(name: str) -> None:
    episode = Episode(named.task(name), Home(named.task(name)))
    home = episode.pose
    episode.move(lowered, 20)
    away, asked = episode.hand.away_m(episode.pose, home), episode.act()
    assert (asked.fresh_noise, asked.more_time) == (True, True)
    told, driver = copy.deepcopy(asked.memory), cast(Any, asked.driver)
    low, placed = episode.pose[2], []
    for _ in range(60):
        now = {key: value[None, None] for key, value in episode.scene.observe().items()}
        action = driver.plan(now, [np.random.default_rng(0)], memories=[told]).chunk[0, 0]
        assert action[-1] == -1
        if episode.hand.width_m(episode.pose) <= 0.075 and not placed:
            assert not action[:6].any(), "it moves only with an open hand"
        elif home[2] - episode.pose[2] > 0.01:
            assert action[2] > 0
            assert not action[3:6].any(), "it turns when it is up"
            placed.append(episode.pose[:3])
        episode.scene.step(action)
        if told is not None and told.get(OVER):
            break
    aside = np.linalg.norm(np.ptp(np.array(placed)[:, :2], axis=0))
    assert aside < 0.02 < home[2] - low
    assert away > 0.1
    assert episode.hand.away_m(episode.pose, home) < 0.01
    assert episode.hand.reached(episode.pose, home)


def test_home_hands_back_when_it_is_there_and_at_the_latest_in_time() -> None:
    task = named.task("push_t")
    episode = Episode(task, Home(task))
    home = episode.pose
    episode.move(lambda step: np.array([0.5, 0.5]), 10)
    assert episode.hand.away_m(episode.pose, home) > 0.05
    assert 1 < episode.relieve(episode.act()) < 20
    assert episode.hand.away_m(episode.pose, home) < 0.01
    episode.move(lambda step: np.array([0.5, 0.5]), 10)
    hasty = Home(task, steps=2)
    asked = hasty.act({"home": home}, Alarm(call_of(episode.seen), POLICY, 100))
    assert episode.relieve(asked) == 2


def test_home_opens_a_hand_that_cannot_open_for_a_while_only() -> None:
    task = Lift()
    home, fingers = Home(task), task.robot.fingers
    assert fingers is not None
    episode = Episode(task, home)
    asked = episode.act()
    assert asked.memory is not None
    told, blocked = copy.deepcopy(asked.memory), {**episode.scene.observe(), "gripper_qpos": np.array([0.01, -0.01])}
    moved = 0
    for _ in range(OPENING_STROKES * fingers.stroke_steps + 1):
        now = {key: value[None, None] for key, value in blocked.items()} | {"eef_pos": np.zeros((1, 1, 3))}
        moved += bool(
            cast(Any, asked.driver).plan(now, [np.random.default_rng(0)], memories=[told]).chunk[..., :6].any()
        )
    assert moved == 1


@pytest.mark.parametrize("steps", [6, 16])
@pytest.mark.parametrize("name", ["lift", "push_t"])
def test_backtrack_goes_back_its_own_path(name: str, steps: int) -> None:
    task = named.task(name)
    episode = Episode(task, Backtrack(task, steps=steps))
    turn = (lambda step: lowered(step)) if name == "lift" else lambda step: np.array([0.6, 0.4 if step < 12 else -0.4])
    episode.move(turn, 20)
    path = np.stack([episode.hand.poses(each) for each in episode.seen])[::-1][: steps + 1]
    asked = episode.act()
    assert asked.memory is not None
    assert np.array_equal(asked.memory["path"], path)
    assert asked.steps == 2 * steps
    before = episode.pose
    assert episode.relieve(asked) < 2 * steps
    assert episode.hand.away_m(episode.pose, path[-1]) < 0.015 < episode.hand.away_m(before, path[-1])
    wide = episode.hand.width_m(path[-1])
    assert abs(episode.hand.width_m(episode.pose) - wide) < 0.01, "the fingers are as they were there"


def test_backtrack_keeps_to_the_path_and_takes_no_short_cut() -> None:
    task = named.task("push_t")
    episode = Episode(task, Backtrack(task, steps=15))
    corner = lambda step: np.array([0.8, 0.0]) if step < 8 else np.array([0.0, 0.8])  # noqa: E731
    episode.move(corner, 16)
    path = np.stack([episode.hand.poses(each) for each in episode.seen])[:, :2]
    asked = episode.act()
    told, furthest = copy.deepcopy(asked.memory), 0.0
    for _ in range(asked.steps or 0):
        now = {key: value[None, None] for key, value in episode.scene.observe().items()}
        episode.scene.step(cast(Any, asked.driver).plan(now, [np.random.default_rng(0)], memories=[told]).chunk[0, 0])
        furthest = max(furthest, float(np.linalg.norm(path - episode.pose[:2], axis=1).min()))
    assert furthest < 0.025


def test_backtrack_knows_no_way_through_what_it_has_not_seen() -> None:
    """Behind a relief of more than RECENT steps only what was seen since is its path; at first there is none."""
    task = named.task("push_t")
    episode = Episode(task, Backtrack(task, steps=40))
    assert episode.act() == Intervention(fresh_noise=True, more_time=True)
    episode.move(lambda step: np.array([0.3, 0.1]), 12)
    episode.strategy, shown = Home(task), episode.strategy
    kept = episode.memory
    episode.memory = episode.strategy.begin()
    episode.move(lambda step: np.array([-0.3, 0.1]), 30)
    episode.strategy, episode.memory = shown, kept
    shown.follow(kept, call_of(episode.seen))
    asked = episode.act()
    assert asked.memory is not None
    assert len(asked.memory["path"]) == RECENT


def test_what_a_task_cannot_do_is_refused_in_one_line() -> None:
    joints = named.task("lift", controller="joint_position")
    for kind in (Home, Backtrack):
        with pytest.raises(ConfigError, match=f"strategy {kind.name} needs actions that translate the hand"):
            kind(joints)
        with pytest.raises(ConfigError, match="steps=0 must be at least 1"):
            kind(Lift(), steps=0)


def test_a_pose_that_is_not_finite_is_refused() -> None:
    hand, scene = Hand(Lift(), "a test"), Lift().scene()
    with pytest.raises(ObservationError, match="NaN"):
        hand.poses({**scene.observe(), "eef_pos": np.array([0.0, np.nan, 0.0])})


def test_faults_of_planning_do_not_reach_a_motion() -> None:
    for strategy in (Home(Lift()), Backtrack(Lift(), steps=5), Retreat(Lift())):
        driver = strategy._driver
        assert driver.altered({"noise_scale": 2.0}) is driver


@pytest.mark.parametrize("kind", [Home, Backtrack, Retreat])
def test_a_motion_relieves_a_policy_whose_sampling_is_disturbed(kind: Any) -> None:
    """A driver without ``altered`` would be refused in the middle of the rollout."""
    task = Lift()
    policy: Any = named.policy("zoo/lift_flow", task)
    stream = Stream(0, 0)
    fault = named.perturbation("sampler_noise", start_step=[0, 0]).draw(stream, task)
    guard = Guard(triggered(Elapsed(), 7.0), kind(task), horizon=task.deadline)
    lockstep = Lockstep(task, policy, 1, images=False, guard=guard)
    (end,) = lockstep.starts([Launch(stream, (fault,))], [[30]])
    assert end[30].guard is not None
    assert end[30].guard.interventions == 1
