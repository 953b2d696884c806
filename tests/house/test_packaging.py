"""What is installed elsewhere runs from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("failure_workbench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_only_workbench_is_installed(installed):
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"workbench"}


def test_every_part_and_every_yaml_travels(installed):
    for pattern in ("envs/**/*.py", "policies/**/*.py", "detectors/**/*.py", "conf/**/*.yaml", "policies/zoo/*/*"):
        for path in ROOT.glob(pattern):
            assert (installed / "workbench" / path.relative_to(ROOT)).is_file(), path
    for path in (ROOT / "datasets" / "recipes").glob("*.yaml"):
        assert (installed / "workbench" / "recipes" / path.name).is_file(), path
    assert (installed / "workbench" / "reporting" / "templates" / "report.html.j2").is_file()


def test_it_runs_from_an_empty_folder(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import workbench; print(workbench.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(installed))
    for words in (["--help"], ["rollout", "perturbation=[slip]", "--cfg", "job"], ["collect", "job.episodes=1"]):
        command = [sys.executable, "-m", "workbench", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "datasets" / "default-demos.zarr").is_dir()
