"""Cells filled with episodes: so many of each as its recipe wants, every perturbed one with its nominal twin."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workbench.attribution.decisive import effect_step
from workbench.execution.executor import batches
from workbench.execution.progress import bars
from workbench.rollouts.launch import Launch, uid_of
from workbench.rollouts.rolling import Batch, drawn, refuse_other_faults
from workbench.rollouts.setup import Setup, telling_what_is_kept, write_episodes
from workbench.store import Store
from workbench.synthesis.recipe import Cell, Recipe, wanted
from workbench.types import Episode, Split, Stream, Task, episode_index

NOMINAL = "nominal"
"""Episodes without a fault, as progress counts them beside the cells."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the cells of one task want, given the episodes that are known.

    Attributes
    ----------
    known : uid -> whether the episode failed.
    """

    task: Task
    recipe: Recipe
    cells: Sequence[Cell]
    seed: int
    known: Mapping[str, bool]

    def missing(self) -> tuple[list[Launch], dict[str, int]]:
        """What is to be rolled next, nothing when the cells are filled; and how many episodes each has.

        Twins come first: a perturbed episode is rolled once its nominal twin is known.
        """
        splits = dict.fromkeys([*self.recipe.nominal, *self.recipe.least])
        needed = {split: int(self.recipe.nominal.get(split, 0)) for split in splits}
        perturbed: list[Launch] = []
        have = {NOMINAL: 0}
        for cell in self.cells:
            for split in self.recipe.least:
                launches = list(self.of_cell(cell, split))
                needed[split] = max(needed[split], len(launches))
                have[cell.name] = have.get(cell.name, 0) + sum(launch.uid in self.known for launch in launches)
                perturbed += [launch for launch in launches if launch.uid not in self.known]
        streams = [Stream(self.seed, episode_index(split, each)) for split in needed for each in range(needed[split])]
        nominal = [Launch(stream) for stream in streams]
        have[NOMINAL] = sum(launch.uid in self.known for launch in nominal)
        return [launch for launch in nominal if launch.uid not in self.known] or perturbed, have

    def of_cell(self, cell: Cell, split: Split) -> Iterator[Launch]:
        """The episodes that a cell wants of a split."""
        fault = [cell.axis.at(cell.magnitude)]
        least, most = self.recipe.least[split], self.recipe.most[split]
        failed: list[bool] = []
        number = 0
        while number < wanted(least, most, self.recipe.failures, failed):
            launch = drawn(self.task, fault, split, number, self.seed, cell.name)
            yield launch
            if len(failed) == number and launch.uid in self.known:
                failed.append(self.known[launch.uid])
            number += 1


def fill(setup: Setup, path: Path, recipe: Recipe, cells: Sequence[Cell], *, seed: int) -> Store:
    """Roll what the cells of one task want into a store, in rounds, until none wants more."""
    header = setup.header(seed, recipe.licence)
    if path.exists():
        store = Store.open(path)
        for cell in cells:
            refuse_other_faults(store, setup.task, [[cell.axis.at(cell.magnitude)]], cell.name)
    most = {cell.name: sum(recipe.most.values()) for cell in cells}
    counted: dict[str, int] = {}
    with (
        telling_what_is_kept(path),
        bars(f"episodes of {setup.task.name}", {NOMINAL: sum(recipe.nominal.values()), **most}) as advance,
    ):
        while True:
            missing, have = Plan(setup.task, recipe, cells, seed, failures(path)).missing()
            for name, count in have.items():
                advance(name, count - counted.get(name, 0))
                counted[name] = count
            if not missing:
                return Store.open(path)
            items = [Batch(setup, path, header, part) for part in batches(missing, 2 * setup.runner.scenes)]
            for names in setup.map_unordered(fill_batch, items):
                for name in names:
                    advance(name, 1)
                    counted[name] = counted.get(name, 0) + 1


def failures(path: Path) -> dict[str, bool]:
    """Uid of every episode of a store -> whether it failed; none where there is no store yet."""
    if not path.exists():
        return {}
    store = Store.open(path)
    return dict(zip(store.uids, (not success for success in store.episodes["success"]), strict=True))


def fill_batch(batch: Batch) -> list[str]:
    """Roll one batch in this process; returns the cells of its episodes."""
    pair = Twins(batch.store).pair if any(launch.perturbations for launch in batch.launches) else None
    rows = write_episodes(batch.store, batch.header, batch.setup.recorder(), batch.launches, pair)
    return [row["cell"] or NOMINAL for row in rows]


class Twins:
    """The nominal episodes of a store, for those that are to be paired with them."""

    def __init__(self, path: Path) -> None:
        self._store = Store.open(path)
        self._numbers = {uid: number for number, uid in enumerate(self._store.uids)}

    def pair(self, episode: Episode) -> None:
        """Note a perturbed episode's twin, and when they part."""
        twin = uid_of(Stream(episode.record["seed"], episode.record["index"]), ())
        episode.record["twin"] = twin
        episode.record["t_eff"] = effect_step(episode, self._twin(twin))

    @functools.cache  # noqa: B019  (lives for one batch)
    def _twin(self, uid: str) -> Episode:
        return self._store.episode(self._numbers[uid], steps=["state"], calls=())
