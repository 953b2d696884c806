"""What a policy says of its own call: it changes nothing else, and is what its formula says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.toy import ToyPolicy, ToyTask
from workbench.errors import UnknownNameError
from workbench.policies.chunks.chunk_policy import DRAWS, ChunkPolicy
from workbench.policies.diffusion import DiffusionPolicy
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning.training import train
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.types import Demonstration, Steering, Stream

SMALL: dict[str, Any] = {"hidden": 32, "blocks": 1, "embedding": 8, "horizon": 4, "execute": 2, "history": 2}
SIGNALS = ("denoising_loss", "reconstruction")
SCENES = 37
"""More than one block of scenes, and no multiple of it."""


@pytest.fixture(scope="module", params=[FlowPolicy, DiffusionPolicy], ids=lambda kind: kind.__name__)
def policy(request: Any) -> ChunkPolicy:
    rng = np.random.default_rng(0)
    seen = [rng.normal(size=(9, 3)) for _ in range(30)]
    demonstrations = [
        Demonstration({"pose": each}, np.tanh(each @ np.eye(3, 2) + 0.05 * rng.normal(size=(9, 2)))) for each in seen
    ]
    made: ChunkPolicy = request.param(**SMALL, inference_steps=3)
    train(made, demonstrations, task="toy", iterations=300, batch=64, warmup=5)
    return made


def observation(scenes: int = SCENES, seed: int = 1) -> dict[str, np.ndarray]:
    return {"pose": np.random.default_rng(seed).normal(size=(scenes, 2, 3))}


def noise(scenes: int = SCENES) -> list[np.random.Generator]:
    return [np.random.default_rng(100 + scene) for scene in range(scenes)]


@pytest.mark.parametrize("samples", [0, 5])
def test_signals_change_neither_chunk_nor_samples_nor_embedding(policy: ChunkPolicy, samples: int) -> None:
    silent = policy.plan(observation(), noise(), samples)
    talking = policy.plan(observation(), noise(), samples, signals=SIGNALS)
    assert silent.signals == {}
    assert list(talking.signals) == list(SIGNALS)
    for name in ("chunk", "samples", "embedding"):
        ours, theirs = getattr(silent, name), getattr(talking, name)
        assert (ours is None) == (theirs is None)
        assert ours is None or ours.tobytes() == theirs.tobytes()


def test_signals_of_a_scene_do_not_depend_on_the_others_of_its_call(policy: ChunkPolicy) -> None:
    seen = observation()
    together = policy.plan(seen, noise(), 4, signals=SIGNALS).signals
    turned = policy.plan({key: rows[::-1] for key, rows in seen.items()}, noise()[::-1], 4, signals=SIGNALS).signals
    for name in SIGNALS:
        assert together[name].shape == (SCENES,)
        assert np.isfinite(together[name]).all()
        assert len(np.unique(together[name])) == SCENES
        np.testing.assert_array_equal(turned[name][::-1], together[name])
        for scene in (0, 17, SCENES - 1):
            alone = policy.plan(
                {key: rows[scene : scene + 1] for key, rows in seen.items()}, [noise()[scene]], 4, signals=SIGNALS
            )
            assert alone.signals[name][0] == together[name][scene]


def spent(samples: int, policy: ChunkPolicy) -> list[np.random.Generator]:
    """The generators as a call leaves them: what is drawn of them next is the first signal's."""
    generators = noise()
    policy.plan(observation(), generators, samples)
    return generators


def test_denoising_loss_is_that_of_the_chunk_that_was_drawn(policy: ChunkPolicy) -> None:
    output = policy.plan(observation(), noise(), 2, signals=["denoising_loss"])
    wanted = policy.denoising_loss(observation(), output.chunk, spent(2, policy), DRAWS)
    np.testing.assert_array_equal(output.signals["denoising_loss"], wanted)
    other = policy.denoising_loss(observation(), output.chunk[::-1], spent(2, policy), DRAWS)
    assert not np.allclose(other, wanted)


def test_denoising_loss_is_high_for_a_chunk_that_does_not_belong_to_what_is_seen(policy: ChunkPolicy) -> None:
    output = policy.plan(observation(), noise(), signals=["denoising_loss"])
    wrong = policy.denoising_loss(observation(), np.roll(output.chunk, 1, axis=0), spent(0, policy), DRAWS)
    assert wrong.mean() > 1.05 * output.signals["denoising_loss"].mean()


def test_reconstruction_is_the_mean_squared_change_in_normalised_actions(policy: ChunkPolicy) -> None:
    output = policy.plan(observation(), noise(), 2, signals=["reconstruction"])
    again = policy.plan(observation(), spent(2, policy), steering=Steering(output.chunk, start_level=0.5)).chunk
    scale = policy.normalisation
    change = (scale.action(again) - scale.action(output.chunk)).astype(np.float64)
    np.testing.assert_allclose(output.signals["reconstruction"], np.mean(change**2, axis=(1, 2)), rtol=1e-5)
    assert (output.signals["reconstruction"] > 0).all()


def test_an_unknown_signal_is_one_line_at_the_start_of_a_rollout(policy: ChunkPolicy) -> None:
    for driver, asked in ((policy, "reconstructoin"), (ToyPolicy(), "denoising_loss")):
        with pytest.raises(UnknownNameError, match=rf"unknown signal of policy {type(driver).__name__}") as caught:
            Lockstep(ToyTask(), driver, 1, signals=[asked])
        assert "\n" not in str(caught.value)
    with pytest.raises(UnknownNameError, match="Did you mean 'reconstruction'"):
        policy.plan(observation(2), noise(2), signals=["reconstructoin"])


def test_a_policy_that_is_not_asked_is_not_handed_the_word() -> None:
    """Policies that say nothing need not know of signals."""
    output = ToyPolicy().plan({"place": np.zeros((1, 2, 1))}, noise(1))
    assert dataclasses.asdict(output)["signals"] == {}
    (episode,) = Lockstep(ToyTask(), ToyPolicy(), 1).record([Launch(Stream(0, 0))])
    assert not [key for key in episode.calls if key.startswith("signals/")]
