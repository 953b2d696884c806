"""All numbers of a run as one page."""

from __future__ import annotations

import dataclasses

from workbench.attribution.explanation import explain
from workbench.config import Run, command, versions
from workbench.errors import StoreError, WorkbenchError
from workbench.execution.progress import console
from workbench.monitoring.example import Example
from workbench.reporting.report import fault_words, report
from workbench.reporting.story import Shot, Story
from workbench.store import Store
from workbench.viewing.choice import failure_to_tell
from workbench.viewing.notes import sentences_of, title_of
from workbench.viewing.strip import film_strip


def run(run: Run) -> None:
    """Write ``runs/<name>/report.html`` from ``metrics.json``."""
    if not run.metrics():
        raise StoreError(f"{run.shown(run.folder)} holds no metrics.json; run a job first, or: workbench quickstart")
    run.refuse_other_store()
    path = run.folder / "report.html"
    words = fault_words(Store.open(run.store)) if run.store.exists() else {}
    run.update_metrics(report=run.shown(path), config=run.config, versions=versions(), seed=run.seed, fault_words=words)
    metrics = run.metrics()
    example = Example.of(metrics["example"]) if "example" in metrics else None
    asked = run.of or run.words
    report(
        path,
        metrics,
        title=f"{run.name}: {run.task.instruction}",
        example=example,
        journal=run.journal(),
        command=command(asked) if asked else "",
        story=_story(run, example.uid if example else ""),
    )
    console.print(f"report: {run.shown(path)}")


def _story(run: Run, uid: str) -> Story | None:
    """A failure of the store, drawn where that can be done."""
    store = Store.open(run.store) if run.store.exists() else None
    number = failure_to_tell(store, uid) if store is not None else None
    if store is None or number is None:
        return None
    record = store.episode(number, steps=(), calls=()).record
    told = Story(record["uid"], title_of(record), sentences_of(explain(store, number, task=run.task)))
    try:
        strip = film_strip(store, number, run.task)
    except WorkbenchError as error:
        return dataclasses.replace(told, missing=str(error))
    shots = [Shot(each.jpeg(), each.moment.title, each.moment.time, each.moment.words) for each in strip.frames]
    return dataclasses.replace(told, shots=shots, legend=strip.legend)
