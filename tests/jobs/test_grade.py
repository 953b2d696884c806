"""The jobs ``export`` and ``grade``: questions of a store in other people's layouts, and answers to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.asked import write_toys
from tests.toy import ToyExpert, ToyTask
from workbench.attribution import questions
from workbench.config import Run, compose
from workbench.errors import StoreError
from workbench.jobs import export, grade
from workbench.types.questions import QuestionSet


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_toys(tmp_path / "datasets/mine.zarr")
    monkeypatch.setattr(questions, "build", lambda node, task: ToyExpert())
    monkeypatch.setattr(Run, "task", ToyTask())
    return tmp_path


def run_of(root: Path, job: str, *words: str) -> Run:
    return Run(compose([f"job={job}", "name=mine", *words]), root)


def test_questions_are_exported_and_answers_graded(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(root, "export", "job.format=aha")
    export.run(run, "aha")
    said = " ".join(capsys.readouterr().out.split())
    assert "not asked: luck, 48 times: luck was not measured" in said
    assert run.metrics()["export"] == "datasets/exports/mine-aha"
    put = QuestionSet.load(root / "datasets/exports/mine-aha/questions.jsonl")
    answers = root / "answers.jsonl"
    answers.write_text("".join(json.dumps({"id": each.id, "answer": each.reply}) + "\n" for each in put.questions))
    graded = run_of(root, "grade", f"job.answers={answers}")
    grade.run(graded, str(answers), None)
    row = next(line for line in capsys.readouterr().out.splitlines() if line.strip("│┃ ").startswith("all"))
    assert row.split().count(str(len(put))) == 3
    assert "100.0%" in row


def test_grading_without_questions_says_where_they_come_from(root: Path) -> None:
    (root / "answers.jsonl").write_text("")
    with pytest.raises(StoreError, match=r"cannot be read .*workbench export job.format=aha"):
        grade.run(run_of(root, "grade"), str(root / "answers.jsonl"), None)
