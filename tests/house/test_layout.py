"""The house stands as designed: links, guards, nothing generic installed, nothing heavy imported early."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import SLOW

ROOT = Path(__file__).parents[2]
PARTS = ("envs", "policies", "detectors")
ROOMS = {
    "attribution", "benchmarking", "checking", "config", "execution", "formats", "jobs", "monitoring", "recovery",
    "reporting", "rollouts", "stats", "store", "synthesis", "testing", "types", "viewing",
}  # fmt: skip
LINKS = {*PARTS, "conf", "recipes"}
MOST_LINES_OF_A_JOB = 60
LONGER_JOBS: set[str] = set()
"""Jobs that are still libraries; whoever makes one short takes it out, or its test fails."""
JOBS = sorted(path for path in (ROOT / "workbench" / "jobs").glob("*.py") if path.stem != "__init__")


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Modules that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    whole = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return frozenset([*whole, *(str(node.module) for node in nodes if isinstance(node, ast.ImportFrom))])


def shipped() -> list[Path]:
    """Every file of the package."""
    return [path for folder in ("workbench", *PARTS) for path in sorted((ROOT / folder).rglob("*.py"))]


def test_at_the_top_are_the_rooms_and_no_loose_modules():
    top = [path for path in (ROOT / "workbench").iterdir() if path.name != "__pycache__"]
    assert {path.name for path in top if path.is_file()} == {
        "__init__.py", "__init__.pyi", "__main__.py", "cli.py", "errors.py", "py.typed",
    }  # fmt: skip
    assert {path.name for path in top if path.is_dir()} == ROOMS | LINKS


def test_every_room_says_what_it_is():
    for room in ROOMS:
        text = (ROOT / "workbench" / room / "__init__.py").read_text()
        assert ast.get_docstring(ast.parse(text)), room


def test_the_contract_of_the_floors_names_every_room():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    floors = next(each for each in project["tool"]["importlinter"]["contracts"] if each["name"] == "Floors")
    assert floors["exhaustive"] is True
    assert {name.strip() for layer in floors["layers"] for name in layer.split("|")} == {
        *ROOMS, *PARTS, "cli", "errors",
    }  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_parts_know_types_and_errors_alone(part):
    for path in (ROOT / part).rglob("*.py"):
        for module in imported(path):
            if module.split(".")[0] == "workbench":
                assert module.split(".")[1] in ("types", "errors", part), f"{path.relative_to(ROOT)}: {module}"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.xfail(reason="still a library", strict=True))
        if path.stem in LONGER_JOBS
        else path
        for path in JOBS
    ],
    ids=lambda path: path.stem,
)
def test_a_job_is_words(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES_OF_A_JOB


def test_every_library_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    libraries = [*project["dependencies"], *extras["video"], *extras["figures"]]
    declared = {re.split(r"[<>=!~;\[ ]", each)[0].lower() for each in libraries}
    named = {"hydra": "hydra-core", "PIL": "pillow", "rerun": "rerun-sdk", "sklearn": "scikit-learn", "yaml": "pyyaml"}
    used = {module.split(".")[0] for path in shipped() for module in imported(path)}
    others = used - sys.stdlib_module_names - {"workbench"}
    assert {named.get(name, name.replace("_", "-")) for name in others} == declared - {"mink"}  # robosuite's


def test_what_is_named_as_slow_is_there():
    files = list((ROOT / "tests").rglob("test_*.py"))
    defined = re.compile(r"^ *(?:def |class )?(\w+)(?:\(| = )", re.MULTILINE)
    names = {name for path in files for name in defined.findall(path.read_text())}
    assert names | {path.name for path in files} >= SLOW


def test_no_test_has_a_time_limit_of_its_own():
    """A busy machine is slow; what is there against hanging is tests/limits.py."""
    limit = re.compile(r"\btimeout=\d|monotonic\(\) \+ \d|\b(wait|join|communicate|result)\([1-9]|\balarm\([1-9]")
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert not limit.search(path.read_text()), path


@pytest.mark.parametrize("folder", [*PARTS, "conf"])
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


@pytest.mark.parametrize("folder", PARTS)
def test_folders_are_not_top_level_packages(folder):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {folder}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert f"import workbench.{folder}" in done.stderr


def test_datasets_is_no_package():
    assert not list((ROOT / "datasets").rglob("*.py"))


def test_claims_and_benchmarks_start_from_a_fresh_checkout():
    scripts = [path for folder in ("verify", "benchmarks") for path in sorted((ROOT / "tests" / folder).glob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in scripts]
    code = f"import importlib; [importlib.import_module(name) for name in {names}]"
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_line_imports_nothing_heavy():
    heavy = ["torch", "mujoco", "robosuite", "zarr", "rerun", "mapie", "numba", "matplotlib", "hydra", "pandas"]
    heavy += ["numpy", "scipy", "rich", "omegaconf", "yaml", "jinja2", "msgpack"]
    code = f"import sys, workbench.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("mujoco", ("envs/",)),
        ("robosuite", ("envs/",)),
        ("zarr", ("workbench/store/",)),
        ("rerun", ("workbench/viewing/",)),
        ("hydra", ("workbench/cli.py", "workbench/config/")),
        ("mapie", ("detectors/", "workbench/monitoring/drift.py")),
    ],
)
def test_a_library_is_imported_in_one_place(library, homes):
    for path in shipped():
        roots = {module.split(".")[0] for module in imported(path)}
        assert library not in roots or str(path.relative_to(ROOT)).startswith(homes), path


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
