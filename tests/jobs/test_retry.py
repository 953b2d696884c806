"""The job ``retry``: what it prints and keeps, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.synthetic import write_store
from workbench.config import Run, compose
from workbench.errors import ConfigError, UnknownNameError
from workbench.jobs import fit, retry
from workbench.monitoring.files import load_monitors
from workbench.recovery.attempts import trial_and_error
from workbench.store import Store

WORDS = ["name=mine", "score=[mahalanobis,always]", "calibrator=[split_conformal,fixed]"]
NAMES = ["mahalanobis+split_conformal", "always+fixed"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(Run, "refuse_other_store", lambda run: None)  # of a task that is made up
    made = Run(compose(["job=retry", *WORDS]), tmp_path)
    write_store(tmp_path / "datasets/mine.zarr", counts={"fit": 8, "select": 4, "calibrate": 24, "test": 12})
    fit.run(made)
    return made


def test_attempts_are_carried_out_and_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    retry.run(run, NAMES, restart_s=1.0)
    kept = run.metrics()["attempts"]
    monitors = load_monitors(run)
    wanted = trial_and_error(Store.open(run.store), [monitors[name] for name in NAMES], restart_s=1.0, seed=run.seed)
    assert kept == wanted.record()
    assert [row["name"] for row in kept["rows"]] == ["to the end", "clock", *NAMES]
    always = kept["rows"][-1]
    assert (always["tpr"], always["fpr"], always["executed_s"]) == (1, 1, None)
    said = " ".join(capsys.readouterr().out.split())
    assert "attempts until the task is done" in said
    assert "never" in said
    assert f"clock, at {kept['clock_s']:.1f} s" in said


def test_a_monitor_that_is_not_there_or_never_alarms_is_refused(run: Run) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown monitor 'rnd\+split_conformal'"):
        retry.run(run, ["rnd+split_conformal"], restart_s=1.0)
    silent = dataclasses.replace(load_monitors(run)[NAMES[0]], threshold=None, reason="too few episodes")
    with pytest.raises(ConfigError, match="can never alarm"):
        trial_and_error(Store.open(run.store), [silent], restart_s=1.0)
