"""Answers to exported questions, scored exactly beside chance."""

from __future__ import annotations

from pathlib import Path

from workbench.attribution.grading import score_answers
from workbench.config import Run
from workbench.execution.progress import console
from workbench.reporting.table import Column, Row, Table, numbers


def run(run: Run, answers: str, questions: str | None) -> None:
    """Print how many are right of every kind; nothing is written."""
    exported = run.root / "datasets" / "exports" / f"{run.config['store']}-aha" / "questions.jsonl"
    found = score_answers(Path(questions) if questions else exported, Path(answers))
    columns = [Column("kind"), *numbers("questions", "answered", "right", "share", "95 %", "random", "constant")]
    rows = [
        Row.of(
            each.kind, each.questions, each.answered, each.right, f"{each.share:.1%}",
            f"{each.low:.1%} to {each.high:.1%}", f"{each.by_random:.1%}", f"{each.by_constant:.1%}",
        )
        for each in found.kinds
    ]  # fmt: skip
    console.print(Table("answers", columns, rows))
    console.print("random and constant: what those score who have not looked; constant is the best answer for a kind")
