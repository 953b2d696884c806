"""The diffusion policy, and what flow and diffusion policies share: guidance, denoising loss, steered calls."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench.errors import ConfigError, ObservationError
from workbench.policies.chunks.batches import BLOCK
from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.diffusion import (
    HIGHEST,
    LEVELS,
    Diffusion,
    DiffusionPolicy,
    sampling_schedule,
    spaced,
    training_schedule,
)
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning import training
from workbench.policies.learning.training import train
from workbench.policies.networks.layers import ChunkNetwork
from workbench.types import Demonstration, Steering

SMALL = {"hidden": 32, "blocks": 1, "embedding": 8, "horizon": 4, "execute": 2, "history": 2}
RECIPE: dict[str, Any] = {"task": "toy", "iterations": 30, "batch": 16, "warmup": 5}
KINDS = [FlowPolicy, DiffusionPolicy]


def demonstrations(count: int = 12, steps: int = 9) -> list[Demonstration]:
    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        seen = {"pose": rng.normal(size=(steps, 3)), "fingers": rng.normal(size=(steps, 2))}
        made.append(Demonstration(seen, np.tanh(seen["pose"] + 0.1 * rng.normal(size=(steps, 3)))))
    return made


def trained(kind: type[ChunkPolicy] = DiffusionPolicy, **settings: Any) -> ChunkPolicy:
    policy = kind(**{**SMALL, **settings})
    train(policy, demonstrations(), **RECIPE)
    return policy


@pytest.fixture(scope="module", params=KINDS)
def policy(request: pytest.FixtureRequest) -> ChunkPolicy:
    return trained(request.param, condition_dropout=0.2)


def observation(scenes: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"pose": rng.normal(size=(scenes, 2, 3)), "fingers": rng.normal(size=(scenes, 2, 2))}


def noise(scenes: int) -> list[np.random.Generator]:
    return [np.random.default_rng(100 + scene) for scene in range(scenes)]


def weights(policy: ChunkPolicy) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in policy.network.state_dict().items()}


def two_modes(share: float = 0.5) -> list[Demonstration]:
    """Near +0.8 or -0.8; x says which, rightly in a share of the demonstrations."""
    rng, made = np.random.default_rng(0), []
    for number in range(60):
        x = 1.0 if number % 2 else -1.0
        mode = 0.8 * x if number % 20 < 20 * share else -0.8 * x
        made.append(Demonstration({"x": np.full((4, 1), x)}, mode + 0.05 * rng.normal(size=(4, 1))))
    return made


TOY = {"hidden": 48, "blocks": 1, "embedding": 4, "horizon": 2, "execute": 1, "history": 1, "inference_steps": 10}


# --- the process


def test_schedule_is_the_squared_cosine() -> None:
    """Nichol and Dhariwal, equation 17, each step's noise at most 0.999."""
    wave = np.cos((np.arange(LEVELS + 1) / LEVELS + 0.008) / 1.008 * np.pi / 2) ** 2
    betas = np.minimum(1 - wave[1:] / wave[:-1], 0.999)
    np.testing.assert_allclose(training_schedule(), np.cumprod(1 - betas), rtol=1e-4)
    assert 0.1**2 > training_schedule()[HIGHEST] > 0.07**2


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 60, HIGHEST])
def test_sampling_is_ddim_written_by_hand(steps: int) -> None:
    def denoise(chunk: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return 0.7 * chunk + 0.4 * torch.sin(3 * chunk + level[..., None, None])

    drawn = torch.randn((2, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    kept = np.cumprod(1 - betas_by_hand())
    numbers = [HIGHEST * (step + 1) // steps - 1 for step in range(steps)]
    assert len(set(numbers)) == steps
    x, clipped = drawn.double().numpy(), False
    for number, after in zip(numbers[::-1], [*numbers[:-1][::-1], -1], strict=True):
        a, b = kept[number], kept[after] if after >= 0 else 1.0
        epsilon = 0.7 * x + 0.4 * np.sin(3 * x + number / LEVELS)
        clean = (x - np.sqrt(1 - a) * epsilon) / np.sqrt(a)
        clipped |= bool((np.abs(clean) > 1).any())
        clean = np.clip(clean, -1, 1)
        x = np.sqrt(b) * clean + np.sqrt(1 - b) * (x - np.sqrt(a) * clean) / np.sqrt(1 - a)
    assert clipped
    np.testing.assert_allclose(Diffusion().sample(denoise, drawn, steps), x, atol=2e-4)


def betas_by_hand() -> np.ndarray:
    wave = np.cos((np.arange(LEVELS + 1) / LEVELS + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - wave[1:] / wave[:-1], 0.999)


def test_loss_is_that_of_the_library_s_own_noising() -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    random = torch.Generator().manual_seed(0)
    chunk, drawn = (torch.randn((40, 1, 2, 3), generator=random) for _ in range(2))
    level = torch.linspace(0, 1 - 2**-24, 40)[:, None]
    number = torch.floor(level * LEVELS).long().clamp(max=LEVELS - 1)
    noisy = DDPMScheduler(LEVELS, beta_schedule="squaredcos_cap_v2").add_noise(chunk[:, 0], drawn[:, 0], number[:, 0])
    seen = []

    def denoise(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        seen.append((x, at))
        return 0.5 * x

    loss = Diffusion().loss(denoise, chunk, drawn, level)
    torch.testing.assert_close(seen[0][0][:, 0], noisy)
    torch.testing.assert_close(seen[0][1], number / LEVELS)
    torch.testing.assert_close(loss, (0.5 * noisy[:, None] - drawn).square().mean(dim=(-2, -1)))
    assert loss.shape == (40, 1)


def test_levels_of_few_steps_are_spread_to_the_end() -> None:
    for highest in (1, 9, 50, HIGHEST):
        for steps in range(1, highest + 1):
            gaps = np.diff([-1, *spaced(highest, steps)])
            assert gaps.sum() == highest
            assert gaps.max() - gaps.min() <= 1


def test_sampling_is_shared_between_threads() -> None:
    drawn = torch.randn((2, 2, 3, 1), generator=torch.Generator().manual_seed(0))
    sampling_schedule.cache_clear()

    def made(steps: int) -> torch.Tensor:
        return Diffusion().sample(lambda chunk, level: 0.5 * chunk, drawn, steps)

    counts = [1, 5, 10, 20, 50, 94] * 4
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(made, counts))
    for steps, found in zip(counts, together, strict=True):
        assert torch.equal(found, made(steps))


def test_the_library_is_imported_only_where_it_is_used() -> None:
    code = "import sys, workbench.policies.diffusion; print('diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- the policy


def test_learns_both_modes_of_a_distribution() -> None:
    policy = DiffusionPolicy(**TOY)
    curve = train(policy, two_modes(), task="toy", iterations=300, batch=64, learning_rate=3e-3, warmup=20)
    drawn = policy.plan({"x": np.ones((1, 1, 1))}, noise(1), samples=400).samples
    assert drawn is not None
    first = drawn[0, :, 0, 0]
    assert 0.3 < (first > 0).mean() < 0.7
    assert (np.abs(np.abs(first) - 0.8) < 0.25).mean() > 0.85
    assert curve.validation[-1] < 0.8 * curve.validation[0]


def test_actions_follow_the_observation() -> None:
    rng, toys = np.random.default_rng(0), []
    for _ in range(30):
        x = np.repeat(rng.uniform(-1, 1, size=(1, 1)), 6, axis=0)
        toys.append(Demonstration({"x": x}, 0.9 * x))
    policy = DiffusionPolicy(**{**TOY, "embedding": 8})
    curve = train(policy, toys, task="toy", iterations=300, batch=64, learning_rate=3e-3, warmup=20)
    x = np.linspace(-0.8, 0.8, 9).reshape(9, 1, 1)
    assert np.abs(policy.plan({"x": x}, noise(9)).chunk[:, 0] - 0.9 * x[:, 0]).max() < 0.2
    assert curve.error["action"][-1] < 0.1


def test_samples_differ_by_their_noise(policy: ChunkPolicy) -> None:
    output = policy.plan(observation(2), noise(2), samples=3)
    assert output.samples is not None
    assert np.abs(output.samples[0, 0] - output.samples[0, 1]).max() > 1e-3
    again = policy.plan(observation(2), noise(2), samples=3)
    assert again.samples is not None
    np.testing.assert_array_equal(output.samples, again.samples)


def test_round_trip_is_exact_and_of_its_own_kind(tmp_path: Path) -> None:
    policy = trained(condition_dropout=0.1, guidance=0.5)
    policy.save(tmp_path)
    again = DiffusionPolicy.load(tmp_path, "toy")
    np.testing.assert_array_equal(
        again.plan(observation(3), noise(3)).chunk, policy.plan(observation(3), noise(3)).chunk
    )
    with pytest.raises(Exception, match="holds a DiffusionPolicy, not FlowPolicy"):
        FlowPolicy.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inference_steps": HIGHEST + 1}, f"at most {HIGHEST}"),
        ({"guidance": 1.0}, "condition_dropout"),
        ({"guidance": -1.0, "condition_dropout": 0.1}, "guidance=-1"),
        ({"self_guidance": 1.0, "history": 1}, "history of at least 2"),
        ({"self_guidance": float("nan")}, "self_guidance=nan"),
        ({"condition_dropout": 1.0}, "condition_dropout=1"),
        ({"condition_dropout": -0.1}, "condition_dropout=-0.1"),
        ({"condition_dropout": True}, "condition_dropout=True"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiffusionPolicy(**settings)
    with pytest.raises(TypeError, match="guidence"):
        DiffusionPolicy(guidence=1.0)  # type: ignore[call-arg]


# --- guidance


def test_without_weight_there_is_no_guidance(policy: ChunkPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    forward = ChunkNetwork.forward
    monkeypatch.setattr(
        ChunkNetwork, "forward", lambda self, chunk, *rest: rows.append(len(chunk)) or forward(self, chunk, *rest)
    )
    plain = policy.plan(observation(3), noise(3))
    assert set(rows) == {BLOCK}
    rows.clear()
    guided = policy.altered({"guidance": 1.5, "self_guidance": 0.5})
    assert np.abs(guided.plan(observation(3), noise(3)).chunk - plain.chunk).max() > 1e-3
    assert set(rows) == {3 * BLOCK}
    without = guided.altered({"guidance": 0.0, "self_guidance": 0}).plan(observation(3), noise(3))
    np.testing.assert_array_equal(without.chunk, plain.chunk)
    np.testing.assert_array_equal(guided.plan(observation(3), noise(3)).embedding, plain.embedding)


def test_guided_prediction_is_the_formula(policy: ChunkPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """(1 + w + u) now - w hidden - u one earlier, each from a pass of its own."""
    seen = observation(3)
    network, chunk = policy.network, torch.randn((3, 2, 4, 3), generator=torch.Generator().manual_seed(0))
    level = torch.full((1, 1), 0.4)
    found = []
    monkeypatch.setattr(
        type(policy.process), "sample", lambda self, denoise, *rest: found.append(denoise(chunk, level)) or chunk
    )
    guided = policy.altered({"guidance": 1.5, "self_guidance": 0.5})
    with torch.no_grad():
        inputs = policy.inputs(seen, 3)
        guided.sample(guided.conditions(inputs), chunk)
        earlier = policy.inputs({key: values[:, [0, 0]] for key, values in seen.items()}, 3)
        now, before = (network(chunk, level, network.encode(each)) for each in (inputs, earlier))
        hidden = network(chunk, level, network.null_token.expand(3, 1, -1))
    torch.testing.assert_close(found[0], 3.0 * now - 1.5 * hidden - 0.5 * before)


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_sharpens_towards_the_condition(kind: type[ChunkPolicy]) -> None:
    policy = kind(**TOY, condition_dropout=0.3)
    train(policy, two_modes(share=0.8), task="toy", iterations=400, batch=64, learning_rate=3e-3, warmup=20)
    right = {}
    for weight in (0.0, 4.0):
        drawn = policy.altered({"guidance": weight}).plan({"x": np.array([[[-1.0]], [[1.0]]])}, noise(2), 200).samples
        assert drawn is not None
        right[weight] = ((drawn[0, :, 0, 0] < 0).mean() + (drawn[1, :, 0, 0] > 0).mean()) / 2
    assert 0.65 < right[0.0] < 0.87
    assert right[4.0] > 0.92


def test_the_null_token_is_there_only_where_it_is_learned() -> None:
    without, dropped = trained(), trained(condition_dropout=0.3)
    shapes = {name: values.shape for name, values in weights(without).items()}
    assert {**shapes, "null_token": (8,)} == {name: values.shape for name, values in weights(dropped).items()}
    assert np.abs(weights(dropped)["null_token"]).max() > 0


def test_observations_are_hidden_as_often_as_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = []
    hide = ChunkNetwork.hide
    monkeypatch.setattr(
        ChunkNetwork, "hide", lambda self, tokens, rows: hidden.append(rows) or hide(self, tokens, rows)
    )
    trained(condition_dropout=0.3)
    assert len(hidden) == RECIPE["iterations"]
    assert torch.cat(hidden).float().mean() == pytest.approx(0.3, abs=0.07)


def test_hidden_observations_play_no_part(policy: ChunkPolicy) -> None:
    tokens = torch.randn((4, 3, 8), generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([True, False, True, False])
    found = policy.network.hide(tokens, rows)
    assert torch.equal(found[~rows], tokens[~rows])
    assert torch.equal(found[rows], policy.network.null_token.expand(2, 3, 8))


class InterruptedHereError(Exception):
    pass


def interrupt(done: int, loss: float) -> None:
    if done == 23:
        raise InterruptedHereError


def test_resumed_training_with_dropout_equals_uninterrupted(tmp_path: Path) -> None:
    straight, resumed = (DiffusionPolicy(**SMALL, condition_dropout=0.3) for _ in range(2))
    torch.manual_seed(1)
    expected = train(straight, demonstrations(), **RECIPE)
    with pytest.raises(InterruptedHereError):
        train(
            DiffusionPolicy(**SMALL, condition_dropout=0.3),
            demonstrations(),
            **RECIPE,
            folder=tmp_path,
            save_every=7,
            progress=interrupt,
        )
    torch.manual_seed(2)  # nothing is drawn from torch's own stream
    seen: list[int] = []
    found = train(resumed, demonstrations(), **RECIPE, folder=tmp_path, progress=lambda done, loss: seen.append(done))
    assert seen[0] == 22
    assert found == expected
    for name, values in weights(straight).items():
        np.testing.assert_array_equal(weights(resumed)[name], values)


def test_state_of_another_process_or_dropout_is_refused(tmp_path: Path) -> None:
    train(DiffusionPolicy(**SMALL, condition_dropout=0.3), demonstrations(), **RECIPE, folder=tmp_path)
    assert (tmp_path / training.STATE).exists()
    with pytest.raises(ConfigError, match="other condition_dropout"):
        train(DiffusionPolicy(**SMALL, condition_dropout=0.2), demonstrations(), **RECIPE, folder=tmp_path)
    with pytest.raises(ConfigError, match="other policy"):
        train(FlowPolicy(**SMALL, condition_dropout=0.3), demonstrations(), **RECIPE, folder=tmp_path)


# --- company


def parts(output: Any, scene: int) -> list[np.ndarray]:
    return [output.chunk[scene], output.samples[scene], output.embedding[scene]]


def rising(chunk: torch.Tensor) -> torch.Tensor:
    return 2.0 * chunk[..., 0].mean(dim=-1)


@pytest.mark.parametrize("settings", [{}, {"guidance": 1.0}, {"guidance": 0.5, "self_guidance": 0.5}])
@pytest.mark.parametrize("way", ["plain", "start", "reward", "both"])
def test_company_and_number_of_samples_change_nothing(policy: ChunkPolicy, settings: dict[str, Any], way: str) -> None:
    guided, seen = policy.altered(settings), observation(21)
    start = np.random.default_rng(2).uniform(-0.5, 0.5, size=(21, 4, 3))

    def steering(rows: slice) -> Steering | None:
        if way == "plain":
            return None
        begun = {} if way == "reward" else {"start": start[rows], "start_level": 0.6}
        return Steering(**begun, reward=None if way == "start" else rising)

    together = guided.plan(seen, noise(21), samples=2, steering=steering(slice(None)))
    for scene in (0, 5, 15, 16, 20):
        rows = slice(scene, scene + 1)
        one = {key: values[rows] for key, values in seen.items()}
        alone = guided.plan(one, [noise(21)[scene]], samples=2, steering=steering(rows))
        for ours, theirs in zip(parts(alone, 0), parts(together, scene), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    fewer = guided.plan(seen, noise(21), steering=steering(slice(None)))
    np.testing.assert_array_equal(fewer.chunk, together.chunk)


# --- steering


def test_steering_leads_chunk_and_samples(policy: ChunkPolicy) -> None:
    plain = policy.plan(observation(3), noise(3), samples=4)
    led = policy.plan(observation(3), noise(3), samples=4, steering=Steering(reward=rising))
    for ours, theirs in ((led.chunk, plain.chunk), (led.samples, plain.samples)):
        assert ours is not None
        assert theirs is not None
        moved = (ours - theirs)[..., 0]
        assert moved.min() > -1e-3  # nothing where it is at the bound already
        assert moved.mean() > 0.1
    start = np.zeros((3, 4, 3)) + np.array([0.0, 0.3, -0.3])[:, None, None]
    near = policy.plan(observation(3), noise(3), samples=4, steering=Steering(start=start, start_level=0.05))
    assert near.samples is not None
    assert np.abs(near.chunk - start).max() < 0.3
    assert np.abs(near.samples - start[:, None]).max() < 0.3
    np.testing.assert_array_equal(near.embedding, plain.embedding)


def test_steering_to_nowhere_is_plain_sampling_to_the_last_bit(policy: ChunkPolicy) -> None:
    plain = policy.plan(observation(3), noise(3), samples=2)
    start = np.full((3, 4, 3), 0.4)
    for steering in (Steering(), Steering(start=start), Steering(reward=rising, scale=0.0)):
        led = policy.plan(observation(3), noise(3), samples=2, steering=steering)
        for scene in range(3):
            for ours, theirs in zip(parts(led, scene), parts(plain, scene), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_a_reward_can_follow_a_call_without_gradients(policy: ChunkPolicy) -> None:
    """Schedules that are first made in inference mode must not be in the way of a gradient."""
    training_schedule.cache_clear()
    sampling_schedule.cache_clear()
    policy.plan(observation(1), noise(1))
    policy.plan(observation(1), noise(1), steering=Steering(reward=rising))
    assert all(parameter.grad is None for parameter in policy.network.parameters())


# --- denoising loss


@pytest.mark.parametrize("kind", KINDS)
def test_denoising_loss_is_low_for_chunks_of_the_data(kind: type[ChunkPolicy]) -> None:
    policy = kind(**TOY)
    train(policy, two_modes(share=1.0), task="toy", iterations=300, batch=64, learning_rate=3e-3, warmup=20)
    chunks = np.array([0.8, 0.0, -0.8])[:, None, None] * np.ones((3, 2, 1))
    losses = [
        policy.denoising_loss({"x": np.full((3, 1, 1), x)}, chunks, [np.random.default_rng(0)] * 3, 64)
        for x in (1.0, -1.0)
    ]
    assert losses[0][0] < 0.5 * losses[0][1] < 0.5 * losses[0][2]
    assert losses[1][2] < 0.5 * losses[1][1] < 0.5 * losses[1][0]


def test_denoising_loss_of_a_scene_does_not_depend_on_others(policy: ChunkPolicy) -> None:
    seen, chunks = observation(20), np.random.default_rng(3).uniform(-0.5, 0.5, size=(20, 4, 3))
    together = policy.denoising_loss(seen, chunks, noise(20), 6)
    assert (together.shape, together.dtype) == ((20,), np.float32)
    for scene in (0, 7, 16, 19):
        rows = slice(scene, scene + 1)
        one = {key: values[rows] for key, values in seen.items()}
        assert policy.denoising_loss(one, chunks[rows], [noise(20)[scene]], 6)[0] == together[scene]
    np.testing.assert_array_equal(
        policy.altered({"noise_scale": 3.0}).denoising_loss(seen, chunks, noise(20), 6), together
    )


def test_denoising_loss_is_the_mean_training_loss_over_spread_levels(
    policy: ChunkPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    loss = type(policy.process).loss

    def spied(self: Any, denoise: Any, chunk: Any, drawn: Any, level: torch.Tensor) -> torch.Tensor:
        seen.append((chunk, level, loss(self, denoise, chunk, drawn, level)))
        return seen[-1][2]

    monkeypatch.setattr(type(policy.process), "loss", spied)
    chunk = np.zeros((2, 4, 3))
    found = policy.denoising_loss(observation(2), chunk, noise(2), 10)
    chunks, level, losses = (part[:2] for part in seen[0])
    np.testing.assert_array_equal(torch.floor(10 * level), np.tile(np.arange(10.0), (2, 1)))
    assert not torch.equal(level[0], level[1])
    np.testing.assert_allclose(found, losses.mean(dim=1), rtol=1e-6)
    np.testing.assert_array_equal(chunks[:, 3], policy.normalisation.action(chunk))


def test_denoising_loss_refuses_what_it_cannot_judge(policy: ChunkPolicy) -> None:
    with pytest.raises(ConfigError, match=r"\(2, 3, 3\), must be \(2, 4, 3\)"):
        policy.denoising_loss(observation(2), np.zeros((2, 3, 3)), noise(2), 4)
    with pytest.raises(ConfigError, match="draws=0"):
        policy.denoising_loss(observation(2), np.zeros((2, 4, 3)), noise(2), 0)
    with pytest.raises(ObservationError):
        policy.denoising_loss({"pose": np.zeros((2, 2, 3))}, np.zeros((2, 4, 3)), noise(2), 4)
