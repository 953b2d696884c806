"""A worker that dies, has no memory or cannot import: one line, and the same command goes on, whatever the job."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANG_S
from workbench.errors import WorkerError
from workbench.execution.processes import Processes
from workbench.store import Store

SITE = """
import os, signal, sys

class Trap:
    def find_spec(self, name, path=None, target=None):
        if name == "workbench.envs.scene":
            {what}

if "--multiprocessing-fork" in sys.argv or "--multiprocessing-fork" in sys.orig_argv:
    sys.meta_path.insert(0, Trap())
"""
ENDS = {
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", "a worker was ended by SIGKILL (as the system does"),
    "SIGSEGV": ("os.kill(os.getpid(), signal.SIGSEGV)", "a worker was ended by SIGSEGV"),
    "exit": ("os._exit(3)", "a worker ended with exit code 3"),
    "memory": ("raise MemoryError('cannot take 8 GB')", "a worker has no memory left (cannot take 8 GB)"),
    "torch": ('raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory")', "has no memory left (DefaultCPU"),
    "import": ("raise ImportError('libmujoco.so: cannot map')", "a worker cannot import what it is to do (libmujoco"),
}
"""What becomes of every worker, as soon as it wants a scene, and what is said of it."""
WORKERS = ["runner.workers=2", "runner.scenes=2"]
ZOO = "policy=zoo/lift_flow"
JOBS = {
    "rollout": [ZOO, "job.episodes.fit=0", "job.episodes.calibrate=0", "job.episodes.test=22", "perturbation=[slip]"],
    "label": [ZOO, "job.branches=[2]", "job.stride=100", "job.pairs=0"],
    "search": [ZOO, "perturbation=[slip,action_noise]", "job.batch=2", "job.most=4", "job.resolution=0.5"],
    "synthesize": ["job.recipe=small"],
}
RECIPE = {
    "about": "small", "licence": "CC0-1.0", "policy": "expert", "tasks": ["lift"], "nominal": {"test": 2},
    "least": {"test": 1}, "most": {"test": 1}, "failures": 1, "failure_rates": [0.5],
    "perturbations": {"slip": None, "object_shift": None},
}  # fmt: skip


def workbench(root: Path, job: str, *words: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*([str(site)] if site else []), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "workbench", job, "name=a", *JOBS[job], *words]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=HANG_S)


def trap(folder: Path, what: str) -> Path:
    """A folder for PYTHONPATH from which every worker learns how to end."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE.format(what=what))
    return folder


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stderr.startswith("workbench: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    (folder / "datasets" / "recipes").mkdir(parents=True)
    (folder / "datasets" / "recipes" / "small.yaml").write_text(json.dumps(RECIPE))
    return folder


@pytest.mark.parametrize(("what", "said"), ENDS.values(), ids=ENDS.keys())
def test_a_rollout_says_what_became_of_a_worker(root, tmp_path, what, said):
    line = one_line(workbench(root, "rollout", *WORKERS, site=trap(tmp_path / "site", what)))
    assert said in line
    assert "runner.workers=1" in line
    assert not (root / "datasets" / "a.zarr").exists()


@pytest.mark.parametrize("job", JOBS)
def test_every_job_with_workers_goes_on_after_one_died(root, tmp_path, job):
    """In the order of the jobs: labels are measured of the episodes that were rolled."""
    line = one_line(workbench(root, job, *WORKERS, site=trap(tmp_path / "site", ENDS["SIGKILL"][0])))
    assert "a worker was ended by SIGKILL" in line
    assert "what was finished is kept" in line
    done = workbench(root, job, "runner.workers=1")
    assert done.returncode == 0, done.stderr
    if job == "rollout":
        assert len(Store.open(root / "datasets" / "a.zarr")) == 22


def die(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), -number)
    return number


class Unreadable:
    """Can be sent, and not be made again elsewhere."""

    def __reduce__(self):
        return _missing, ("no_such_package",)


def _missing(name: str) -> None:
    __import__(name)


def hungry(number: int) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    return len(bytearray(2**34)) + number


class UnreadableError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def answers_what_cannot_be_read(number: int) -> None:
    raise UnreadableError("a", "b")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGBUS])
def test_the_signal_is_named_and_the_next_call_has_new_workers(number):
    with pytest.raises(WorkerError, match=f"ended by {signal.Signals(number).name}"):
        list(Processes(2).map_unordered(die, [1, -number, 2, 3, 4, 5]))
    assert sorted(Processes(2).map_unordered(die, [1, 2, 3])) == [1, 2, 3]


def test_finished_results_are_handed_over_before_the_error():
    found: list[int] = []
    with pytest.raises(WorkerError):
        found.extend(Processes(2).map_unordered(die, [*range(40), -signal.SIGKILL]))
    assert len(found) >= 35  # up to four were on their way


@pytest.mark.parametrize(
    ("function", "items", "said"),
    [
        (str, [Unreadable(), Unreadable()], "cannot import what it is to do .No module named 'no_such_package'"),
        (hungry, [1, 2], "no memory left"),
        (answers_what_cannot_be_read, [1, 2], "cannot be read .*missing 1 required positional argument"),
    ],
    ids=["import", "memory", "answer"],
)
def test_other_ends_are_one_line_too(function, items, said):
    with pytest.raises(WorkerError, match=said):
        list(Processes(2).map_unordered(function, items))
    assert sorted(Processes(2).map_unordered(die, [1, 2, 3])) == [1, 2, 3]
