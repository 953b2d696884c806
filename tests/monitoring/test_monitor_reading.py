"""A folder of monitors from elsewhere: whatever it says is held against what fitting and calibration write."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from tests.synthetic import write_store
from workbench.detectors.calibrators.adaptive import AdaptiveConformal
from workbench.detectors.scores.mahalanobis import Mahalanobis
from workbench.errors import CheckpointError, WorkbenchError
from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.files import load, made_with, save
from workbench.monitoring.fitting import fit
from workbench.store import Store
from workbench.types.reading import sealed_record

NAME = "m+a"
SETTINGS = MonitorSettings(combine={}, baselines={})


@pytest.fixture(scope="module")
def monitors(tmp_path_factory):
    store = Store.open(write_store(tmp_path_factory.mktemp("m") / "a.zarr"))
    return fit(store, {"m": Mahalanobis()}, {"a": AdaptiveConformal()}, settings=SETTINGS).monitors


@pytest.fixture
def folder(monitors, tmp_path):
    save(tmp_path / "monitors", monitors, {"level": 0.1})
    return tmp_path / "monitors"


def read(folder):
    return load(folder, {"m": Mahalanobis()}, {"a": AdaptiveConformal()})


def change(folder, path, value):
    """Change what the JSON says, its digest included, as somebody would who means it."""
    record = json.loads((folder / "monitors.json").read_text())
    record.pop("record_sha256")
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / "monitors.json").write_text(json.dumps(sealed_record(record)))


def change_tensors(folder, **arrays):
    """Change the arrays, their digest included; None takes one away."""
    record = json.loads((folder / "monitors.json").read_text())
    path = folder / record["tensors"]
    tensors = {name: np.array(value) for name, value in from_bytes(path.read_bytes()).items()}
    for name, value in arrays.items():
        key = name.replace("__", "/").replace("THRESHOLD", f"threshold/{NAME}")
        tensors.pop(key, None)
        if value is not None:
            tensors[key] = value
    path.write_bytes(to_bytes(tensors))
    change(folder, ["sha256"], hashlib.sha256(path.read_bytes()).hexdigest())


def test_what_was_saved_comes_back_and_says_what_it_was_made_with(folder, monitors):
    [again], [before] = read(folder).values(), monitors
    assert again.threshold.guarantee == before.threshold.guarantee
    np.testing.assert_array_equal(again.threshold.recent, before.threshold.recent)
    assert made_with(folder) == {"level": 0.1}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["scores"], []),
        (["scores", "m", "seed"], -1),
        (["scores", "m", "seed"], 1e999),
        (["scores", "m", "episodes"], "all"),
        (["scores", "m", "episodes"], [3]),
        (["scores", "../m"], {"seed": 0, "episodes": []}),
        (["leaves", NAME, "level"], 1.5),
        (["leaves", NAME, "level"], "0.1"),
        (["leaves", NAME, "level"], None),
        (["leaves", NAME, "window", "kind"], "sideways"),
        (["leaves", NAME, "window", "width"], 10**12),
        (["leaves", NAME, "window", "width"], 1.5),
        (["leaves", NAME, "window", "more"], 1),
        (["leaves", NAME, "score"], "nobody"),
        (["leaves", NAME, "groups"], "nobody"),
        (["leaves", NAME, "threshold", "level"], -0.1),
        (["leaves", NAME, "threshold", "episodes"], -1),
        (["leaves", NAME, "threshold", "guarantee"], "two\nlines"),
        (["leaves", NAME, "threshold", "grouped"], "yes"),
        (["leaves", NAME, "threshold", "current"], 1e9),
        (["leaves", NAME, "threshold", "values"], [0.0]),
        (["leaves", NAME, "threshold"], []),
        (["monitors", NAME], {"all": [NAME]}),
        (["monitors", NAME], {"all": [NAME, NAME]}),
        (["monitors", NAME], {"none": [NAME, "x"]}),
        (["monitors", NAME], {"any": ["x", "y"]}),
        (["monitors", "nobody"], {}),
        (["tensors"], "../monitors.safetensors"),
        (["tensors"], "monitors-0123456789ab.safetensors"),
        (["sha256"], "0" * 64),
        (["made_with"], 3),
        (["more"], 1),
    ],
    ids=str,
)
def test_what_the_json_says_is_checked(folder, path, value):
    if value == 1e999:
        text = (folder / "monitors.json").read_text()
        (folder / "monitors.json").write_text(text.replace('"seed": 0', '"seed": 1e999'))
    else:
        change(folder, path, value)
    with pytest.raises(CheckpointError) as refused:
        read(folder)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "arrays",
    [
        {"THRESHOLD__values": None},
        {"THRESHOLD__values": np.array([math.nan])},
        {"THRESHOLD__values": np.zeros((1, 1))},
        {"THRESHOLD__values": np.zeros(0)},
        {"THRESHOLD__values": np.array([1])},
        {"THRESHOLD__scale": np.zeros(1)},
        {"THRESHOLD__scale": -np.ones(1)},
        {"THRESHOLD__scale": np.ones(3)},
        {"THRESHOLD__recent": None},
        {"THRESHOLD__recent": np.array([math.inf])},
        {"score__m__mean": None},
        {"score__m__more": np.zeros(2)},
        {"score__m__mean": np.zeros((0, 2**40))},
    ],
    ids=str,
)
def test_arrays_are_such_as_calibration_and_fits_give(folder, arrays):
    change_tensors(folder, **arrays)
    with pytest.raises(CheckpointError) as refused:
        read(folder)
    assert str(refused.value).isprintable()


def test_every_changed_byte_of_the_json_is_noticed(folder):
    content = (folder / "monitors.json").read_bytes()
    for place in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (folder / "monitors.json").write_bytes(bytes(damaged))
        try:
            read(folder)
        except WorkbenchError:
            continue
        assert json.loads(damaged) == json.loads(content), content[place - 20 : place + 20]


def test_monitors_of_earlier_versions_have_one_name_for_their_arrays_and_no_digests(folder):
    record = json.loads((folder / "monitors.json").read_text())
    (folder / record["tensors"]).rename(folder / "monitors.safetensors")
    for key in ("record_sha256", "sha256", "tensors", "made_with"):
        del record[key]
    (folder / "monitors.json").write_text(json.dumps(record))
    assert list(read(folder)) == [NAME]
    assert made_with(folder) is None
