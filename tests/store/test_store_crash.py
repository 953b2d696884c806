"""Real processes: writers killed with ``kill -9`` at random moments, several at once, and a disk that is really full.

The file is also the program of the writers (``python tests/store/test_store_crash.py``): it reads one job a line, forks
a writer for it and prints the writer's process id.  Forking spares every writer the imports.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from workbench.errors import StoreError
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Episode, new_record

HEADER = StoreHeader(task="lift", control_hz=20.0, deadline=100, config={}, versions={}, seed=0)
PER_COMMIT = 3


def make_episode(number: int) -> Episode:
    """An episode that is a function of its number."""
    rng = np.random.default_rng(number)
    length, calls = 20 + number % 9, 3 + number % 2
    steps = {"obs/eef_pos": rng.normal(size=(length, 3)), "action": rng.normal(size=(length, 7)).astype(np.float32)}
    steps |= {"state": rng.normal(size=(length, 150)), "predicates/grasped": rng.random(length) < 0.5}
    called = {"step": 8 * np.arange(calls), "samples": rng.normal(size=(calls, 32, 16, 7)).astype(np.float32)}
    record = new_record(
        uid=f"0:{number}:ab", index=number, seed=0, split="train", task="lift", model="ab", instruction="lift",
        policy="flow", perturbation="", perturbations="[]", cell="", execute=4, length=length, success=True, outcome="",
        modes="[]",
    )  # fmt: skip
    return Episode(record, steps, called, rng.normal(size=(length, 30 + number % 3)))


def holds_exactly(path: Path, count: int) -> None:
    store = Store.open(path)
    assert store.episodes["index"].tolist() == list(range(count))
    for number in range(count):
        found, wanted = store.episode(number), make_episode(number)
        assert found.record == wanted.record
        for have, want in ((found.steps, wanted.steps), (found.calls, wanted.calls)):
            assert have.keys() == want.keys()
            assert all(have[key].tobytes() == want[key].tobytes() for key in want)
        assert found.memory.tobytes() == wanted.memory.tobytes()


class Launcher:
    """Starts writers."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self, path: Path, part: str, first: int, step: int, last: int) -> tuple[int, Path]:
        """Start a writer of every ``step``-th episode; returns its process id and the file of what it acknowledges."""
        acknowledged = path.with_name(f"{part}.{time.monotonic_ns()}.acknowledged")
        job = [str(path), part, first, step, last, str(acknowledged)]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        return int(self.process.stdout.readline()), acknowledged

    @staticmethod
    def wait(pid: int) -> None:
        """Wait until a writer has gone."""
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.002)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.process.communicate()
    assert launcher.process.returncode == 0


def test_twenty_times_kill_9(tmp_path: Path, launcher: Launcher) -> None:
    from tests.limits import HANG_S  # this file is a script, too, which does not see its neighbours

    path, rng, count, interrupted = tmp_path / "a.zarr", np.random.default_rng(0), 0, 0
    for _ in range(20):
        pid, acknowledged = launcher.start(path, "main", count, 1, 10**6)
        end = time.monotonic() + HANG_S
        while not acknowledged.exists():
            assert time.monotonic() < end, "the writer commits nothing"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        launcher.wait(pid)
        promised = int(acknowledged.read_text().split()[-1])
        found = len(Store.open(path))
        assert found in (promised, promised + PER_COMMIT)
        holds_exactly(path, found)
        rows = [json.loads(file.read_text())["shape"][0] for file in path.rglob("steps/action/zarr.json")]
        committed = sum(make_episode(number).record["length"] for number in range(found))
        interrupted += rows != [committed] or any(path.rglob("*.partial"))
        count = found
    assert interrupted > 0, "no kill fell into a commit, so this test showed nothing"
    with StoreWriter.open(path, HEADER) as writer:
        assert len(writer.committed_uids) == count
        writer.append(make_episode(count))
    holds_exactly(path, count + 1)
    assert not list(path.rglob("*.partial"))


def test_several_writers_make_one_store_at_once(tmp_path: Path, launcher: Launcher) -> None:
    path = tmp_path / "a.zarr"
    writers = [launcher.start(path, f"w{number}", number, 4, 24)[0] for number in range(4)]
    for pid in writers:
        launcher.wait(pid)
    holds_exactly(path, 24)
    assert sorted(folder.name for folder in (path / "parts").iterdir() if folder.is_dir()) == ["w0", "w1", "w2", "w3"]
    assert not list(tmp_path.glob(".*"))


def fill(writer: StoreWriter) -> None:
    for number in range(100):
        writer.append(make_episode(number))
        writer.commit()


def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        path = disk / "a.zarr"
        writer = StoreWriter.open(path, HEADER)
        with pytest.raises(StoreError, match=r"disk is full.*free some space"):
            fill(writer)
        number = len(Store.open(path))
        assert writer.committed_uids == {f"0:{n}:ab" for n in range(number)}
        assert number > 2
        holds_exactly(path, number)
        with pytest.raises(StoreError, match="disk is full"):
            writer.close()
        holds_exactly(path, number)
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        with StoreWriter.open(path, HEADER) as writer:
            writer.append(make_episode(number))
        holds_exactly(path, number + 1)
    finally:
        subprocess.run(["umount", disk], check=True)


def write_until_killed(path: str, part: str, first: int, step: int, last: int, acknowledged: str) -> None:
    """The writer: commits PER_COMMIT episodes at a time and notes how many are committed."""
    with StoreWriter.open(Path(path), HEADER, part) as writer:
        for count, number in enumerate(range(first, last, step), start=1):
            writer.append(make_episode(number))
            if count % PER_COMMIT == 0:
                writer.commit()
                with Path(acknowledged).open("a") as file:
                    file.write(f"{number + 1}\n")


def launch() -> None:
    """Fork one writer a line of standard input."""
    import google_crc32c  # noqa: F401
    import numcodecs  # noqa: F401
    import zarr  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            write_until_killed(*json.loads(line))
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    launch()
