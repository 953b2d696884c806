"""Weights on disk: tensors as safetensors, everything else as JSON, written so that a reader sees all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch

from workbench.errors import CheckpointError, UnknownNameError
from workbench.types import Record

RECORD = "policy.json"
ZOO = Path(__file__).parents[1] / "zoo"
"""Checkpoints that come with the package."""
PACKAGES = ("failure-workbench", "numpy", "safetensors", "torch")


def write(folder: Path, tensors: Mapping[str, torch.Tensor], record: Record) -> None:
    """Write a checkpoint, replacing one that is there.

    The tensors go to a file named by its own digest and the record, which names it, comes last: killed at any point,
    the folder holds either the old checkpoint or the new one.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    data: bytes = save(dict(tensors))
    digest = hashlib.sha256(data).hexdigest()
    name = f"weights-{digest[:12]}.safetensors"
    versions = {package: metadata.version(package) for package in PACKAGES}
    whole = {**record, "weights": name, "sha256": digest, "versions": versions}
    replace(folder / name, data)
    replace(folder / RECORD, json.dumps(whole, indent=1).encode())
    for other in (*folder.glob("weights-*.safetensors"), *folder.glob(".*.partial")):
        if other.name != name:
            other.unlink(missing_ok=True)


def located(name: str) -> Path:
    """Folder of a checkpoint: an entry of the zoo for ``zoo/<entry>``, otherwise (also ``./zoo/...``) a folder."""
    entry = name.removeprefix("zoo/")
    if entry == name:
        return Path(name)
    known = sorted(path.parent.name for path in ZOO.glob(f"*/{RECORD}"))
    if entry not in known:
        raise UnknownNameError("policy of the zoo", entry, known)
    return ZOO / entry


def read(folder: Path, needed: tuple[str, ...]) -> tuple[dict[str, torch.Tensor], Record]:
    """Tensors and record of a checkpoint.

    Raises
    ------
    CheckpointError
        if the folder or a file is missing, the record lacks a ``needed`` key, or the tensors are not those written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    record = read_record(folder)
    missing = [key for key in (*needed, "weights", "sha256") if key not in record]
    if missing:
        raise CheckpointError(f"{folder / RECORD} lacks {', '.join(missing)}; train the policy again")
    # The name alone: a record from elsewhere must not point outside its folder.
    path = folder / Path(str(record["weights"])).name
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, though {RECORD} names it; train the policy again")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise CheckpointError(f"{path} is truncated or changed: its sha256 is not the one in {RECORD}; train it again")
    try:
        tensors: dict[str, torch.Tensor] = load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file ({error}); train the policy again") from None
    return tensors, record


def read_record(folder: Path) -> Record:
    """The JSON part of a checkpoint."""
    path = folder / RECORD
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint in {folder}: {RECORD} is missing; train a policy there first")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); train the policy again") from None
    if not isinstance(record, dict):
        raise CheckpointError(f"{path} does not hold a record; train the policy again")
    return record


def replace(path: Path, data: bytes) -> None:
    """Put a file in place at once: whole and on disk, or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)  # what people know of
        raise
    finally:
        partial.unlink(missing_ok=True)


def check_layout(folder: Path, trained: Mapping[str, int], offered: Mapping[str, int], chosen: bool) -> None:
    """Refuse observations of another layout; keys beyond those that were ``chosen`` by name do not matter."""
    relevant = {key: offered[key] for key in trained if key in offered} if chosen else dict(offered)
    if relevant == dict(trained):
        return
    differing = sorted(key for key in {*trained, *relevant} if trained.get(key, "none") != relevant.get(key, "none"))
    shown = "; ".join(f"{key}: {trained.get(key, 'none')} then, {relevant.get(key, 'none')} now" for key in differing)
    raise CheckpointError(f"the policy in {folder} reads another observation layout ({shown}); train it again")


def check_images(folder: Path, trained: Mapping[str, tuple[int, int]], offered: Mapping[str, tuple[int, int]]) -> None:
    """Refuse to go without images that a policy was trained on, or with images of another size."""
    for camera, (height, width) in trained.items():
        if offered.get(camera) != (height, width):
            now = "{1} x {0} pixels".format(*offered[camera]) if camera in offered else "no such images"
            raise CheckpointError(
                f"the policy in {folder} sees through camera {camera!r} with {width} x {height} pixels, and there are "
                f"{now}; give task.cameras={{names:[{','.join(trained)}],width_px:{width},height_px:{height}}}"
            )
