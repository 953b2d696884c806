"""The house stands as designed: links, guards, nothing generic installed, nothing heavy imported early."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["envs", "policies", "detectors", "conf"])
def test_links_lead_to_the_folders(folder):
    link = ROOT / "workbench" / folder
    assert link.is_symlink()
    assert link.resolve() == (ROOT / folder).resolve()


def test_recipes_lie_with_the_data_sets_and_travel_with_the_package():
    link = ROOT / "workbench" / "recipes"
    assert link.is_symlink()
    assert link.resolve() == (ROOT / "datasets" / "recipes").resolve()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "recipes/*.yaml" in project["tool"]["setuptools"]["package-data"]["workbench"]


@pytest.mark.parametrize("folder", ["envs", "policies", "detectors"])
def test_folders_are_not_top_level_packages(folder):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {folder}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert f"import workbench.{folder}" in done.stderr


def test_datasets_is_no_package():
    assert not list((ROOT / "datasets").rglob("*.py"))


def test_the_command_line_imports_nothing_heavy():
    heavy = ["torch", "mujoco", "robosuite", "zarr", "rerun", "mapie", "numba", "matplotlib", "hydra", "pandas"]
    code = f"import sys, workbench.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("zarr", ("workbench/store/",)),
        ("rerun", ("workbench/viewing/",)),
        ("hydra", ("workbench/cli.py", "workbench/config/")),
        ("mapie", ("detectors/", "workbench/monitoring/drift.py")),
    ],
)
def test_a_library_is_imported_in_one_place(library, homes):
    folders = ("workbench", "envs", "policies", "detectors")
    for path in (path for folder in folders for path in (ROOT / folder).glob("**/*.py")):
        words = [line.split() for line in path.read_text().splitlines() if line.strip()]
        imported = [line[1].split(".")[0] for line in words if line[0] in ("import", "from") and len(line) > 1]
        assert library not in imported or str(path.relative_to(ROOT)).startswith(homes), path


def test_no_pickle_is_read_or_written():
    for path in [*ROOT.glob("workbench/**/*.py"), *ROOT.glob("envs/**/*.py"), *ROOT.glob("policies/**/*.py")]:
        text = path.read_text()
        assert "pickle" not in text.replace("no pickle", "").replace("never pickle", ""), path
        assert "torch.load" not in text, path


def test_constraints_name_versions_and_no_host():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(line.startswith("#") or line.count("==") == 1 for line in lines if line)
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_the_distribution_installs_only_workbench():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["name"] == "failure-workbench"
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == ["workbench", "workbench.*"]
