"""Why episodes ended as they did, in words that say what was measured and nothing else."""

from __future__ import annotations

from workbench.attribution.explaining import WHICH, explain_many
from workbench.attribution.explanation import explain
from workbench.attribution.wording import words_of
from workbench.config import Run
from workbench.execution.progress import console
from workbench.store import Store


def run(run: Run, episode: str | int, form: str) -> None:
    """Print the explanation of one episode, or write those of many to ``runs/<name>/``."""
    run.refuse_other_store()
    store = Store.open(run.store)
    if episode not in WHICH:
        console.print(words_of(explain(store, episode, task=run.task), form), markup=False)
        return
    found = explain_many(store, str(episode), into=run.folder, task=run.task)
    for told in found.explanations[:3]:
        console.print(words_of(told, form), markup=False)
    files = " and ".join(run.shown(path) for path in found.paths)
    console.print(f"{len(found.explanations)} explanations: {files}", markup=False)
