"""Training: interrupted, evaluated on the way, on other devices, and what is told of each group of an action."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from workbench.envs.tasks.lift import Lift
from workbench.envs.tasks.push_t import PushT
from workbench.errors import ConfigError, UnknownNameError
from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning import training
from workbench.policies.learning.demonstrations import split, windows_of
from workbench.policies.learning.training import train
from workbench.policies.learning.training_curve import errors_by_group, spread_by_group, warning_of
from workbench.types import Demonstration, Record

SMALL: dict[str, Any] = {"hidden": 32, "blocks": 1, "embedding": 8, "horizon": 4, "execute": 2, "history": 2}
GROUPS = {"position": (0, 2), "gripper": (2, 3)}
RECIPE: dict[str, Any] = {
    "task": "toy", "groups": GROUPS, "iterations": 40, "batch": 16, "warmup": 5, "evaluate_every": 15, "device": "cpu"
}  # fmt: skip


def demonstrations(count: int = 12, steps: int = 9) -> list[Demonstration]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        seen = {"pose": rng.normal(size=(steps, 3)), "fingers": rng.normal(size=(steps, 2))}
        made.append(Demonstration(seen, np.tanh(seen["pose"] + 0.1 * rng.normal(size=(steps, 3)))))
    return made


def weights(policy: ChunkPolicy) -> dict[str, np.ndarray]:
    return {name: tensor.cpu().numpy().copy() for name, tensor in policy.network.state_dict().items()}


def assert_same_weights(ours: FlowPolicy, theirs: FlowPolicy) -> None:
    for name, values in weights(ours).items():
        np.testing.assert_array_equal(weights(theirs)[name], values)


class Rolled:
    """Stands for a simulation: keeps what it was handed, and does to it what it likes."""

    def __init__(self) -> None:
        self.handed: list[dict[str, np.ndarray]] = []

    def __call__(self, policy: ChunkPolicy) -> Record:
        self.handed.append(weights(policy))
        noise = [np.random.default_rng(0)]
        successes = int(policy.plan({"pose": np.ones((1, 2, 3)), "fingers": np.ones((1, 2, 2))}, noise).chunk.sum() > 0)
        torch.rand(7)
        with torch.no_grad():
            for parameter in policy.network.parameters():
                parameter.fill_(5.0)
        policy.network.train()
        return {"episodes": 10, "successes": 4 + successes}


class InterruptedHereError(Exception):
    pass


def interrupt_at(step: int) -> Callable[[int, float], None]:
    def progress(done: int, loss: float) -> None:
        if done == step:
            raise InterruptedHereError

    return progress


@pytest.mark.parametrize("step", [14, 16, 23, 31, 39])
def test_resumed_equals_uninterrupted_with_evaluations_and_errors(tmp_path: Path, step: int) -> None:
    straight, resumed, before, after = FlowPolicy(**SMALL), FlowPolicy(**SMALL), Rolled(), Rolled()
    expected = train(straight, demonstrations(), **RECIPE, evaluate=Rolled())
    with pytest.raises(InterruptedHereError):
        train(
            FlowPolicy(**SMALL), demonstrations(), **RECIPE, evaluate=before, folder=tmp_path, save_every=7,
            progress=interrupt_at(step),
        )  # fmt: skip
    found = train(resumed, demonstrations(), **RECIPE, evaluate=after, folder=tmp_path)
    assert found == expected
    assert [each["iteration"] for each in found.evaluations] == [15, 30, 40]
    assert len(before.handed) + len(after.handed) == 3, "none is repeated and none is lost"
    assert_same_weights(straight, resumed)


def test_an_evaluation_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    def killed(policy: ChunkPolicy) -> Record:
        raise InterruptedHereError

    expected = train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, evaluate=Rolled())
    with pytest.raises(InterruptedHereError):
        train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, evaluate=killed, folder=tmp_path, save_every=7)
    assert train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, evaluate=Rolled(), folder=tmp_path) == expected


def test_evaluation_changes_nothing_and_is_handed_the_average(tmp_path: Path) -> None:
    alone, watched, rolled = FlowPolicy(**SMALL), FlowPolicy(**SMALL), Rolled()
    torch.manual_seed(3)
    without = train(alone, demonstrations(), **{**RECIPE, "evaluate_every": 0})
    averages: dict[int, np.ndarray] = {}

    def read_average(done: int, loss: float) -> None:
        averages[done] = load_file(tmp_path / training.STATE)["average/denoiser.from_chunk.weight"]

    torch.manual_seed(4)
    found = train(
        watched, demonstrations(), **RECIPE, evaluate=rolled, folder=tmp_path, save_every=1, progress=read_average
    )
    assert_same_weights(alone, watched)
    assert (found.validation, found.error) == (without.validation, without.error)
    assert without.evaluations == []
    assert [each["iteration"] for each in found.evaluations] == [15, 30, 40]
    for step, handed in zip((15, 30, 40), rolled.handed, strict=True):
        np.testing.assert_array_equal(handed["denoiser.from_chunk.weight"], averages[step])
    np.testing.assert_array_equal(rolled.handed[-1]["denoiser.from_chunk.weight"], averages[40])
    np.testing.assert_array_equal(weights(watched)["denoiser.from_chunk.weight"], averages[40])


def test_evaluations_need_something_to_evaluate_with() -> None:
    with pytest.raises(ConfigError, match="evaluate_every=15"):
        train(FlowPolicy(**SMALL), demonstrations(), **RECIPE)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"precision": "bfloat16"}, "precision"),
        ({"groups": {"all": (0, 3)}}, "groups"),
        ({"evaluate_every": 10}, "evaluate_every"),
        ({"seed": 1}, "seed"),
    ],
)
def test_resuming_with_other_settings_is_refused(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, evaluate=Rolled(), folder=tmp_path)
    with pytest.raises(ConfigError, match=rf"with other .*{named}.*; remove it"):
        train(FlowPolicy(**SMALL), demonstrations(), **{**RECIPE, **changed}, evaluate=Rolled(), folder=tmp_path)


def test_seconds_are_kept_across_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(training.time, "process_time", lambda: now[0] / 4)

    def spend(step: int | None) -> Callable[[int, float], None]:
        def progress(done: int, loss: float) -> None:
            now[0] += 2.0
            if done == step:
                raise InterruptedHereError

        return progress

    def rolled(policy: ChunkPolicy) -> Record:
        now[0] += 50.0
        return {"episodes": 1, "successes": 1}

    recipe = {**RECIPE, "evaluate": rolled, "folder": tmp_path}
    with pytest.raises(InterruptedHereError):
        train(FlowPolicy(**SMALL), demonstrations(), **recipe, save_every=10, progress=spend(20))
    now[0] += 1000.0
    found = train(FlowPolicy(**SMALL), demonstrations(), **recipe, progress=spend(None))
    # Kept are iterations 1 .. 20, less the two seconds after the last saving, and then 21 .. 40.
    assert found.seconds == {"wall_s": 78.0, "cpu_s": 19.5, "evaluation_s": 150.0}


def test_what_is_found_out_of_the_training_is_told() -> None:
    found = train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, evaluate=Rolled())
    assert found.iteration == list(range(2, 41, 2))
    lengths = {len(row) for row in (found.training, found.validation, found.learning_rate, *found.error.values())}
    assert lengths == {20}
    assert (found.device, found.precision, found.demonstrations, found.held_out) == ("cpu", "float32", 11, 1)
    assert found.parameters == sum(values.size for values in weights(trained()).values())
    assert found.learning_rate[0] < found.learning_rate[2] == max(found.learning_rate)
    assert found.learning_rate[-1] < 0.01 * max(found.learning_rate)
    assert found.seconds["wall_s"] > 0
    assert found.seconds["cpu_s"] > 0


def trained(**settings: Any) -> FlowPolicy:
    policy = FlowPolicy(**SMALL)
    train(policy, demonstrations(), **{**RECIPE, "evaluate_every": 0, **settings})
    return policy


# --- groups of the action --------------------------------------------------------------------------------------------


def test_groups_of_each_task() -> None:
    assert Lift().action_groups == {"position": (0, 3), "rotation": (3, 6), "gripper": (6, 7)}
    assert Lift(controller="joint_position").action_groups == {"joints": (0, 7), "gripper": (7, 8)}
    assert PushT().action_groups == {"position": (0, 2)}


def test_an_error_is_told_of_its_group_alone() -> None:
    policy, groups = trained(), {"position": [0, 2], "gripper": [2, 3]}
    windows = windows_of(policy, demonstrations(3))
    before = errors_by_group(policy, windows, groups)
    half = policy.normalisation.half_range[2]
    windows.actions[:, 2] -= 10.0  # the gripper's truth is far below all that the policy can draw
    after = errors_by_group(policy, windows, groups)
    assert after["position"] == before["position"]
    assert 8.0 * half < after["gripper"] < 12.0 * half, (
        "in action units, and the truth is not clipped to what was demonstrated"
    )


def test_spread_is_the_error_of_the_best_constant_answer() -> None:
    policy = trained()
    actions = np.concatenate([each.actions for each in demonstrations()])
    found = spread_by_group(policy, windows_of(policy, demonstrations()), {"position": [0, 2], "gripper": [2, 3]})
    constant = [min(np.abs(actions[:, k] - answer).mean() for answer in np.linspace(-1, 1, 801)) for k in range(3)]
    assert found["position"] == pytest.approx(np.mean(constant[:2]), abs=2e-3)
    assert found["gripper"] == pytest.approx(constant[2], abs=2e-3)


def test_relative_error_tells_what_is_learnt_from_what_is_not() -> None:
    """The position follows the observation and the gripper is a coin that nothing tells: their totals look alike."""
    rng = np.random.default_rng(0)
    toys = []
    for _ in range(40):
        x = np.repeat(rng.uniform(-1, 1, size=(1, 1)), 6, axis=0)
        coin = np.repeat(0.05 * rng.choice([-1.0, 1.0], size=(1, 1)), 6, axis=0)
        toys.append(Demonstration({"x": x}, np.hstack([0.9 * x, -0.9 * x, coin, np.full((6, 1), 0.3)])))
    policy = FlowPolicy(hidden=48, blocks=1, embedding=8, horizon=2, execute=1, history=1)
    found = train(
        policy, toys, task="toy", groups={"position": (0, 2), "gripper": (2, 3), "still": (3, 4)}, iterations=300,
        batch=64, learning_rate=3e-3, warmup=20,
    )  # fmt: skip
    assert found.error["position"][-1] < 0.15
    assert found.error["gripper"][-1] < 0.15
    last = {name: values[-1] for name, values in found.relative_error.items()}
    assert last["position"] is not None
    assert last["position"] < 0.3
    assert last["gripper"] is not None
    assert last["gripper"] > 0.7
    assert last["still"] is None, "it never moves"
    assert found.warning.startswith("gripper is learnt far worse")
    assert "\n" not in found.warning


@pytest.mark.parametrize(
    ("relative", "warned"),
    [
        ({"position": 0.3, "rotation": 0.9, "gripper": 0.35}, "rotation"),
        ({"position": 0.1, "rotation": 0.4, "gripper": 0.1}, ""),
        ({"position": 0.6, "rotation": 0.9, "gripper": 0.6}, ""),
        ({"position": 0.9}, ""),
        ({"position": 0.2, "rotation": None, "gripper": 0.8}, "gripper"),
    ],
)
def test_a_group_far_behind_the_others_is_warned_of(relative: dict[str, float | None], warned: str) -> None:
    assert warning_of(relative).partition(" ")[0] == warned


@pytest.mark.parametrize("columns", [(0, 4), (2, 2), (-1, 2)])
def test_groups_outside_the_action_are_refused(columns: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"'wrist'.*an action of 3"):
        trained(groups={"wrist": columns})


# --- devices and precision -------------------------------------------------------------------------------------------


def test_bfloat16_differs_from_float32_by_rounding_only() -> None:
    exact, rounded = FlowPolicy(**SMALL), FlowPolicy(**SMALL)
    recipe = {**RECIPE, "evaluate_every": 0, "iterations": 60}
    expected = train(exact, demonstrations(), **recipe)
    found = train(rounded, demonstrations(), **recipe, precision="bfloat16")
    assert found.precision == "bfloat16"
    assert {tensor.dtype for tensor in rounded.network.state_dict().values()} == {torch.float32}
    np.testing.assert_allclose(found.training, expected.training, rtol=0.03)
    np.testing.assert_allclose(found.validation, expected.validation, rtol=0.03)
    difference = max(np.abs(weights(exact)[name] - values).max() for name, values in weights(rounded).items())
    assert 1e-6 < difference < 0.03, "it rounds, and no more than that"


def test_state_says_nothing_of_the_device(tmp_path: Path) -> None:
    """A training that is begun on one device goes on on another: what is saved is on the CPU, whole and the same."""
    train(FlowPolicy(**SMALL), demonstrations(), **{**RECIPE, "device": "auto"}, evaluate=Rolled(), folder=tmp_path)
    found = train(FlowPolicy(**SMALL), demonstrations(), **RECIPE, evaluate=Rolled(), folder=tmp_path)
    assert [each["iteration"] for each in found.evaluations] == [15, 30, 40]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_differs_from_cpu_by_rounding_only(tmp_path: Path) -> None:
    here, there = FlowPolicy(**SMALL), FlowPolicy(**SMALL)
    expected = train(here, demonstrations(), **RECIPE, evaluate=Rolled())
    with pytest.raises(InterruptedHereError):
        train(
            FlowPolicy(**SMALL), demonstrations(), **{**RECIPE, "device": "cuda"}, evaluate=Rolled(), folder=tmp_path,
            save_every=5, progress=interrupt_at(20),
        )  # fmt: skip
    found = train(there, demonstrations(), **{**RECIPE, "device": "cuda"}, evaluate=Rolled(), folder=tmp_path)
    assert (found.device, there.device.type) == ("cuda", "cpu")
    np.testing.assert_allclose(found.training, expected.training, rtol=1e-3)
    np.testing.assert_allclose(found.validation, expected.validation, rtol=1e-3)
    for name, values in weights(here).items():
        np.testing.assert_allclose(weights(there)[name], values, atol=1e-3)
    observation = {"pose": np.ones((3, 2, 3)), "fingers": np.ones((3, 2, 2))}
    noise = [[np.random.default_rng(scene) for scene in range(3)] for _ in range(2)]
    ours = there.plan(observation, noise[0], samples=2)
    there.network.to("cuda")
    np.testing.assert_allclose(there.plan(observation, noise[1], samples=2).chunk, ours.chunk, atol=1e-4)


def test_what_is_read_is_moved_to_where_the_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ``meta`` device computes nothing but refuses what lies elsewhere: all but the way back is tried on it."""
    policy = trained()
    policy.network.to("meta")
    observation = {"pose": np.ones((3, 2, 3)), "fingers": np.ones((3, 2, 2))}
    with pytest.raises(NotImplementedError, match="meta"):
        policy.plan(observation, [np.random.default_rng(0)] * 3, samples=2)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape))
    assert policy.plan(observation, [np.random.default_rng(0)] * 3, samples=2).chunk.shape == (3, 4, 3)


def test_devices_and_precisions_that_are_not_to_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match=r"trainer.device 'gpu'.*auto, cpu, cuda"):
        trained(device="gpu")
    with pytest.raises(UnknownNameError, match=r"trainer.precision 'float16'.*bfloat16, float32"):
        trained(precision="float16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device='cuda', but torch finds no CUDA device here; use 'cpu'"):
        trained(device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce GTX 1080")
    with pytest.raises(ConfigError, match=r"'bfloat16' is not supported by GeForce GTX 1080; use 'float32'"):
        trained(device="cuda", precision="bfloat16")


def test_a_training_that_diverges_is_stopped_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    iterate = training.TrainingState.iterate

    def diverging(state: training.TrainingState, windows: Any) -> float:
        return iterate(state, windows) if state.step < 7 else float("nan")

    monkeypatch.setattr(training.TrainingState, "iterate", diverging)
    with pytest.raises(ConfigError, match=r"loss is nan after iteration 7.*lower learning_rate=0.001") as caught:
        trained()
    assert "\n" not in str(caught.value)


def test_seed_of_the_training_decides_what_is_held_out_too() -> None:
    made = demonstrations()
    held = [tuple(id(each) for each in split(made, 0.2, seed)[1]) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_validation_loss_does_not_depend_on_how_windows_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of 7 of 99 windows: none is left out, and each counts as much as the others."""
    policy = trained()
    state = training.TrainingState(policy, {"seed": 0, "learning_rate": 1e-3, "weight_decay": 0.0})
    windows = windows_of(policy, demonstrations(11))

    def loss(network: Any, inputs: Any, chunk: torch.Tensor, noise: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return chunk.sum(dim=(1, 2)).mean()

    monkeypatch.setattr(state, "loss", loss)
    expected = float(windows.batch(torch.arange(99))[1].sum()) / 99
    for together in (7, 99, 256):
        monkeypatch.setattr(training, "DRAWN_WINDOWS", together)
        assert state.validation_loss(windows) == pytest.approx(expected, rel=1e-5)
