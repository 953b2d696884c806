"""metrics.json: what goes in and what comes out are held to the same shapes, and nobody's section is lost."""

from __future__ import annotations

import json
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reporting.test_report import EXAMPLE, FULL, METRICS
from workbench.config import Run, compose
from workbench.config.metrics import SECTIONS, check
from workbench.errors import StoreError
from workbench.types.reading import Source

SECTIONS_EACH = 60


@pytest.fixture
def run(tmp_path):
    made = Run(compose(["name=m"]), tmp_path)
    made.folder.mkdir(parents=True)
    return made


def add_sections(root: Path, name: str) -> None:
    run = Run(compose(["name=m"]), root)
    for number in range(SECTIONS_EACH):
        run.update_metrics(**{f"{name}{number}": number})


def test_two_processes_keep_one_anothers_sections(tmp_path):
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=add_sections, args=(tmp_path, name)) for name in ("a", "b")]
    for each in both:
        each.start()
    for each in both:
        each.join()
    found = Run(compose(["name=m"]), tmp_path).metrics()
    assert found == {f"{name}{number}": number for name in ("a", "b") for number in range(SECTIONS_EACH)}


def test_what_is_whole_is_taken(run):
    run.update_metrics(**FULL, example=EXAMPLE)
    assert run.metrics() == {**FULL, "example": EXAMPLE}
    assert set(METRICS) <= set(SECTIONS)


def audited(**other: Any) -> bytes:
    """Metrics of one monitor whose promise was tested, but for something else."""
    audit = {
        "errors": "false alarms", "count": 1, "episodes": 2, "p_value": None, "broken": False, "chance": 0.0,
        "tested": True,
    }  # fmt: skip
    return json.dumps({"monitors": [{"score": "rnd", "audit": audit | other}]}).encode()


def judged(**change):
    return json.dumps({"corrector": {**FULL["corrector"], **change}}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "is a list of 0, and must be an object"),
        (b"3", "is 3, and must be an object"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b"", "is not JSON"),
        (b'{"policy": ', "is not JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"config": ' + b'{"a": ' * 70 + b"1" + b"}" * 71, "nested deeper"),
        (b'{"seed": 1, "seed": 2}', "twice"),
        (b'{"policy": []}', "policy=a list of 0, which must be an object"),
        (b'{"policy": {"nominal": {"episodes": 3}}}', "an object with 'successes'"),
        (b'{"policy": {"nominal": {"episodes": 3, "successes": 4}}}', "at most episodes=3"),
        (b'{"perturbed": {"slip": 1}}', "perturbed=an object of 1 keys, which must be a list"),
        (b'{"perturbed": [{"perturbation": "slip", "episodes": "20", "successes": 3}]}', "perturbed[0].episodes='20'"),
        (b'{"perturbed": [{"perturbation": "slip", "episodes": 20, "successes": -3}]}', "a whole number of 0"),
        (b'{"perturbed": [{"perturbation": "slip", "episodes": true, "successes": true}]}', "a whole number"),
        (b'{"monitors": [{"calibrator": "fixed"}]}', "an object with 'score'"),
        (b'{"monitors": [{"score": "rnd", "tpr": 7}]}', "a number of 0 .. 1"),
        (b'{"monitors": [{"score": "rnd", "threshold_episodes": 3}]}', "'level' beside"),
        (b'{"monitors": [{"score": "rnd", "audit": "kept"}]}', "must be an object"),
        (b'{"monitors": [{"score": "rnd", "audit": {"count": 1, "episodes": 2}}]}', "an object with 'errors'"),
        (audited(count=3), "at most episodes=2"),
        (audited(broken=1), "true or false"),
        (audited(chance=1.0), "a number of 0 .. 0.05"),
        (b'{"strategies": [{"name": "head", "rescued": [3], "kept": [1, 2]}]}', "of 2 items"),
        (b'{"strategies": [{"name": "head", "rescued": [3, 2], "kept": [1, 2]}]}', "a part of 2"),
        (b'{"labels": {"failed": 3, "with_onset": 2, "onsets": "3"}}', "labels.onsets='3', which must be a list"),
        (
            b'{"example": {"uid": "a", "title": "t", "events": {}, "monitors": {"m": {"step": [1], "margin": []}}}}',
            "as long as",
        ),
        (b'{"seed": "0"}', "seed='0', which must be a whole number"),
        (b'{"seed": NaN}', "seed=null, which must be a whole number"),
        (b'{"jobs": {"fit": null}}', "jobs.fit=null, which must be a number"),
        (b'{"store": "\\ud800"}', "text that is none"),
        (b'{"store": 3}', "store=3, which must be a text"),
        (json.dumps({"shields": [{**FULL["shields"][0], "with_veto": 21}]}).encode(), "episodes=20"),
        (json.dumps({"shields": [{**FULL["shields"][0], "changed_steps": 1235}]}).encode(), "steps=1234"),
        (json.dumps({"corrections": {**FULL["corrections"], "rows": [
            {**FULL["corrections"]["rows"][0], "verified": 41}]}}).encode(), "candidates=40"),
        (judged(mode={"alarms": 41, "episodes": 40, "ci95": [0, 1]}), "at most episodes=40"),
        (json.dumps({"attribution": {**FULL["attribution"], "judged": 77}}).encode(), "at most failures=76"),
        (json.dumps({"attribution": {**FULL["attribution"], "rows": [
            {**FULL["attribution"]["rows"][0], "decisive_5": 69}]}}).encode(), "at most episodes=68"),
        (judged(rows=[{**FULL["corrector"]["rows"][0], "won": 1.5}]), "won=1.5, which must be a number of 0 .. 1"),
        (judged(abstention=[{**FULL["corrector"]["abstention"][0], "acted": {"succeeding": 17}}]), "at most 16 of"),
    ],
)  # fmt: skip
def test_damaged_metrics_are_refused_in_a_line_by_whoever_reads_them(run, content, said):
    path = run.folder / "metrics.json"
    path.write_bytes(content)
    for read in (run.metrics, lambda: run.update_metrics(wall_s=1.0), run.refuse_other_store):
        with pytest.raises(StoreError, match=re.escape(said)) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert "runs/m/metrics.json" in str(caught.value)
    assert path.read_bytes() == content


def test_a_huge_file_is_refused_before_it_is_read(run, monkeypatch):
    monkeypatch.setattr("workbench.config.run.LARGEST_BYTES", 1000)
    (run.folder / "metrics.json").write_bytes(b" " * 1001)
    with pytest.raises(StoreError, match="has 1,001 bytes, and may have 1,000"):
        run.metrics()


def test_what_would_be_refused_is_not_written(run):
    run.update_metrics(seed=3)
    with pytest.raises(StoreError, match="seed"):
        run.update_metrics(seed="three")
    assert run.metrics() == {"seed": 3}


def test_numbers_that_are_not_finite_are_null(run):
    run.update_metrics(
        labels={"failed": 1, "with_onset": 0, "median_onset": float("nan")}, own={"x": [float("inf"), 1.5]}
    )
    text = (run.folder / "metrics.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert run.metrics()["own"] == {"x": [None, 1.5]}


def test_sections_and_keys_that_nobody_knows_are_left_alone():
    source = Source("x", StoreError)
    check({"of tomorrow": [1, {"a": None}], "policy": {"nominal": None, "more": 3}}, source)


@pytest.mark.parametrize("job", ["report", "rollout", "quickstart"])
def test_jobs_refuse_damaged_metrics_in_one_line(tmp_path, job):
    folder = tmp_path / "runs" / "m"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text('{"policy": [], "monitors": 3}')
    words = [sys.executable, "-m", "workbench", job, "name=m", "policy=zoo/lift_flow"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "runs/m/metrics.json says policy=a list of 0, which must be an object" in done.stderr
    assert json.loads((folder / "metrics.json").read_text()) == {"policy": [], "monitors": 3}
    assert not (tmp_path / "datasets").exists()
