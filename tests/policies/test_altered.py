"""What perturbations of the policy channel change about a chunk policy, and that they change nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from workbench.errors import CheckpointError, ConfigError
from workbench.policies.chunks.chunk_policy import ALTERABLE, ChunkPolicy
from workbench.policies.diffusion import HIGHEST, DiffusionPolicy
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning.training import train
from workbench.types import Demonstration

SMALL = {"hidden": 32, "blocks": 1, "embedding": 8, "horizon": 4, "execute": 2, "history": 2}
SIZES = {"pose": 3, "fingers": 2}


def trained(kind: type[ChunkPolicy], task: str = "toy", seed: int = 0, **settings) -> ChunkPolicy:
    rng, made = np.random.default_rng(0), []
    for _ in range(12):
        seen = {key: rng.normal(size=(9, size)) for key, size in SIZES.items()}
        made.append(Demonstration(seen, np.tanh(seen["pose"] + 0.1 * rng.normal(size=(9, 3)))))
    policy = kind(**{**SMALL, "condition_dropout": 0.2, **settings})
    train(policy, made, task=task, iterations=30, batch=16, warmup=5, seed=seed)
    return policy


@pytest.fixture(scope="module", params=[FlowPolicy, DiffusionPolicy])
def policy(request) -> ChunkPolicy:
    return trained(request.param)


def plan(policy: ChunkPolicy, scale: float = 1.0):
    rng = np.random.default_rng(1)
    observation = {key: scale * rng.normal(size=(3, 2, size)) for key, size in SIZES.items()}
    return policy.plan(observation, [np.random.default_rng(100 + scene) for scene in range(3)], samples=2)


def parts(output) -> list[bytes]:
    return [output.chunk.tobytes(), output.samples.tobytes(), output.embedding.tobytes()]


CHANGES = [
    {"inference_steps": 1},
    {"noise_scale": 3.0},
    {"normalisation_scale": 3.0},
    {"guidance": 1.0},
    {"self_guidance": 1.0},
]


@pytest.mark.parametrize("settings", CHANGES)
def test_altered_policy_plans_otherwise_and_the_own_one_as_before(policy, settings):
    before = parts(plan(policy))
    changed = policy.altered(settings)
    assert parts(plan(changed))[0] != before[0]
    assert parts(plan(policy)) == before
    assert changed.network is policy.network
    assert parts(plan(policy.altered({}))) == before


def test_own_values_change_nothing(policy):
    own = {name: getattr(policy, name) for name in ("inference_steps", "guidance", "self_guidance")}
    same = policy.altered({**own, "noise_scale": 1.0, "normalisation_scale": 1.0})
    assert parts(plan(same)) == parts(plan(policy))


def test_number_of_steps_is_that_of_a_policy_made_with_it(policy, tmp_path):
    policy.save(tmp_path)
    other = type(policy).load(tmp_path)
    other.inference_steps = 3
    assert parts(plan(policy.altered({"inference_steps": 3}))) == parts(plan(other))


def test_noise_is_scaled_for_chunk_and_samples(policy, monkeypatch):
    drawn = []
    infer = ChunkPolicy._infer
    monkeypatch.setattr(
        ChunkPolicy, "_infer", lambda self, seen, noise, *rest: drawn.append(noise) or infer(self, seen, noise, *rest)
    )
    plan(policy)
    plan(policy.altered({"noise_scale": 2.5}))
    assert drawn[0].shape == (3, 3, 4, 3)
    assert torch.equal(drawn[1], drawn[0] * 2.5)


def test_observations_are_divided_by_other_deviations(policy):
    altered, own = policy.altered({"normalisation_scale": 4.0}), policy.normalisation
    seen = np.random.default_rng(2).normal(size=(6, 5))
    np.testing.assert_allclose(altered.normalisation.observation(seen), own.observation(seen) / 4.0, rtol=1e-6)
    assert dataclasses.replace(altered.normalisation, std=own.std).record(SIZES) == own.record(SIZES)


def test_another_checkpoint_plans_in_its_place(policy, tmp_path):
    other = trained(type(policy), seed=1)
    other.save(tmp_path)
    assert parts(plan(policy.altered({"checkpoint": str(tmp_path)}))) == parts(plan(other)) != parts(plan(policy))
    both = policy.altered({"checkpoint": str(tmp_path), "inference_steps": 1})
    assert parts(plan(both)) == parts(plan(other.altered({"inference_steps": 1})))


def test_a_checkpoint_that_does_not_fit_is_refused(policy, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        policy.altered({"checkpoint": str(tmp_path / "none")})
    trained(type(policy), task="another").save(tmp_path / "task")
    with pytest.raises(CheckpointError, match="trained on task 'another', not 'toy'"):
        policy.altered({"checkpoint": str(tmp_path / "task")})
    for name, value in (("horizon", 6), ("history", 1), ("embedding", 4)):
        trained(type(policy), **{name: value}).save(tmp_path / name)
        with pytest.raises(ConfigError, match=f"its {name} is {value}, not {SMALL[name]}"):
            policy.altered({"checkpoint": str(tmp_path / name)})


@pytest.mark.parametrize(
    "wrong",
    [{"inference_steps": 0}, {"inference_steps": 1.5}, {"inference_steps": True}]
    + [{name: value} for name in ("noise_scale", "normalisation_scale") for value in (0, -1.0, np.inf, np.nan, "2")]
    + [{name: value} for name in ("guidance", "self_guidance") for value in (-1.0, np.inf, np.nan, "2", True)],
)
def test_impossible_settings_are_refused(policy, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        policy.altered(wrong)


def test_unknown_settings_are_refused_with_the_known_ones(policy):
    with pytest.raises(ConfigError, match=f"'temprature'.*{', '.join(ALTERABLE)}"):
        policy.altered({"temprature": 2.0})


def test_settings_that_a_policy_is_not_made_for_are_refused():
    plain = trained(DiffusionPolicy, condition_dropout=0.0, history=1)
    with pytest.raises(ConfigError, match="condition_dropout above 0"):
        plain.altered({"guidance": 1.0})
    with pytest.raises(ConfigError, match="history of at least 2"):
        plain.altered({"self_guidance": 1.0})
    with pytest.raises(ConfigError, match=f"at most {HIGHEST}"):
        plain.altered({"inference_steps": HIGHEST + 1})
    assert plain.altered({"guidance": 0.0, "self_guidance": 0, "inference_steps": HIGHEST}).guidance == 0.0
