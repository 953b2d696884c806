"""A data set of failures from a recipe: magnitudes by bisection, every cell filled, every episode with its twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from workbench.config import Run, compose, words_asked
from workbench.errors import UnknownNameError
from workbench.execution.progress import console
from workbench.reporting.cards import write_card
from workbench.synthesis.recipe import Recipe, find_recipe
from workbench.synthesis.synthesizing import synthesize


def run(run: Run, recipe: str, tasks: Sequence[str] | None, policy: str | None, checkpoints: str) -> None:
    """Fill ``datasets/<store>-<task>.zarr`` for every task of the recipe, and write the card of them all."""
    asked = Recipe.read(find_recipe(recipe, run.root))
    if policy:
        asked = dataclasses.replace(asked, policies=dict.fromkeys(asked.tasks, policy))
    for name in tasks or ():
        if name not in asked.tasks:
            raise UnknownNameError(f"task of recipe {recipe}", name, asked.tasks)
    runs = {name: task_run(run, asked, name, checkpoints) for name in tasks or asked.tasks}
    any_run = next(iter(runs.values()))  # they differ in task and policy alone
    made = synthesize(
        asked,
        {name: each.task for name, each in runs.items()},
        {name: each.policy() for name, each in runs.items()},
        any_run.config["perturbation"],
        into=run.root / "datasets" / run.config["store"],
        ledger=run.folder / "magnitudes.json",
        **any_run.rolling,
    )
    card = write_card(made, run.root / "datasets" / f"{run.config['store']}.card.md")
    run.update_metrics(synthesis=made.record())
    console.print(*card.tables())
    console.print(f"stores: {', '.join(run.shown(store.path) for store in made.stores.values())}")
    console.print(f"card:   {run.shown(card.path)}")


def task_run(run: Run, recipe: Recipe, task: str, checkpoints: str) -> Run:
    """The run on one task: its words, the recipe's cameras, policy and perturbations."""
    asked = [word for word in words_asked() if not word.lstrip("+").startswith(("job", "task=", "experiment"))]
    policy = recipe.policies[task]
    chosen = [f"task={task}", f"policy={policy}", f"perturbation=[{','.join(recipe.perturbations)}]"]
    own = [f"name={run.name}"]
    if not policy.startswith("zoo/"):
        own.append(f"checkpoint={checkpoints.replace('{task}', task)}")
    config = compose(["job=synthesize", *chosen, *asked, *own])
    config["task"]["cameras"] = config["task"].get("cameras") or recipe.cameras
    return Run(config, run.root)
