"""Entries of the zoo: demonstrations once, a training for every seed, nominal episodes of each, and a card."""

from __future__ import annotations

import collections
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.config import ZOO, Run, compose, resolve, words_asked, write_text
from workbench.errors import ConfigError
from workbench.execution.progress import console
from workbench.jobs.quickstart import Ledger, Stage, do, fingerprint
from workbench.reporting.zoo import (
    CARD,
    LICENCE,
    MOST_BYTES,
    MOST_BYTES_IN_ALL,
    card_text,
    cards,
    overview,
    pooled,
    read_policy,
    tables,
)
from workbench.rollouts.worker import versions
from workbench.store import Store
from workbench.types import Record

SOURCE = Path(__file__).parents[2]


def run(
    run: Run,
    entry: str | None,
    about: str,
    limits: Sequence[str],
    demonstrations: int,
    seeds: Sequence[int],
    trainer: Record,
    episodes: int,
    publish: bool,
) -> None:
    """Make an entry in ``runs/<name>/``, as far as it is not there; without one, list what there is."""
    if entry is None:
        show_overview()
        return
    check(run, demonstrations, seeds, episodes, publish)
    ledger, marks = Ledger(run.folder / "stages.json"), dict[str, str]()
    collect = part(run, run.name, run.config["store"], "collect", episodes=demonstrations)
    settle(run, ledger, Stage("collect", ["task"], [], ["demos"], []), collect, marks)
    trained = []
    for seed in seeds:
        name, store = f"{run.name}-seed{seed}", f"{run.config['store']}-seed{seed}"
        train = part(run, name, store, "train", seed=seed)
        train.config["job"]["trainer"] |= trainer
        settle(run, ledger, Stage(f"train-{seed}", ["policy"], ["collect"], ["checkpoint"], []), train, marks)
        counts = {"fit": 0, "calibrate": 0, "test": episodes}
        rollout = part(run, name, store, "rollout", episodes=counts)
        settle(run, ledger, Stage(f"rollout-{seed}", ["task"], [f"train-{seed}"], ["store"], []), rollout, marks)
        trained.append(rollout)
    facts = facts_of(run, entry, about, limits, trained, seeds)
    run.update_metrics(zoo=facts)
    write_text(run.folder / CARD, card_text(facts))
    console.print(*tables(facts), f"over seeds: {pooled(facts)}")
    console.print(f"card: {run.shown(run.folder / CARD)}")
    if publish:
        console.print(f"published: {put(trained[0].checkpoint, run.folder / CARD, entry)}")


def show_overview() -> None:
    """Print what the zoo holds."""
    found = cards()
    console.print(overview(found) if found else "the zoo is empty; make one: workbench zoo +experiment=zoo/lift_flow")
    for entry in found:
        console.print(f"card: {ZOO.resolve() / entry / CARD}")


def check(run: Run, demonstrations: int, seeds: Sequence[int], episodes: int, publish: bool) -> None:
    """Refuse what cannot be made."""
    if run.zoo or not hasattr(resolve(run.config["policy"]["_target_"]), "load"):
        raise ConfigError(f"policy={run.config['policy']} cannot be trained; choose one that can, such as policy=flow")
    if not seeds or len(set(seeds)) < len(seeds) or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise ConfigError(f"job.seeds={list(seeds)} must be different whole numbers, one at least, of 0 or more")
    for name, count in (("demonstrations", demonstrations), ("episodes", episodes)):
        if count < 1:
            raise ConfigError(f"job.{name}={count} must be at least 1")
    if publish and not (SOURCE / "pyproject.toml").is_file():
        raise ConfigError("job.publish=true writes into the source tree, and this package was installed without one")


def part(run: Run, name: str, store: str, job: str, **settings: object) -> Run:
    """One job of the entry, nominal, without samples and images, in a run and a store of its own."""
    node = compose([f"job={job}"])["job"] | settings
    rollout = run.config["rollout"] | {"samples": 0, "images": False}
    changes = {"name": name, "store": store, "checkpoint": None, "perturbation": {}, "rollout": rollout, "job": node}
    return Run(run.config | changes, run.root)


def settle(run: Run, ledger: Ledger, stage: Stage, each: Run, marks: dict[str, str]) -> None:
    """Do one stage unless it is done; what other settings made is refused, or with ``overwrite`` set aside."""
    mark = marks[stage.name] = fingerprint(stage, [each], marks)
    before, ended = ledger.state(stage.name)
    if (before, ended) == (mark, True) and all(getattr(each, made).exists() for made in stage.makes):
        console.print(f"{stage.name}: up to date")
        return
    if before not in ("", mark) and not run.overwrite:
        raise ConfigError(
            f"{run.shown(run.folder)} holds {stage.name} of other settings; choose another name=..., or overwrite=true "
            "to set aside what they made"
        )
    do(each, stage, [each], mark, ledger)


def facts_of(
    run: Run, entry: str, about: str, limits: Sequence[str], trained: Sequence[Run], seeds: Sequence[int]
) -> Record:
    """Everything that the card says."""
    record = read_policy(trained[0].checkpoint)
    training = trained[0].metrics()["policy"]["training"]
    weights = trained[0].checkpoint / record["weights"]
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
        "bytes": weights.stat().st_size,
        "sha256": record["sha256"],
        "command": command(),
        "run_seed": run.seed,
        "demonstrations": run.metrics()["demonstrations"],
        "recipe": {key: value for key, value in record["recipe"].items() if key not in left_out},
        "seeds": [result(each, seed) for each, seed in zip(trained, seeds, strict=True)],
        "limits": [*limits, "Trained and tested in simulation, on the scripted expert's way of doing the task."],
        "versions": versions() | record["versions"],
        "licence": LICENCE,
    }


def result(run: Run, seed: int) -> Record:
    """What one training seed came to."""
    metrics = run.metrics()["policy"]
    training, nominal = metrics["training"], metrics["nominal"]
    episodes = Store.open(run.store).episodes
    counts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for told, success in zip(episodes["instruction"], episodes["success"], strict=True):
        counts[str(told)][0] += int(success)
        counts[str(told)][1] += 1
    return {
        "seed": seed,
        "successes": nominal["successes"],
        "episodes": nominal["episodes"],
        "validation": training["validation"][-1],
        "error": {name: float(np.atleast_1d(values)[-1]) for name, values in training["error"].items()},
        "wall_s": training["seconds"]["wall_s"],
        "cpu_s": training["seconds"]["cpu_s"],
        "instructions": dict(sorted(counts.items())) if len(counts) > 1 else {},
    }


def command() -> str:
    """The command that was given, without what does not decide the result."""
    words = [word for word in words_asked() if not word.startswith(("job=", "job.publish=", "overwrite=", "runner."))]
    return shlex.join(["workbench", "zoo", *words])


def put(checkpoint: Path, card: Path, entry: str) -> Path:
    """Copy a checkpoint and its card into the zoo, in the place of what it held of that name."""
    files = [*checkpoint.glob("*.safetensors"), checkpoint / "policy.json", card]  # what names the weights comes later
    folder, size = ZOO.resolve() / entry, sum(file.stat().st_size for file in files)
    others = sum(file.stat().st_size for file in ZOO.resolve().glob("*/*") if file.parent != folder)
    for taken, most in ((size, MOST_BYTES), (size + others, MOST_BYTES_IN_ALL)):
        if taken > most:
            raise ConfigError(
                f"{entry} takes {size / 1e6:.1f} MB and the rest of the zoo {others / 1e6:.1f}: at most "
                f"{MOST_BYTES / 1e6:.0f} and {MOST_BYTES_IN_ALL / 1e6:.0f} in all are published; make it smaller"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    for other in folder.glob("weights-*.safetensors"):
        if other.name != files[0].name:
            other.unlink()
    return folder
