"""The whole chain, small: every job runs on what the one before made, and a second call does nothing again."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chain import SMALL
from tests.limits import HANG_S
from workbench.config import Run, compose
from workbench.execution.chain import Stage
from workbench.jobs.quickstart import unneeded


def workbench(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=HANG_S)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    done = workbench(folder, "quickstart", *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "report.html" in done.stdout
    return folder


@pytest.fixture(scope="module")
def metrics(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "runs/quickstart/metrics.json").read_text())
    return found


def test_metrics_hold_what_they_promise(metrics):
    assert metrics["wall_s"] == pytest.approx(sum(metrics["jobs"].values()), abs=0.1)
    assert metrics["policy"]["nominal"]["episodes"] == 8
    assert [row["episodes"] for row in metrics["perturbed"]] == [3] * 4
    assert {row["channel"] for row in metrics["perturbed"]} == {"keyframe", "action", "physics", "observation"}
    labels = metrics["labels"]
    assert labels["failed"] == labels["with_onset"] > 0
    assert labels["replay_max_abs_error"] == 0.0
    for row in metrics["monitors"]:
        assert set(row["auroc"]) == {"0.25", "0.5", "0.75", "1.0"}
        for key in ("score", "window", "calibrator", "level", "tpr", "twa", "detection_time", "actionable_recall"):
            assert key in row
        for rate in (row["fpr_nominal"], row["fpr_perturbed_success"]):
            assert {"alarms", "episodes", "ci95"} <= set(rate)
    assert {"elapsed", "always", "fiper"} <= {row["score"] for row in metrics["monitors"]}
    assert {row["name"] for row in metrics["strategies"]} == {"continue", "placebo", "expert", "head"}


def test_continuing_is_the_factual_episode(metrics):
    (row,) = [row for row in metrics["strategies"] if row["name"] == "continue"]
    assert row["rescued"][0] == 0
    assert row["kept"][0] == row["kept"][1]


def test_what_it_names_is_there(root, metrics):
    for key in ("recording", "report", "store", "export"):
        path = root / metrics[key]
        assert not Path(metrics[key]).is_absolute()
        assert path.exists()


def test_elapsed_time_and_always_are_what_they_are(metrics):
    rows = {row["score"]: row for row in metrics["monitors"]}
    assert rows["always"]["tpr"] == 1.0
    assert rows["always"]["fpr_nominal"]["alarms"] == rows["always"]["fpr_nominal"]["episodes"]
    assert rows["always"]["auroc"]["1.0"] == 0.5
    assert rows["elapsed"]["auroc"]["0.25"] == 0.5  # at a quarter of the deadline nobody has finished
    assert rows["elapsed"]["auroc"]["1.0"] > 0.95


def test_a_second_call_does_nothing_again(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    done = workbench(root, "quickstart", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("up to date") == 10
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    changed = {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"metrics.json", "journal.jsonl", "log.txt"}


def test_a_fit_can_be_made_again_bit_for_bit(root):
    done = workbench(root, "fit", "name=again", "store=quickstart", *SMALL[:3])
    assert done.returncode == 0, done.stderr
    first, second = (root / "runs" / name / "monitors" for name in ("quickstart", "again"))
    assert len(list(first.iterdir())) == 2
    assert all((second / path.name).read_bytes() == path.read_bytes() for path in first.iterdir())


def test_what_others_made_is_refused_however_often(root):
    weights = {path: path.read_bytes() for path in (root / "runs/quickstart/policy").iterdir()}
    longer = 'job.stages.train.runs=[["job=train","job.trainer.iterations=251"]]'
    words = ["name=hand", "demos=quickstart-demos", "checkpoint=runs/quickstart/policy", longer]
    for _ in range(2):
        done = workbench(root, "quickstart", *SMALL, *words)
        assert done.returncode == 1
        assert "overwrite=true" in done.stderr
    assert weights == {path: path.read_bytes() for path in (root / "runs/quickstart/policy").iterdir()}


def test_labels_of_other_settings_are_not_mixed(root):
    shutil.copytree(root / "datasets/quickstart.zarr", root / "datasets/relabel.zarr")
    shutil.copytree(root / "runs/quickstart/policy", root / "runs/relabel/policy")
    for branches, unchanged in (("[4]", False), ("[4]", True), ("[2]", False)):
        before = {path: path.read_bytes() for path in (root / "datasets/relabel.zarr").rglob("t_on/c*")}
        words = ["label", "name=relabel", f"job.branches={branches}", "job.stride=50"]
        done = workbench(root, *words)
        if branches == "[2]":
            assert done.returncode == 2
            assert (
                "the labelling of datasets/relabel.zarr was made with another branches; overwrite=true" in done.stderr
            )
            done = workbench(root, *words, "overwrite=true")
        assert done.returncode == 0, done.stderr
        after = {path: path.read_bytes() for path in (root / "datasets/relabel.zarr").rglob("t_on/c*")}
        found = json.loads((root / "runs/relabel/metrics.json").read_text())["labels"]
        assert found["failed"] == found["with_onset"]
        assert found["settings"]["branches"] == json.loads(branches)
        if unchanged:
            assert before == after


def test_every_episode_replays_from_its_seed(root):
    done = workbench(root, "replay", "name=quickstart")
    assert done.returncode == 0, done.stderr
    assert "bit for bit: 73 of 73" in done.stdout


def test_a_changed_action_is_found_by_replay(root, metrics):
    from workbench.attribution.replaying import replay_episode
    from workbench.config import Run, compose
    from workbench.store import Store

    run = Run(compose(["name=quickstart"]), root)
    episode = Store.open(run.store).episode(0)
    scene = run.task.scene()
    assert replay_episode(scene, episode, whole=True).max_abs_error == 0.0
    episode.steps["action"] = episode.steps["action"].copy()
    episode.steps["action"][5] = math.pi / 10
    assert replay_episode(scene, episode, whole=True).first_difference == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "overwrite=true"),
        (["fit", "monitor.level=0.15"], "overwrite=true"),
        (["benchmark", "store=quickstart-demos"], "choose another name"),
        (["rollout", "rollout.samples=4"], "another rollout"),
        (["recover", "job.monitor=rnb+split_conformal"], "Did you mean 'rnd+split_conformal'"),
        (["view", "job.episode=99999"], "0..72"),
        (["export", "job.format=lerobt"], "Did you mean 'lerobot'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_nothing_is_overwritten_or_mixed_by_mistake(root, words, said):
    before = stamps(root)
    done = workbench(root, *words[:1], "name=quickstart", *words[1:])
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert before == stamps(root)


def stamps(root):
    """When each file was changed last, but for the journal, which also tells of what was refused."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "journal.jsonl")
    return {path: path.stat().st_mtime_ns for path in files}


def test_the_journal_has_every_stage_and_then_the_job_itself(root):
    journal = Run(compose(["name=quickstart"]), root).journal()
    first = [entry for entry in journal if entry.done][:12]
    stages = [
        "collect",
        "train",
        "rollout",
        "rollout",
        "label",
        "fit",
        "benchmark",
        "recover",
        "view",
        "export",
        "report",
    ]
    assert [entry.job for entry in first] == [*stages, "quickstart"]
    assert [entry.stage for entry in first] == [*stages, ""]
    for entry in first[:-1]:
        assert entry.asked == first[-1].command
        _, job, *words = shlex.split(entry.command)
        assert compose([f"job={job}", *words]) == entry.config
    page = (root / "runs/quickstart/report.html").read_text()
    assert page.count(first[-1].command.replace("'", "&#39;").replace('"', "&#34;")) == 1


def test_a_policy_of_the_zoo_is_known_before_the_report_is_written(tmp_path):
    run = Run(compose(["job=quickstart", "policy=zoo/lift_flow"]), tmp_path)
    assert unneeded(Stage("train", [], [], ["checkpoint"], [run])) == "weights from the zoo (lift_flow)"
    assert run.metrics()["policy"] == {"training": None, "zoo": "lift_flow"}
    assert unneeded(Stage("rollout", [], [], ["store"], [run])) == ""
