"""The search job: what is turned, what is kept, and that the numbers depend on nothing but the words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.limits import HANG_S
from workbench.config import Run, compose
from workbench.errors import StoreError
from workbench.jobs.search import Ledger, Settings, roll_points
from workbench.reporting.report import joint_rows, terminal_tables, write_report
from workbench.synthesis.axis import dials
from workbench.types import Record, Stream

WORDS = ["policy=expert", "name=s", "perturbation=[mass,latency]", "job.most=12", "job.resolution=0.5"]
SETTINGS = Settings("select", 12, 12, 0.5, 0.95)


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
    found: list[Record] = json.loads((root / f"runs/{name}/tolerance.json").read_text())["cells"]
    return found


def test_a_dial_turns_the_magnitude_alone():
    nodes = compose(["perturbation=[push,latency]", "perturbation.push.start_step=7"])["perturbation"]
    push, latency = dials(nodes, axes=True)
    task = Run(compose([])).task
    record = push.at(2.5).draw(Stream(0, 1), task)
    assert sum(part**2 for part in record["force_n"]) ** 0.5 == pytest.approx(2.5)
    assert (record["start_step"], record["name"], push.axis) == (7, "push", None)
    assert latency.scale.whole
    assert latency.at(latency.scale.magnitude(0.5)).draw(Stream(0, 1), task)["latency_steps"] > 0
    assert (push.scale.low, push.scale.high, push.scale.worse) == (0.1, 50.0, "larger")
    assert dials(compose(["perturbation=[friction]"])["perturbation"], True)[0].scale.worse == "smaller"


def test_axes_are_dials_of_their_own(monkeypatch):
    from workbench.envs.perturbations.push import Push

    monkeypatch.setattr(Push, "axes", ("x", "y"))
    nodes = compose(["perturbation=[push,mass]"])["perturbation"]
    assert [(one.label, one.node.get("axis")) for one in dials(nodes, True)] == [
        ("push x", "x"),
        ("push y", "y"),
        ("mass", None),
    ]
    assert [one.label for one in dials(nodes, False)] == ["push", "mass"]


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


def test_finished_cells_are_kept_and_the_words_alone_decide(root):
    path = root / "runs/s/tolerance.json"
    before = path.read_text()
    kept = json.loads(before)
    assert search(root).returncode == 0
    assert path.read_text() == before
    # An interrupted search goes on with what is missing, here in one process instead of two, to the same numbers.
    path.write_text(json.dumps({**kept, "cells": [row for row in kept["cells"] if row["perturbation"] == "latency"]}))
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
    chosen = [word for word in WORDS if not word.startswith("job.")]
    run = Run(compose([*chosen, *[word for word in words if not word.startswith("job.")]]), root)
    settings = Settings("select", 12, 24, 0.5, 0.95) if why == "most" else SETTINGS

    def ask() -> None:
        ledger = Ledger(run, settings)
        for dial in dials(run.config["perturbation"], False):
            ledger.holds(dial)

    with pytest.raises(StoreError, match=f"another {why}"):
        ask()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["perturbation=[]"], "needs perturbations"),
        (["job.split=tset"], "Did you mean 'test'"),
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


def test_points_come_back_in_their_order_whoever_rolls_them(tmp_path):
    words = ["policy=expert", "perturbation=[mass,friction]"]
    severities = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.1], [0.0, 1.0], [1.0, 1.0], [0.1, 0.0]])
    rolled = []
    for workers in (1, 2):
        run = Run(compose([*words, f"runner.workers={workers}"]), tmp_path)
        turned = dials(run.config["perturbation"], False)
        rolled.append(roll_points(run, turned, "select", severities, range(5, 7)))
    assert rolled[0].tolist() == rolled[1].tolist()
    assert rolled[0].mean(1).tolist() == [0.0, 1.0, 0.0, 1.0, 1.0, 0.0]


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
    assert joint_rows({"joint": [found, drawn]})[0][:2] == ["mass", "mass_scale"]


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
    assert joint_rows(metrics)[0] == ["mass", "mass_scale", "12.2 (severity 0.30)", "—"]
    text = write_report(tmp_path / "page.html", metrics, title="t", curves={}).read_text()
    for words in ("How much it bears", "mass_scale", "not monotone ▲", "never fails", "uniform sampling", "41/60"):
        assert words in text
    assert len(terminal_tables(metrics, only=("tolerance", "joint"))) == 2
    assert "How much it bears" not in write_report(tmp_path / "other.html", {}, title="t", curves={}).read_text()
