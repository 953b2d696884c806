"""The card of a synthesized data set: what is in it, how it was made, what it must not be taken for."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from workbench.config import write_text
from workbench.reporting.table import Cell, Column, Row, Table, numbers
from workbench.reporting.words import Rate, count, kilobytes
from workbench.store import Store
from workbench.synthesis.recipe import Recipe
from workbench.synthesis.synthesizing import Synthesis
from workbench.types import Record
from workbench.types.text import as_markdown, visible

CAUTIONS = (
    "Cells are filled until enough of their episodes have failed, so shares of *all* episodes are no failure rates; "
    "those of the *first* ones, which are rolled in any case, are.",
    "All episodes of a task with the same number share their scene, its noise and their nominal twin, whatever their "
    "fault: they are paired, not independent. Resample by episode index.",
    "A magnitude was chosen on a few episodes of the split `select`, of which none is stored; the rate that a cell was "
    "aimed at is not the rate that it has, which stands beside it with its interval.",
    "Simulated dynamics and scripted or small learned policies: rates say nothing about a real robot.",
)


@dataclasses.dataclass(frozen=True)
class Card:
    """A written card.

    Attributes
    ----------
    path : Markdown file.
    tasks, channels : its counts, one row each.
    """

    path: Path
    tasks: list[Record]
    channels: list[Record]

    def tables(self) -> list[Table]:
        """What is worth a look on the terminal."""
        made = task_table(self.tasks), channel_table(self.channels)
        return [table for table in made if table.rows]


def write_card(made: Synthesis, path: Path) -> Card:
    """Count the stores of a data set and write its card, ``<name>.card.md``."""
    recipe, stores = made.recipe, made.stores
    cells = [dataclasses.asdict(row) for row in made.cells()]
    tasks = [
        {**dataclasses.asdict(row), "bytes_per_episode": bytes_per_episode(stores[row.task])} for row in made.tasks()
    ]
    channels = [dataclasses.asdict(row) for row in made.channels()]
    found = {task: {label: each.record() for label, each in rows.items()} for task, rows in made.magnitudes.items()}
    parts = (
        introduction(path.name.removesuffix(".card.md"), recipe, stores),
        task_table(tasks).markdown("##"),
        channel_table(channels).markdown("##"),
        mode_table(cells).markdown("##"),
        cell_table(cells, found).markdown("##"),
        refusal_part(found),
        "## Known limits\n\n" + "\n".join(f"- {line}" for line in (*recipe.limits, *CAUTIONS)),
    )
    write_text(path, visible("\n\n".join(parts)) + "\n")
    return Card(path, tasks, channels)


def bytes_per_episode(store: Store) -> float:
    """Size of a store on disk; it depends on how many workers wrote it."""
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    return size / max(len(store), 1)


def introduction(name: str, recipe: Recipe, stores: Mapping[str, Store]) -> str:
    """What it is, and how to make it again."""
    head = next(iter(stores.values())).header
    versions = ", ".join(f"{name} {version}" for name, version in head.versions.items())
    episodes = sum(len(store) for store in stores.values())
    lines = (
        f"# {as_markdown(name)}",
        "",
        recipe.about,
        "",
        f"- **episodes**: {episodes} in {len(stores)} stores (`datasets/{name}-<task>.zarr`)",
        f"- **made by**: `workbench synthesize job.recipe={recipe.name} seed={head.seed}`, policy "
        + ", ".join(as_markdown(policy, code=True) for policy in dict.fromkeys(recipe.policies.values())),
        f"- **seed**: {head.seed}; the same command gives the same episodes, bit for bit",
        f"- **licence**: {as_markdown(recipe.licence)}",
        f"- **versions**: {versions}",
        "- **twins**: every perturbed episode names its nominal twin (same seed and noise, no fault) and `t_eff`, the "
        "first control step at which their states differ",
    )
    return "\n".join(lines)


def task_table(rows: Sequence[Record]) -> Table:
    """Episodes by task."""
    made = []
    for row in rows:
        size = row["bytes_per_episode"]
        made.append(
            Row.of(
                row["task"],
                _rate(row["nominal_successes"], row["nominal"]),
                row["perturbed"],
                count(row["failures"], row["perturbed"]),
                row["refused"],
                row["control_steps"],
                Cell(kilobytes(size), size / 1000),
            )
        )
    columns = [
        Column("task"),
        *numbers("nominal success", "perturbed episodes", "failed", "refused faults"),
        Column("control steps", numeric=True, terminal=False),
        *numbers("kB an episode"),
    ]
    return Table("tasks", columns, made)


def channel_table(rows: Sequence[Record]) -> Table:
    """Episodes by channel."""
    made = []
    for row in rows:
        first, failed = _rate(row["first_failures"], row["first"]), count(row["failures"], row["episodes"])
        made.append(Row.of(row["channel"], row["faults"], row["cells"], first, failed))
    columns = [Column("channel"), *numbers("faults", "cells", "failed, of the first", "failed, of all")]
    return Table("channels", columns, made)


def mode_table(cells: Iterable[Record]) -> Table:
    """What was injected against what was seen, over all tasks."""
    seen: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in cells:
        seen[row["perturbation"]].update(row["modes"])
    modes = sorted({mode for counts in seen.values() for mode in counts})
    rows = []
    for name, counts in sorted(seen.items()):
        rows.append(Row.of(name, *(Cell(str(counts[mode] or ""), counts[mode]) for mode in modes)))
    note = "Failed episodes by what was injected (rows) and what was seen (columns)."
    return Table("injected and seen", [Column("injected"), *numbers(*modes)], rows, note)


def cell_table(cells: Iterable[Record], found: Mapping[str, Mapping[str, Record]]) -> Table:
    """Every cell."""
    rows = []
    for row in cells:
        label, _, aim = row["cell"].partition("@")
        searched = found[row["task"]].get(label, {})
        rows.append(
            Row.of(
                row["task"],
                label,
                Cell(f"{row['magnitude']} = {row['value']:.4g}", row["value"]),
                aim if aim[0] in "01" else searched.get("verdict", aim),
                _rate(row["first_failures"], row["first"]),
                count(row["failures"], row["episodes"]),
                count(row["effects"], row["episodes"]),
            )
        )
    columns = [
        *map(Column, ("task", "fault", "magnitude", "rate aimed at")),
        *numbers("failed, of the first", "failed, of all", "differs from its twin"),
    ]
    return Table("cells", columns, rows)


def refusal_part(found: Mapping[str, Mapping[str, Record]]) -> str:
    """What a task cannot have, and why."""
    rows = [
        Row.of(task, label, record["refused"])
        for task, searches in found.items()
        for label, record in searches.items()
        if "refused" in record
    ]
    table = Table("left out", [Column("task"), Column("fault"), Column("why")], rows)
    return table.markdown("##") if rows else "## Left out\n\nNothing."


def _rate(part: int, whole: int) -> Cell:
    """Counts and their exact interval."""
    if not whole:
        return Cell("none")
    rate = Rate(part, whole)
    return Cell(f"{rate.count} ({rate.interval})", rate.share, rate.bounds)
