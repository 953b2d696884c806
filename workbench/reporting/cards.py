"""The card of a synthesized data set: what is in it, how it was made, what it must not be taken for."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import RenderableType

from workbench.config import Run, resolve, write_text
from workbench.reporting.report import count, interval, percent, table
from workbench.stats.proportions import wilson
from workbench.store import Store
from workbench.synthesis.recipe import Recipe
from workbench.types import EPISODES_PER_SPLIT, Record

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

    @property
    def summary(self) -> Record:
        """What is the same however it was made; sizes on disk depend on the number of workers."""
        tasks = [{key: row[key] for key in row if key != "bytes_per_episode"} for row in self.tasks]
        return {"tasks": tasks, "channels": self.channels}

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


def write_card(run: Run, recipe: Recipe, runs: Mapping[str, Run], found: Mapping[str, Mapping[str, Record]]) -> Card:
    """Count the stores of a recipe and write ``datasets/<store>.card.md``."""
    stores = {task: Store.open(each.store) for task, each in runs.items()}
    cells = [row for task, store in stores.items() for row in cell_rows(recipe, task, store)]
    tasks = [task_row(task, store, found[task]) for task, store in stores.items()]
    channels = [channel_row(name, cells) for name in sorted({row["channel"] for row in cells})]
    path = run.root / "datasets" / f"{run.config['store']}.card.md"
    parts = (
        introduction(run, recipe, stores),
        task_part(tasks),
        channel_part(channels),
        mode_part(cells),
        cell_part(cells, found),
        refusal_part(found),
        "## Known limits\n\n" + "\n".join(f"- {line}" for line in (*recipe.limits, *CAUTIONS)),
    )
    write_text(path, "\n\n".join(parts) + "\n")
    return Card(path, tasks, channels)


def cell_rows(recipe: Recipe, task: str, store: Store) -> list[Record]:
    """One row a cell of a store: episodes, failures, modes seen and the magnitude.

    A cell is filled until enough of it has failed, so the share of all its episodes that fail is no estimate of a
    rate; that of the ``first`` ones, which are rolled in any case, is.
    """
    rows: dict[str, Record] = {}
    columns = store.episodes
    for number in np.flatnonzero(columns["cell"] != ""):
        record = json.loads(columns["perturbations"][number])[0]
        row = rows.setdefault(columns["cell"][number], new_row(task, columns["cell"][number], record))
        failed = not columns["success"][number]
        first = columns["index"][number] % EPISODES_PER_SPLIT < recipe.least[columns["split"][number]]
        row["episodes"] += 1
        row["failures"] += int(failed)
        row["first"] += int(first)
        row["first_failures"] += int(first and failed)
        row["effects"] += int(columns["t_eff"][number] >= 0)
        if failed:
            row["modes"][columns["failure_mode"][number]] += 1
    return [rows[cell] for cell in sorted(rows)]


def new_row(task: str, cell: str, record: Record) -> Record:
    """The row of a cell without episodes."""
    magnitude = resolve(record["target"]).magnitude.name
    return {
        "task": task,
        "cell": cell,
        "channel": record["channel"],
        "perturbation": record["name"],
        "magnitude": magnitude,
        "value": length(record[magnitude]),
        **dict.fromkeys(("episodes", "failures", "first", "first_failures", "effects"), 0),
        "modes": collections.Counter(),
    }


def length(value: float | Sequence[float]) -> float:
    """Size of a drawn magnitude, which may be a vector."""
    if isinstance(value, Sequence):
        return float(sum(part * part for part in value) ** 0.5)
    return float(value)


def task_row(task: str, store: Store, found: Mapping[str, Record]) -> Record:
    """Counts of one store."""
    columns = store.episodes
    nominal = columns["perturbation"] == ""
    failed = ~columns["success"]
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    return {
        "task": task,
        "nominal": int(nominal.sum()),
        "nominal_successes": int((nominal & ~failed).sum()),
        "perturbed": int((~nominal).sum()),
        "failures": int((~nominal & failed).sum()),
        "refused": sum("refused" in record for record in found.values()),
        "bytes_per_episode": size / max(len(store), 1),
        "control_steps": int(columns["length"].sum()),
    }


def channel_row(channel: str, cells: Iterable[Record]) -> Record:
    """Counts of one channel."""
    mine = [row for row in cells if row["channel"] == channel]
    return {
        "channel": channel,
        "faults": len({row["perturbation"] for row in mine}),
        "cells": len(mine),
        "episodes": sum(row["episodes"] for row in mine),
        "failures": sum(row["failures"] for row in mine),
        "first": sum(row["first"] for row in mine),
        "first_failures": sum(row["first_failures"] for row in mine),
    }


def introduction(run: Run, recipe: Recipe, stores: Mapping[str, Store]) -> str:
    """What it is, and how to make it again."""
    head = next(iter(stores.values())).header
    versions = ", ".join(f"{name} {version}" for name, version in head.versions.items())
    episodes = sum(len(store) for store in stores.values())
    lines = (
        f"# {run.config['store']}",
        "",
        recipe.about,
        "",
        f"- **episodes**: {episodes} in {len(stores)} stores (`datasets/{run.config['store']}-<task>.zarr`)",
        f"- **made by**: `workbench synthesize job.recipe={recipe.name} seed={run.seed}`, policy "
        + ", ".join(f"`{policy}`" for policy in dict.fromkeys(recipe.policies.values())),
        f"- **seed**: {run.seed}; the same command gives the same episodes, bit for bit",
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
