"""Entries of the zoo: demonstrations once, a training for every seed, nominal episodes of each, and a card."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import Run, compose, words_asked, write_text
from workbench.execution.chain import Chain, Stage
from workbench.execution.progress import console
from workbench.reporting import entry as made
from workbench.reporting.zoo import CARD, card_text, listed, pooled, tables
from workbench.store import Store
from workbench.types import Episodes, Record, Seed


def run(
    run: Run,
    entry: str | None,
    about: str,
    limits: Sequence[str],
    demonstrations: Episodes,
    seeds: Sequence[Seed],
    trainer: Record,
    episodes: Episodes,
    publish: bool,
) -> None:
    """Make an entry in ``runs/<name>/``, as far as it is not there; without one, list what there is."""
    if entry is None:
        console.print(*listed())
        return
    made.check(entry, run.config["policy"], demonstrations, seeds, episodes, publish)
    chain = Chain(run, 1 + 2 * len(seeds), careful=True)
    collecting = part(run, run.name, run.config["store"], "collect", episodes=demonstrations)
    chain.settle(Stage("collect", ["task"], [], ["demos"], [collecting]))
    trained = [train(run, chain, seed, trainer, episodes) for seed in seeds]
    found, command, card = run.metrics()["demonstrations"], made.command_of(words_asked()), run.folder / CARD
    facts = made.facts_of(entry, about, limits, trained, demonstrations=found, command=command, seed=run.seed)
    run.update_metrics(zoo=facts)
    write_text(card, card_text(facts))
    console.print(*tables(facts), f"over seeds: {pooled(facts)}\ncard: {run.shown(card)}")
    if publish:
        console.print(f"published: {made.publish(trained[0].checkpoint, card, entry)}")


def train(run: Run, chain: Chain, seed: int, trainer: Record, episodes: int) -> made.Trained:
    """Train with one seed, and roll nominal episodes of the test split."""
    own = run, f"{run.name}-seed{seed}", f"{run.config['store']}-seed{seed}"
    training = part(*own, "train", seed=seed)
    training.config["job"]["trainer"] |= trainer
    chain.settle(Stage(f"train-{seed}", ["policy"], ["collect"], ["checkpoint"], [training]))
    rolled = part(*own, "rollout", episodes={"fit": 0, "calibrate": 0, "test": episodes})
    chain.settle(Stage(f"rollout-{seed}", ["task"], [f"train-{seed}"], ["store"], [rolled]))
    return made.Trained(seed, rolled.checkpoint, Store.open(rolled.store), rolled.metrics()["policy"])


def part(run: Run, name: str, store: str, job: str, **settings: object) -> Run:
    """One job of the entry, nominal, without samples and images, in a run and a store of its own."""
    node = compose([f"job={job}"])["job"] | settings
    bare = {"checkpoint": None, "perturbation": {}, "rollout": run.config["rollout"] | {"samples": 0, "images": False}}
    return Run(run.config | bare | {"name": name, "store": store, "job": node}, run.root)
