"""Folders of monitors: what they say, and the arrays that their scores have learnt."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing.mutations import damaged, encoded, mutated
from tests.synthetic import write_store
from workbench.config import named
from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.files import load, save
from workbench.monitoring.fitting import fit
from workbench.store import Store

SCORES = (
    "mahalanobis",
    "rnd",
    "knn",
    "entropy",
    "progress",
    "safe_mlp",
    "safe_lstm",
    "kernel_density",
    "chunk_overlap",
)
RULES = ("split_conformal", "adaptive")


def prepare(folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Monitors of several kinds of scores, and configurations to load them with."""
    import torch

    torch.set_num_threads(1)
    store = Store.open(write_store(folder / "a.zarr"))
    scores, rules = (named.nodes(group, names) for group, names in (("score", SCORES), ("calibrator", RULES)))
    for number, name in enumerate(scores):
        rule = RULES[number % len(RULES)]
        fitted = fit(store, {name: scores[name]}, {rule: rules[rule]}, settings=MonitorSettings())
        save(folder / name, fitted.monitors)
    return folder, scores, rules


def attempt(prepared: tuple[Path, dict[str, Any], dict[str, Any]], random: np.random.Generator, folder: Path) -> None:
    source, scores, rules = prepared
    name = SCORES[int(random.integers(len(SCORES)))]
    record = json.loads((source / name / "monitors.json").read_text())
    tensors = (source / name / record["tensors"]).read_bytes()
    if random.random() < 0.4:
        tensors = damaged(random, tensors[:400] if random.random() < 0.1 else tensors)
        if random.random() < 0.8:
            record["sha256"] = hashlib.sha256(tensors).hexdigest()
    else:
        record = mutated(random, record)
    if random.random() < 0.8 and isinstance(record, dict):  # as somebody would who means it
        record.pop("record_sha256", None)
    (folder / "monitors.json").write_bytes(encoded(random, record))
    there = record.get("tensors") if isinstance(record, dict) else None
    fits = isinstance(there, str) and there.isascii() and there.replace("-", "").replace(".", "").isalnum()
    (folder / (there if fits and len(there) < 100 else "monitors.safetensors")).write_bytes(tensors)
    load(folder, {name: scores[name]}, rules)
