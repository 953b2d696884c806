"""A data set of failures from a recipe: magnitudes by bisection, every cell filled, every episode with its twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.config import data_path, named, root_folder
from workbench.errors import UnknownNameError
from workbench.execution.executor import Executor
from workbench.execution.processes import Processes
from workbench.rollouts.setup import Recording, Setup, known_uids, try_cameras
from workbench.store import Store
from workbench.synthesis.counts import CellCounts, ChannelCounts, TaskCounts, cell_counts, channel_counts, task_counts
from workbench.synthesis.fill import fill
from workbench.synthesis.magnitudes import Found, find_magnitudes
from workbench.synthesis.recipe import Recipe, find_recipe
from workbench.types import Policy, Record, Task


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """A data set of failures as it was made.

    Attributes
    ----------
    stores : task -> its episodes.
    magnitudes : task -> label of a fault's axis -> what was found for it, or why the task cannot have it.
    """

    recipe: Recipe
    stores: Mapping[str, Store]
    magnitudes: Found

    def tasks(self) -> list[TaskCounts]:
        """Counts of every task."""
        refused = {task: sum(bool(each.refused) for each in found.values()) for task, found in self.magnitudes.items()}
        return [task_counts(task, store, refused[task]) for task, store in self.stores.items()]

    def cells(self) -> list[CellCounts]:
        """Counts of every cell."""
        return [row for task, store in self.stores.items() for row in cell_counts(task, store, self.recipe.least)]

    def channels(self) -> list[ChannelCounts]:
        """Counts of every channel."""
        return channel_counts(self.cells())

    def record(self) -> Record:
        """The section ``synthesis`` of ``metrics.json``."""
        return {
            "tasks": [dataclasses.asdict(row) for row in self.tasks()],
            "channels": [dataclasses.asdict(row) for row in self.channels()],
        }


def synthesize(
    recipe: str | Recipe,
    tasks: Mapping[str, Task] | None = None,
    policies: Mapping[str, Policy] | None = None,
    perturbations: Iterable[Any] | Mapping[str, Any] | None = None,
    *,
    into: str | Path,
    seed: int = 0,
    samples: int = 32,
    signals: Sequence[str] = (),
    images: bool = True,
    until: str = "success",
    runner: Executor | None = None,
    ledger: Path | None = None,
) -> Synthesis:
    """Make the data set of a recipe, one store a task; what is there already is kept, so that the same call goes on.

    Parameters
    ----------
    recipe : its name, such as ``monitors-small``, or what was read of its file.
    tasks, policies : by the names that the recipe has for its tasks, of those that are wanted; None for its own.
    perturbations : as :func:`workbench.synthesis.searching.tolerance` takes them, of the recipe's; None for its own.
    into : what the stores in ``datasets/`` are called before ``-<task>``, or a path that begins alike.
    seed, samples, signals, images, until, runner : as in :func:`workbench.rollouts.rolling.rollout`; without signals,
        those of the recipe.
    ledger : file that keeps the magnitudes, so that none is searched for twice; None keeps none.

    Raises
    ------
    OtherSettingsError
        if a store or the ledger was made with other settings.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.read(find_recipe(recipe, root_folder()))
    cameras = {"cameras": recipe.cameras} if recipe.cameras else {}
    tasks = {name: named.task(name, **cameras) for name in recipe.tasks} if tasks is None else tasks
    for name in tasks:
        if name not in recipe.tasks:
            raise UnknownNameError(f"task of recipe {recipe.name}", name, recipe.tasks)
    if policies is None:
        policies = {name: named.policy(recipe.policies[name], task) for name, task in tasks.items()}
    perturbations = named.nodes("perturbation", list(recipe.perturbations) if perturbations is None else perturbations)
    for name in recipe.perturbations:
        if name not in perturbations:
            raise UnknownNameError(f"perturbation of recipe {recipe.name}", name, perturbations)
    recording = Recording(until, samples, signals or recipe.signals, images)
    setups = {name: Setup(task, policies[name], recording, runner or Processes()) for name, task in tasks.items()}
    paths = {name: store_path(into, name) for name in tasks}
    for name, setup in setups.items():
        try_cameras(setup.task)
        known_uids(paths[name], setup.header(seed, recipe.licence))
    found = find_magnitudes(recipe, setups, perturbations, seed=seed, runner=runner or Processes(), ledger=ledger)
    stores = {}
    for name, setup in setups.items():
        cells = [cell for each in found[name].values() for cell in each.cells]
        stores[name] = fill(setup, paths[name], recipe, cells, seed=seed)
    return Synthesis(recipe, stores, found)


def store_path(into: str | Path, task: str) -> Path:
    """Path of the store of one task."""
    given = f"{into}-{task}"
    return data_path(f"{given}.zarr" if isinstance(into, Path) or "/" in into else given)
