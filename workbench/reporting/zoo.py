"""The zoo: trained policies that come with the package, each with a card from which it can be judged.

A card is Markdown behind a JSON front part.  The front part holds every number, and the text is made from it alone, so
the two cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from workbench.config import ZOO
from workbench.errors import CheckpointError
from workbench.reporting.table import Cell, Column, Row, Table, numbers
from workbench.reporting.words import count, interval, megabytes
from workbench.stats.proportions import clopper_pearson, over_seeds
from workbench.types import Record
from workbench.types.text import as_markdown_block, visible

CARD = "card.md"
LICENCE = "CC-BY-4.0"
MOST_BYTES, MOST_BYTES_IN_ALL = 8_000_000, 40_000_000
"""What an entry, and the zoo, may take in the repository."""
FENCE = "---\n"
HYPHEN = "-"
"""Stands between the bounds of an interval in a card."""


def cards(zoo: Path = ZOO) -> dict[str, Record]:
    """Entry -> front part of its card, for every entry that there is."""
    return {path.parent.name: read_card(path) for path in sorted(zoo.glob(f"*/{CARD}"))}


def read_policy(folder: Path) -> Record:
    """The JSON part of a checkpoint."""
    record: Record = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    return record


def read_card(path: Path) -> Record:
    """Front part of a card; CheckpointError if it has none."""
    try:
        before, front, _ = path.read_text(encoding="utf-8").split(FENCE, 2)
        facts: Record = json.loads(front)
    except ValueError as error:
        raise CheckpointError(f"{path} does not begin with a JSON front part between lines of --- ({error})") from None
    if before:
        raise CheckpointError(f"{path} has text before its front part")
    return facts


def card_text(facts: Record) -> str:
    """A card: the facts, and what they say."""
    front = json.dumps(facts, indent=1)
    parts = [
        f"# {facts['entry']}\n\n{facts['about']}",
        f"```sh\nworkbench rollout policy=zoo/{facts['entry']} task={facts['task']}\n```",
        f"## What it is\n\n{identity_part(facts)}",
        f"## How well it does\n\n{success_part(facts)}",
        f"## How it was made\n\n{recipe_part(facts)}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in facts["limits"]),
    ]
    return visible(f"{FENCE}{front}\n{FENCE}\n" + "\n\n".join(parts) + "\n")


def identity_part(facts: Record) -> str:
    """Task, what is read and written, the network."""
    sees = ", ".join(f"`{key}` ({size})" for key, size in facts["observations"].items())
    sees += "".join(f", camera `{name}` ({h} x {w} pixels)" for name, (h, w) in facts["image_sizes"].items())
    config = facts["config"]
    network = ", ".join(f"{key} {value}" for key, value in config.items() if value is not None and value != [])
    return "\n".join(
        [
            f"- **task**: `{facts['task']}`",
            f"- **policy**: {facts['policy']}, chunks of {config['horizon']} actions of size {facts['action_size']}, "
            f"{config['execute']} of them run before the next call",
            f"- **observations** (length): {sees}",
            f"- **network**: {facts['parameters']:,} parameters, {megabytes(facts['bytes'], 2)} MB; {network}",
            f"- **weights**: seed {facts['seeds'][0]['seed']}, the first asked for; sha256 `{facts['sha256'][:16]}`",
            f"- **licence**: {facts['licence']}",
        ]
    )


def success_part(facts: Record) -> str:
    """Success of every training seed and of all of them, validation loss, errors by part of the action."""
    words = [
        f"{facts['seeds'][0]['episodes']} nominal episodes of the test split (run seed {facts['run_seed']}), the same "
        "ones for every training seed; intervals of one seed are exact (Clopper and Pearson).",
        success_table(facts).markdown(),
        f"All seeds: {pooled(facts)}. That interval is the recipe's, whatever the training seed: seeds are few, so it "
        "is wider than that of as many episodes of one policy (effective sample size after Korn and Graubard, Survey "
        "Methodology 1998). Errors are mean absolute differences, in action units, between a drawn chunk and the "
        "held-out demonstration's.",
    ]
    if facts["seeds"][0]["instructions"]:
        words.append(instruction_table(facts).markdown())
    return "\n\n".join(words)


def tables(facts: Record) -> list[Table]:
    """What is worth a look on the terminal when an entry is made."""
    return [success_table(facts), time_table(facts)]


def success_table(facts: Record) -> Table:
    """One row a training seed: success, validation loss, errors by part of the action."""
    groups = list(facts["seeds"][0]["error"])
    rows = []
    for each in facts["seeds"]:
        won, episodes = each["successes"], each["episodes"]
        bounds = clopper_pearson(won, episodes)
        rows.append(
            Row.of(
                each["seed"],
                Cell(count(won, episodes), won / episodes, bounds),
                interval(bounds, HYPHEN),
                Cell(f"{each['validation']:.4g}", each["validation"]),
                *(Cell(f"{each['error'][name]:.3g}", each["error"][name]) for name in groups),
            )
        )
    names = ("training seed", "success", "95 % interval", "validation loss", *(f"error of {name}" for name in groups))
    return Table(facts["entry"], numbers(*names), rows)


def instruction_table(facts: Record) -> Table:
    """Success of every instruction and seed."""
    rows = []
    for instruction in facts["seeds"][0]["instructions"]:
        counts = [each["instructions"].get(instruction, [0, 0]) for each in facts["seeds"]]
        rows.append(Row.of(instruction, *(count(*each) for each in counts)))
    columns = [Column("instruction"), *numbers(*(f"seed {each['seed']}" for each in facts["seeds"]))]
    return Table(f"{facts['entry']}, by instruction", columns, rows)


def time_table(facts: Record) -> Table:
    """Seconds of every training."""
    rows = []
    for each in facts["seeds"]:
        spent = [Cell(f"{each[key]:.0f}", each[key]) for key in ("wall_s", "cpu_s")]
        rows.append(Row.of(each["seed"], *spent))
    return Table(f"{facts['entry']}, time of training", numbers("training seed", "wall s", "CPU s"), rows)


def recipe_part(facts: Record) -> str:
    """Command, data, training, time and versions."""
    data = facts["demonstrations"]
    recipe = ", ".join(f"{key} {value}" for key, value in facts["recipe"].items())
    return "\n\n".join(
        [
            as_markdown_block(facts["command"], "sh"),
            f"- **demonstrations**: {data['episodes']} of the task's scripted expert with noise on what is executed "
            f"(DART), {data['successes']} of them succeed and are learned from; run seed {facts['run_seed']}\n"
            f"- **training**: {recipe}\n"
            f"- **training seeds**: {', '.join(str(each['seed']) for each in facts['seeds'])}; first weights, what is "
            "held out, batches and noise differ between them, demonstrations and test episodes do not\n"
            f"- **versions**: {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}",
            time_table(facts).markdown(),
        ]
    )


def pooled(facts: Record) -> str:
    """Success of all seeds in a few words."""
    successes, episodes = [each["successes"] for each in facts["seeds"]], facts["seeds"][0]["episodes"]
    if len(successes) < 2:
        return f"{count(successes[0], episodes)}, and with one seed no interval for another"
    share, bounds = sum(successes) / (len(successes) * episodes), over_seeds(tuple(successes), episodes)
    return f"{100 * share:.1f} % [{interval(bounds, HYPHEN)}] over {len(successes)} seeds"


def overview(found: Mapping[str, Record]) -> Table:
    """One row a card: entry, task, kind, success by seed and over seeds, CPU seconds of a training, size."""
    rows = []
    for entry, facts in found.items():
        first, size = facts["seeds"][0], facts["bytes"]
        rows.append(
            Row.of(
                f"zoo/{entry}",
                str(facts["task"]),
                str(facts["policy"]),
                ", ".join(count(each["successes"], each["episodes"]) for each in facts["seeds"]),
                pooled(facts),
                Cell(f"{first['cpu_s']:.0f}", first["cpu_s"]),
                Cell(megabytes(size), size / 1e6),
            )
        )
    columns = [
        Column("policy=", code=True),
        Column("task", code=True),
        *map(Column, ("kind", "success, by training seed", "over seeds")),
        *numbers("training, CPU s", "MB"),
    ]
    return Table("policies of the zoo", columns, rows)


def listed(zoo: Path = ZOO) -> list[Table | str]:
    """What the zoo holds, as a table, and where its cards are."""
    found = cards(zoo)
    if not found:
        return ["the zoo is empty; make an entry with: workbench zoo +experiment=zoo/lift_flow"]
    return [overview(found), "\n".join(f"card: {zoo.resolve() / entry / CARD}" for entry in found)]
