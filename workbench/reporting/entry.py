"""An entry of the zoo as it was made: what its card says of its trainings, and how it is published."""

from __future__ import annotations

import collections
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.config import ZOO, command_line, refuse_name, replacing, resolve
from workbench.errors import ConfigError
from workbench.reporting.zoo import LICENCE, MOST_BYTES, MOST_BYTES_IN_ALL, read_policy
from workbench.rollouts.setup import versions
from workbench.store import Store
from workbench.types import Record

SOURCE = Path(__file__).parents[2]
"""The checkout, where this package was not installed from a wheel."""
LIMIT = "Trained and tested in simulation, on the scripted expert's way of doing the task."
"""Holds of every entry."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """One training of an entry, with another seed than the others, and the nominal episodes of it.

    Attributes
    ----------
    checkpoint : folder of its weights.
    store : of its episodes.
    metrics : section ``policy`` of its run's ``metrics.json``: the curve of the training, and how often it succeeded.
    """

    seed: int
    checkpoint: Path
    store: Store
    metrics: Record

    def record(self) -> Record:
        """What the card says of it."""
        training, nominal = self.metrics["training"], self.metrics["nominal"]
        return {
            "seed": self.seed,
            "successes": nominal["successes"],
            "episodes": nominal["episodes"],
            "validation": training["validation"][-1],
            "error": {name: float(np.atleast_1d(values)[-1]) for name, values in training["error"].items()},
            "wall_s": training["seconds"]["wall_s"],
            "cpu_s": training["seconds"]["cpu_s"],
            "instructions": by_instruction(self.store),
        }


def by_instruction(store: Store) -> dict[str, list[int]]:
    """Instruction -> successes and episodes; none where all episodes have the same one."""
    episodes = store.episodes
    counts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for instruction, success in zip(episodes["instruction"], episodes["success"], strict=True):
        counts[str(instruction)][0] += int(success)
        counts[str(instruction)][1] += 1
    return dict(sorted(counts.items())) if len(counts) > 1 else {}


def facts_of(
    entry: str,
    about: str,
    limits: Sequence[str],
    trained: Sequence[Trained],
    *,
    demonstrations: Record,
    command: str,
    seed: int,
) -> Record:
    """Everything that the card of an entry says: the front part of it.

    Parameters
    ----------
    about, limits : what is said of it beside what was measured.
    trained : one training for every seed; the first one's weights are those of the entry.
    demonstrations : how many there are, and how many succeeded.
    command : what makes it again.
    seed : of the run, which decides demonstrations and episodes.
    """
    first = trained[0]
    record, training = read_policy(first.checkpoint), first.metrics["training"]
    left_out = ("seed", "data", "groups")  # of one training, or said elsewhere
    return {
        "entry": entry,
        "about": " ".join(about.split()),
        "task": record["task"],
        "policy": record["policy"],
        "observations": record["layout"],
        "image_sizes": record["image_sizes"],
        "action_size": record["action_size"],
        "config": record["config"],
        "parameters": training["parameters"],
        "bytes": (first.checkpoint / record["weights"]).stat().st_size,
        "sha256": record["sha256"],
        "command": command,
        "run_seed": seed,
        "demonstrations": demonstrations,
        "recipe": {key: value for key, value in record["recipe"].items() if key not in left_out},
        "seeds": [each.record() for each in trained],
        "limits": [*limits, LIMIT],
        "versions": versions() | record["versions"],
        "licence": LICENCE,
    }


def command_of(words: Sequence[str]) -> str:
    """The command that makes an entry again: the words that were given, but for those that decide nothing."""
    left_out = ("job=", "job.publish=", "overwrite=", "runner.")
    return command_line("zoo", [word for word in words if not word.startswith(left_out)])


def check(
    entry: str, policy: Record, demonstrations: int, seeds: Sequence[int], episodes: int, published: bool
) -> None:
    """Refuse what cannot be made.

    Parameters
    ----------
    entry : its name.
    policy : its configuration.
    published : whether it is to be published.
    """
    refuse_name("job.entry", entry)
    if policy.get("zoo") or not hasattr(resolve(policy["_target_"]), "load"):
        raise ConfigError(f"policy={policy} cannot be trained; choose one that can, such as policy=flow")
    if not seeds or len(set(seeds)) < len(seeds) or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise ConfigError(f"job.seeds={list(seeds)} must be different whole numbers, one at least, of 0 or more")
    for name, count in (("demonstrations", demonstrations), ("episodes", episodes)):
        if count < 1:
            raise ConfigError(f"job.{name}={count} must be at least 1")
    if published and not (SOURCE / "pyproject.toml").is_file():
        raise ConfigError("job.publish=true writes into the source tree, and this package was installed without one")


def publish(checkpoint: Path, card: Path, entry: str) -> Path:
    """Copy a checkpoint and its card into the zoo, in the place of what it held of that name.

    Raises
    ------
    ConfigError
        if the entry, or the zoo with it, would be too big.
    """
    files = [checkpoint / Path(str(read_policy(checkpoint)["weights"])).name, checkpoint / "policy.json", card]
    folder, size = ZOO.resolve() / entry, sum(file.stat().st_size for file in files)
    others = sum(file.stat().st_size for file in ZOO.resolve().glob("*/*") if file.parent != folder)
    for taken, most in ((size, MOST_BYTES), (size + others, MOST_BYTES_IN_ALL)):
        if taken > most:
            raise ConfigError(
                f"{entry} takes {size / 1e6:.1f} MB and the rest of the zoo {others / 1e6:.1f}: at most "
                f"{MOST_BYTES / 1e6:.0f} and {MOST_BYTES_IN_ALL / 1e6:.0f} in all are published; make it smaller"
            )
    with replacing(folder) as new:
        new.mkdir()
        for file in files:
            shutil.copyfile(file, new / file.name)
    return folder
