"""Jobs one after the other on one run: what is remembered, what is journalled, and the points of sweeps."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANG_S
from workbench.config import Run, compose
from workbench.config.journal import JOURNAL

EXPERT = ["policy=expert", "rollout.samples=0", "job.episodes.test=1"]


def workbench(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=HANG_S)


def done(root: Path, *words: str) -> str:
    called = workbench(root, *words)
    assert called.returncode == 0, called.stderr
    return called.stdout


def refused(root: Path, *words: str) -> str:
    called = workbench(root, *words)
    assert called.returncode in (1, 2), called.stdout
    assert called.stderr.count("\n") == 1, called.stderr
    return called.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run of another task and seed than the defaults', rolled twice."""
    folder = tmp_path_factory.mktemp("runs")
    done(folder, "rollout", "name=x", "task=stack", "seed=3", *EXPERT)
    return folder


def test_later_jobs_need_no_repeated_words_and_the_journal_tells_all_of_it(root):
    said = done(root, "rollout", "name=x", "perturbation=[object_shift]", "job.episodes.test=1")
    assert "taken from the run: task=stack seed=3 policy=expert rollout.samples=0\n" in said
    assert "datasets/x.zarr" in said
    metrics = json.loads((root / "runs/x/metrics.json").read_text())
    assert metrics["policy"]["nominal"]["episodes"] == metrics["perturbed"][0]["episodes"] == 1
    assert "bit for bit: 2 of 2" in done(root, "replay", "name=x")
    assert "another task" in refused(root, "rollout", "name=x", "task=lift")
    assert "another seed" in refused(root, "rollout", "name=x", "seed=4")
    words = ["perturbation=[object_shift]", "perturbation.object_shift.offset_m=0.1"]
    assert "perturbation.object_shift.offset_m" in refused(root, "rollout", "name=x", *words)
    done(root, "report", "name=x")
    journal = Run(compose(["name=x"]), root).journal()
    assert [(entry.job, entry.ended) for entry in journal][:3] == [("rollout", "ended")] * 2 + [("replay", "ended")]
    assert {entry.ended for entry in journal} == {"ended", "refused"}
    assert str(root) not in (root / "runs/x" / JOURNAL).read_text()
    page = (root / "runs/x/report.html").read_text()
    again = page.partition("Doing it again")[2]
    for entry in journal:
        command = entry.command.replace("'", "&#39;")
        assert (command in again) == entry.done, command
        assert compose([f"job={entry.job}", *shlex.split(entry.command)[2:]])["task"] == entry.config["task"]
    intro = page.partition("<header>")[2].partition("</header>")[0]
    assert "run in simulation with and without faults" in intro
    assert not [word for word in ("monitor", "recover", "branching", "training") if word in intro]
    assert "commands" not in json.loads((root / "runs/x/metrics.json").read_text())


def test_points_of_a_sweep_have_runs_of_their_own_and_go_on_like_runs(root):
    done(root, "rollout", "name=s", "task=stack", *EXPERT, "seed=1,2", "perturbation=[object_shift]", "-m")
    assert not (root / "runs/s").exists()
    assert not (root / "datasets/s.zarr").exists()
    assert not (root / "multirun.yaml").exists()
    for seed in (1, 2):
        run = Run(compose([f"name=s-seed-{seed}"]), root)
        assert run.store.exists()
        assert run.metrics()["perturbed"][0]["episodes"] == 1
        (entry,) = run.journal()
        assert entry.config["seed"] == seed
        assert f"name=s-seed-{seed}" in entry.words
        assert "seed=1,2" not in entry.words
    assert "runs compared" in done(root, "compare", "runs/s-*")
    rows = (root / "runs/compare/comparison.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["s-seed-1", "1"], ["s-seed-2", "2"]]
    assert "taken from runs/s-seed-1" in done(root, "rollout", "name=s", "seed=1,2", "job.episodes.test=2", "-m")
    assert Run(compose(["name=s-seed-2"]), root).metrics()["policy"]["nominal"]["episodes"] == 2


def test_a_journal_from_elsewhere_names_no_code(root):
    folder = root / "runs/evil"
    folder.mkdir(parents=True)
    lines = (root / "runs/x" / JOURNAL).read_text().splitlines()[:1]
    for word in ("policy._target_=os.system", "plugins=[os]", "+task.x={_target_: os.system}", "root=/tmp", "name=y"):
        line = json.loads(lines[0])
        lines.append(json.dumps({**line, "words": ["job=rollout", "name=evil", word]}))
    (folder / JOURNAL).write_text("\n".join(lines) + "\n")
    said = done(root, "rollout", "name=evil", "job.episodes.test=1")
    assert "taken from the run: task=stack seed=3 policy=expert rollout.samples=0\n" in said
    assert (root / "datasets/evil.zarr").exists()


def test_a_damaged_journal_is_said_before_anything_is_made(root):
    folder = root / "runs/torn"
    folder.mkdir(parents=True)
    (folder / JOURNAL).write_text("{}\n")
    for job in ("rollout", "quickstart", "fit"):
        assert "runs/torn/journal.jsonl line 1 lacks job, words" in refused(root, job, "name=torn", "policy=expert")
    assert not (root / "datasets/torn.zarr").exists()
    assert sorted(path.name for path in folder.iterdir()) == [JOURNAL]
