"""The search job: what is kept, and that the numbers depend on nothing but the words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANG_S
from workbench.config import Run, compose
from workbench.errors import StoreError
from workbench.reporting.report import report, terminal_tables
from workbench.reporting.sections import joint_table
from workbench.synthesis.searching import tolerance
from workbench.types import Record

WORDS = ["policy=expert", "name=s", "perturbation=[mass,latency]", "job.most=12", "job.resolution=0.5"]


def search(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", "search", *WORDS, *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=HANG_S)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    done = search(folder, "runner.workers=2")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "latency_steps" in done.stdout
    return folder


def cells(root: Path, name: str = "s") -> list[Record]:
    kept = json.loads((root / f"runs/{name}/tolerance.json").read_text())
    return [kept[key]["record"] for key in sorted(kept) if key != "settings"]


def test_cells_hold_what_was_measured(root):
    latency, mass = cells(root)
    assert (latency["perturbation"], mass["perturbation"], mass["channel"]) == ("latency", "mass", "physics")
    assert mass["verdict"] == "found"
    assert 50 < mass["tolerance"] < 200
    assert mass["interval"][0] <= mass["tolerance"] <= mass["interval"][1]
    assert mass["at"]["0.25"] <= mass["at"]["0.5"] <= mass["at"]["0.75"]
    assert mass["episodes"] == sum(episodes for _, _, episodes in mass["trials"])
    assert latency["tolerance"] == int(latency["tolerance"])
    metrics = json.loads((root / "runs/s/metrics.json").read_text())
    assert metrics["tolerance"] == [latency, mass]


def test_the_library_measures_what_the_command_measures(root, tmp_path, monkeypatch):
    """On plain parts, without a file; a perturbation that was made is as good as its configuration."""
    monkeypatch.chdir(tmp_path)
    run = Run(compose(["policy=expert", "perturbation=[latency]"]))
    (row,) = tolerance(run.task, run.policy(), run.perturbations, most=12, resolution=0.5)
    assert row.record() == cells(root)[0]
    assert list(tmp_path.iterdir()) == []


def test_finished_cells_are_kept_and_the_words_alone_decide(root):
    path = root / "runs/s/tolerance.json"
    before = path.read_text()
    kept = json.loads(before)
    assert search(root).returncode == 0
    assert path.read_text() == before
    # An interrupted search goes on with what is missing, here in one process instead of two, to the same numbers.
    path.write_text(json.dumps({key: kept[key] for key in kept if key != "mass"}))
    done = search(root, "runner.workers=1", "runner.scenes=5")
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text()) == kept


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["seed=4"], "seed"),
        (["task=stack"], "task"),
        (["job.most=24"], "most"),
        (["+perturbation.mass.start_step=3"], "perturbation.mass"),
    ],
)
def test_other_settings_are_refused(root, words, why):
    run = Run(compose(["job=search", *WORDS, *words]), root)
    asked = {key: run.config["job"][key] for key in ("most", "resolution")}
    ledger = root / "runs/s/tolerance.json"
    before = ledger.read_bytes()
    with pytest.raises(
        StoreError, match=rf"tolerance.json was made with another {why}.*choose another name="
    ) as caught:
        tolerance(run.task, run.policy(), run.config["perturbation"], seed=run.seed, ledger=ledger, **asked)
    assert "\n" not in str(caught.value)
    assert ledger.read_bytes() == before


def test_other_settings_are_refused_for_other_faults_too(root):
    """What stands in one file is of one policy, one task and one seed."""
    run = Run(compose(["policy=expert", "perturbation=[friction]"]), root)
    with pytest.raises(StoreError, match="another seed"):
        tolerance(run.task, run.policy(), run.config["perturbation"], most=12, resolution=0.5, seed=4,
                  ledger=root / "runs/s/tolerance.json")  # fmt: skip


def test_a_file_of_an_earlier_version_is_refused_with_what_to_do(tmp_path):
    run, ledger = Run(compose(["policy=expert", "perturbation=[mass]"]), tmp_path), tmp_path / "tolerance.json"
    ledger.write_text(json.dumps({"settings": {"seed": 0}, "cells": []}))
    with pytest.raises(StoreError, match=r"of an earlier version.*move it away"):
        tolerance(run.task, run.policy(), run.config["perturbation"], ledger=ledger)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["perturbation=[]"], "needs perturbations"),
        (["job.split=tset"], "must be one of train, fit"),
        (["task=push_t", "perturbation=[slip]"], "leave it out"),
        (["policy=flow", "checkpoint=nowhere"], "no checkpoint"),
        (["job.batch=0"], "batch=0"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(tmp_path, words, why):
    done = search(tmp_path, *words)
    assert done.returncode != 0
    assert why in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_joint_search_runs_and_judges(tmp_path):
    done = search(tmp_path, "job.jointly=true", "job.budget=320", "name=j", "perturbation=[mass,friction]")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "distance from no fault" in done.stdout
    found, drawn = json.loads((tmp_path / "runs/j/metrics.json").read_text())["joint"]
    assert (found["name"], drawn["name"]) == ("search", "uniform sampling")
    assert found["combination"]["mass"]["magnitude"] < 200
    assert found["failures"] >= found["fresh_episodes"] / 2 > 0
    assert max(found["episodes"], drawn["episodes"]) <= 320
    row = joint_table({"joint": [found, drawn]}).rows[0]
    assert [cell.text for cell in row.cells[:2]] == ["mass", "mass_scale"]


def test_tables_and_the_page_show_the_rows(root, tmp_path):
    metrics = json.loads((root / "runs/s/metrics.json").read_text())
    metrics["tolerance"][0] |= {"contradictions": [[1, 2]]}
    metrics["tolerance"].append({**metrics["tolerance"][1], "tolerance": None, "verdict": "never fails", "axis": "x"})
    found = {
        "name": "search", "dials": {"mass": {"parameter": "mass_scale"}}, "distance": 0.42, "failures": 41,
        "combination": {"mass": {"severity": 0.3, "magnitude": 12.25}}, "fresh_episodes": 60, "interval": [0.5, 0.8],
        "confidence": 0.95, "failing_points": 70, "points": 104, "episodes": 590,
    }  # fmt: skip
    nothing = {**found, "name": "uniform sampling", "combination": None, "distance": None}
    metrics["joint"] = [found, nothing]
    cells = joint_table(metrics).rows[0].cells
    assert [cell.text for cell in cells] == ["mass", "mass_scale", "12.2 (severity 0.30)", "—"]
    text = report(tmp_path / "page.html", metrics, title="t").read_text()
    for words in ("How much it bears", "mass_scale", "not monotone ▲", "never fails", "uniform sampling", "41/60"):
        assert words in text
    assert len(terminal_tables(metrics, only=("tolerance", "joint"))) == 2
    assert "How much it bears" not in report(tmp_path / "other.html", {}, title="t").read_text()
