"""The job ``export``: the folder it writes, what it refuses, and that it says what is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.synthetic import HEADER, episode
from workbench.config import Run, compose
from workbench.errors import StoreError, UnknownNameError
from workbench.formats import format_named
from workbench.jobs import export as job
from workbench.store import StoreWriter


def run_of(root: Path, *words: str) -> Run:
    return Run(compose(["job=export", "name=mine", *words]), root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with StoreWriter.open(tmp_path / "datasets/mine.zarr", HEADER) as writer:
        for number in range(2):
            one = episode("test", number)
            one.steps["modes"] = np.zeros(len(one.steps["action"]), np.uint16)
            writer.append(one)
    return tmp_path


def test_the_store_is_exported_beside_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(root)
    job.run(run, run.config["job"]["format"])
    folder = root / "datasets/exports/mine-lerobot"
    assert json.loads((folder / "meta/info.json").read_text())["total_episodes"] == 2
    assert run.metrics()["export"] == "datasets/exports/mine-lerobot"
    said = " ".join(capsys.readouterr().out.split())
    assert all(lost in said for lost in format_named("lerobot").loses)


def test_an_export_is_replaced_only_when_asked(root: Path) -> None:
    job.run(run_of(root), "lerobot")
    (root / "datasets/exports/mine-lerobot/more").write_text("mine")
    with pytest.raises(StoreError, match="overwrite=true"):
        job.run(run_of(root), "lerobot")
    assert (root / "datasets/exports/mine-lerobot/more").exists()
    job.run(run_of(root, "overwrite=true"), "lerobot")
    assert not (root / "datasets/exports/mine-lerobot/more").exists()


def test_an_unknown_format_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'lerobot'"):
        job.run(run_of(tmp_path), "lerobt")
