"""Explanations of many episodes: as records, and as a page of words."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from workbench.attribution.explanation import Explanation, explain
from workbench.attribution.wording import markdown_of
from workbench.config import write_text
from workbench.errors import StoreError, UnknownNameError
from workbench.execution.progress import progress
from workbench.store import Store
from workbench.types import Record, Task
from workbench.types.results import Tabular

WHICH = ("failures", "all")
"""Episodes of a store that can be asked for together."""


@dataclasses.dataclass(frozen=True)
class Explanations(Tabular):
    """Explanations of many episodes, in the order of the store, and the files that hold them."""

    explanations: tuple[Explanation, ...]
    paths: tuple[Path, ...]

    def rows_of_table(self) -> list[Record]:
        """One row each."""
        return [told.record() for told in self.explanations]


def explain_many(
    store: Store, which: str = "failures", *, into: str | Path | None = None, task: Task | None = None
) -> Explanations:
    """Explain the failures of a store, or all of its episodes.

    Parameters
    ----------
    into : folder for ``explanations.jsonl``, a record a line, and ``explanations.md``, the same in words; None for
        no files.
    task : as :func:`workbench.explain` takes it.

    Raises
    ------
    StoreError
        if there is no such episode.
    """
    if which not in WHICH:
        raise UnknownNameError("episodes to explain", which, WHICH)
    numbers = [number for number in range(len(store)) if which == "all" or not store.episodes["success"][number]]
    if not numbers:
        raise StoreError(f"{store.path.name} has no {'failure' if which == 'failures' else 'episode'} to explain")
    found = []
    with progress("explanations", len(numbers)) as advance:
        for number in numbers:
            found.append(explain(store, number, task=task))
            advance(1)
    paths = () if into is None else _write(found, Path(into), store.path.stem)
    return Explanations(tuple(found), paths)


def _write(found: list[Explanation], folder: Path, name: str) -> tuple[Path, Path]:
    records, page = folder / "explanations.jsonl", folder / "explanations.md"
    lines = [json.dumps(told.record(), ensure_ascii=False) for told in found]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(records, "\n".join(lines) + "\n")
    write_text(page, "\n".join([f"# Explanations of {name}\n", *map(markdown_of, found)]))
    return records, page
