"""Folders of trained policies, and states of trainings that were interrupted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fuzzing.mutations import damaged, encoded, mutated, one_of
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning import training
from workbench.types import Demonstration

SMALL: dict[str, Any] = {"hidden": 16, "blocks": 1, "embedding": 8, "horizon": 4, "execute": 2, "history": 2}
RECIPE: dict[str, Any] = {"task": "toy", "iterations": 4, "batch": 8, "warmup": 1, "device": "cpu"}


class StoppedError(Exception):
    """A training was interrupted."""


def prepare(folder: Path) -> tuple[Path, Path, Any]:
    """A small trained policy, the state of a training, and what takes that up."""
    torch.set_num_threads(1)
    policy, path = FlowPolicy(**SMALL), folder / "unfinished"
    with contextlib.suppress(StoppedError):
        training.train(policy, _demonstrations(), **RECIPE, folder=path, save_every=1, progress=_stop)
    training.train(policy, _demonstrations(), **RECIPE)
    policy.save(folder / "policy")
    recipe = {key: value for key, value in policy.recipe.items() if key != "device"}
    return folder / "policy", path / training.STATE, training.TrainingState(policy, recipe, torch.device("cpu"))


def _demonstrations() -> list[Demonstration]:
    rng = np.random.default_rng(0)
    return [Demonstration({"pose": rng.normal(size=(6, 3))}, rng.uniform(-1, 1, size=(6, 2))) for _ in range(4)]


def _stop(done: int, loss: float) -> None:
    if done == 2:
        raise StoppedError


def attempt(prepared: tuple[Path, Path, Any], random: np.random.Generator, folder: Path) -> None:
    policy, state, trainer = prepared
    if random.random() < 0.3:
        (folder / "state").write_bytes(damaged(random, state.read_bytes()))
        trainer.load(folder / "state")
        return
    shutil.copytree(policy, folder / "policy")
    record = json.loads((policy / "policy.json").read_text())
    weights = folder / "policy" / record["weights"]
    if random.random() < 0.3:
        weights.write_bytes(damaged(random, weights.read_bytes()))
        if random.random() < 0.8:
            record["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    else:
        record = mutated(random, record)
    if random.random() < 0.8 and isinstance(record, dict):  # as somebody would who means it
        record.pop("record_sha256", None)
    content = encoded(random, record)
    if random.random() < 0.05:
        content = damaged(random, content)
    (folder / "policy" / "policy.json").write_bytes(content)
    if random.random() < 0.01:
        one_of(random, [weights, folder / "policy" / "policy.json"]).unlink()
    FlowPolicy.load(folder / "policy")
