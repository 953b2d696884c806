"""Lines where nobody looks at bars, and the log of a run."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
import threading

import pytest

from tests.limits import HANG_S
from workbench.config import Run, compose
from workbench.errors import ConfigError
from workbench.execution import progress
from workbench.execution.chain import Chain, Stage
from workbench.execution.progress import LOG, bars, console, logged

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \d+  (.*)")


def lines_of(path):
    """What a log says; every line has its time and process."""
    return [LINE.fullmatch(line)[1] for line in path.read_text().splitlines()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def streams(monkeypatch):
    """Puts streams in the place of this process's; returns them."""

    def put(out: bool, err: bool) -> tuple[io.StringIO, io.StringIO]:
        made = [Terminal() if terminal else io.StringIO() for terminal in (out, err)]
        monkeypatch.setattr(sys, "stdout", made[0])
        monkeypatch.setattr(sys, "stderr", made[1])
        monkeypatch.setenv("TERM", "xterm")
        return made[0], made[1]

    return put


def test_a_job_without_a_terminal_says_where_it_is(streams, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    out, err = streams(out=False, err=False)
    with logged(tmp_path / "runs" / "a", "label", "workbench label"), progress.progress("failures", 97) as advance:
        advance(24)
        waited = threading.Event()
        while out.getvalue().count("\n") < 4:
            waited.wait(0.01)
    first, *others = out.getvalue().splitlines()
    assert first == "label, 97 failures"
    assert re.fullmatch(r"label, 24 of 97 failures after 0 s, about 0 s left", others[-1])
    assert err.getvalue() == ""
    assert lines_of(tmp_path / "runs" / "a" / LOG)[:2] == ["workbench label", "label, 97 failures"]


@pytest.mark.parametrize(
    ("out", "err", "job", "lines_on", "bars_on"),
    [
        (False, False, True, "out", ""),
        (False, True, True, "out", "err"),
        (True, False, True, "", "out"),
        (True, True, True, "", "err"),
        (False, False, False, "err", ""),
        (False, True, False, "", "err"),
        (True, True, False, "", "err"),
    ],
)
def test_bars_go_to_a_terminal_and_lines_to_who_sees_none(streams, tmp_path, out, err, job, lines_on, bars_on):
    written = dict(zip(("out", "err"), streams(out, err), strict=True))
    if job:
        with logged(tmp_path, "rollout", "workbench rollout"), bars("episodes", {"episodes": 5}) as advance:
            advance("episodes", 5)
        assert "rollout, 5 episodes" in lines_of(tmp_path / LOG)
    else:
        with bars("episodes", {"episodes": 5}) as advance:
            advance("episodes", 5)
        assert not (tmp_path / LOG).exists()
    for name, stream in written.items():
        assert ("5 episodes\n" in stream.getvalue()) == (name == lines_on)
        assert ("5/5" in stream.getvalue()) == (name == bars_on)


def test_a_dumb_terminal_gets_no_bars(streams, monkeypatch, tmp_path):
    out, err = streams(out=True, err=True)
    monkeypatch.setenv("TERM", "dumb")
    with logged(tmp_path, "rollout", "workbench rollout"), bars("episodes", {"episodes": 5}):
        pass
    assert (out.getvalue(), err.getvalue()) == ("rollout, 5 episodes\n", "")


def test_what_a_stage_prints_is_held_back_and_kept_in_the_log(streams, tmp_path, monkeypatch):
    out, _ = streams(out=False, err=False)
    run = Run(compose(["name=a"]), tmp_path)

    def job(run: Run) -> None:
        console.print("a table")
        with progress.progress("failures", 3):
            pass

    monkeypatch.setattr("workbench.execution.chain.job_of", lambda node: job)
    with logged(run.folder, "quickstart", "workbench quickstart name=a"):
        chain = Chain(run, 4)
        for name in ("collect", "train", "label", "label"):
            chain.settle(Stage(name, [], [], [], [run]))
    assert out.getvalue().splitlines() == [
        "1/4 collect", "1/4 collect, 3 failures", "2/4 train", "2/4 train, 3 failures", "3/4 label",
        "3/4 label, 3 failures", "label: up to date",
    ]  # fmt: skip
    kept = lines_of(run.folder / LOG)
    assert kept[:4] == ["workbench quickstart name=a", "1/4 collect", "a table", "1/4 collect, 3 failures"]
    assert kept.count("a table") == 3


def refuse(began: bool) -> None:
    if began:
        console.print("left out: a score")
    raise ConfigError("no such thing")


def test_what_is_refused_leaves_no_log_and_what_ends_later_does(tmp_path):
    for path, began in ((tmp_path / "refused", False), (tmp_path / "began", True)):
        with pytest.raises(ConfigError), logged(path, "fit", "workbench fit"):
            refuse(began)
    assert not (tmp_path / "refused").exists()
    assert lines_of(tmp_path / "began" / LOG)[1:] == ["left out: a score", "fit ended: no such thing"]
    assert console.kept is None


WRITER = """
import sys
from pathlib import Path
from workbench.execution.progress import Log
log = Log(Path(sys.argv[1]), "begins " + sys.argv[2])
for number in range(300):
    log.add(f"{sys.argv[2]} {number} first\\n{sys.argv[2]} {number} second")
"""


def test_several_processes_write_one_log_and_lines_stay_whole(tmp_path):
    path = tmp_path / "runs" / LOG
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)]) for number in range(3)]
    assert [writer.wait(timeout=HANG_S) for writer in writers] == [0, 0, 0]
    lines = lines_of(path)
    assert len(lines) == 3 * 601
    for writer in range(3):
        own = [line for line in lines if line.startswith(f"{writer} ")]
        assert own == [f"{writer} {number} {part}" for number in range(300) for part in ("first", "second")]
    pairs = [(a, b) for a, b in itertools.pairwise(lines) if a.endswith("first")]
    assert all(b == a.replace("first", "second") for a, b in pairs)


def test_a_log_that_cannot_be_written_is_no_reason_to_stop(tmp_path, streams):
    out, _ = streams(out=False, err=False)
    (tmp_path / "file").touch()
    with logged(tmp_path / "file", "view", "workbench view"):
        console.print("recording: \ud800 a.rrd")
    assert out.getvalue() == "recording: \\ud800 a.rrd\n"


class Unread(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stderr", [None, Unread()], ids=["closed", "unread"])
def test_the_library_goes_on_whatever_becomes_of_stderr(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.progress("episodes", 5) as advance:
        advance(5)
