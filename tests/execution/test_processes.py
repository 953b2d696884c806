"""Worker processes: what they return, and that none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.limits import HANG_S
from workbench.errors import ConfigError, DivergedError, PolicyServerError, UnknownNameError
from workbench.execution.processes import Processes

PARENT = """
import os, sys, time
from pathlib import Path
from workbench.execution.processes import Processes

def work(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(Processes(2).map_unordered(work, [sys.argv[1]] * 2))
"""


def gone(pid: int) -> bool:
    """Whether a process has ended, buried or not."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def waits_for(what, timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False


def test_results_do_not_depend_on_the_number_of_workers():
    assert list(Processes(1).map_unordered(abs, [-1, -2, 3])) == [1, 2, 3]
    assert sorted(Processes(2).map_unordered(abs, [-1, -2, 3])) == [1, 2, 3]


def test_no_workers_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        list(Processes(0).map_unordered(abs, [1]))


def test_no_worker_outlives_a_killed_parent(tmp_path):
    script, folder = tmp_path / "parent.py", tmp_path / "pids"
    script.write_text(PARENT)
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, script, folder])
    try:
        assert waits_for(lambda: len(list(folder.iterdir())) == 2, HANG_S)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(file.name) for file in folder.iterdir()]
    try:
        assert waits_for(lambda: all(map(gone, workers)), HANG_S)
    finally:
        for pid in workers:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)


def complain(number: int) -> None:
    if number == 1:
        raise UnknownNameError("camera", "rist", ["wrist", "side"])
    raise DivergedError("gone", np.ones(7))


@pytest.mark.parametrize(("number", "kind"), [(1, UnknownNameError), (2, DivergedError)])
def test_an_error_of_a_worker_is_the_same_error_here(number, kind):
    """Its constructor takes other arguments than its message, which must not break the pool."""
    with pytest.raises(kind) as here:
        complain(number)
    with pytest.raises(kind) as caught:
        list(Processes(2).map_unordered(complain, [number, number]))
    assert str(caught.value) == str(here.value)
    assert {**vars(caught.value)}.keys() == {**vars(here.value)}.keys()


def lost_or_late(folder):
    """The first worker loses the server, the second has something to put away before it does."""
    if folder.name == "first":
        raise PolicyServerError("gone")
    time.sleep(0.5)
    (folder.parent / "kept").touch()
    raise PolicyServerError("gone too")


def test_workers_put_away_what_they_have_when_the_server_is_lost(tmp_path):
    with pytest.raises(PolicyServerError, match="gone"):
        list(Processes(2).map_unordered(lost_or_late, [tmp_path / "first", tmp_path / "second"]))
    assert (tmp_path / "kept").exists()
