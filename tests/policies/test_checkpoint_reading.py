"""A checkpoint from elsewhere: what it claims is bounded by the weights that came with it, and damage is noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fuzzing.checkpoints import RECIPE, SMALL, StoppedError, _demonstrations, _stop
from workbench.errors import CheckpointError, WorkbenchError
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning import training
from workbench.types.reading import sealed_record


@pytest.fixture(scope="module")
def policy() -> FlowPolicy:
    made = FlowPolicy(**SMALL)
    training.train(made, _demonstrations(), **RECIPE)
    return made


@pytest.fixture
def folder(policy: FlowPolicy, tmp_path: Path) -> Path:
    policy.save(tmp_path / "policy")
    return tmp_path / "policy"


def change(folder: Path, **changes: Any) -> None:
    """Change the record as somebody would who means it: its digest included."""
    path = folder / "policy.json"
    record = json.loads(path.read_text())
    record.pop("record_sha256")
    for key, value in changes.items():
        where, _, name = key.rpartition("__")
        (record[where] if where else record)[name] = value
    path.write_text(json.dumps(sealed_record(record)))


def test_what_was_saved_comes_back(folder: Path, policy: FlowPolicy) -> None:
    again = FlowPolicy.load(folder)
    for name, tensor in policy.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], tensor, rtol=0, atol=0)
    assert (again.config, again.recipe, again.layout) == (policy.config, policy.recipe, policy.layout)


def test_checkpoints_of_earlier_versions_have_no_digest_of_their_record(folder: Path) -> None:
    record = json.loads((folder / "policy.json").read_text())
    del record["record_sha256"], record["versions"]
    (folder / "policy.json").write_text(json.dumps(record))
    assert FlowPolicy.load(folder).task == "toy"


@pytest.mark.parametrize(
    "changes",
    [
        {"config__hidden": 16_000},
        {"config__hidden": 10**9},
        {"config__blocks": 10**9},
        {"config__blocks": 150},
        {"config__embedding": 16_000},
        {"config__horizon": 1000},
        {"config__history": 1000},
        {"config__hidden": "16"},
        {"config__hidden": True},
        {"config__denoiser": "os.system"},
        {"config__more": 1},
        {"config": []},
        {"layout": {"pose": 10_000}},
        {"layout": {"pose": 10**12}},
        {"layout": {"pose": -3}},
        {"action_size": 10_000},
        {"action_size": 2.0},
        {"image_sizes": {"a": [10**9, 10**9]}},
        {"image_sizes": {"a": 5}},
        {"statistics": {}},
        {"statistics": None},
        {"task": "x" * 10**5},
        {"recipe": 3},
        {"weights": "../../weights-0123456789ab.safetensors"},
        {"weights": "/etc/passwd"},
        {"weights": "weights-0123456789ab.safetensors"},
        {"sha256": "0" * 64},
        {"sha256": None},
        {"policy": "os.system"},
        {"policy": "DiffusionPolicy"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_record_that_claims_what_is_not_there_is_refused_before_memory_is_taken(folder: Path, changes: Any) -> None:
    change(folder, **changes)
    with pytest.raises(CheckpointError) as refused:
        FlowPolicy.load(folder)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 10_000, b'{"policy": 1, "policy": 2}', b"NaN"],
)
def test_a_record_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "policy.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="train the policy again"):
        FlowPolicy.load(folder)


def test_every_changed_byte_of_a_record_is_noticed(folder: Path) -> None:
    path = folder / "policy.json"
    content = path.read_bytes()
    before = json.loads(content)
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        try:
            FlowPolicy.load(folder)
        except CheckpointError:
            continue
        assert json.loads(damaged) == before, (place, content[place - 20 : place + 20])


@pytest.mark.parametrize("kind", ["pickle", "text", "bit", "short", "folder", "pipe", "shape", "dtype", "nan", "more"])
def test_weights_are_those_that_were_written_or_refused(folder: Path, kind: str) -> None:
    import hashlib

    from safetensors.torch import load, save

    [path] = folder.glob("weights-*")
    whole = path.read_bytes()
    content, tensors = whole, load(whole)
    name = sorted(tensors)[0]
    if kind == "pickle":
        torch.save({"weights": torch.zeros(3)}, path)
        content = path.read_bytes()
    elif kind == "text":
        content = b"version https://git-lfs.github.com/spec/v1\n"
    elif kind == "bit":
        content = whole[:-1] + bytes([whole[-1] ^ 1])
    elif kind == "short":
        content = whole[: len(whole) // 2]
    elif kind == "shape":
        content = save(tensors | {name: torch.zeros(7, 7)})
    elif kind == "dtype":
        content = save(tensors | {name: torch.full_like(tensors[name], torch.inf)})
    elif kind == "nan":
        content = save(tensors | {name: torch.full_like(tensors[name], torch.nan)})
    elif kind == "more":
        content = save(tensors | {"more": torch.zeros(1)})
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content)
        if kind not in ("bit", "short"):
            change(folder, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(CheckpointError):
        FlowPolicy.load(folder)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    with pytest.raises(StoppedError):
        training.train(FlowPolicy(**SMALL), _demonstrations(), **RECIPE, folder=folder, save_every=1, progress=_stop)
    return folder / training.STATE


@pytest.mark.parametrize("place", [-1, -1000, 20, 0])
def test_a_damaged_state_of_a_training_is_noticed(state: Path, tmp_path: Path, place: int) -> None:
    content = bytearray(state.read_bytes())
    content[place] ^= 1
    (tmp_path / training.STATE).write_bytes(bytes(content))
    with pytest.raises(WorkbenchError, match="remove it to train from the beginning"):
        training.train(FlowPolicy(**SMALL), _demonstrations(), **RECIPE, folder=tmp_path)


def test_a_state_without_a_digest_is_taken_up_as_before(state: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load, save

    with safe_open(state, "numpy") as file:
        said = {"progress": file.metadata()["progress"]}
    (tmp_path / training.STATE).write_bytes(
        save({name: np.array(v) for name, v in load(state.read_bytes()).items()}, said)
    )
    training.train(FlowPolicy(**SMALL), _demonstrations(), **RECIPE, folder=tmp_path)
