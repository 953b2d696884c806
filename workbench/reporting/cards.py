"""The card of a synthesized data set: what is in it, how it was made, what it must not be taken for."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import RenderableType

from workbench.config import write_text
from workbench.reporting.report import count, interval, percent, table
from workbench.stats.proportions import wilson
from workbench.store import Store
from workbench.synthesis.recipe import Recipe
from workbench.synthesis.synthesizing import Synthesis
from workbench.types import Record

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

    def tables(self) -> list[RenderableType]:
        """What is worth a look on the terminal."""
        columns = "task|>nominal success|>perturbed|>failed|>refused faults|>kB/episode"
        rows = [
            [
                row["task"],
                count(row["nominal_successes"], row["nominal"]),
                str(row["perturbed"]),
                f"{percent(row['failures'] / row['perturbed'])}" if row["perturbed"] else "",
                str(row["refused"]),
                f"{row['bytes_per_episode'] / 1000:.0f}",
            ]
            for row in self.tasks
        ]
        channels = [
            [row["channel"], str(row["faults"]), str(row["cells"]), count(row["failures"], row["episodes"])]
            for row in self.channels
        ]
        made = table("tasks", columns, rows), table("channels", "channel|>faults|>cells|>failed", channels)
        return [each for each in made if each is not None]


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
        task_part(tasks),
        channel_part(channels),
        mode_part(cells),
        cell_part(cells, found),
        refusal_part(found),
        "## Known limits\n\n" + "\n".join(f"- {line}" for line in (*recipe.limits, *CAUTIONS)),
    )
    write_text(path, "\n\n".join(parts) + "\n")
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
        f"# {name}",
        "",
        recipe.about,
        "",
        f"- **episodes**: {episodes} in {len(stores)} stores (`datasets/{name}-<task>.zarr`)",
        f"- **made by**: `workbench synthesize job.recipe={recipe.name} seed={head.seed}`, policy "
        + ", ".join(f"`{policy}`" for policy in dict.fromkeys(recipe.policies.values())),
        f"- **seed**: {head.seed}; the same command gives the same episodes, bit for bit",
        f"- **licence**: {recipe.licence}",
        f"- **versions**: {versions}",
        "- **twins**: every perturbed episode names its nominal twin (same seed and noise, no fault) and `t_eff`, the "
        "first control step at which their states differ",
    )
    return "\n".join(lines)


def task_part(rows: Sequence[Record]) -> str:
    """Episodes by task."""
    shown = [
        [
            row["task"],
            rate(row["nominal_successes"], row["nominal"]),
            row["perturbed"],
            count(row["failures"], row["perturbed"]),
            row["control_steps"],
            f"{row['bytes_per_episode'] / 1000:.0f}",
        ]
        for row in rows
    ]
    header = ("task", "nominal success", "perturbed episodes", "failed", "control steps", "kB an episode")
    return "## Tasks\n\n" + markdown(header, shown)


def channel_part(rows: Sequence[Record]) -> str:
    """Episodes by channel."""
    shown = [
        [
            row["channel"],
            row["faults"],
            row["cells"],
            rate(row["first_failures"], row["first"]),
            count(row["failures"], row["episodes"]),
        ]
        for row in rows
    ]
    return "## Channels\n\n" + markdown(("channel", "faults", "cells", "failed, of the first", "failed, of all"), shown)


def mode_part(cells: Iterable[Record]) -> str:
    """What was injected against what was seen, over all tasks."""
    seen: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in cells:
        seen[row["perturbation"]].update(row["modes"])
    modes = sorted({mode for counts in seen.values() for mode in counts})
    shown = [[name, *(counts[mode] or "" for mode in modes)] for name, counts in sorted(seen.items())]
    about = "Failed episodes by what was injected (rows) and what was seen (columns).\n\n"
    return "## Injected and seen\n\n" + about + markdown(("injected", *modes), shown)


def cell_part(cells: Iterable[Record], found: Mapping[str, Mapping[str, Record]]) -> str:
    """Every cell."""
    shown = []
    for row in cells:
        label, _, aim = row["cell"].partition("@")
        searched = found[row["task"]].get(label, {})
        shown.append(
            [
                row["task"],
                label,
                f"{row['magnitude']} = {row['value']:.4g}",
                aim if aim[0] in "01" else searched.get("verdict", aim),
                rate(row["first_failures"], row["first"]),
                count(row["failures"], row["episodes"]),
                f"{row['effects']}/{row['episodes']}",
            ]
        )
    header = (
        "task",
        "fault",
        "magnitude",
        "rate aimed at",
        "failed, of the first",
        "failed, of all",
        "differs from its twin",
    )
    return "## Cells\n\n" + markdown(header, shown)


def refusal_part(found: Mapping[str, Mapping[str, Record]]) -> str:
    """What a task cannot have, and why."""
    shown = [
        [task, label, record["refused"]]
        for task, dials in found.items()
        for label, record in dials.items()
        if "refused" in record
    ]
    return "## Left out\n\n" + (markdown(("task", "fault", "why"), shown) if shown else "Nothing.")


def rate(part: int, whole: int) -> str:
    """Counts and their Wilson interval."""
    return f"{count(part, whole)} ({interval(wilson(part, whole))})" if whole else "none"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
