"""Weights on disk: tensors as safetensors, everything else as JSON, written so that a reader sees all or nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated

import torch

from workbench.errors import CheckpointError, UnknownNameError
from workbench.types import Record
from workbench.types.reading import (
    MOST_TENSOR_BYTES,
    NAME,
    Between,
    Like,
    Size,
    Source,
    check_record_seal,
    checked,
    read_bytes,
    read_json,
    sealed_record,
    tensors_of,
)

RECORD = "policy.json"
ZOO = Path(__file__).parents[1] / "zoo"
"""Checkpoints that come with the package."""
AGAIN = "train the policy again"
MOST_RECORD_BYTES = 4 * 2**20
PACKAGES = ("failure-workbench", "numpy", "safetensors", "torch")

_Name = Annotated[str, Size(0, 200)]
_Side = Annotated[int, Between(1, 10_000)]


@dataclasses.dataclass(frozen=True)
class Made:
    """What a checkpoint says beside its weights.

    Attributes
    ----------
    policy : name of its class.
    config : what that is made with.
    task, layout, action_size, image_sizes : of what it was trained on.
    statistics, recipe : of its training.
    weights : name of their file, which lies beside this one.
    sha256 : of that file.
    record_sha256 : of all this; "" in checkpoints of earlier versions.
    """

    policy: NAME
    config: Record
    task: _Name
    layout: dict[str, _Side]
    action_size: _Side
    image_sizes: dict[str, Annotated[list[_Side], Size(2, 2)]]
    statistics: Record
    recipe: Record
    weights: Annotated[str, Like(r"weights-[0-9a-f]{12}\.safetensors", "the name of a file of weights")]
    sha256: Annotated[str, Like("[0-9a-f]{64}", "a SHA-256")]
    versions: dict[str, _Name] = dataclasses.field(default_factory=dict)
    record_sha256: _Name = ""


def write(folder: Path, weights: Mapping[str, torch.Tensor], record: Record) -> None:
    """Write a checkpoint, replacing one that is there.

    The tensors go to a file named by its own digest and the record, which names it, comes last: killed at any point,
    the folder holds either the old checkpoint or the new one.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    data: bytes = save(dict(weights))
    digest = hashlib.sha256(data).hexdigest()
    name = f"weights-{digest[:12]}.safetensors"
    versions = {package: metadata.version(package) for package in PACKAGES}
    whole = sealed_record({**record, "weights": name, "sha256": digest, "versions": versions})
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


def read(folder: Path) -> tuple[dict[str, torch.Tensor], Made]:
    """Tensors and record of a checkpoint.

    Raises
    ------
    CheckpointError
        if the folder or a file is missing, the record is none, or record or tensors are not those written.
    """
    from safetensors.torch import load

    record = read_record(folder)
    path = folder / record.weights
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, though {RECORD} names it; {AGAIN}")
    source = Source(str(path), CheckpointError, AGAIN)
    data = read_bytes(path, source, MOST_TENSOR_BYTES)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise source.wrong(f"is truncated or changed: its sha256 is not the one in {RECORD}")
    return tensors_of(data, source, load), record


def read_record(folder: Path) -> Made:
    """The JSON part of a checkpoint."""
    path = folder / RECORD
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint in {folder}: {RECORD} is missing; train a policy there first")
    source = Source(str(path), CheckpointError, AGAIN)
    record = read_json(path, source, MOST_RECORD_BYTES)
    made: Made = checked(Made, record, source)
    check_record_seal(record, source)
    return made


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
