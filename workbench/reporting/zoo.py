"""The zoo: trained policies that come with the package, each with a card from which it can be judged.

A card is Markdown behind a JSON front part.  The front part holds every number, and the text is made from it alone, so
the two cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import RenderableType

from workbench.config import ZOO
from workbench.errors import CheckpointError
from workbench.reporting.cards import markdown
from workbench.reporting.report import table
from workbench.stats.proportions import over_seeds, wilson
from workbench.types import Record

CARD = "card.md"
LICENCE = "CC-BY-4.0"
MOST_BYTES, MOST_BYTES_IN_ALL = 8_000_000, 40_000_000
"""What an entry, and the zoo, may take in the repository."""
FENCE = "---\n"


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
    return f"{FENCE}{front}\n{FENCE}\n" + "\n\n".join(parts) + "\n"


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
            f"- **network**: {facts['parameters']:,} parameters, {facts['bytes'] / 1e6:.2f} MB; {network}",
            f"- **weights**: seed {facts['seeds'][0]['seed']}, the first asked for; sha256 `{facts['sha256'][:16]}`",
            f"- **licence**: {facts['licence']}",
        ]
    )


def success_part(facts: Record) -> str:
    """Success of every training seed and of all of them, validation loss, errors by part of the action."""
    groups = list(facts["seeds"][0]["error"])
    header = ["training seed", "success", "95 % interval", "validation loss", *(f"error of {name}" for name in groups)]
    rows = [
        [
            each["seed"],
            f"{each['successes']}/{each['episodes']}",
            interval(wilson(each["successes"], each["episodes"])),
            f"{each['validation']:.4g}",
            *(f"{each['error'][name]:.3g}" for name in groups),
        ]
        for each in facts["seeds"]
    ]
    episodes = facts["seeds"][0]["episodes"]
    words = [
        f"{episodes} nominal episodes of the test split (run seed {facts['run_seed']}), the same ones for every "
        "training seed; intervals of one seed are Wilson's.",
        markdown(header, rows),
        f"All seeds: {pooled(facts)}. That interval is the recipe's, whatever the training seed: seeds are few, so it "
        "is wider than that of as many episodes of one policy (effective sample size after Korn and Graubard, Survey "
        "Methodology 1998). Errors are mean absolute differences, in action units, between a drawn chunk and the "
        "held-out demonstration's.",
    ]
    if instructions := facts["seeds"][0]["instructions"]:
        words.append(instruction_table(facts, list(instructions)))
    return "\n\n".join(words)


def tables(facts: Record) -> list[RenderableType]:
    """What is worth a look on the terminal when an entry is made."""
    rows = [
        [
            str(each["seed"]),
            f"{each['cpu_s']:.0f}",
            f"{each['wall_s']:.0f}",
            f"{each['validation']:.4g}",
            f"{each['successes']}/{each['episodes']}",
            interval(wilson(each["successes"], each["episodes"])),
        ]
        for each in facts["seeds"]
    ]
    columns = ">training seed|>CPU s|>wall s|>validation loss|>success|>95 % interval"
    shown = table(facts["entry"], columns, rows)
    return [shown] if shown else []


def instruction_table(facts: Record, instructions: Sequence[str]) -> str:
    """Success of every instruction and seed."""
    header = ["instruction", *(f"seed {each['seed']}" for each in facts["seeds"])]
    counts = [[each["instructions"].get(told, [0, 0]) for each in facts["seeds"]] for told in instructions]
    return markdown(
        header, [[told, *(f"{k}/{n}" for k, n in row)] for told, row in zip(instructions, counts, strict=True)]
    )


def recipe_part(facts: Record) -> str:
    """Command, data, training, time and versions."""
    data = facts["demonstrations"]
    recipe = ", ".join(f"{key} {value}" for key, value in facts["recipe"].items())
    times = [[each["seed"], f"{each['wall_s']:.0f}", f"{each['cpu_s']:.0f}"] for each in facts["seeds"]]
    return "\n\n".join(
        [
            f"```sh\n{facts['command']}\n```",
            f"- **demonstrations**: {data['episodes']} of the task's scripted expert with noise on what is executed "
            f"(DART), {data['successes']} of them succeed and are learned from; run seed {facts['run_seed']}\n"
            f"- **training**: {recipe}\n"
            f"- **training seeds**: {', '.join(str(each['seed']) for each in facts['seeds'])}; first weights, what is "
            "held out, batches and noise differ between them, demonstrations and test episodes do not\n"
            f"- **versions**: {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}",
            markdown(["training seed", "wall s", "CPU s"], times),
        ]
    )


def pooled(facts: Record) -> str:
    """Success of all seeds in a few words."""
    successes, episodes = [each["successes"] for each in facts["seeds"]], facts["seeds"][0]["episodes"]
    if len(successes) < 2:
        return f"{successes[0]}/{episodes}, and with one seed no interval for another"
    share = sum(successes) / (len(successes) * episodes)
    return f"{100 * share:.1f} % [{interval(over_seeds(tuple(successes), episodes))}] over {len(successes)} seeds"


def interval(bounds: tuple[float, float]) -> str:
    """A 95 % interval in percent."""
    return f"{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f} %"


def overview_rows(found: Mapping[str, Record]) -> list[list[str]]:
    """Entry, task, policy, success by seed and over seeds, CPU seconds of a training, size: a row for each card."""
    return [
        [
            f"zoo/{entry}",
            str(facts["task"]),
            str(facts["policy"]),
            ", ".join(f"{each['successes']}/{each['episodes']}" for each in facts["seeds"]),
            pooled(facts),
            f"{facts['seeds'][0]['cpu_s']:.0f}",
            f"{facts['bytes'] / 1e6:.1f}",
        ]
        for entry, facts in found.items()
    ]


def listed(zoo: Path = ZOO) -> list[RenderableType]:
    """What the zoo holds, as a table, and where its cards are."""
    found = cards(zoo)
    shown = table("policies of the zoo", COLUMNS[0] + "|" + "|".join(COLUMNS[1:]), overview_rows(found))
    paths = "\n".join(f"card: {zoo.resolve() / entry / CARD}" for entry in found)
    return (
        [shown, paths] if shown else ["the zoo is empty; make an entry with: workbench zoo +experiment=zoo/lift_flow"]
    )


COLUMNS = ("policy=", "task", "kind", "success, by training seed", "over seeds", "training, CPU s", "MB")


def readme_table(found: Mapping[str, Record]) -> str:
    """The table of the README."""
    return markdown(COLUMNS, [[f"`{row[0]}`", f"`{row[1]}`", *row[2:]] for row in overview_rows(found)])
