"""Sampling and steering against closed forms: the data are a Gaussian, and the network is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from workbench.errors import ConfigError
from workbench.policies.chunks.normalisation import Normalisation
from workbench.policies.chunks.steering import NormalisedSteering, reward_gradient
from workbench.policies.diffusion import HIGHEST, LEVELS, Diffusion, DiffusionPolicy, training_schedule
from workbench.policies.flow import FlowMatching, FlowPolicy
from workbench.types import Steering

DRAWS = 40_000
SD = 0.3


def velocity_of(mean: float, sd: float):
    """E[data - noise | x] on the line x = (1 - t) noise + t data, data normal."""

    def denoise(x, level):
        t = level[..., None, None]
        return mean + (t * sd**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * sd**2) * (x - t * mean)

    return denoise


def epsilon_of(mean: float, sd: float):
    """E[noise | x] of x = sqrt(kept) data + sqrt(1 - kept) noise, data normal."""

    def denoise(x, level):
        kept = training_schedule()[(level * LEVELS).round().long()][..., None, None]
        return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / (kept * sd**2 + 1 - kept)

    return denoise


PROCESSES = {"flow": (FlowMatching, velocity_of), "diffusion": (Diffusion, epsilon_of)}


def noise(draws: int = DRAWS) -> torch.Tensor:
    """Standard normal (1, K, 1, 1), with that mean and deviation exactly, so nothing below is by chance."""
    drawn = torch.randn((1, draws, 1, 1), generator=torch.Generator().manual_seed(0))
    return (drawn - drawn.mean()) / drawn.std()


@pytest.mark.parametrize("name", PROCESSES)
def test_unsteered_samples_have_mean_and_deviation_of_the_data(name):
    process, denoise = PROCESSES[name]
    made = process().sample(denoise(0.2, 0.25), noise(), 90)
    assert made.mean() == pytest.approx(0.2, rel=0.03)
    assert made.std() == pytest.approx(0.25, rel=0.04)


def tilt(process, denoise, steps: int, through_network: bool = True) -> float:
    """Mean of samples, in standard deviations, under the reward that tilts a Gaussian by one."""
    steering = NormalisedSteering(reward=lambda chunk: chunk[..., 0, 0] / SD, through_network=through_network)
    with torch.no_grad():
        return float(process.sample(denoise(0.0, SD), noise(), steps, steering).mean()) / SD


@pytest.mark.parametrize("steps", [8, 20, 50])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_linear_reward_moves_the_mean_to_that_of_the_tilted_gaussian(name, steps):
    process, denoise = PROCESSES[name]
    assert tilt(process(), denoise, steps) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("steps", [5, 8, 20, 50])
def test_the_first_step_of_flow_counts_too(steps):
    """Pure noise tells nothing of the clean chunk, so the gradient at level 0 is none: wide data show what it lacks."""
    steering = NormalisedSteering(reward=lambda chunk: chunk[..., 0, 0])
    made = FlowMatching().sample(velocity_of(0.0, 1.0), noise(), steps, steering)
    assert made.mean() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_tilt_follows_the_scale_and_leaves_the_deviation(name):
    process, denoise = PROCESSES[name]
    made = {}
    for scale in (-1.0, 0.0, 0.5):
        steering = NormalisedSteering(reward=lambda chunk: chunk[..., 0, 0] / SD, scale=scale)
        made[scale] = process().sample(denoise(0.0, SD), noise(), 30, steering) / SD
    plain = process().sample(denoise(0.0, SD), noise(), 30) / SD
    assert torch.equal(made[0.0], plain)
    for scale in (-1.0, 0.5):
        assert made[scale].mean() - plain.mean() == pytest.approx(scale, rel=0.05)
        assert made[scale].std() == pytest.approx(float(plain.std()), rel=0.02)


class FlowWithWrongSign(FlowMatching):
    def velocity(self, denoise, noisy, level, steering):
        return 2 * self.predict(denoise, noisy, level)[0] - super().velocity(denoise, noisy, level, steering)


class FlowAtNoisyChunk(FlowMatching):
    def velocity(self, denoise, noisy, level, steering):
        velocity, gradient = reward_gradient(lambda x: (self.predict(denoise, x, level)[0], x), noisy, steering)
        return velocity + gradient


class FlowWithoutFactor(FlowMatching):
    def velocity(self, denoise, noisy, level, steering):
        velocity, gradient = reward_gradient(lambda x: self.predict(denoise, x, level), noisy, steering)
        return velocity + gradient


class DiffusionWithWrongSign(Diffusion):
    def epsilon(self, denoise, noisy, number, steering):
        return 2 * self.predict(denoise, noisy, number)[0] - super().epsilon(denoise, noisy, number, steering)


class DiffusionAtNoisyChunk(Diffusion):
    def epsilon(self, denoise, noisy, number, steering):
        epsilon, gradient = reward_gradient(lambda x: (self.predict(denoise, x, number)[0], x), noisy, steering)
        return epsilon - (1 - training_schedule()[number]).sqrt() * gradient


class DiffusionWithoutFactor(Diffusion):
    def epsilon(self, denoise, noisy, number, steering):
        epsilon, gradient = reward_gradient(lambda x: self.predict(denoise, x, number), noisy, steering)
        return epsilon - gradient


@pytest.mark.parametrize("steps", [8, 20, 50])
@pytest.mark.parametrize(
    "wrong",
    [
        FlowWithWrongSign,
        FlowAtNoisyChunk,
        FlowWithoutFactor,
        DiffusionWithWrongSign,
        DiffusionAtNoisyChunk,
        DiffusionWithoutFactor,
    ],
)
def test_the_tilt_tells_known_mistakes(wrong, steps):
    denoise = velocity_of if issubclass(wrong, FlowMatching) else epsilon_of
    assert abs(tilt(wrong(), denoise, steps) - 1.0) > 0.1


def test_without_the_network_the_tilt_of_standard_normal_data_is_known():
    steering = NormalisedSteering(reward=lambda chunk: chunk[..., 0, 0], through_network=False)
    made = FlowMatching().sample(velocity_of(0.0, 1.0), noise(), 50, steering)
    assert made.mean() == pytest.approx(1.0, abs=0.02)
    assert made.std() == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("name", PROCESSES)
def test_without_the_network_a_pull_leads_there_in_one_evaluation_a_step(name):
    process, denoise = PROCESSES[name]
    exact, calls = denoise(0.0, SD), []

    def counted(x, level):
        calls.append(torch.is_grad_enabled())
        return exact(x, level)

    reward = NormalisedSteering(reward=lambda chunk: -1.5 * (chunk[..., 0, 0] - 0.4).square(), through_network=False)
    with torch.no_grad():
        made = process().sample(counted, noise(2000), 20, reward)
    assert calls == [False] * 20
    assert 0.085 < made.mean() < 0.4  # through the network 0.085, between the data's 0 and the reward's 0.4


@pytest.mark.parametrize("through_network", [True, False])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_reward_that_presses_beyond_the_bound_leads_to_that_bound(name, through_network):
    process, denoise = PROCESSES[name]
    reward = NormalisedSteering(reward=lambda chunk: 30.0 * chunk[..., 0, 0], through_network=through_network)
    with torch.no_grad():
        made = process().sample(denoise(0.0, SD), noise(2000), 10, reward)
    assert made.min() > 0.9


@pytest.mark.parametrize(("start_level", "mean"), [(0.0, 3.0), (0.2, 2.91), (0.5, 2.12), (0.8, 0.73), (1.0, 0.0)])
def test_partial_noise_keeps_the_known_part_of_the_start_in_flow(start_level, mean):
    steering = NormalisedSteering(torch.full((1, 1, 1, 1), 3.0), start_level)
    made = FlowMatching().sample(velocity_of(0.0, 1.0), noise(), 100, steering)
    assert made.mean() == pytest.approx(mean, abs=0.02)
    known = start_level / math.hypot(1 - start_level, start_level)  # what is left of the noise, by the same flow
    assert made.std() == pytest.approx(known, abs=0.02)


@pytest.mark.parametrize("start_level", [0.1, 0.3, 0.5, 0.8])
def test_partial_noise_keeps_the_known_part_of_the_start_in_diffusion(start_level):
    steering = NormalisedSteering(torch.full((1, 1, 1, 1), 2 * SD), start_level)
    made = Diffusion().sample(epsilon_of(0.0, SD), noise(), 94, steering)
    kept = float(training_schedule()[round(start_level * HIGHEST) - 1])
    shrunk = SD / math.sqrt(kept * SD**2 + 1 - kept)
    assert made.mean() / SD == pytest.approx(2 * math.sqrt(kept) * shrunk, abs=0.04)
    assert made.std() / SD == pytest.approx(math.sqrt(1 - kept) * shrunk / SD, abs=0.04)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_start_under_all_the_noise_is_plain_sampling(name):
    process, denoise = PROCESSES[name]
    steering = NormalisedSteering(torch.full((1, 1, 1, 1), 0.9), 1.0)
    assert torch.equal(
        process().sample(denoise(0.1, SD), noise(50), 7, steering), process().sample(denoise(0.1, SD), noise(50), 7)
    )


class Exact(nn.Module):
    """In place of a trained network."""

    def __init__(self, denoise):
        super().__init__()
        self.denoise = denoise

    def encode(self, inputs):
        return torch.zeros((len(inputs["state"]), 1, 4))

    def forward(self, chunk, level, tokens):
        return self.denoise(chunk, level)


def exact_policy(name: str):
    """A policy of one number a chunk, whose actions are normal with mean 1 and deviation 5 SD."""
    kind = {"flow": FlowPolicy, "diffusion": DiffusionPolicy}[name]
    policy = kind(horizon=1, execute=1, history=1, inference_steps=20)
    one, five = np.ones(1), np.full(1, 5.0)
    policy.equip("toy", {"x": 1}, 1, Normalisation(mean=0 * one, std=one, centre=one, half_range=five))
    policy._network = Exact(PROCESSES[name][1](0.0, SD))
    return policy


def drawn(policy, steering=None) -> np.ndarray:
    samples = policy.plan({"x": np.zeros((1, 1, 1))}, [np.random.default_rng(0)], 20_000, steering=steering).samples
    return (samples.ravel() - 1.0) / (5 * SD)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_policy_takes_rewards_and_starts_in_action_units(name):
    policy = exact_policy(name)
    plain = drawn(policy).mean()
    tilted = drawn(policy, Steering(reward=lambda chunk: chunk[..., 0, 0] / (5 * SD)))
    assert tilted.mean() - plain == pytest.approx(1.0, abs=0.06)
    near = drawn(policy, Steering(start=np.full((1, 1, 1), 1.0 + 2 * 5 * SD), start_level=0.05))
    assert near.mean() == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_start_without_noise_is_returned_exactly(name):
    start = np.float32([[[123.456]]])  # far outside of what was demonstrated
    output = exact_policy(name).plan(
        {"x": np.zeros((1, 1, 1))}, [np.random.default_rng(0)], 3, steering=Steering(start=start, start_level=0.0)
    )
    np.testing.assert_array_equal(output.chunk, start)
    np.testing.assert_array_equal(output.samples, np.broadcast_to(start[:, None], (1, 3, 1, 1)))


def test_impossible_steering_is_refused():
    for settings, message in (
        ({"start_level": 0.5}, "start"),
        ({"start": np.zeros((1, 1, 1)), "start_level": 1.5}, "start_level"),
        ({"start": np.zeros((1, 1, 1)), "start_level": float("nan")}, "start_level"),
        ({"scale": float("inf")}, "scale"),
    ):
        with pytest.raises(ConfigError, match=message):
            Steering(**settings)
    policy = exact_policy("flow")
    for steering, message in (
        (Steering(start=np.zeros((2, 1, 1))), r"\(2, 1, 1\), must be \(1, 1, 1\)"),
        (Steering(start=np.full((1, 1, 1), np.nan)), "NaN"),
        (Steering(reward=lambda chunk: chunk.sum()), "one number a chunk"),
        (Steering(reward=lambda chunk: chunk[..., 0, 0].detach()), "differentiable"),
    ):
        with pytest.raises(ConfigError, match=message):
            drawn(policy, steering)
