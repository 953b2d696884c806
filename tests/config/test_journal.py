"""The journal of a run: whole lines, true commands, no machine's name, nothing skipped."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import socket
from pathlib import Path

import pytest

from workbench.config import Run, compose, journalled
from workbench.config.journal import JOURNAL, append, command, portable, read_journal
from workbench.errors import CheckpointError, ConfigError, StoreError

WORDS = ["job=rollout", "name=x", "policy=expert", "perturbation=[slip,push]"]
LINES_EACH = 40


def a_run(root: Path, *words: str) -> Run:
    run = Run(compose([*WORDS, *words]), root, [*WORDS, *words])
    run.folder.mkdir(parents=True, exist_ok=True)
    return run


def add_lines(root: Path, name: str) -> None:
    for number in range(LINES_EACH):
        with journalled(Run(compose(WORDS), root, [*WORDS, f"job.by={name}", f"job.number={number}"])):
            pass


def test_a_line_says_what_was_done(tmp_path):
    run = a_run(tmp_path, "job.episodes.test=3")
    with journalled(run):
        pass
    (entry,) = run.journal()
    assert (entry.job, entry.ended, entry.why, entry.done) == ("rollout", "ended", "", True)
    assert entry.config["job"]["episodes"]["test"] == 3
    assert {"python", "failure-workbench", "mujoco", "torch", "numpy", "zarr", "hydra-core"} <= set(entry.versions)
    assert entry.commit is None or len(entry.commit.removesuffix("-dirty")) == 40
    assert entry.started.endswith("Z")
    assert 0 <= entry.seconds < 5


def test_the_command_can_be_pasted_and_composes_to_the_same(tmp_path):
    run = a_run(tmp_path, "job.episodes={fit: 0, calibrate: 1, test: 3}")
    with journalled(run):
        pass
    (entry,) = run.journal()
    program, job, *words = shlex.split(entry.command)
    assert (program, job) == ("workbench", "rollout")
    assert compose([f"job={job}", *words]) == run.config


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (ConfigError("no\nsuch word"), "refused"),
        (CheckpointError("there is none"), "failed"),
        (OSError(28, "No space left on device"), "failed"),
        (ZeroDivisionError("our own mistake"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(3), "failed"),
    ],
)
def test_how_a_job_ended_is_told_with_its_line(tmp_path, error, ended):
    run = a_run(tmp_path)
    with pytest.raises(type(error)), journalled(run):
        raise error
    (entry,) = run.journal()
    assert entry.ended == ended
    assert entry.why == ("" if ended == "interrupted" else " ".join(str(error).split()))
    assert entry.done == (ended == "interrupted")


def test_what_made_nothing_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError), journalled(Run(compose(WORDS), tmp_path, WORDS)):
        raise ConfigError("no")
    assert not list(tmp_path.iterdir())


def test_no_machine_is_named(tmp_path):
    other = "/home/somebody/weights/policy"
    run = a_run(tmp_path, f"root={tmp_path}", f"checkpoint={tmp_path}/runs/a/policy", f"demos=d{''}")
    run.config["task"]["extra"] = {"path": other, "url": "ws://server.lab:8000/x", "ratio": "a/b"}
    with pytest.raises(StoreError), journalled(run):
        raise StoreError(f"cannot read {tmp_path}/datasets/x.zarr or '/usr/share/thing', see {other}")
    text = (run.folder / JOURNAL).read_text()
    (entry,) = run.journal()
    assert str(tmp_path) not in text
    assert socket.gethostname() not in text
    assert not [word for word in entry.words if word.startswith("root=")]
    assert "checkpoint=runs/a/policy" in entry.words
    assert entry.config["root"] is None
    assert entry.config["task"]["extra"]["url"] == "ws://server.lab:8000/x"
    assert entry.config["task"]["extra"]["ratio"] == "a/b"
    assert entry.config["task"]["extra"]["path"] == os.path.relpath(other, tmp_path)
    assert "datasets/x.zarr" in entry.why
    assert " /" not in entry.why
    assert "'/" not in entry.why


def test_paths_with_spaces_below_the_root_are_relative_too():
    assert portable("checkpoint=/a b/c d/runs/x", Path("/a b/c d")) == "checkpoint=runs/x"


def test_processes_never_lose_or_mix_lines(tmp_path):
    a_run(tmp_path)
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=add_lines, args=(tmp_path, name)) for name in "abc"]
    for each in several:
        each.start()
    for each in several:
        each.join()
    found = [tuple(entry.words[-2:]) for entry in a_run(tmp_path).journal()]
    assert sorted(found) == sorted((f"job.by={n}", f"job.number={i}") for n in "abc" for i in range(LINES_EACH))
    for name in "abc":
        assert [number for by, number in found if by.endswith(name)] == [f"job.number={i}" for i in range(LINES_EACH)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], b"not json", lines[1]],
        lambda lines: [lines[0], b"", lines[1]],
        lambda lines: [lines[0], b"[]", lines[1]],
        lambda lines: [lines[0], b"\xff\xfe", lines[1]],
        lambda lines: [lines[0], lines[1][:-5], lines[1]],
        lambda lines: [lines[0], b"[" * 100_000, lines[1]],
        lambda lines: [lines[0], changed(lines[1], ended="done"), lines[1]],
        lambda lines: [lines[0], changed(lines[1], words="name=x"), lines[1]],
        lambda lines: [lines[0], changed(lines[1], words=[3]), lines[1]],
        lambda lines: [lines[0], changed(lines[1], config=[]), lines[1]],
        lambda lines: [lines[0], changed(lines[1], config={"perturbation": "slip"}), lines[1]],
        lambda lines: [lines[0], changed(lines[1], config={"task": [1]}), lines[1]],
        lambda lines: [lines[0], changed(lines[1], config={"name": 3}), lines[1]],
        lambda lines: [lines[0], changed(lines[1], more=1), lines[1]],
        lambda lines: [lines[0], changed(lines[1], seconds="long"), lines[1]],
    ],
)
def test_a_damaged_line_is_named_and_not_skipped(tmp_path, damage):
    run = a_run(tmp_path)
    for _ in range(2):
        with journalled(run):
            pass
    path = run.folder / JOURNAL
    path.write_bytes(b"\n".join(damage(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(StoreError, match=r"^runs/x/journal\.jsonl line 2 .*; mend it, or move the file away$"):
        run.journal()


def changed(line: bytes, **values: object) -> bytes:
    return json.dumps({**json.loads(line), **values}).encode()


def test_half_a_line_at_the_end_is_named(tmp_path):
    run = a_run(tmp_path)
    with journalled(run):
        pass
    path = run.folder / JOURNAL
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="cut off"):
        read_journal(run.folder)


def test_a_disk_that_is_full_leaves_whole_lines(tmp_path):
    run = a_run(tmp_path)
    with journalled(run):
        pass
    before = (run.folder / JOURNAL).read_bytes()
    (entry,) = run.journal()

    def short(root: Path, limit: int) -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        append(a_run(root).folder, entry)

    child = multiprocessing.get_context("fork").Process(target=short, args=(tmp_path, len(before) + 100))
    child.start()
    child.join()
    assert child.exitcode == 1
    assert (run.folder / JOURNAL).read_bytes() == before


def test_a_journal_that_cannot_be_written_takes_nothing_from_the_job(tmp_path, capsys, monkeypatch):
    def refused(folder, entry):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("workbench.config.journal.append", refused)
    with journalled(a_run(tmp_path)):
        pass
    assert "runs/x/journal.jsonl is not written: Permission denied" in capsys.readouterr().err


def test_a_job_that_fails_says_why_in_its_own_line_alone(tmp_path, capsys, monkeypatch):
    """A full disk fails the job and then its journal: two lines said one thing, and which came last was chance."""

    def refused(folder, entry):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workbench.config.journal.append", refused)
    with pytest.raises(StoreError, match="the disk is full"), journalled(a_run(tmp_path)):
        raise StoreError("labels cannot be written: the disk is full")
    assert capsys.readouterr().err == ""


def test_an_experiment_of_the_jobs_own_name_goes_without_saying():
    assert command(["job=quickstart", "+experiment=quickstart", "seed=1"]) == "workbench quickstart seed=1"
    assert command(["job=rollout", "+experiment=quickstart"]) == "workbench rollout +experiment=quickstart"
