"""The laws that every denoiser keeps, alone and in every policy."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from workbench.errors import CheckpointError, ConfigError, UnknownNameError
from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.diffusion import DiffusionPolicy
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning.training import train
from workbench.policies.networks.denoisers import DENOISERS
from workbench.types import Demonstration

POLICIES: list[type[ChunkPolicy]] = [FlowPolicy, DiffusionPolicy]
SMALL: dict[str, Any] = {"hidden": 32, "blocks": 1, "embedding": 8, "horizon": 4, "execute": 2}
HORIZON, ACTIONS, EMBEDDING = 8, 3, 6

each_denoiser = pytest.mark.parametrize("denoiser", DENOISERS)
each_policy = pytest.mark.parametrize("kind", POLICIES)


def network(denoiser: str, hidden: int = 64, blocks: int = 2) -> nn.Module:
    torch.manual_seed(0)
    made = DENOISERS[denoiser](HORIZON, ACTIONS, hidden, blocks, EMBEDDING).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)  # gates that begin closed show nothing
    return made


def question(scenes: int = 2, samples: int = 3, tokens: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return (
        torch.randn((scenes, samples, HORIZON, ACTIONS), generator=random),
        torch.rand((scenes, samples), generator=random),
        torch.randn((scenes, tokens, EMBEDDING), generator=random),
    )


def demonstrations(count: int = 8, steps: int = 9) -> list[Demonstration]:
    rng = np.random.default_rng(0)
    return [
        Demonstration({"pose": rng.normal(size=(steps, 3))}, rng.uniform(-1, 1, size=(steps, 2))) for _ in range(count)
    ]


def observation(scenes: int) -> dict[str, np.ndarray]:
    return {"pose": np.random.default_rng(1).normal(size=(scenes, 2, 3))}


def noise(scenes: int) -> list[np.random.Generator]:
    return [np.random.default_rng(100 + scene) for scene in range(scenes)]


def trained(kind: type[ChunkPolicy], denoiser: str, **settings: Any) -> ChunkPolicy:
    policy = kind(denoiser=denoiser, **{**SMALL, **settings})
    train(policy, demonstrations(), task="toy", iterations=3, batch=8, warmup=1)
    return policy


@each_denoiser
def test_a_prediction_has_the_shape_of_the_chunk(denoiser: str) -> None:
    for scenes, samples, tokens in ((1, 1, 1), (3, 1, 4), (2, 5, 1)):
        chunk, level, seen = question(scenes, samples, tokens)
        assert network(denoiser)(chunk, level, seen).shape == chunk.shape


@each_denoiser
def test_a_level_that_all_share_may_be_told_once(denoiser: str) -> None:
    chunk, _, tokens = question()
    net = network(denoiser)
    each = net(chunk, torch.full(chunk.shape[:2], 0.3), tokens)
    torch.testing.assert_close(net(chunk, torch.full((1, 1), 0.3), tokens), each, rtol=0, atol=1e-5)


@each_denoiser
def test_every_action_level_and_token_matters_to_its_own_chunk_alone(denoiser: str) -> None:
    """Derivatives of one action of one chunk: none is zero within that chunk, all are exactly zero outside it."""
    chunk, level, tokens = (values.requires_grad_() for values in question())
    net = network(denoiser)
    for action in range(HORIZON):
        made = net(chunk, level, tokens)[1, 1, action].sum()
        at_chunk, at_level, at_tokens = torch.autograd.grad(made, (chunk, level, tokens))
        assert (at_chunk[1, 1].abs().sum(dim=1) > 1e-7).all()
        assert at_level[1, 1].abs() > 1e-7
        assert (at_tokens[1].abs().sum(dim=1) > 1e-7).all()
        at_chunk[1, 1], at_level[1, 1], at_tokens[1] = 0.0, 0.0, 0.0
        assert not at_chunk.any()
        assert not at_level.any()
        assert not at_tokens.any()


@each_denoiser
def test_levels_and_tokens_change_more_than_rounding(denoiser: str) -> None:
    chunk, level, tokens = question()
    net = network(denoiser)
    made = net(chunk, level, tokens)
    assert (net(chunk, 1 - level, tokens) - made).abs().max() > 1e-2
    assert (net(chunk, level, tokens + 1) - made).abs().max() > 1e-2


@each_denoiser
def test_the_order_of_actions_matters(denoiser: str) -> None:
    """Attention without positions, for one, would answer a reversed chunk with the reversed prediction."""
    chunk, level, tokens = question()
    net = network(denoiser)
    assert (net(chunk.flip(2), level, tokens).flip(2) - net(chunk, level, tokens)).abs().max() > 1e-3


def test_the_transformer_sees_more_of_the_tokens_than_their_mean_and_holds_them_once() -> None:
    chunk, level, tokens = question(samples=3, tokens=2)
    net = network("transformer")
    seen: list[torch.Size] = []
    for layer in net.layers:
        layer.to_observation.key_value.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    mean = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
    assert (net(chunk, level, mean) - net(chunk, level, tokens)).abs().max() > 1e-4
    assert set(seen) == {tokens.shape}


@each_denoiser
def test_blocks_make_it_deeper(denoiser: str) -> None:
    sizes = [sum(each.numel() for each in network(denoiser, blocks=blocks).parameters()) for blocks in (1, 2, 3)]
    assert 0 < sizes[1] - sizes[0] == sizes[2] - sizes[1]


@each_denoiser
def test_single_precision_differs_by_rounding_only(denoiser: str) -> None:
    inputs = question()
    single, double = network(denoiser), network(denoiser).double()
    found, exact = single(*inputs), double(*(values.double() for values in inputs))
    assert exact.dtype == torch.float64
    assert 0 < (found - exact).abs().max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_denoiser
@each_policy
def test_a_device_changes_nothing_but_rounding(kind: type[ChunkPolicy], denoiser: str) -> None:
    """Chunks, so that what the process does between the evaluations is covered too."""
    policy = trained(kind, denoiser)
    start = torch.randn((2, 3, 4, 2), generator=torch.Generator().manual_seed(0))
    tokens = torch.randn((2, 1, 8), generator=torch.Generator().manual_seed(1))
    # Convolutions on CUDA round to 10 bits unless told otherwise.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = policy.sample(tokens, start)
        policy.network.to("cuda")
        found = policy.sample(tokens.cuda(), start.cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


@each_denoiser
@each_policy
def test_neither_company_nor_samples_change_what_a_scene_is_given(kind: type[ChunkPolicy], denoiser: str) -> None:
    policy = trained(kind, denoiser, hidden=64, horizon=8)
    # Samples of 16 scenes in a product, of 9 and then 7, and of one.
    together = {samples: policy.plan(observation(64), noise(64), samples) for samples in (3, 7, 65)}
    for scene in (0, 17, 63):
        seen = {key: values[scene : scene + 1] for key, values in observation(64).items()}
        drawn = []
        for samples, output in together.items():
            alone = policy.plan(seen, [noise(64)[scene]], samples)
            assert alone.samples is not None
            assert output.samples is not None
            np.testing.assert_array_equal(alone.chunk[0], together[3].chunk[scene])
            np.testing.assert_array_equal(alone.samples[0], output.samples[scene])
            drawn.append(alone.samples[0, :3])
        np.testing.assert_allclose(drawn[1:], [drawn[0]] * 2, atol=1e-4)
        np.testing.assert_array_equal(policy.plan(seen, [noise(64)[scene]]).chunk[0], together[3].chunk[scene])


@each_denoiser
@each_policy
def test_learns_both_modes_of_a_distribution(kind: type[ChunkPolicy], denoiser: str) -> None:
    """The same observation is followed by +0.8 or -0.8; a regression to the mean would answer 0."""
    rng = np.random.default_rng(0)
    toys = [
        Demonstration({"x": np.zeros((4, 1))}, (0.8 if number % 2 else -0.8) + 0.05 * rng.normal(size=(4, 1)))
        for number in range(40)
    ]
    policy = kind(**{**SMALL, "denoiser": denoiser, "hidden": 64, "inference_steps": 10, "history": 1})
    train(policy, toys, task="toy", iterations=250, batch=64, learning_rate=3e-3, warmup=20)
    drawn = policy.plan({"x": np.zeros((1, 1, 1))}, noise(1), samples=300).samples
    assert drawn is not None
    first = drawn[0, :, 0, 0]
    assert 0.3 < (first > 0).mean() < 0.7
    assert (np.abs(np.abs(first) - 0.8) < 0.25).mean() > 0.85


@each_denoiser
@each_policy
def test_round_trip_is_exact(kind: type[ChunkPolicy], denoiser: str, tmp_path: Path) -> None:
    policy = trained(kind, denoiser)
    policy.save(tmp_path)
    again = kind.load(tmp_path, "toy", {"pose": 3})
    assert again.config == policy.config
    ours, theirs = policy.plan(observation(3), noise(3), 4), again.plan(observation(3), noise(3), 4)
    for name in ("chunk", "samples", "embedding"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize(("denoiser", "other"), list(itertools.permutations(DENOISERS, 2)))
def test_weights_of_another_denoiser_are_refused_in_one_line(denoiser: str, other: str, tmp_path: Path) -> None:
    trained(FlowPolicy, denoiser).save(tmp_path)
    record = json.loads((tmp_path / "policy.json").read_text())
    del record["record_sha256"]
    record["config"]["denoiser"] = other
    (tmp_path / "policy.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"its weights \S+ are .*, and it needs") as caught:
        FlowPolicy.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"denoiser": "unet", "horizon": 10}, r"horizon=10 must be a multiple of 4 .*ask for 8"),
        ({"denoiser": "unet", "hidden": 48}, r"hidden=48 must be a multiple of 32"),
        ({"denoiser": "transformer", "hidden": 20}, r"hidden=20 must be a multiple of 8"),
    ],
)
def test_sizes_that_a_denoiser_cannot_have_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FlowPolicy(**{"execute": 2, **settings})
    FlowPolicy(**{"execute": 2, **settings, "denoiser": "mlp"})


def test_an_unknown_denoiser_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'unet'"):
        FlowPolicy(denoiser="u-net")
