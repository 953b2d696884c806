"""Strategies that let the policy drive and sample its chunks otherwise."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytest

from tests.rollouts.test_guard import HORIZON, Noisy, Slow, launch, monitor, refuse_difference, rolled_on, without_guard
from tests.toy import broken
from workbench.attribution.branching import intervene
from workbench.config import named
from workbench.detectors.scores.always import Always
from workbench.detectors.scores.chunk_overlap import ChunkOverlap
from workbench.detectors.scores.overlap_magnitude import ChunkMagnitude
from workbench.detectors.scores.stac import StatisticalTemporalConsistency
from workbench.envs.tasks.lift import Lift
from workbench.errors import ConfigError, ObservationError, OtherSettingsError, UnknownNameError
from workbench.monitoring.scoring import FittedScore
from workbench.policies.expert import Expert
from workbench.policies.recovery.adaptive_chunking import AdaptiveChunking, AdaptiveDriver
from workbench.policies.recovery.best_of import BestOf
from workbench.policies.recovery.placebo import Placebo
from workbench.policies.recovery.retrieve import Memory, Retrieve
from workbench.policies.recovery.reward_steered import RewardSteered
from workbench.policies.recovery.sampling.rewards import NextStage
from workbench.rollouts.arms import EXPERT, built, described_strategies
from workbench.rollouts.guard import Guard
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.rollouts.successes import own_successes
from workbench.store import Store
from workbench.types import (
    STEP,
    Alarm,
    Array,
    Episode,
    Observation,
    PolicyCall,
    PolicyOutput,
    Record,
    Steering,
    Stream,
    Successes,
    episode_index,
    follow,
    split_of,
)
from workbench.types.abilities import stages_of


@dataclasses.dataclass
class Drawing(Noisy):
    """A policy that draws, the chunk before the samples."""

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        first = super().plan(observation, noise)
        more = np.array([0.1 + 0.3 * rng.random((samples, self.horizon, 1)) for rng in noise]) if samples else None
        return dataclasses.replace(first, samples=more)

    def altered(self, settings: Record) -> Drawing:
        return Drawing(horizon=settings["horizon"])


class Least(ChunkMagnitude):
    """Prefers chunks whose actions are small, by a needed embedding that it holds on to."""

    needs = frozenset({"embedding"})

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        assert call.embedding is not None
        assert len(call.embedding) == len(call.chunk)
        return super().update(memories, call)


def drawn(count: int, seed: int = 0) -> tuple[dict[str, Array], list[np.random.Generator]]:
    places = {"place": np.random.default_rng(seed).random((count, 2, 1))}
    return places, [np.random.default_rng(number) for number in range(count)]


def call_at(step: int, chunk: Array) -> PolicyCall:
    return PolicyCall(np.array([step]), chunk[None], None, np.zeros((1, 1)), 4)


def test_the_chunk_that_the_score_likes_best_is_run() -> None:
    policy, strategy = Drawing(), BestOf(Least(dims=[0]), samples=5)
    memory = strategy.begin()
    strategy.follow(memory, call_at(8, np.ones((6, 1))))
    asked = strategy.act(memory, Alarm(call_at(8, np.ones((6, 1))), policy, 40))
    seen, noise = drawn(3)
    chosen = cast(Any, asked.driver).plan(
        seen, copy.deepcopy(noise), memories=[copy.deepcopy(asked.memory) | {STEP: 8} for _ in noise]
    )
    plain = policy.plan(seen, noise, 4)
    assert plain.samples is not None
    candidates = np.concatenate([plain.chunk[:, None], plain.samples], axis=1)
    best = np.linalg.norm(candidates.astype(np.float32), axis=(2, 3)).argmin(axis=1)
    assert len({*best}) > 1, "or the test says nothing"
    assert np.array_equal(chosen.chunk, candidates[np.arange(3), best])


def test_a_score_with_a_memory_goes_on_from_what_was_run_before_the_alarm() -> None:
    """Nearest to the chunk before the alarm's, and then to the chunk that was chosen; the alarm's was never run."""
    policy, strategy = Drawing(execute=2), BestOf(ChunkOverlap(dims=[0]), samples=6)
    memory, before = strategy.begin(), np.full((6, 1), 0.9)
    strategy.follow(memory, call_at(6, before))
    strategy.follow(memory, call_at(8, np.zeros((6, 1))))
    asked = strategy.act(memory, Alarm(call_at(8, np.zeros((6, 1))), policy, 40))
    told = copy.deepcopy(cast(Record, asked.memory))
    last = before
    for step in (8, 10, 12):
        seen, noise = drawn(1, seed=step)
        told[STEP] = step
        chosen = cast(Any, asked.driver).plan(seen, copy.deepcopy(noise), memories=[told]).chunk[0]
        plain = policy.plan(seen, noise, 5)
        assert plain.samples is not None
        candidates = np.concatenate([plain.chunk, plain.samples[0]])
        apart = ((candidates[:, :4] - last[2:]) ** 2).mean(axis=(1, 2))
        assert np.array_equal(chosen, candidates[apart.argmin()])
        last = chosen


def test_one_sample_is_the_placebo() -> None:
    policy, launches = Drawing(history=2), [launch(number, breaks=4 + number, rots=0) for number in range(4)]
    one, other = (
        rolled_on(Slow(), policy, launches, guard=Guard(monitor(1), strategy, horizon=HORIZON))
        for strategy in (BestOf(ChunkOverlap(dims=[0]), samples=1), Placebo())
    )
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.steps["action"], b.steps["action"])


@pytest.mark.parametrize("steps", [None, 9])
@pytest.mark.parametrize("name", ["overlap", "least", "adaptive"])
def test_live_is_the_branch_and_any_moment_goes_on(name: str, steps: int | None) -> None:
    strategies: dict[str, Any] = {
        "overlap": BestOf(ChunkOverlap(dims=[0]), samples=4, steps=steps),
        "least": BestOf(Least(dims=[0]), samples=4, steps=steps),
        "adaptive": AdaptiveChunking(steps=steps),
    }
    policy, strategy = Drawing(history=2), strategies[name]
    launches = [launch(number, breaks=4 + number) for number in range(6)]
    guard = Guard(monitor(1), strategy, horizon=HORIZON, most=2, cool_down=6)
    lockstep = Lockstep(Slow(), policy, 3, guard=guard)
    whole = {number: episode for number, episode in lockstep.record_numbered(launches)}
    random = np.random.default_rng(0)
    for number, episode in whole.items():
        step = int(random.integers(0, episode.record["length"]))
        (moments,) = lockstep.starts([launches[number]], [[step]])
        (rest,) = lockstep.record([dataclasses.replace(launches[number], start=moments[step])])
        refuse_difference(episode, rest, step)
    first = Guard(monitor(1), strategy, horizon=HORIZON)
    acted, bare = (rolled_on(Slow(), policy, launches, guard=each) for each in (first, None))
    compared = 0
    for live, episode in zip(acted, bare, strict=True):
        if not live.calls["intervened"].any():
            continue
        step = int(live.calls["step"][live.calls["intervened"]][0])
        memory = strategy.begin()
        for row, at in enumerate(episode.calls["step"]):
            if at <= step:
                call = one_of(episode, row)
                follow(strategy, memory, call)
        asked = strategy.act(memory, Alarm(call, policy, 40))
        branch = intervene(episode, step, asked, policy, horizon=HORIZON)
        (found,) = Lockstep(Slow(), policy, 1).record([branch])
        refuse_difference(live, Episode(found.record, without_guard(found.steps), {}, found.memory), step)
        compared += 1
    assert compared >= 3


def one_of(episode: Episode, row: int) -> PolicyCall:
    only = slice(row, row + 1)
    values: Mapping[str, Array] = {key: rows[only] for key, rows in episode.calls.items()}
    return PolicyCall(values["step"], values["chunk"], None, values["embedding"], 4)


def test_a_score_that_does_not_judge_chunks_is_refused() -> None:
    with pytest.raises(ConfigError, match="and StatisticalTemporalConsistency looks at samples; choose one such as"):
        BestOf(StatisticalTemporalConsistency(dims=[0]))
    blind = BestOf(cast(Any, Always()))
    memory = blind.begin()
    call = call_at(0, np.ones((6, 1)))
    blind.follow(memory, call)
    with pytest.raises(ConfigError, match="Always says the same of all"):
        blind.act(memory, Alarm(call, Drawing(), 40))
    for settings in ({"samples": 0}, {"steps": 0}):
        with pytest.raises(ConfigError, match="must be at least 1"):
            BestOf(ChunkOverlap(), **settings)


def test_the_score_is_that_of_the_monitor_unless_another_is_named() -> None:
    def node(**settings: Any) -> dict[str, Any]:
        return {"best_of": {"_target_": "workbench.policies.recovery.best_of.BestOf", "score": None, **settings}}

    overlap, stuck = monitor(1), monitor(1)
    overlap = dataclasses.replace(overlap, name="b", score=FittedScore("chunk_overlap", ChunkOverlap(), frozenset(), 0))
    both = [overlap, stuck]
    made = cast(Any, built(node(), Lift(), Drawing(), EXPERT, None, both)["best_of"])
    assert made._score is overlap.score.score
    made = cast(Any, built(node(score="stuck"), Lift(), Drawing(), EXPERT, None, both)["best_of"])
    assert made._score is stuck.score.score
    with pytest.raises(UnknownNameError, match=r"unknown fitted score for strategy.best_of.score 'rnd'"):
        built(node(score="rnd"), Lift(), Drawing(), EXPERT, None, both)
    with pytest.raises(ConfigError, match="goes by a fitted score, and there is none"):
        built(node(), Lift(), Drawing(), EXPERT, None)


def test_faults_of_planning_reach_the_policy_that_is_sampled() -> None:
    strategy = BestOf(ChunkOverlap(dims=[0]), samples=2)
    memory = strategy.begin()
    strategy.follow(memory, call_at(0, np.ones((6, 1))))
    driver = cast(Any, strategy.act(memory, Alarm(call_at(0, np.ones((6, 1))), Drawing(), 40)).driver)
    assert driver.altered({"horizon": 3}).policy.horizon == 3
    assert driver.policy.horizon == 6
    driver.policy = Noisy()
    with pytest.raises(ConfigError, match="policy Noisy has nothing that"):
        driver.altered({"horizon": 3})


LIFT = Lift()


@functools.cache
def lift_flow() -> Any:
    return named.policy("zoo/lift_flow", LIFT)


def lift_seen(count: int) -> tuple[dict[str, Array], list[np.random.Generator]]:
    shown = []
    for number in range(count):
        scene = LIFT.scene()
        scene.begin(Stream(0, number))
        shown.append(scene.observe())
    past = lift_flow().history
    seen = {key: np.stack([np.stack([each[key]] * past) for each in shown]) for key in shown[0]}
    return seen, [np.random.default_rng(number) for number in range(count)]


def test_a_reward_draws_the_hand_to_a_place_beside_the_object_and_of_no_weight_is_the_placebo() -> None:
    policy, (seen, noise) = lift_flow(), lift_seen(3)
    plain = policy.plan(seen, copy.deepcopy(noise)).chunk
    offset = np.array([0.15, -0.1, 0.1])
    wanted = seen["cube_pos"][:, -1] + offset - seen["eef_pos"][:, -1]

    def missed(chunk: Array) -> Array:
        way = 0.05 * chunk[:, : policy.execute, :3].sum(axis=1)
        distance: Array = np.linalg.norm(way - wanted, axis=1)
        return distance

    for scale in (0.0, 1.0):
        strategy = RewardSteered(LIFT, "cube_pos", offset.tolist(), within_m=0.05, scale=scale)
        asked = strategy.act({}, Alarm(call_at(0, np.zeros((16, 7))), policy, 100))
        assert (asked.steps, asked.fresh_noise, asked.more_time) == (16, True, True)
        chunk = cast(Any, asked.driver).plan(seen, copy.deepcopy(noise)).chunk
        if scale:
            assert (missed(chunk) < missed(plain) / 2).all()
        else:
            assert np.array_equal(chunk, plain)


@pytest.mark.parametrize(
    ("name", "first", "then"),
    [
        ("lift", "cube_pos", "cube_pos"),
        ("stack", "cube_a_pos", "cube_b_pos"),
        ("door", "handle_pos", "handle_pos"),
        ("peg_insertion", "peg_pos", "hole_pos"),
    ],
)
def test_the_place_of_the_next_stage_goes_on_as_stages_are_reached(name: str, first: str, then: str) -> None:
    """At first it is above what is taken hold of; once that is held high, above where it is to go."""
    task = named.task(name)
    goal, expert, scene = NextStage(task, 3), Expert(task, privileged=False), task.scene()
    scene.begin(Stream(0, 1))
    seen, places, stages = [scene.observe()], [], []
    while len(seen) < 70 and (not stages or stages[-1] < len(stages_of(task)) - 1):
        both = {key: np.stack([each[key] for each in [seen[0], *seen][-2:]]) for key in seen[0]}
        places.append(goal.place_m(both))
        stages.append(scene.truth().stage)
        scene.step(
            expert.plan({key: value[None] for key, value in both.items()}, [np.random.default_rng(0)]).chunk[0, 0]
        )
        seen.append(scene.observe())
    assert places[0].shape == (3,)
    assert np.linalg.norm(places[0] - seen[0][first]) < (0.3 if name == "door" else 0.13)  # of the door, up first
    assert np.linalg.norm(places[0] - places[-1]) > 0.05
    assert {*stages} == {*range(stages[-1] + 1)}
    if then != first:
        assert np.linalg.norm(places[0][:2] - seen[0][then][:2]) > 0.05
        assert np.linalg.norm(places[-1][:2] - seen[-1][then][:2]) < 0.02


def test_the_place_of_the_next_stage_is_where_the_object_is_seen_and_not_where_it_is() -> None:
    seen = {key: np.stack([value, value]) for key, value in LIFT.scene().observe().items()}
    aside = np.array([0.03, -0.02, 0.0])
    goal = NextStage(LIFT, 3)
    moved = goal.place_m({**seen, "cube_pos": seen["cube_pos"] + aside}) - goal.place_m(seen)
    assert np.allclose(moved, aside)
    with pytest.raises(ObservationError, match="the place of the next stage is not finite"):
        goal.place_m({**seen, "cube_pos": np.full((2, 3), np.nan)})
    once = {key: value[-1:] for key, value in seen.items()}
    assert np.array_equal(goal.place_m(once), goal.place_m(seen)), "a policy may see one observation alone"


def test_a_disc_is_led_by_its_plan_in_the_plane() -> None:
    task = named.task("push_t")
    seen = {key: np.stack([value, value]) for key, value in task.scene().observe().items()}
    assert NextStage(task, 2).place_m(seen).shape == (2,)


def test_the_reward_of_the_next_stage_leads_the_hand_and_of_no_weight_is_the_placebo() -> None:
    policy, (seen, noise) = lift_flow(), lift_seen(3)
    plain, goal = policy.plan(seen, copy.deepcopy(noise)).chunk, NextStage(LIFT, 3)
    way = np.stack([goal.place_m({key: value[row] for key, value in seen.items()}) for row in range(3)])
    way -= seen["eef_pos"][:, -1]
    for scale in (0.0, 1.0):
        strategy = RewardSteered(LIFT, reward="stage", scale=scale)
        asked = strategy.act({}, Alarm(call_at(0, np.zeros((16, 7))), policy, 100))
        chunk = cast(Any, asked.driver).plan(seen, copy.deepcopy(noise)).chunk
        if scale:
            missed, before = (
                np.linalg.norm(0.05 * each[:, : policy.execute, :3].sum(axis=1) - way, axis=1)
                for each in (chunk, plain)
            )
            assert (missed < before).all()
        else:
            assert np.array_equal(chunk, plain)


def test_a_task_that_declares_no_stages_or_plan_and_two_rewards_at_once_are_refused() -> None:
    class Bare(Lift):
        stages = ()

    with pytest.raises(ConfigError, match="strategy reward_steered with reward=stage needs stages, and task lift has"):
        RewardSteered(Bare(), reward="stage")
    with pytest.raises(ConfigError, match="reward=stage goes by the task's own plan: leave target and offset_m out"):
        RewardSteered(LIFT, "cube_pos", reward="stage")
    with pytest.raises(UnknownNameError, match=r"strategy\.reward_steered\.reward"):
        RewardSteered(LIFT, reward=cast(Any, "stages"))
    with pytest.raises(ConfigError, match="needs actions that translate the hand"):
        RewardSteered(named.task("lift", controller="joint_position"), reward="stage")


def test_a_reward_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="target=None is none of eef_pos, cube_pos of task lift: name one"):
        RewardSteered(LIFT)
    for settings in ({"target": "cube"}, {"target": "cube_yaw"}):
        with pytest.raises(ConfigError, match="is none of"):
            RewardSteered(LIFT, **settings)
    with pytest.raises(ConfigError, match="must be 3 lengths"):
        RewardSteered(LIFT, "cube_pos", [0.0, 0.0])
    for wrong in ({"within_m": 0.0}, {"steps": 0}, {"scale": float("inf")}):
        with pytest.raises(ConfigError, match="must be"):
            RewardSteered(LIFT, "cube_pos", **cast(Any, wrong))
    with pytest.raises(ConfigError, match="needs actions that translate the hand"):
        RewardSteered(named.task("lift", controller="joint_position"), "cube_pos")
    with pytest.raises(ConfigError, match="policy Drawing takes no steering: roll one that does"):
        RewardSteered(LIFT, "cube_pos").act({}, Alarm(call_at(0, np.zeros((6, 1))), Drawing(), 100))


def test_a_memory_of_which_nothing_is_left_is_the_placebo_and_one_without_noise_is_run() -> None:
    policy, (seen, noise) = lift_flow(), lift_seen(3)
    plain = policy.plan(seen, copy.deepcopy(noise))
    apart = np.concatenate([plain.embedding + 0.01, plain.embedding - 0.01])
    kept = np.random.default_rng(0).uniform(-0.5, 0.5, (6, *plain.chunk.shape[1:])).astype(np.float32)
    chunks = {}
    for level in (0.0, 0.5, 1.0):
        strategy = Retrieve(Successes(apart, kept, np.arange(6)), start_level=level, within=1.0)
        driver: Any = strategy.act({}, Alarm(call_at(0, np.zeros((16, 7))), policy, 100)).driver
        chunks[level] = driver.plan(seen, copy.deepcopy(noise)).chunk
    assert np.array_equal(chunks[1.0], plain.chunk)
    for row in range(3):
        assert any(np.array_equal(chunks[0.0][row], kept[place]) for place in (row, row + 3))
    assert not np.allclose(chunks[0.5], chunks[1.0])
    assert not np.allclose(chunks[0.5], chunks[0.0])


class Scripted(Drawing):
    """Plans what it is given, call after call."""

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        step = int(observation["step"][0, -1, 0])
        return PolicyOutput(np.array([CHUNKS[step]], dtype=np.float64))


CHUNKS = [
    [[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]],
    [[1.0, 0.15], [9.0, 9.0], [0.0, 1.0]],  # agrees with [1, 0.1]: its last is put behind
    [[1.0, 0.2], [9.0, 9.0], [0.5, 0.5]],  # agrees with [1, 0.2]
    [[1.0, 0.0], [1.0, -1.0], [0.0, -1.0]],  # not with [0, 1]: takes the plan's place
    [[1.0, -1.0], [7.0, 7.0], [6.0, 6.0]],
]


def test_a_chunk_is_followed_as_long_as_the_fresh_one_agrees() -> None:
    asked = AdaptiveChunking(threshold=0.97).act({}, Alarm(call_at(0, np.zeros((3, 2))), Scripted(), 40))
    assert asked.steps is None
    driver, told, run = cast(Any, asked.driver), copy.deepcopy(cast(Record, asked.memory)), []
    assert (driver.horizon, driver.execute) == (1, 1)
    for step in range(5):
        seen = {"step": np.array([[[step]]])}
        run.append(driver.plan(seen, [np.random.default_rng(0)], memories=[told]).chunk[0, 0].tolist())
    assert run == [[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.0], [1.0, -1.0]]
    assert told["plan"].tolist() == [[0.0, -1.0], [6.0, 6.0]]


def test_where_nothing_agrees_every_step_is_planned_anew_and_where_all_does_the_first_chunk_is_run() -> None:
    first = lambda steps, threshold: [  # noqa: E731
        driver.plan({"step": np.array([[[step]]])}, [np.random.default_rng(0)], memories=[told]).chunk[0, 0].tolist()
        for driver, told in [(cast(Any, AdaptiveDriver(Scripted(), threshold)), {})]
        for step in range(steps)
    ]
    assert first(5, 1.1) == [chunk[0] for chunk in CHUNKS]
    assert first(3, -1.0) == CHUNKS[0]


def test_a_policy_that_is_guided_by_itself() -> None:
    policy, (seen, noise) = lift_flow(), lift_seen(2)
    seen["eef_pos"][:, 0] += 0.02
    actions = []
    for weight in (0.0, 1.0):
        asked = AdaptiveChunking(self_guidance=weight).act({}, Alarm(call_at(0, np.zeros((16, 7))), policy, 100))
        driver: Any = asked.driver
        assert driver.policy.self_guidance == weight
        actions.append(driver.plan(seen, copy.deepcopy(noise), memories=[{}, {}]).chunk[:, 0])
    assert np.array_equal(actions[0], policy.plan(seen, copy.deepcopy(noise)).chunk[:, 0])
    assert not np.allclose(*actions)
    assert policy.self_guidance == 0
    with pytest.raises(ConfigError, match=r"and Noisy cannot: set strategy\.adaptive_chunking\.self_guidance=0"):
        AdaptiveChunking(self_guidance=1.0).act({}, Alarm(call_at(0, np.zeros((6, 1))), Noisy(), 40))
    for wrong in ({"threshold": float("nan")}, {"threshold": 2.5}, {"threshold": -1.5}, {"steps": 0}):
        with pytest.raises(ConfigError, match=r"threshold=\S+ must be -1 \.\. 2, and steps=\S+ at least 1"):
            AdaptiveChunking(**cast(Any, wrong))


def remembered(**settings: Any) -> Retrieve:
    """Of two episodes with embeddings 0, 1, 2 and 0.5, 1.5, 2.5, whose chunks are of the same number each."""
    places = np.array([[0.0], [1.0], [2.0], [0.5], [1.5], [2.5]], np.float32)
    chunks = np.broadcast_to(places[:, :, None], (6, 6, 1)).copy()
    return Retrieve(Successes(places, chunks, np.array([0, 0, 0, 1, 1, 1])), **settings)


class Led(Drawing):
    """Begins at what it is given, and goes part of the way to what it would have drawn; its embedding is its place."""

    def plan(  # type: ignore[override]
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        steering: Steering | None = None,
    ) -> PolicyOutput:
        drawn = np.array([rng.random((self.horizon, 1)) for rng in noise])
        if steering is not None:
            assert steering.start is not None
            drawn = (1 - steering.start_level) * steering.start + steering.start_level * drawn
        return PolicyOutput(drawn, None, observation["place"][:, -1])


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_sampling_begins_at_the_chunk_of_the_nearest_success_where_there_is_one(level: float) -> None:
    """Near is what is as near as the memory's own calls to those of another episode: half a step."""
    asked = remembered(start_level=level, within=1.0).act({}, Alarm(call_at(0, np.zeros((6, 1))), Led(), 40))
    places = np.array([1.1, 9.0, 2.3, 3.1])
    seen = {"place": np.repeat(places[:, None, None], 2, axis=1)}
    noise = [np.random.default_rng(number) for number in range(4)]
    plain = Led().plan(seen, copy.deepcopy(noise)).chunk
    chunk = cast(Any, asked.driver).plan(seen, noise).chunk
    nearest = np.array([1.0, np.nan, 2.5, np.nan])[:, None, None]
    wanted = np.where(np.isnan(nearest), plain, (1 - level) * np.nan_to_num(nearest) + level * plain)
    assert np.array_equal(chunk, wanted)


def test_what_is_near_does_not_count_the_calls_of_the_same_episode() -> None:
    """Calls of one episode are 0.01 apart and those of two 1 or more: near is as far as another episode's."""
    places = np.array([[0.0], [0.01], [0.02], [1.02], [1.03], [1.04]])
    kept = Memory(Successes(places, np.zeros((6, 6, 1)), np.array([0, 0, 0, 1, 1, 1])), within=0.0)
    assert kept.reach == pytest.approx(1.0 / places.std())
    with pytest.raises(ConfigError, match="two successes or more"):
        Memory(Successes(places, np.zeros((6, 6, 1)), np.zeros(6)), within=0.5)


def test_a_memory_that_leads_nowhere_is_refused() -> None:
    for wrong in ({"start_level": 1.5}, {"within": -0.1}, {"steps": 0}):
        with pytest.raises(ConfigError, match=r"must be in 0\.\.1, and steps"):
            remembered(**wrong)
    with pytest.raises(ConfigError, match=r"strategy retrieve leads .* policy Drawing takes no steering"):
        remembered().act({}, Alarm(call_at(0, np.zeros((6, 1))), Drawing(), 40))


class Quick(Drawing):
    """Arrives in time unless it is broken."""

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        output = super().plan(observation, noise, samples)
        return dataclasses.replace(output, chunk=output.chunk + 0.5)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Six fit episodes of which two fail, and two test episodes that succeed."""
    path = tmp_path_factory.mktemp("own") / "own.zarr"
    policy = Quick(history=2)
    launches = [launch(number, breaks=1000) for number in range(2)]
    for number in range(6):
        record = broken(5 if number in (1, 4) else 1000, 0)
        launches.append(Launch(Stream(3, episode_index("fit", number)), (record,)))
    write_episodes(path, Setup(Slow(), policy).header(3), Lockstep(Slow(), policy, 3), launches)
    return Store.open(path)


def test_successes_are_those_of_the_fit_split_alone(own: Store) -> None:
    found = own_successes(own, cast(Any, Slow()), Quick(history=2))
    fit = [number for number, uid in enumerate(own.uids) if split_of(int(own.episodes["index"][number])) == "fit"]
    won = [number for number in fit if own.episodes["success"][number]]
    assert (len(fit), len(won)) == (6, 4)
    assert sorted({*found.episode.tolist()}) == won
    for number in won:
        calls = own.calls(number, {"embedding"})
        assert np.array_equal(found.embedding[found.episode == number], cast(Array, calls.embedding))
        assert np.array_equal(found.chunk[found.episode == number], calls.chunk)


def test_successes_of_another_policy_are_refused_and_none_need_be_named(own: Store) -> None:
    with pytest.raises(OtherSettingsError):
        own_successes(own, cast(Any, Slow()), cast(Any, Noisy(history=2)))
    node = {"retrieve": {"_target_": "workbench.policies.recovery.retrieve.Retrieve", "successes": None, "within": 0.5}}
    with pytest.raises(ConfigError, match=r"no data set is named: strategy\.retrieve\.successes="):
        built(node, Slow(), Quick(history=2), EXPERT, None)
    node["retrieve"]["successes"] = str(own.path)
    made = built(node, Slow(), Quick(history=2), EXPERT, None)["retrieve"]
    assert made.name == "retrieve"
    assert described_strategies(node)["retrieve"] == {**node["retrieve"], "successes": own.digest(labels=False)}
