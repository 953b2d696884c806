"""The job ``triage``: what it prints and keeps, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attribution.test_confusions import HearsColours, store_of
from tests.attribution.test_triage import EACH, KINDS, failure
from tests.synthetic import HEADER, episode
from workbench.attribution.triage import triage
from workbench.config import Run, compose
from workbench.errors import CheckpointError, StoreError
from workbench.jobs import triage as job
from workbench.store import Store, StoreWriter


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(Run, "refuse_other_store", lambda run: None)  # of a task that is made up
    with StoreWriter.open(tmp_path / "datasets/mine.zarr", HEADER) as writer:
        for number in range(EACH * len(KINDS)):
            writer.append(failure(number, KINDS[number % len(KINDS)]))
    with StoreWriter.open(tmp_path / "datasets/few.zarr", HEADER) as writer:
        for number in range(4):
            writer.append(episode("test", number, "slip"))
    return Run(compose(["job=triage", "name=mine"]), tmp_path)


def test_groups_and_ranking_are_shown_and_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    job.run(run, None, [], 12, 0)
    kept = json.loads((run.folder / "triage.json").read_text())
    found = triage(Store.open(run.store))
    assert kept == json.loads(json.dumps({**found.record(), "instructions": []}))
    assert found.grouping is not None
    assert len(kept["grouping"]["groups"]) == len(KINDS)
    said = " ".join(capsys.readouterr().out.split())
    assert "failures in groups" in said
    assert f"workbench film name=mine job.episode={found.grouping.groups[0].medoid}" in said


def test_too_few_failures_are_ranked_but_not_grouped(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    job.run(Run(compose(["job=triage", "name=few"]), run.root), "test", [], 12, 0)
    assert "2 failures are too few to be grouped" in capsys.readouterr().out


def test_pairs_of_instructions_are_shown_and_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store_of(tmp_path / "datasets/told.zarr", {"push_red_left": "lift_red"})
    monkeypatch.setattr(Run, "policy", lambda run: HearsColours())
    told = Run(compose(["job=triage", "name=told", "task=blocks"]), run.root)
    job.run(told, None, [], 12, 4)
    pairs = json.loads((told.folder / "triage.json").read_text())["instructions"]
    assert len(pairs) == 21
    assert sum(pair["suspected"] for pair in pairs) == 5
    said = " ".join(capsys.readouterr().out.split())
    assert "instructions that could be confused" in said
    assert "4/4" in said


def test_what_is_not_there_is_refused(run: Run) -> None:
    with pytest.raises(StoreError, match="no episode of split fit"):
        job.run(run, "fit", [], 12, 0)
    with pytest.raises(CheckpointError):
        job.run(run, None, ["rnd+split_conformal"], 12, 0)
