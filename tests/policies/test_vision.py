"""Policies that see through cameras: what the encoder reads, how training crops, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.policies.test_flow import InterruptedHereError, interrupt_at, weights
from workbench.config import Run, compose
from workbench.envs.sensors.cameras import backend
from workbench.envs.tasks.lift import Lift
from workbench.errors import (
    CheckpointError,
    ConfigError,
    ObservationError,
    RenderError,
    StoreError,
    UnknownNameError,
)
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning.demonstrations import windows_of
from workbench.policies.learning.training import TrainingState, train
from workbench.policies.networks.layers import ChunkNetwork, StateEncoder
from workbench.policies.networks.vision import ConvEncoder, SpatialSoftmax, centre_crops, random_crops
from workbench.rollouts.collecting import read_demonstrations
from workbench.rollouts.launch import Launch, Start
from workbench.rollouts.loop import Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Demonstration, Record, Stream

try:
    backend()
    MISSING = ""
except RenderError as error:
    MISSING = str(error)
draws = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SIZE_PX, SQUARE_PX = 32, 6
SMALL = {"hidden": 32, "blocks": 1, "embedding": 16, "horizon": 2, "execute": 1, "history": 2}
CAMERAS = ["front", "top"]
RECIPE: Record = {"task": "toy", "iterations": 20, "batch": 8, "warmup": 5, "draws": 3}


def picture(x: float, y: float) -> np.ndarray:
    """A dark image with a bright square whose place is x and y in -1..1."""
    image = np.full((SIZE_PX, SIZE_PX, 3), 40, dtype=np.uint8)
    left, top = (round((place + 1) / 2 * (SIZE_PX - SQUARE_PX)) for place in (x, y))
    image[top : top + SQUARE_PX, left : left + SQUARE_PX] = 230
    return image


def demonstrations(count: int = 60, steps: int = 4) -> list[Demonstration]:
    """The action is the place of the square that camera ``top`` sees; nothing else tells it."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        place = rng.uniform(-1, 1, size=2)
        seen = {
            "pose": rng.normal(size=(steps, 3)),
            "images/top": np.repeat(picture(*place)[None], steps, axis=0),
            "images/front": rng.integers(0, 256, size=(steps, SIZE_PX, SIZE_PX, 3), dtype=np.uint8),
        }
        made.append(Demonstration(seen, np.tile(0.9 * place, (steps, 1))))
    return made


def observation(places: np.ndarray, seed: int = 1) -> dict[str, np.ndarray]:
    rng, scenes = np.random.default_rng(seed), len(places)
    return {
        "pose": rng.normal(size=(scenes, 2, 3)),
        "images/top": np.stack([picture(*place) for place in places]),
        "images/front": rng.integers(0, 256, size=(scenes, SIZE_PX, SIZE_PX, 3), dtype=np.uint8),
    }


def noise(scenes: int) -> list[np.random.Generator]:
    return [np.random.default_rng(100 + scene) for scene in range(scenes)]


def trained(**settings: Any) -> FlowPolicy:
    policy = FlowPolicy(**{**SMALL, "cameras": CAMERAS, "crop_px": 28, **settings})
    train(policy, demonstrations(8), **RECIPE)
    return policy


@pytest.fixture(scope="module")
def policy() -> FlowPolicy:
    return trained()


def numbered(count: int = 64, height: int = 12, width: int = 10) -> torch.Tensor:
    """Images (n, 3, height, width) whose pixels say where they are: row, column, and which image."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    each = [torch.stack([rows, columns, torch.full_like(rows, number)]) for number in range(count)]
    return torch.stack(each).to(torch.uint8)


def test_random_crops_are_whole_squares_from_places_that_the_generator_draws() -> None:
    images = numbered()
    crops = random_crops(images, 8, torch.Generator().manual_seed(0))
    assert (crops.shape, crops.dtype) == ((64, 3, 8, 8), torch.uint8)
    top, left = crops[:, 0, 0, 0], crops[:, 1, 0, 0]
    expected = torch.arange(8)
    assert torch.equal(crops[:, 0], (top[:, None, None] + expected[:, None]).expand(64, 8, 8).to(torch.uint8))
    assert torch.equal(crops[:, 1], (left[:, None, None] + expected).expand(64, 8, 8).to(torch.uint8))
    assert torch.equal(crops[:, 2, 0, 0], torch.arange(64).to(torch.uint8))
    assert set(top.tolist()) == set(range(5))  # the first and the last place included
    assert set(left.tolist()) == set(range(3))
    assert torch.equal(crops, random_crops(images, 8, torch.Generator().manual_seed(0)))
    assert not torch.equal(crops, random_crops(images, 8, torch.Generator().manual_seed(1)))
    assert torch.equal(random_crops(images[:, :, :10], 10, torch.Generator()), images[:, :, :10])


def test_centre_crops_are_the_middle() -> None:
    crops = centre_crops(numbered(), 8)
    assert crops.shape == (64, 3, 8, 8)
    assert set(crops[:, 0, 0, 0].tolist()) == {2}
    assert set(crops[:, 1, 0, 0].tolist()) == {1}
    assert torch.equal(centre_crops(crops, 8), crops)


def test_training_crops_each_camera_at_random_and_leaves_the_rest_alone(policy: FlowPolicy) -> None:
    inputs, _ = windows_of(policy, demonstrations(8)).batch(torch.arange(8))
    inputs["images/front"] = inputs["images/top"] = numbered(8, SIZE_PX, SIZE_PX)
    network, random = policy.network, torch.Generator().manual_seed(0)
    varied = network.augment(inputs, random)
    assert torch.equal(varied["state"], inputs["state"])
    assert varied["images/top"].shape == (8, 3, 28, 28)
    corners = {key: varied[key][:, :2, 0, 0] for key in ("images/front", "images/top")}
    assert not torch.equal(corners["images/front"], corners["images/top"])
    assert len({tuple(corner) for corner in corners["images/top"].tolist()}) > 1
    assert not torch.equal(network.augment(inputs, random)["images/top"], varied["images/top"])


def test_without_crops_nothing_is_changed_or_drawn() -> None:
    network = ChunkNetwork(StateEncoder(3, 8, 1, 4), torch.nn.Identity())
    random = torch.Generator().manual_seed(0)
    before = random.get_state()
    inputs = {"state": torch.zeros(2, 1, 3)}
    assert network.augment(inputs, random) is inputs
    assert torch.equal(random.get_state(), before)


def test_inference_sees_the_middle_alone(policy: FlowPolicy) -> None:
    seen = observation(np.zeros((1, 2)))
    expected = policy.plan(seen, noise(1))
    margin = seen["images/top"].copy()
    margin[:, :2], margin[:, -2:], margin[:, :, :2], margin[:, :, -2:] = 255, 255, 255, 255
    same = policy.plan({**seen, "images/top": margin}, noise(1))
    np.testing.assert_array_equal(same.chunk, expected.chunk)
    margin[:, :3] = 255
    other = policy.plan({**seen, "images/top": margin}, noise(1))
    assert np.abs(other.chunk - expected.chunk).max() > 0


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("corner", [(4, 4), (4, 22), (22, 4), (22, 22)])
def test_every_region_of_every_camera_is_seen(policy: FlowPolicy, camera: str, corner: tuple[int, int]) -> None:
    seen = observation(np.zeros((1, 2)))
    changed = {key: values.copy() for key, values in seen.items()}
    row, column = corner
    changed[f"images/{camera}"][0, row : row + 6, column : column + 6] ^= 128
    before, after = (policy.plan(each, noise(1)).embedding for each in (seen, changed))
    assert before is not None
    assert after is not None
    assert np.abs(before - after).max() > 1e-4


def test_cameras_are_told_apart(policy: FlowPolicy) -> None:
    seen = observation(np.array([[0.5, -0.5]]))
    swapped = {**seen, "images/top": seen["images/front"], "images/front": seen["images/top"]}
    before, after = (policy.plan(each, noise(1)).embedding for each in (seen, swapped))
    assert before is not None
    assert after is not None
    assert np.abs(before - after).max() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(84, 84), (76, 64), (65, 33)])
def test_size_of_the_feature_map_is_as_foretold(height: int, width: int) -> None:
    encoder = ConvEncoder((8, 8, 16))
    assert encoder(torch.zeros(2, 3, height, width)).shape == (2, 16, *encoder.map_size(height, width))


def test_keypoints_are_where_the_map_is_large() -> None:
    softmax = SpatialSoftmax(1, 1)
    torch.nn.init.ones_(softmax.score.weight)
    features = torch.zeros(2, 1, 5, 9)
    features[0, 0, 1, 8] = features[1, 0, 4, 2] = 50.0
    found = softmax(features).detach().numpy()  # x along the width, y along the height, -1..1
    np.testing.assert_allclose(found, [[1.0, -0.5], [-0.5, 1.0]], atol=1e-5)


def test_images_may_be_read_only_and_upside_down_in_memory(policy: FlowPolicy) -> None:
    seen = observation(np.array([[0.3, 0.2]]))
    flipped = np.ascontiguousarray(seen["images/top"][:, ::-1])[:, ::-1]
    flipped.flags.writeable = False
    made = policy.plan({**seen, "images/top": flipped}, noise(1)).chunk
    np.testing.assert_array_equal(made, policy.plan(seen, noise(1)).chunk)


def test_company_does_not_change_a_scene(policy: FlowPolicy) -> None:
    seen = observation(np.random.default_rng(2).uniform(-1, 1, size=(20, 2)))
    together = policy.plan(seen, noise(20), samples=2)
    assert together.samples is not None
    assert together.embedding is not None
    for scene in (0, 7, 19):
        one = policy.plan({key: values[scene : scene + 1] for key, values in seen.items()}, [noise(20)[scene]], 2)
        assert one.samples is not None
        assert one.embedding is not None
        np.testing.assert_array_equal(one.chunk[0], together.chunk[scene])
        np.testing.assert_array_equal(one.samples[0], together.samples[scene])
        np.testing.assert_array_equal(one.embedding[0], together.embedding[scene])


def test_learns_to_act_on_what_it_sees_and_cannot_without_the_camera() -> None:
    places = np.random.default_rng(3).uniform(-1, 1, size=(32, 2))
    errors = {}
    for cameras in (("top",), ()):
        policy = FlowPolicy(**{**SMALL, "cameras": cameras, "crop_px": 30, "observations": ["pose"]})
        recipe = {"task": "toy", "iterations": 250, "batch": 32, "warmup": 20, "draws": 4, "learning_rate": 3e-3}
        train(policy, demonstrations(), **recipe)
        made = policy.plan(observation(places), noise(32)).chunk[:, 0]
        errors[cameras] = np.abs(made - 0.9 * places).mean()
    assert errors["top",] < 0.15, errors
    assert errors[()] > 0.35, errors


def test_resumed_training_equals_uninterrupted(tmp_path: Path) -> None:
    kind, few = {**SMALL, "cameras": CAMERAS, "crop_px": 28}, demonstrations(8)
    straight, resumed = FlowPolicy(**kind), FlowPolicy(**kind)
    expected = train(straight, few, **RECIPE)
    with pytest.raises(InterruptedHereError):
        train(FlowPolicy(**kind), few, **RECIPE, folder=tmp_path, save_every=7, progress=interrupt_at(16))
    assert train(resumed, few, **RECIPE, folder=tmp_path) == expected
    for name, values in weights(straight).items():
        np.testing.assert_array_equal(weights(resumed)[name], values)


def test_several_draws_are_the_loss_of_all_of_them(monkeypatch: pytest.MonkeyPatch, policy: FlowPolicy) -> None:
    """One encoding a window however many draws, each with noise and level of its own."""
    calls: list[tuple[torch.Size, ...]] = []
    state = TrainingState(policy, {**policy.recipe, "draws": 5})
    network = type(state.network)
    encode, forward = network.encode, network.forward

    def encoding(self: Any, inputs: Any) -> torch.Tensor:
        calls.append((inputs["images/top"].shape,))
        return encode(self, inputs)

    def denoising(self: Any, chunk: torch.Tensor, level: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        calls.append((chunk.shape, level.shape, tokens.shape))
        assert len(level.unique()) == level.numel()
        return forward(self, chunk, level, tokens)

    monkeypatch.setattr(network, "encode", encoding)
    monkeypatch.setattr(network, "forward", denoising)
    state.iterate(windows_of(policy, demonstrations(8)))
    assert calls == [((8, 3, 28, 28),), ((8, 5, 2, 2), (8, 5), (8, 1, 16))]


def test_one_draw_without_images_draws_what_it_always_drew() -> None:
    """Window, noise, level and nothing else: policies on states stay the same to the last bit."""
    policy, few = FlowPolicy(**SMALL, observations=["pose"]), demonstrations(8)
    train(policy, few, **{**RECIPE, "draws": 1})
    state, windows = TrainingState(policy, policy.recipe), windows_of(policy, few)
    state.iterate(windows)
    random = torch.Generator().manual_seed(0)
    torch.randint(len(windows), (8,), generator=random)
    torch.randn((8, 1, 2, 2), generator=random)
    torch.rand((8, 1), generator=random)
    assert torch.equal(state.random.get_state(), random.get_state())


def test_saved_and_loaded_it_plans_the_same(policy: FlowPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    loaded = FlowPolicy.load(tmp_path, image_sizes={"top": (32, 32), "front": (32, 32), "side": (8, 8)})
    seen = observation(np.array([[0.3, 0.2]]))
    np.testing.assert_array_equal(loaded.plan(seen, noise(1)).chunk, policy.plan(seen, noise(1)).chunk)


@pytest.mark.parametrize("offered", [{}, {"front": (32, 32)}, {"front": (32, 32), "top": (32, 40)}])
def test_task_without_its_images_is_refused_at_load(
    policy: FlowPolicy, tmp_path: Path, offered: dict[str, tuple[int, int]]
) -> None:
    policy.save(tmp_path)
    reason = r"'(front|top)'.*task.cameras=\{names:\[front,top\],width_px:32,height_px:32\}"
    with pytest.raises(CheckpointError, match=reason):
        FlowPolicy.load(tmp_path, image_sizes=offered)


def test_tampered_image_sizes_are_refused_in_one_line(policy: FlowPolicy, tmp_path: Path) -> None:
    import json

    from workbench.types.reading import RECORD_SEAL, sealed_record

    policy.save(tmp_path)
    record = next(path for path in tmp_path.iterdir() if path.suffix == ".json")
    good = {key: value for key, value in json.loads(record.read_text()).items() if key != RECORD_SEAL}
    for bad in ({}, [], {"front": [32, 32], "top": [32]}, {"front": [32, 32], "top": [64, 64, 3]}):
        record.write_text(json.dumps(sealed_record({**good, "image_sizes": bad})))
        with pytest.raises(CheckpointError, match="image_sizes"):
            FlowPolicy.load(tmp_path)
    record.write_text(json.dumps(sealed_record({**good, "config": {**good["config"], "crop_px": 40}})))
    with pytest.raises(CheckpointError, match="crop_px=40"):
        FlowPolicy.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "images", "shown"),
    [
        ("images/top", None, "nothing"),
        ("images/top", np.zeros((1, 16, 32, 3), np.uint8), "16, 32, 3"),
        ("images/front", np.zeros((1, 32, 32), np.uint8), "1, 32, 32"),
        ("images/front", np.zeros((1, 32, 32, 3), np.float32), "float32"),
        ("images/front", np.zeros((2, 32, 32, 3), np.uint8), "2, 32, 32, 3"),
    ],
)
def test_wrong_images_are_refused_by_name(policy: FlowPolicy, key: str, images: Any, shown: str) -> None:
    seen = observation(np.zeros((1, 2))) | {key: images}
    if images is None:
        del seen[key]
    with pytest.raises(ObservationError, match=rf"{key} is .*{shown}.*\(1, 32, 32, 3\) uint8"):
        policy.plan(seen, noise(1))


def test_demonstrations_that_do_not_fit_are_refused() -> None:
    few = demonstrations(4)
    with pytest.raises(UnknownNameError, match=r"'tap'.*top"):
        train(FlowPolicy(**SMALL, cameras=["tap"]), few, **RECIPE)
    with pytest.raises(ConfigError, match=r"crop_px=33.*32 x 32"):
        train(FlowPolicy(**SMALL, cameras=["top"], crop_px=33), few, **RECIPE)
    floats = [
        Demonstration({**each.observation, "images/top": each.observation["images/top"] / 255.0}, each.actions)
        for each in few
    ]
    for broken in (floats, [*few, floats[0]]):
        with pytest.raises(ConfigError, match=r"images/top.*float64.*uint8"):
            train(FlowPolicy(**SMALL, cameras=["top"]), broken, **RECIPE)
    other = FlowPolicy(**SMALL, cameras=["top"])
    train(other, few, **RECIPE)
    larger = [
        Demonstration(
            {**each.observation, "images/top": each.observation["images/top"].repeat(2, axis=1)}, each.actions
        )
        for each in few
    ]
    with pytest.raises(ConfigError, match=r"fine-tuned.*\(64, 32\)"):
        train(other, larger, **RECIPE)
    with pytest.raises(ConfigError, match="draws=0"):
        train(FlowPolicy(**SMALL, cameras=["top"]), few, **{**RECIPE, "draws": 0})
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(ConfigError, match="crop_px"):
            FlowPolicy(**SMALL, cameras=["top"], crop_px=wrong)  # type: ignore[arg-type]


def lift() -> Lift:
    task = Lift(cameras={"names": ["agentview", "wrist"], "width_px": 32, "height_px": 32})
    task.deadline = 6
    return task


@pytest.fixture(scope="module")
def sighted() -> FlowPolicy:
    """A policy for Lift that sees its two cameras; what it learned does not matter."""
    scene, rng = lift().scene(), np.random.default_rng(0)
    made = []
    for number in range(4):
        scene.begin(Stream(0, number))
        steps = [{**scene.observe(), **scene.images()} for _ in range(3)]
        seen = {key: np.stack([step[key] for step in steps]) for key in steps[0]}
        made.append(Demonstration(seen, rng.uniform(-0.5, 0.5, size=(3, 7))))
    policy = FlowPolicy(**SMALL, cameras=["agentview", "wrist"], crop_px=28, observations=["eef_pos"])
    train(policy, made, **{**RECIPE, "task": "lift"})
    return policy


def rolled(policy: FlowPolicy, faults: tuple[Record, ...] = (), images: bool = True, scenes: int = 1) -> Any:
    lockstep = Lockstep(lift(), policy, scenes, until="deadline", images=images)
    return sorted(lockstep.record([Launch(Stream(5, n), faults) for n in range(scenes)]), key=lambda e: e.record["uid"])


@draws
def test_store_may_go_without_images_and_nothing_else_changes(sighted: FlowPolicy) -> None:
    (kept,), (bare,) = rolled(sighted), rolled(sighted, images=False)
    images = {"images/agentview", "images/wrist"}
    assert set(kept.steps) - set(bare.steps) == images
    for name, values in bare.steps.items():
        np.testing.assert_array_equal(kept.steps[name], values)
    for call, step in enumerate(kept.calls["step"]):  # the policy was handed the image that is stored for that step
        seen = {f"images/{camera}": kept.steps[f"images/{camera}"][step][None] for camera in sighted.cameras}
        past = kept.steps["obs/eef_pos"][[max(0, step - 1), step]][None]
        chunk = sighted.plan({**seen, "eef_pos": past}, [Stream(5, 0).child("policy").at(call)]).chunk
        np.testing.assert_array_equal(chunk[0], kept.calls["chunk"][call])


@draws
@pytest.mark.parametrize("blind", ["camera_dropout", "occlusion"])
def test_faults_of_images_reach_the_policy(sighted: FlowPolicy, blind: str) -> None:
    import importlib

    kind = {
        "camera_dropout": ("CameraDropout", "drop_probability", 1.0),
        "occlusion": ("Occlusion", "area_fraction", 0.5),
    }
    name, key, value = kind[blind]
    fault = getattr(importlib.import_module(f"workbench.envs.perturbations.{blind}"), name)(**{key: [value, value]})
    (record,) = [fault.draw(Stream(5, 0), lift())]
    (clear,), (blinded,) = rolled(sighted), rolled(sighted, (record,))
    np.testing.assert_array_equal(clear.steps["state"][0], blinded.steps["state"][0])
    assert np.abs(clear.calls["embedding"][0] - blinded.calls["embedding"][0]).max() > 1e-4
    assert np.abs(clear.calls["chunk"][0] - blinded.calls["chunk"][0]).max() > 1e-6


@draws
def test_branch_from_a_snapshot_goes_on_bit_for_bit(sighted: FlowPolicy) -> None:
    """Also in other company: the scene that is restored stood elsewhere, and others are asked with it."""
    from workbench.rollouts.stored import start_at

    factual = rolled(sighted, scenes=2)[0]
    starts = [start_at(factual, step, sighted) for step in (2, 4)]
    assert all(isinstance(start, Start) for start in starts)
    lockstep = Lockstep(lift(), sighted, 3, until="deadline", images=False)
    launches = [Launch(Stream(5, 9)), *(Launch(Stream(5, 0), start=start) for start in starts)]
    branches = dict(lockstep.record_numbered(launches))
    for number, step in ((1, 2), (2, 4)):
        np.testing.assert_array_equal(branches[number].steps["state"], factual.steps["state"][step:])
        np.testing.assert_array_equal(branches[number].steps["action"], factual.steps["action"][step:])
        np.testing.assert_array_equal(branches[number].calls["chunk"], factual.calls["chunk"][step:])


@draws
def test_demonstrations_without_the_cameras_are_refused_with_what_to_do(sighted: FlowPolicy, tmp_path: Path) -> None:
    header = StoreHeader("lift", 20.0, 6, {}, {}, 0)
    for name, images in (("seen", True), ("bare", False)):
        (episode,) = rolled(sighted, images=images)
        episode.record["success"] = True
        with StoreWriter.open(tmp_path / "datasets" / f"{name}.zarr", header) as writer:
            writer.append(episode)
    seen, bare = (Store.open(tmp_path / "datasets" / f"{name}.zarr") for name in ("seen", "bare"))
    task = Run(compose(["task=lift"]), tmp_path).task
    (found,) = read_demonstrations(seen, task, cameras=["wrist"])
    assert [key for key in found.observation if key.startswith("images/")] == ["images/wrist"]
    assert found.observation["images/wrist"].dtype == np.uint8
    assert len(read_demonstrations(bare, task)) == 1
    with pytest.raises(StoreError, match=r"camera wrist; collect .*collect demos=NAME task.cameras=\{names:\[wrist\]"):
        read_demonstrations(bare, task, cameras=["wrist"])


@draws
def test_run_refuses_a_policy_whose_cameras_its_task_lacks(sighted: FlowPolicy, tmp_path: Path) -> None:
    sighted.save(tmp_path / "weights")
    words = ["job=rollout", "name=n", "checkpoint=weights", "policy=flow_images"]
    cameras = "task.cameras={names:[agentview,wrist],width_px:32,height_px:32}"
    assert Run(compose([*words, cameras]), tmp_path).policy().cameras == ("agentview", "wrist")
    for wrong in ("task.cameras=null", "task.cameras={names:[agentview,wrist]}", cameras.replace("wrist", "side")):
        with pytest.raises(CheckpointError) as refused:
            Run(compose([*words, wrong]), tmp_path).policy()
        assert cameras in str(refused.value)
