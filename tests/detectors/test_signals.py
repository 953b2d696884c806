"""Scores of what the policy says of its call, of its tokens, and of what the wrist feels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from workbench.config import build
from workbench.detectors.scores.force_torque import ForceTorque
from workbench.detectors.scores.signal import Signal
from workbench.detectors.scores.token_entropy import TokenEntropy
from workbench.detectors.scores.token_probability import TokenProbability
from workbench.errors import ConfigError, ScoreError, UnknownNameError
from workbench.monitoring.scoring import FittedScore, curves, fit_score
from workbench.testing import score as laws
from workbench.types import RECENT, EpisodeCalls, EpisodeTruth

EXECUTE, TOKENS = 4, 5
CONF = Path(__file__).parents[2] / "conf"
SMALL = {"channels": 8, "iterations": 150}
NAMES = ("denoising_loss", "reconstruction", "token_probability", "token_entropy", "force_torque")


def made(name: str) -> Any:
    """The score of conf/score, small."""
    (node,) = yaml.safe_load((CONF / "score" / f"{name}.yaml").read_text()).values()
    return build({**node, **(SMALL if name == "force_torque" else {})})


def episode(seed: int, calls: int = 6, shock: float = 0.0, split: Any = "fit") -> EpisodeCalls:
    """A wrist that feels noise, and with ``shock`` a push after the first half of the calls."""
    rng = np.random.default_rng(seed)
    felt = rng.normal(size=(calls * EXECUTE, 6)) * np.array([5.0, 5.0, 5.0, 0.3, 0.3, 0.3])
    felt[len(felt) // 2 :, 2] += shock
    step = EXECUTE * np.arange(calls)
    probability = rng.uniform(0.1, 1.0, size=(calls, TOKENS))
    signals = {
        "denoising_loss": rng.random(calls, np.float32),
        "reconstruction": rng.random(calls, np.float32),
        "token_logprobs": np.log(probability).astype(np.float32),
        "token_entropies": rng.random((calls, TOKENS), np.float32),
    }
    recent = felt[np.maximum(step[:, None] + np.arange(1 - RECENT, 1), 0)]
    chunk = np.zeros((calls, 8, 7), np.float32)
    return EpisodeCalls(str(seed), split, step, chunk, None, None, EXECUTE, "", signals, {"wrench": recent})


def truth(calls: EpisodeCalls, success: bool) -> EpisodeTruth:
    length = int(calls.step[-1]) + EXECUTE
    nothing = np.zeros((0, 3), np.int64)
    stage = np.zeros(len(calls.step), np.int64)
    return EpisodeTruth(calls.uid, success, "", "", length, 100, -1, -1, stage, nothing)


FIT = [episode(seed, shock=40.0 * (seed % 2)) for seed in range(24)]
TRUTHS = [truth(each, seed % 2 == 0) for seed, each in enumerate(FIT)]


def fitted(name: str, seed: int = 3) -> FittedScore:
    supervised = name == "force_torque"
    return fit_score(name, made(name), FIT if supervised else FIT[::2], seed, TRUTHS if supervised else ())


@pytest.fixture(scope="module")
def scores() -> dict[str, FittedScore]:
    return {name: fitted(name) for name in NAMES}


FRESH = [episode(seed, shock=40.0 * (seed % 2)) for seed in range(100, 105)]


def case_of(fitted: FittedScore) -> laws.ScoreCase:
    """A fitted score as the checker tries it, with no more room than the last digits of double precision."""
    return laws.ScoreCase(fitted.score, FIT, TRUTHS, FRESH, 1e-12, ready=fitted.score)


@pytest.mark.parametrize("name", NAMES)
def test_score_of_a_prefix_is_the_prefix_of_the_scores(scores: dict[str, FittedScore], name: str) -> None:
    laws.prefix_of_an_episode_scores_alike(case_of(scores[name]))
    assert all(len(np.unique(whole)) == len(whole) for whole in curves(scores[name], FRESH))


@pytest.mark.parametrize("name", NAMES)
def test_scenes_do_not_know_one_another(scores: dict[str, FittedScore], name: str) -> None:
    laws.scenes_stay_apart(case_of(scores[name]))


@pytest.mark.parametrize("name", NAMES)
def test_live_it_scores_as_in_a_batch(scores: dict[str, FittedScore], name: str) -> None:
    laws.live_is_offline(case_of(scores[name]))
    laws.nothing_stays_between_episodes(case_of(scores[name]))


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_the_round_trip_exactly(scores: dict[str, FittedScore], name: str) -> None:
    again = made(name)
    again.load({key: np.array(value, order="C") for key, value in scores[name].score.state().items()})
    loaded = dataclasses.replace(scores[name], score=again)
    for ours, theirs in zip(curves(loaded, FRESH), curves(scores[name], FRESH), strict=True):
        assert np.array_equal(ours, theirs)
    assert all(np.array_equal(again.state()[key], value) for key, value in scores[name].score.state().items())


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_an_error_that_names_its_episode_and_call(scores: dict[str, FittedScore], name: str) -> None:
    broken = episode(7)
    for values in broken.signals.values():
        values[3, ...] = np.nan
    broken.observation["wrench"][3] = np.nan
    with pytest.raises(ScoreError, match=rf"{name} is nan in episode 7 at policy call 3"):
        curves(scores[name], [FRESH[0], broken])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named_with_its_remedy(scores: dict[str, FittedScore], name: str) -> None:
    (need,) = scores[name].score.needs
    kind, _, key = need.partition("/")
    bare = dataclasses.replace(episode(0), signals={}, observation={})
    remedy = f"rollout.signals=[{key}]" if kind == "signals" else "task peg_insertion"
    for attempt in (
        lambda: curves(scores[name], [bare]),
        lambda: fit_score(name, made(name), [bare, FIT[1]], 0, [truth(bare, True), TRUTHS[1]]),
        lambda: made(name).fit([bare, FIT[1]], 0, *([[truth(bare, True), TRUTHS[1]]] if kind != "signals" else [])),
    ):
        with pytest.raises(ScoreError) as caught:
            attempt()
    assert name in str(caught.value)
    assert key in str(caught.value)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


# -- signals and tokens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["denoising_loss", "reconstruction"])
def test_a_signal_is_the_score(scores: dict[str, FittedScore], name: str) -> None:
    (curve,) = curves(scores[name], [FRESH[0]])
    assert np.array_equal(curve, FRESH[0].signals[name].astype(float))


def test_a_signal_of_many_numbers_is_refused() -> None:
    with pytest.raises(ScoreError, match=r"one number a call.*\[5\]"):
        Signal("token_entropies").fit([FRESH[0]], 0)


@pytest.mark.parametrize("over", ["max", "mean"])
def test_tokens_give_safes_four_baselines(over: str) -> None:
    calls = FRESH[0]
    combine = {"max": np.max, "mean": np.mean}[over]
    surprise = -np.log(np.exp(calls.signals["token_logprobs"].astype(float)))
    for score, values in ((TokenProbability(over), surprise), (TokenEntropy(over), calls.signals["token_entropies"])):
        (curve,) = curves(fit_score("s", score, FIT[::2], 0), [calls])
        np.testing.assert_allclose(curve, combine(values.astype(float), axis=1), rtol=1e-12)


@pytest.mark.parametrize("over", ["max", "mean"])
def test_places_without_a_token_play_no_part_and_an_empty_call_is_refused(over: str) -> None:
    calls = FRESH[0]
    filled = {
        "token_logprobs": np.pad(calls.signals["token_logprobs"], ((0, 0), (0, 3)), constant_values=1.0),
        "token_entropies": np.pad(calls.signals["token_entropies"], ((0, 0), (0, 3)), constant_values=-1.0),
    }
    for score in (TokenProbability(over), TokenEntropy(over)):
        same = fit_score("s", score, FIT[::2], 0)
        np.testing.assert_allclose(
            curves(same, [dataclasses.replace(calls, signals=filled)])[0], curves(same, [calls])[0], rtol=1e-12
        )
        none = {key: np.full_like(values, 1.0 if "log" in key else -1.0) for key, values in filled.items()}
        with pytest.raises(ScoreError, match="without any token"):
            curves(same, [dataclasses.replace(calls, signals=none)])


def test_a_certain_token_is_not_taken_for_none_when_rounding_lifts_it_above_zero() -> None:
    calls = dataclasses.replace(FRESH[0], signals={"token_logprobs": np.full((6, 2), 1e-6, np.float32)})
    (curve,) = curves(fit_score("s", TokenProbability("mean"), FIT[::2], 0), [calls])
    np.testing.assert_allclose(curve, 0.0, atol=2e-6)


def test_over_is_max_or_mean_and_travels_in_the_state() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mean'"):
        TokenEntropy("men")
    again = TokenEntropy("max")
    again.load(TokenEntropy("mean").state())
    assert again.over == "mean"
    with pytest.raises(ScoreError, match="one number a token"):
        curves(
            fit_score("s", TokenEntropy(), FIT[::2], 0),
            [dataclasses.replace(FRESH[0], signals={"token_entropies": np.zeros(6)})],
        )


# -- force and torque ------------------------------------------------------------------------------------------------


def test_force_torque_tells_a_push_once_it_is_felt_and_not_before() -> None:
    """Every call of a pushed episode carries its outcome, but only readings after the push say anything of it."""
    episodes = [episode(seed, shock=40.0 * (seed % 2)) for seed in range(80)]
    told = [truth(each, seed % 2 == 0) for seed, each in enumerate(episodes)]
    score = fit_score("f", ForceTorque(channels=8, iterations=200), episodes, 0, told)
    fresh = [episode(seed, shock=40.0 * (seed % 2)) for seed in range(100, 140)]
    calm, pushed = (np.array(curves(score, fresh[first::2])) for first in (0, 1))
    assert pushed[:, 4:].mean() > 0.9
    assert max(calm.mean(), pushed[:, :3].mean()) < 0.5
    assert np.mean(pushed[:, 5] > calm.max(axis=1)) > 0.8
    assert ((calm > 0) & (calm < 1)).all()


def test_force_torque_follows_its_seed_and_leaves_the_global_streams_alone(scores: dict[str, FittedScore]) -> None:
    before, ours = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    same, other = fitted("force_torque", 3), fitted("force_torque", 4)
    assert np.array_equal(curves(same, FRESH)[0], curves(scores["force_torque"], FRESH)[0])
    assert not np.allclose(curves(other, FRESH)[0], curves(scores["force_torque"], FRESH)[0])
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(ours, np.random.get_state()[1])  # noqa: NPY002


def test_what_was_learnt_is_all_in_the_state(scores: dict[str, FittedScore]) -> None:
    again = ForceTorque(channels=3, iterations=1)
    again.fit([episode(seed) for seed in range(4)], 9, TRUTHS[:4])
    again.load(scores["force_torque"].score.state())
    loaded = dataclasses.replace(scores["force_torque"], score=again)
    assert np.array_equal(curves(loaded, FRESH)[0], curves(scores["force_torque"], FRESH)[0])


def test_the_unit_of_a_reading_plays_no_part() -> None:
    """Statistics of the fit split normalise each axis: newtons or kilonewtons, with an offset."""

    def in_other_units(each: EpisodeCalls) -> EpisodeCalls:
        return dataclasses.replace(each, observation={"wrench": 1e-3 * each.observation["wrench"] - 5.0})

    one = fit_score("f", ForceTorque(**SMALL), FIT, 0, TRUTHS)
    other = fit_score("f", ForceTorque(**SMALL), [in_other_units(each) for each in FIT], 0, TRUTHS)
    theirs = curves(other, [in_other_units(each) for each in FRESH])
    np.testing.assert_allclose(theirs[1], curves(one, FRESH)[1], atol=2e-3)


def test_long_failures_count_no_more_than_short_successes() -> None:
    """Readings that say nothing: the answer is one half, however many more calls the failures have."""
    rng = np.random.default_rng(0)
    episodes = [episode(seed, calls=4 if seed % 2 == 0 else 40) for seed in range(40)]
    told = [truth(each, seed % 2 == 0) for seed, each in enumerate(episodes)]
    for each in episodes:
        each.observation["wrench"][:] = rng.normal(size=each.observation["wrench"].shape)
    score = fit_score("f", ForceTorque(channels=2, iterations=150), episodes, 0, told)
    assert abs(np.concatenate(curves(score, episodes)).mean() - 0.5) < 0.1


def test_the_network_is_causal_and_sees_fifteen_readings(scores: dict[str, FittedScore]) -> None:
    """A later reading changes the output by nothing but by being one of the last RECENT; the oldest is not reached."""
    network = scores["force_torque"].score.network  # type: ignore[attr-defined]
    readings = torch.randn(1, RECENT, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for layer_input in range(RECENT):
        changed = readings.clone()
        changed[0, layer_input] += 1.0
        with torch.no_grad():
            assert bool(network(changed) != network(readings)) == (layer_input >= 1)


@pytest.mark.parametrize(
    ("episodes", "truths", "says"),
    [
        ([], [], "was given 0 and 0"),
        (FIT[::2], TRUTHS[::2], "was given 12 and 0"),
        (FIT[1::2], TRUTHS[1::2], "was given 0 and 12"),
    ],
)
def test_one_class_alone_is_refused(episodes: Any, truths: Any, says: str) -> None:
    with pytest.raises(ScoreError, match=rf"{says}: roll out nominal and perturbed episodes"):
        fit_score("force_torque", ForceTorque(**SMALL), episodes, 0, truths)


def test_what_cannot_be_learnt_from_is_refused() -> None:
    still = [dataclasses.replace(each, observation={"wrench": np.ones((6, RECENT, 6))}) for each in FIT[:4]]
    with pytest.raises(ScoreError, match="the same at every call"):
        ForceTorque(**SMALL).fit(still, 0, TRUTHS[:4])
    broken = episode(0)
    broken.observation["wrench"][2, 3, 1] = np.inf
    with pytest.raises(ScoreError, match="wrench of episode 0 is not finite"):
        ForceTorque(**SMALL).fit([broken, FIT[1]], 0, TRUTHS[:2])
    with pytest.raises(ConfigError, match="iterations=0"):
        ForceTorque(iterations=0)
    with pytest.raises(ScoreError, match="truth of every episode"):
        fit_score("force_torque", ForceTorque(**SMALL), FIT, 0)


def test_the_one_task_that_is_named_is_the_one_that_has_the_reading() -> None:
    tasks = {path.stem: build(yaml.safe_load(path.read_text())) for path in sorted((CONF / "task").glob("*.yaml"))}
    assert [name for name, task in tasks.items() if "wrench" in task.observation_sizes] == ["peg_insertion"]
