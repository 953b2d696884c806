"""What is installed elsewhere runs from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.wheel import build_wheel

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build_wheel(folder)
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


def test_make_says_what_it_installs_before_it_does():
    """A download of gigabytes is no silence: every recipe that installs begins with a line about it."""
    recipes = re.split(r"\n(?=\S)", (ROOT / "Makefile").read_text())
    installing = [recipe for recipe in recipes if " install " in recipe and not recipe.startswith(("#", "help:"))]
    assert len(installing) == 2
    for recipe in installing:
        said = re.search(r"^\t@echo \"installing .*GB", recipe, re.MULTILINE)
        assert said, recipe
        assert said.start() < recipe.index(" install "), recipe
