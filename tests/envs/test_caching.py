"""Where machine code and robot cells are kept when neither the installation nor the home can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANG_S
from workbench.envs import caching

ROOT = Path(__file__).parents[2]
CODE = """
import os
from workbench.envs.stepper import CACHED, bounded
from workbench.envs.robots.panda import PANDA
from workbench.envs.robots.robosuite import robot_cell
cell = robot_cell("Lift", PANDA, 20)
import robosuite.utils.transform_utils
print(CACHED, os.environ.get("NUMBA_CACHE_DIR", ""), cell.digest)
"""
NO_FOLDER = "/dev/null/home"
"""Cannot be made by anybody, not even by root."""


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which no __pycache__ can be made, by whoever asks."""
    copy = tmp_path_factory.mktemp("é a") / "checkout"
    shutil.copytree(ROOT / "envs", copy / "envs", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [copy / "envs", *(path for path in (copy / "envs").rglob("*") if path.is_dir())]:
        (folder / "__pycache__").touch()
    shutil.copytree(ROOT / "workbench", copy / "workbench", symlinks=True)
    for name in ("policies", "detectors", "conf", "datasets"):
        (copy / name).symlink_to(ROOT / name)
    return copy


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": NO_FOLDER},
        {"HOME": NO_FOLDER, "XDG_CACHE_HOME": NO_FOLDER, "NUMBA_CACHE_DIR": NO_FOLDER},
        {"HOME": "", "XDG_CACHE_HOME": "not/absolute"},
    ],
    ids=lambda given: " ".join(f"{name}={value}" for name, value in given.items()),
)
def test_machine_code_is_kept_in_a_temporary_folder(read_only, tmp_path, environment):
    (tmp_path / "tmp").mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    kept |= {"PYTHONPATH": str(read_only), "TMPDIR": str(tmp_path / "tmp"), **environment}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr
    cached, folder, digest = done.stdout.split()[0], *done.stdout.split()[-2:]
    assert (cached, len(digest) > 8) == ("True", True)
    (own,) = (tmp_path / "tmp").glob("failure-workbench-*")
    assert Path(folder).parent == own / "numba"
    assert own.stat().st_mode & 0o077 == 0
    assert [path.suffix for path in own.iterdir() if path.is_file()] == [".json"]
    assert {path.name for path in tmp_path.iterdir()} == {"tmp"}  # no folder called ~ either


def test_a_temporary_folder_that_others_may_write_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(caching.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", NO_FOLDER)
    caching._temporary.cache_clear()
    try:
        shared = tmp_path / f"failure-workbench-{os.getuid()}"
        shared.mkdir()
        shared.chmod(0o777)
        found = caching.cache_folder()
        assert found is not None
        assert found != shared
        assert found.stat().st_mode & 0o077 == 0
    finally:
        caching._temporary.cache_clear()


def test_without_any_folder_nothing_is_cached(monkeypatch):
    monkeypatch.setattr(caching, "writable", lambda folder: False)
    monkeypatch.setattr(caching, "_temporary", lambda: (_ for _ in ()).throw(FileNotFoundError()))
    monkeypatch.setattr(caching.numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    assert caching.cache_folder() is None
    assert not caching.numba_can_cache()


def test_other_sources_have_another_folder(tmp_path, monkeypatch):
    """Code that was compiled from an older version of what it calls is never run."""
    monkeypatch.setattr(caching, "__file__", str(tmp_path / "caching.py"))
    (tmp_path / "controllers").mkdir()
    found = []
    for text in ("a = 1", "a = 2", "a = 1"):
        (tmp_path / "controllers" / "one.py").write_text(text)
        found.append(caching._sources())
    assert found[0] == found[2] != found[1]


def test_a_path_that_the_locale_cannot_read_is_not_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(caching, "writable", lambda folder: folder != Path(folder).parent / "__pycache__")
    monkeypatch.setattr(caching, "__file__", "/opt/\udcc3\udca9/caching.py")
    monkeypatch.setattr(caching, "_sources", lambda: "x")
    monkeypatch.setattr(caching.numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    assert not caching.numba_can_cache()
