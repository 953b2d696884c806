"""The cell of robosuite that is kept in the user's cache: as it was written, or built anew."""

from __future__ import annotations

import json

import pytest

from workbench.envs.robots import robosuite
from workbench.envs.robots.panda import PANDA


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The file of a cell, and a function that asks for the cell: returns it and whether it was built."""
    built = []
    build = robosuite._build
    monkeypatch.setattr(robosuite, "_build", lambda *words: built.append(1) or build(*words))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def ask():
        robosuite.robot_cell.cache_clear()
        before = len(built)
        cell = robosuite.robot_cell("Lift", PANDA, 20)
        return cell, len(built) > before

    ask()
    [path] = (tmp_path / "failure-workbench").glob("Lift-*.json")
    yield path, ask
    robosuite.robot_cell.cache_clear()


@pytest.mark.parametrize("damage", ["digit", "key", "type", "truncated", "list", "deep", "unsealed", "folder"])
def test_a_damaged_cell_is_built_anew(kept, damage):
    path, ask = kept
    whole, built = ask()
    assert not built
    record = json.loads(path.read_text())
    changed = {
        "digit": json.dumps(record | {"damping_ratio": record["damping_ratio"] + 1e-9}),
        "key": json.dumps({key: record[key] for key in record if key != "xml"}),
        "type": json.dumps(record | {"kp": 150.0}),
        "truncated": path.read_text()[:-30],
        "list": "[]",
        "deep": "[" * 100_000,
        "unsealed": json.dumps({key: record[key] for key in record if key != "record_sha256"}),
    }
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_text(changed[damage])
    again, built = ask()
    assert built
    assert again == whole
