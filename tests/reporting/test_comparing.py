"""Runs side by side: what was varied, what came out, and which cannot be compared."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from workbench.config import Run, compose, journalled
from workbench.errors import ConfigError, StoreError
from workbench.reporting.comparing import Comparison, at_path, metric_cell

Counts = dict[str, int]


def make(root: Path, name: str, *said: str, nominal: int | None = 5, faults: Counts | None = None, **more: Any) -> Run:
    """A run with a journal and counts of ten episodes each."""
    words = ("job=rollout", f"name='{name}'", *said)
    run = Run(compose(list(words)), root, words)
    counts = {"episodes": 0, "successes": 0} if nominal is None else {"episodes": 10, "successes": nominal}
    rows = [{"perturbation": key, "episodes": 10, "successes": won} for key, won in (faults or {}).items()]
    run.update_metrics(policy={"nominal": counts}, perturbed=rows, **more)
    with journalled(run):
        pass
    return run


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path))
    return tmp_path


def varied(found: Comparison) -> list[dict[str, Any]]:
    return [dict(run.varied) for run in found.runs]


def test_rows_are_runs_and_columns_what_was_varied(root):
    for seed in (10, 9, 1):
        make(root, f"m-seed-{seed}", f"seed={seed}", nominal=seed)
    found = wb.compare("runs/m-*")
    assert [run.name for run in found.runs] == ["m-seed-1", "m-seed-9", "m-seed-10"]
    assert varied(found) == [{"seed": 1}, {"seed": 9}, {"seed": 10}]
    cells = found.grid().column("success")
    assert [cell.value for cell in cells] == [0.1, 0.9, 1.0]
    assert all(cell.bounds[0] < cell.value or cell.value == 0 for cell in cells)
    assert [cell.text for cell in found.grid().column("episodes")] == ["1/10", "9/10", "10/10"]
    assert found.left_out == {}
    assert list(found.table()["seed"]) == [1, 9, 10]


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        (["policy=zoo/lift_flow"], ["policy=zoo/lift_diffusion"], {"policy": ("zoo/lift_flow", "zoo/lift_diffusion")}),
        (["policy=flow"], ["policy=expert"], {"policy": ("flow", "expert")}),
        (["policy=zoo/lift_flow"], ["policy=zoo/lift_flow", "policy.execute=4"], {"policy.execute": ("none", 4)}),
        (["perturbation=[slip]"], ["perturbation=[push]"], {"perturbation": ("slip", "push")}),
        (["perturbation=[]"], ["perturbation=[slip,push]"], {"perturbation": ("none", "slip+push")}),
        (
            ["perturbation=[slip]", "perturbation.slip.duration_steps=3"],
            ["perturbation=[slip,push]", "perturbation.slip.duration_steps=4"],
            {"perturbation": ("slip", "slip+push"), "perturbation.slip.duration_steps": (3, 4)},
        ),
        (["score=[rnd]"], ["score=[rnd,knn]"], {"score": ("rnd", "rnd+knn")}),
        (["monitor.level=0.1"], ["monitor.level=0.2"], {"monitor.level": (0.1, 0.2)}),
        (["job.one_each=false"], ["job.one_each=true"], {"job.one_each": ("false", "true")}),
        (["rollout.signals=[a]"], ["rollout.signals=[]"], {"rollout.signals": ('["a"]', "[]")}),
        (["store=shared"], ["store=other"], {"store": ("shared", "other")}),
        (["runner.workers=1"], ["runner.workers=2"], {}),
    ],
)
def test_whatever_differs_in_the_journals_has_a_column(root, first, second, keys):
    make(root, "a", *first)
    make(root, "b", *second)
    assert varied(wb.compare(["a", "runs/b"])) == [
        {key: values[place] for key, values in keys.items()} for place in (0, 1)
    ]


def test_faults_of_several_jobs_of_a_run_count_together(root):
    make(root, "a", "perturbation=[slip]", "perturbation.slip.duration_steps=3")
    make(root, "a", "perturbation=[]")
    make(root, "b", "perturbation=[slip]", "perturbation.slip.duration_steps=4")
    assert varied(wb.compare(["a", "b"])) == [
        {"perturbation.slip.duration_steps": 3}, {"perturbation.slip.duration_steps": 4},
    ]  # fmt: skip


def test_every_kind_of_episodes_has_its_columns(root):
    make(root, "a", nominal=9, faults={"slip": 2, "push": 7})
    make(root, "b", "seed=1", nominal=None, faults={"slip": 3})
    grid = wb.compare(["a", "b"]).grid()
    names = [column.plain for column in grid.columns]
    assert names[2:] == [f"{w}, {k}" for k in ("no fault", "push", "slip") for w in ("success", "episodes")]
    assert len(set(names)) == len(names)
    assert [cell.text for cell in grid.column("episodes, slip")] == ["2/10", "3/10"]
    assert [cell.text for cell in grid.column("success, no fault")] == ["90 %", "—"]


def test_any_metric_can_be_asked_for(root):
    monitor = {"score": "rnd", "calibrator": "fixed", "tpr": 0.25, "auroc": {"0.5": 0.75}}
    rate = {"alarms": 1, "episodes": 4, "rate": 0.25, "ci95": [0.0, 0.9]}
    make(
        root,
        "a",
        labels={"failed": 3, "with_onset": 1, "median_onset": 12.5},
        monitors=[monitor | {"fpr_nominal": rate}],
    )
    make(root, "b", "seed=1")
    paths = ["labels.median_onset", "monitors.rnd+fixed.tpr", "monitors.0.auroc.0.5", "monitors.rnd.fpr_nominal"]
    found = wb.compare(["a", "b"], metrics=paths)
    assert dict(found.runs[0].metrics) == dict(zip(paths, [12.5, 0.25, 0.75, rate], strict=True))
    assert [found.grid().column(path)[1].text for path in paths] == ["—"] * 4
    assert found.grid().column("monitors.rnd.fpr_nominal")[0].bounds == (0.0, 0.9)
    assert found.notes() == [f"{path} is not in b" for path in paths]
    with pytest.raises(ConfigError, match=r"no run has the metric 'labels\.onst'; sections are labels, monitors"):
        wb.compare(["a", "b"], metrics=["labels.onst"])
    with pytest.raises(ConfigError, match="holds several: failed, with_onset"):
        wb.compare(["a", "b"], metrics=["labels"]).grid()


def test_runs_that_cannot_be_compared_are_named_in_a_line(root):
    make(root, "a")
    make(root, "other-task", "task=stack")
    make(root, "empty", nominal=None)
    make(root, "damaged")
    (root / "runs/damaged/metrics.json").write_text("[]")
    make(root, "torn")
    (root / "runs/torn/journal.jsonl").write_text("{")
    (root / "runs/nothing").mkdir()
    (root / "runs/file").write_text("x")
    make(root, "old")
    (root / "runs/old/journal.jsonl").unlink()
    found = wb.compare(["a", "runs/*"])
    assert [run.name for run in found.runs] == ["a", "old"]
    said = found.notes()
    assert all("\n" not in line for line in said)
    told = {line.split(":")[1].strip(): line for line in said if line.startswith("left out")}
    assert set(told) == {"other-task", "empty", "damaged", "torn", "nothing"}
    assert "its task is stack, not lift" in told["other-task"]
    assert "no test episodes" in told["empty"]
    assert "metrics.json is a list of 0" in told["damaged"]
    assert "cut off" in told["torn"]
    assert "it is no run" in told["nothing"]
    assert said[-1] == "old has no journal: what it was made with is not known"
    with pytest.raises(StoreError, match="none of these runs can be compared: damaged: "):
        wb.compare(["damaged", "nothing"])


@pytest.mark.parametrize("runs", ["nosuch", "runs/nosuch-*", ["a", "nosuch"], []])
def test_runs_that_are_not_there_are_refused(root, runs):
    make(root, "a")
    with pytest.raises(ConfigError, match="runs"):
        wb.compare(runs)


def test_files_say_what_the_terminal_says(root):
    for offset in (0.01, 0.04):
        words = ["perturbation=[object_shift]", f"perturbation.object_shift.offset_m={offset}"]
        make(root, f"x-{offset}", *words, nominal=None, faults={"object_shift": int(100 * offset)})
    found = wb.compare("runs/x-*")
    page = found.write(root / "runs/compare")
    assert sorted(path.suffix for path in page.parent.iterdir()) == [".csv", ".html", ".md", ".tex"]
    rows = list(csv.DictReader(io.StringIO((page.parent / "comparison.csv").read_text())))
    assert [(row["run"], row["perturbation.object_shift.offset_m"], row["success"]) for row in rows] == [
        ("x-0.01", "0.01", "0.1"), ("x-0.04", "0.04", "0.4"),
    ]  # fmt: skip
    text = page.read_text()
    assert "Success over perturbation.object_shift.offset_m" in text
    assert "2 runs compared" in text
    assert r"x-0.01" in (page.parent / "comparison.tex").read_text()


def test_bars_are_drawn_where_no_number_was_varied(root):
    make(root, "a<b", "perturbation=[slip]")
    make(root, "b", "perturbation=[push]")
    text = wb.compare(["a<b", "b"]).write(root / "out").read_text()
    assert text.count('class="meter"') == 2
    assert "a<b" not in text


def test_lines_are_told_apart_by_what_else_was_varied(root):
    for seed in (1, 2):
        for level in (0.1, 0.2):
            make(root, f"s{seed}-{level}", f"seed={seed}", f"monitor.level={level}")
    assert wb.compare("s*").chart().count('<polyline class="line') == 2


def test_paths_go_through_lists_by_name_and_keys_with_dots():
    data = {"a": [{"name": "x", "v": 1}, {"perturbation": "y", "v": {"0.5": 2}}], "b.c": 3, "b": {"d": 4}}
    asked = ["a.x.v", "a.0.v", "a.y.v.0.5", "b.c", "b.d", "a.z", "a.7", "", "b.d.e"]
    assert [at_path(data, path) for path in asked[:5]] == [1, 1, 2, 3, 4]
    assert [at_path(data, path) for path in asked[5:7] + asked[8:]] == [None] * 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (0.123456, "0.123"), ("word", "word"), (True, "true"), (None, "—"), ([7, 70], "7/70"), ([0, 0], "—")],
)
def test_figures_are_written_for_people(value, text):
    assert metric_cell(value).text == text


def test_results_are_plain_data(root):
    make(root, "a")
    assert json.loads(json.dumps(wb.compare("a").rows_of_table()))[0]["success"]["nominal"] == {
        "episodes": 10,
        "successes": 5,
    }
