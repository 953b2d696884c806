"""The rollouts as a data set in somebody else's format, failure columns included."""

from __future__ import annotations

import contextlib

from workbench.attribution.questions import ask_questions
from workbench.config import Run
from workbench.errors import UnknownNameError
from workbench.execution.progress import console, progress
from workbench.formats.exporting import Source, export
from workbench.formats.format import asks, format_named
from workbench.recovery.corrections import Corrections
from workbench.reporting.table import Column, Row, Table, numbers
from workbench.rollouts.drawing import Drawn
from workbench.store import Store
from workbench.types.questions import QuestionSet


def run(run: Run, format: str) -> None:
    """Write ``datasets/exports/<store>-<format>/``; an existing one is refused unless ``overwrite=true``."""
    wanted = format_named(format)
    run.refuse_other_store()
    store = Store.open(run.store)
    questions = asked(run, store) if asks(wanted) else None
    source: Source = Drawn(store, run.task) if questions else store
    folder = run.root / "datasets" / "exports" / f"{run.config['store']}-{format}"
    with progress("episodes", len(store)) as advance:
        export(source, wanted, folder, overwrite=run.overwrite, questions=questions, advance=advance)
    run.update_metrics(export=run.shown(folder), store=run.shown(run.store))
    console.print(f"export: {run.shown(folder)}")
    console.print(f"without: {', '.join(wanted.loses)}")


def asked(run: Run, store: Store) -> QuestionSet:
    """Questions about the episodes, with those about corrections where the store holds some; says how many."""
    corrections = None
    with contextlib.suppress(UnknownNameError):
        corrections = Corrections.load(store)
    questions = ask_questions(store, run.task, corrections=corrections, seed=run.seed)
    columns = [Column("kind"), *numbers("questions", "yes", "different answers", "executed")]
    keys = ("kind", "questions", "yes", "answers", "executed")
    rows = [Row.of(*("" if each[key] is None else each[key] for key in keys)) for each in questions.counts()]
    console.print(Table("questions", columns, rows))
    for kind, reasons in questions.left_out.items():
        for why, count in reasons.items():
            console.print(f"not asked: {kind}, {count} times: {why}", markup=False)
    return questions
