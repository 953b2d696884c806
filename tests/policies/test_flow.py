"""The flow policy: what it learns, how it draws, what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save

from workbench.errors import CheckpointError, ConfigError, ObservationError, UnknownNameError
from workbench.policies.chunks.relative import differences
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning import training
from workbench.policies.learning.demonstrations import rows_of, split, windows_of
from workbench.policies.learning.training import train
from workbench.types import Demonstration

SMALL = {"hidden": 32, "blocks": 1, "embedding": 8, "horizon": 4, "execute": 2, "history": 2}


def demonstrations(count: int = 12, steps: int = 9, actions: int = 3) -> list[Demonstration]:
    rng = np.random.default_rng(0)
    made: list[Demonstration] = []
    for _ in range(count):
        seen = {"pose": rng.normal(size=(steps, 3)), "fingers": rng.normal(size=(steps, 2))}
        made.append(
            Demonstration(seen, np.tanh(seen["pose"] @ np.eye(3, actions) + 0.1 * rng.normal(size=(steps, actions))))
        )
    return made


def trained(**settings: Any) -> FlowPolicy:
    policy = FlowPolicy(**{**SMALL, **settings})
    train(policy, demonstrations(), task="toy", iterations=30, batch=16, warmup=5)
    return policy


@pytest.fixture(scope="module")
def policy() -> FlowPolicy:
    return trained()


def observation(scenes: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"pose": rng.normal(size=(scenes, 2, 3)), "fingers": rng.normal(size=(scenes, 2, 2))}


def noise(scenes: int) -> list[np.random.Generator]:
    return [np.random.default_rng(100 + scene) for scene in range(scenes)]


def test_learns_both_modes_of_a_distribution() -> None:
    """The same observation is followed by +0.8 or -0.8; a regression to the mean would answer 0."""
    rng = np.random.default_rng(0)
    toys: list[Demonstration] = []
    for number in range(40):
        mode = 0.8 if number % 2 else -0.8
        toys.append(Demonstration({"x": np.zeros((4, 1))}, mode + 0.05 * rng.normal(size=(4, 1))))
    policy = FlowPolicy(hidden=48, blocks=1, embedding=4, horizon=2, execute=1, history=1, inference_steps=10)
    curve = train(policy, toys, task="toy", iterations=300, batch=64, learning_rate=3e-3, warmup=20)
    drawn = policy.plan({"x": np.zeros((1, 1, 1))}, noise(1), samples=400).samples
    assert drawn is not None
    first = drawn[0, :, 0, 0]
    assert 0.3 < (first > 0).mean() < 0.7
    assert (np.abs(np.abs(first) - 0.8) < 0.25).mean() > 0.85
    assert curve.validation[-1] < 0.8 * curve.validation[0]


def test_actions_follow_the_observation() -> None:
    """One mode, a function of the observation: what is drawn must be near it, held-out windows included."""
    rng = np.random.default_rng(0)
    toys: list[Demonstration] = []
    for _ in range(30):
        x = np.repeat(rng.uniform(-1, 1, size=(1, 1)), 6, axis=0)
        toys.append(Demonstration({"x": x}, 0.9 * x))
    policy = FlowPolicy(hidden=48, blocks=1, embedding=8, horizon=2, execute=1, history=1)
    curve = train(policy, toys, task="toy", iterations=300, batch=64, learning_rate=3e-3, warmup=20)
    x = np.linspace(-0.8, 0.8, 9).reshape(9, 1, 1)
    assert np.abs(policy.plan({"x": x}, noise(9)).chunk[:, 0] - 0.9 * x[:, 0]).max() < 0.15
    assert curve.error["action"][-1] < 0.1


def test_shapes_and_range(policy: FlowPolicy) -> None:
    output = policy.plan(observation(3), noise(3), samples=5)
    assert output.chunk.shape == (3, 4, 3)
    assert output.samples is not None
    assert output.samples.shape == (3, 5, 4, 3)
    assert output.embedding is not None
    assert output.embedding.shape == (3, 8)
    assert {array.dtype for array in (output.chunk, output.samples, output.embedding)} == {np.dtype(np.float32)}
    low, high = (bound([each.actions.ravel() for each in demonstrations()]) for bound in (np.min, np.max))
    assert low - 1e-6 <= output.samples.min() <= output.samples.max() <= high + 1e-6
    assert policy.plan(observation(3), noise(3)).samples is None


def test_number_of_samples_does_not_change_the_chunk(policy: FlowPolicy) -> None:
    alone = policy.plan(observation(3), noise(3)).chunk
    for samples in (1, 7, 64):
        np.testing.assert_array_equal(policy.plan(observation(3), noise(3), samples).chunk, alone)


def test_batch_does_not_change_a_scene(policy: FlowPolicy) -> None:
    together = policy.plan(observation(64), noise(64), samples=3)
    assert together.samples is not None
    assert together.embedding is not None
    for scene in (0, 17, 63):
        seen = {key: values[scene : scene + 1] for key, values in observation(64).items()}
        alone = policy.plan(seen, [noise(64)[scene]], samples=3)
        assert alone.samples is not None
        assert alone.embedding is not None
        np.testing.assert_array_equal(alone.chunk[0], together.chunk[scene])
        np.testing.assert_array_equal(alone.samples[0], together.samples[scene])
        np.testing.assert_array_equal(alone.embedding[0], together.embedding[scene])


def test_noise_and_observation_both_matter(policy: FlowPolicy) -> None:
    first = policy.plan(observation(1), noise(1), samples=2)
    assert first.samples is not None
    assert np.abs(first.samples[0, 0] - first.samples[0, 1]).max() > 1e-3
    assert np.abs(first.chunk[0] - first.samples[0, 0]).max() > 1e-3
    older = observation(1)
    older["pose"] = older["pose"] + np.array([[[1.0], [0.0]]])
    changed = policy.plan(older, noise(1)).embedding
    assert first.embedding is not None
    assert changed is not None
    assert np.abs(changed - first.embedding).max() > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_broken_observation_is_refused_by_scene_and_key(policy: FlowPolicy, value: float) -> None:
    broken = observation(4)
    broken["fingers"][2, 0, 1] = value
    with pytest.raises(ObservationError, match=r"'fingers' of scene 2"):
        policy.plan(broken, noise(4))


def test_missing_or_misshapen_observation_is_refused(policy: FlowPolicy) -> None:
    with pytest.raises(ObservationError, match="pose"):
        policy.plan({"fingers": np.zeros((1, 2, 2))}, noise(1))
    with pytest.raises(ObservationError, match="fingers"):
        policy.plan({**observation(1), "fingers": np.zeros((1, 1, 2))}, noise(1))


def test_untrained_policy_refuses_to_plan() -> None:
    with pytest.raises(CheckpointError, match="train"):
        FlowPolicy(**SMALL).plan(observation(1), noise(1))


@pytest.mark.parametrize("settings", [{"execute": 17}, {"hidden": 0}, {"inference_steps": 2.5}, {"history": True}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        FlowPolicy(**settings)


def test_reads_only_the_chosen_observations() -> None:
    policy = trained(observations=["pose"])
    assert policy.layout == {"pose": 3}
    seen = observation(1)
    same = policy.plan({**seen, "fingers": seen["fingers"] * np.nan}, noise(1)).chunk
    np.testing.assert_array_equal(same, policy.plan(seen, noise(1)).chunk)
    with pytest.raises(UnknownNameError, match="pose"):
        trained(observations=["poze"])


def test_statistics_make_scales_irrelevant(policy: FlowPolicy) -> None:
    """Actions that never move come back exactly; the others keep their own range."""
    made = [
        replace(each, actions=np.column_stack([1000 * each.actions[:, 0], np.full(len(each.actions), 0.3)]))
        for each in demonstrations()
    ]
    scaled = FlowPolicy(**SMALL)
    train(scaled, made, task="toy", iterations=5, batch=8)
    chunk = scaled.plan(observation(5), noise(5)).chunk
    assert np.abs(chunk[..., 0]).max() > 50
    np.testing.assert_array_equal(chunk[..., 1], np.float32(0.3))


def test_round_trip_is_exact(policy: FlowPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    again = FlowPolicy.load(tmp_path, "toy", {"pose": 3, "fingers": 2})
    ours, theirs = policy.plan(observation(3), noise(3), 4), again.plan(observation(3), noise(3), 4)
    for name in ("chunk", "samples", "embedding"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert (again.task, again.layout, again.recipe) == (policy.task, policy.layout, policy.recipe)
    record = json.loads((tmp_path / "policy.json").read_text())
    assert {"torch", "numpy", "safetensors"} <= set(record["versions"])


def test_saving_again_replaces_and_leaves_nothing_behind(policy: FlowPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    other = trained(embedding=6)
    other.save(tmp_path)
    assert FlowPolicy.load(tmp_path).config["embedding"] == 6
    assert len(list(tmp_path.iterdir())) == 2


def test_killed_while_saving_leaves_the_old_checkpoint(
    policy: FlowPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy.save(tmp_path)
    whole = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if Path(target).name == "policy.json":
            raise KeyboardInterrupt
        return whole(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(embedding=6).save(tmp_path)
    assert FlowPolicy.load(tmp_path).config["embedding"] == SMALL["embedding"]


def damage(folder: Path, kind: str) -> None:
    weights = next(folder.glob("*.safetensors"))
    record = json.loads((folder / "policy.json").read_text())
    del record["record_sha256"]  # as somebody would who means it
    if kind == "no folder":
        shutil.rmtree(folder)
    elif kind == "no weights":
        weights.unlink()
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "tampered":
        data = bytearray(weights.read_bytes())
        data[-5] ^= 1
        weights.write_bytes(bytes(data))
    elif kind in ("tampered throughout", "NaN weights", "infinite weights"):
        if kind == "tampered throughout":
            data = weights.read_bytes()[: weights.stat().st_size // 2]
        else:
            tensors = load_file(weights)
            tensors["denoiser.from_chunk.bias"][3] = np.nan if kind == "NaN weights" else np.inf
            data = save(tensors)
        weights.write_bytes(data)
        (folder / "policy.json").write_text(json.dumps({**record, "sha256": hashlib.sha256(data).hexdigest()}))
    elif kind == "not json":
        (folder / "policy.json").write_text("{")
    else:
        if kind == "no statistics":
            del record["statistics"]
        elif kind == "partial statistics":
            del record["statistics"]["observation"]["pose"]
        elif kind == "infinite statistics":
            record["statistics"]["action"]["centre"][0] = float("inf")
        elif kind == "other network":
            record["config"]["hidden"] = 33
        elif kind == "unknown setting":
            record["config"]["hiden"] = 33
        (folder / "policy.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "kind",
    [
        "no folder",
        "no weights",
        "truncated",
        "tampered",
        "tampered throughout",
        "NaN weights",
        "infinite weights",
        "not json",
        "no statistics",
        "partial statistics",
        "infinite statistics",
        "other network",
        "unknown setting",
    ],
)
def test_damaged_checkpoint_is_refused_in_one_line(policy: FlowPolicy, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "policy"
    policy.save(folder)
    FlowPolicy.load(folder)
    damage(folder, kind)
    with pytest.raises(CheckpointError) as caught:
        FlowPolicy.load(folder)
    assert str(caught.value).count("\n") == 0


def test_checkpoint_of_another_task_or_layout_is_refused(policy: FlowPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"'toy'.*'lift'"):
        FlowPolicy.load(tmp_path, task="lift")
    for sizes in ({"pose": 3}, {"pose": 4, "fingers": 2}, {"pose": 3, "fingers": 2, "more": 1}):
        with pytest.raises(CheckpointError, match="layout"):
            FlowPolicy.load(tmp_path, observation_sizes=sizes)


class OtherPolicy(FlowPolicy):
    pass


def test_checkpoint_of_another_kind_of_policy_is_refused(policy: FlowPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds a FlowPolicy, not OtherPolicy; choose another policy="):
        OtherPolicy.load(tmp_path)


def test_checkpoint_of_chosen_observations_ignores_others(tmp_path: Path) -> None:
    trained(observations=["pose"]).save(tmp_path)
    FlowPolicy.load(tmp_path, observation_sizes={"pose": 3, "more": 1})
    with pytest.raises(CheckpointError, match="layout"):
        FlowPolicy.load(tmp_path, observation_sizes={"more": 1})


def test_windows_repeat_the_first_observation_and_the_last_action() -> None:
    past, future = rows_of([3, 3], history=2, horizon=3)
    assert past.tolist() == [[0, 0], [0, 1], [1, 2], [3, 3], [3, 4], [4, 5]]
    assert future.tolist() == [[0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 4, 5], [4, 5, 5], [5, 5, 5]]


def test_a_batch_holds_what_the_windows_say(policy: FlowPolicy) -> None:
    made = demonstrations(3)
    seen, chunks = windows_of(policy, made).batch(torch.tensor([0, 10, 26]))
    scale = policy.normalisation
    states = [
        scale.observation(np.concatenate([each.observation[key] for key in ("fingers", "pose")], axis=1))
        for each in made
    ]
    actions = [scale.action(each.actions) for each in made]
    np.testing.assert_array_equal(seen["state"], [states[0][[0, 0]], states[1][[0, 1]], states[2][[7, 8]]])
    np.testing.assert_array_equal(chunks, [actions[0][:4], actions[1][1:5], actions[2][[8, 8, 8, 8]]])


RECIPE: dict[str, Any] = {"task": "toy", "iterations": 40, "batch": 16, "warmup": 5}


class InterruptedHereError(Exception):
    pass


def interrupt_at(step: int) -> Any:
    def progress(done: int, loss: float) -> None:
        if done == step:
            raise InterruptedHereError

    return progress


def weights(policy: FlowPolicy) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in policy.network.state_dict().items()}


def test_resumed_training_equals_uninterrupted(tmp_path: Path) -> None:
    straight, resumed = FlowPolicy(**SMALL), FlowPolicy(**SMALL)
    expected = train(straight, demonstrations(), **RECIPE)
    with pytest.raises(InterruptedHereError):
        train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, folder=tmp_path, save_every=7, progress=interrupt_at(23))
    seen: list[int] = []
    found = train(resumed, demonstrations(), **RECIPE, folder=tmp_path, progress=lambda done, loss: seen.append(done))
    assert seen[0] == 22  # the state of step 21 was taken up: it did not begin anew
    assert found == expected
    for name, values in weights(straight).items():
        np.testing.assert_array_equal(weights(resumed)[name], values)


def test_state_of_another_training_is_refused(tmp_path: Path) -> None:
    train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"batch.*remove"):
        train(FlowPolicy(**SMALL), demonstrations(), **{**RECIPE, "batch": 8}, folder=tmp_path)
    with pytest.raises(ConfigError, match="data"):
        train(FlowPolicy(**SMALL), demonstrations()[::-1], **RECIPE, folder=tmp_path)
    state = tmp_path / training.STATE
    state.write_bytes(state.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="remove"):
        train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, folder=tmp_path)


def test_training_is_deterministic_for_a_seed_and_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(5)
        policy = FlowPolicy(**SMALL)
        train(policy, demonstrations(), **RECIPE, seed=seed)
        assert torch.equal(torch.rand(1), expected)
        made.append(weights(policy)["encoder.layers.0.weight"])
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2]).max() > 1e-3


def test_policy_is_given_the_average_and_not_the_last_weights(tmp_path: Path) -> None:
    policy = FlowPolicy(**SMALL)
    train(policy, demonstrations(), **RECIPE, folder=tmp_path)
    state = load_file(tmp_path / training.STATE)
    name = "encoder.layers.0.weight"
    np.testing.assert_array_equal(weights(policy)[name], state[f"average/{name}"])
    assert np.abs(state[f"average/{name}"] - state[f"weights/{name}"]).max() > 1e-4


def test_average_follows_its_formula() -> None:
    policy = trained()
    state = training.TrainingState(policy, {"seed": 0, "learning_rate": 1e-3, "weight_decay": 0.0, "ema_decay": 0.9})
    expected = state.average.denoiser.from_chunk.bias.detach().clone()
    for step in range(1, 200):
        with torch.no_grad():
            state.network.denoiser.from_chunk.bias.fill_(float(step))
        state.step = step
        state.update_average()
        decay = min(0.9, step / (step + 10))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(state.average.denoiser.from_chunk.bias.detach(), expected)


def test_fine_tuning_starts_from_the_weights_and_statistics_it_is_given(policy: FlowPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    tuned = FlowPolicy.load(tmp_path)
    shifted = [
        Demonstration({key: 5 + value for key, value in each.observation.items()}, each.actions)
        for each in demonstrations()
    ]
    train(tuned, shifted, task="toy", iterations=1, batch=4, learning_rate=1e-9)
    for name, values in weights(policy).items():
        np.testing.assert_allclose(weights(tuned)[name], values, atol=1e-6)
    np.testing.assert_array_equal(tuned.normalisation.mean, policy.normalisation.mean)
    with pytest.raises(ConfigError, match="'toy'"):
        train(tuned, shifted, task="lift", iterations=1)


def test_held_out_demonstrations_are_not_trained_on() -> None:
    made = demonstrations(20)
    kept, held = split(made, 0.1, seed=0)
    assert (len(kept), len(held)) == (18, 2)
    assert not {id(each) for each in kept} & {id(each) for each in held}
    assert [len(part) for part in split(made[:2], 0.0, seed=0)] == [1, 1]


@pytest.mark.parametrize(
    "wrong", [{"iterations": 0}, {"batch": 1.5}, {"held_out": 1.0}, {"ema_decay": 1.2}, {"learning_rate": 0.0}]
)
def test_impossible_recipes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        train(FlowPolicy(**SMALL), demonstrations(), **{**RECIPE, **wrong})


def test_impossible_demonstrations_are_refused() -> None:
    good = demonstrations(3)
    for broken, message in (
        (good[:1], "too few"),
        ([*good, replace(good[0], actions=good[0].actions * np.nan)], "demonstration 3 holds NaN"),
        ([*good, replace(good[0], actions=good[0].actions[:-1])], "differ in length"),
        ([*good, replace(good[0], observation={"pose": good[0].observation["pose"]})], "layout"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(FlowPolicy(**SMALL), broken, **RECIPE)


def test_differences_of_positions_are_shown_at_every_scale() -> None:
    layout = {"eef_pos": 3, "goal": 1, "nut_pos": 3, "pusher_pos": 2}
    vectors = np.array([[0.1, 0.2, 0.3, 9.0, 0.11, 0.2, 0.1, 0.0, 0.0]])
    shown = differences(vectors, layout, [0.01, 0.1])
    apart = np.array([-0.01, 0.0, 0.2, 0.1, 0.2, 0.11, 0.2])
    np.testing.assert_allclose(shown, np.tanh(np.concatenate([apart / 0.01, apart / 0.1]))[None])
    assert differences(vectors[:, :3], {"eef_pos": 3}, [0.01]).shape == (1, 0)
    assert differences(vectors, layout, []).shape == (1, 0)


def test_policy_with_differences_survives_a_round_trip_and_needs_its_statistics(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(6):
        seen = {"eef_pos": rng.normal(size=(9, 3)), "cube_pos": rng.normal(size=(9, 3))}
        made.append(Demonstration(seen, np.tanh(10 * (seen["cube_pos"] - seen["eef_pos"]))))
    policy = FlowPolicy(**SMALL, relative_scales_m=[0.02])
    train(policy, made, task="toy", iterations=5, batch=16, warmup=1)
    policy.save(tmp_path)
    seen = {key: rng.normal(size=(2, 2, 3)) for key in ("eef_pos", "cube_pos")}
    again = FlowPolicy.load(tmp_path, task="toy", observation_sizes={"cube_pos": 3, "eef_pos": 3})
    np.testing.assert_array_equal(again.plan(seen, noise(2)).chunk, policy.plan(seen, noise(2)).chunk)
    record = json.loads((tmp_path / "policy.json").read_text())
    del record["record_sha256"]
    del record["statistics"]["observation"]["relative"]
    (tmp_path / "policy.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="relative"):
        FlowPolicy.load(tmp_path)
