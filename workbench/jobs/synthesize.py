"""A data set of failures from a recipe: magnitudes by bisection, every cell filled, every episode with its twin."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workbench.attribution.decisive import effect_step
from workbench.config import Run, compose, digest, resolve, words_asked, write_text
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.processes import spread
from workbench.execution.progress import bars, console
from workbench.jobs.rollout import refuse_foreign
from workbench.reporting.cards import write_card
from workbench.rollouts.launch import Launch, uid_of
from workbench.rollouts.worker import batches, crew, header, telling_what_is_kept, try_cameras, write_episodes
from workbench.store import Store
from workbench.synthesis.axis import Dial, dial_of
from workbench.synthesis.recipe import Cell, Recipe, Search, cells_of, wanted
from workbench.synthesis.tolerance import find_tolerance
from workbench.types import Episode, Perturbation, Record, Split, Stream, episode_index


@dataclasses.dataclass(frozen=True)
class Probe:
    """One search for the magnitudes of a dial, for one worker."""

    run: Run
    dial: Dial
    rates: tuple[float, ...]
    search: Search


@dataclasses.dataclass(frozen=True)
class Batch:
    """Launches for one worker, each with the name of its cell."""

    run: Run
    launches: list[Launch]


def run(run: Run, recipe: str, tasks: Sequence[str] | None, policy: str | None, checkpoints: str) -> None:
    """Fill ``datasets/<store>-<task>.zarr`` for every task of the recipe, and write the card of them all."""
    asked = Recipe.read(run.root / "datasets" / "recipes" / f"{recipe}.yaml")
    if policy:
        asked = dataclasses.replace(asked, policies=dict.fromkeys(asked.tasks, policy))
    for name in tasks or ():
        if name not in asked.tasks:
            raise UnknownNameError(f"task of recipe {recipe}", name, asked.tasks)
    runs = {name: task_run(run, asked, name, checkpoints) for name in tasks or asked.tasks}
    for each in runs.values():
        try_cameras(each)
        each.policy()  # a missing or foreign checkpoint is refused here, once, and not in every worker
        refuse_foreign(each, header(each, "policy", asked.licence).config)
    found = magnitudes(run, asked, runs)
    for name, each in runs.items():
        with telling_what_is_kept(each):
            fill(each, asked, cells_for(each, asked, found[name]))
    card = write_card(run, asked, runs, found)
    run.update_metrics(synthesis=card.summary)
    console.print(*card.tables())
    console.print(f"stores: {', '.join(run.shown(each.store) for each in runs.values())}")
    console.print(f"card:   {run.shown(card.path)}")


def task_run(run: Run, recipe: Recipe, task: str, checkpoints: str) -> Run:
    """The run on one task: its words, the recipe's policy and perturbations, and a store of its own."""
    asked = [word for word in words_asked() if not word.lstrip("+").startswith(("job", "task=", "experiment"))]
    policy = recipe.policies[task]
    chosen = [f"task={task}", f"policy={policy}", f"perturbation=[{','.join(recipe.perturbations)}]"]
    own = [f"name={run.name}", f"store={run.config['store']}-{task}"]
    if not policy.startswith("zoo/"):
        own.append(f"checkpoint={checkpoints.format(task=task)}")
    config = compose(["job=synthesize", *chosen, *asked, *own])
    config["task"]["cameras"] = config["task"].get("cameras") or recipe.cameras
    config["rollout"]["signals"] = config["rollout"]["signals"] or list(recipe.signals)
    return Run(config, run.root)


# Magnitudes


def magnitudes(run: Run, recipe: Recipe, runs: Mapping[str, Run]) -> dict[str, dict[str, Record]]:
    """Task -> dial -> what the search found; kept in ``magnitudes.json``, so that none is searched for twice.

    A record holds ``found`` (rate -> magnitude), ``verdict``, ``tolerance`` and ``trials``; or ``refused``, why the
    task or the policy cannot have it.
    """
    kept = Kept(run.folder / "magnitudes.json", {name: search_digest(recipe, each) for name, each in runs.items()})
    probes = []
    for task, each in runs.items():
        for dial, why in asked_for(each, recipe):
            if why is not None:
                kept.put(task, dial, {"refused": why})
            elif not kept.has(task, dial):
                probes.append(Probe(each, dial, recipe.failure_rates, recipe.search))
    totals = collections.Counter(each.run.task.name for each in probes)
    with bars("magnitudes", totals) as advance:
        for item, record in spread(probe, probes, run.config["runner"]):
            kept.put(item.run.task.name, item.dial, record)
            advance(item.run.task.name, 1)
    return {
        task: {dial.label: kept.get(task, dial) for dial, _ in asked_for(each, recipe)} for task, each in runs.items()
    }


def asked_for(run: Run, recipe: Recipe) -> Iterator[tuple[Dial, str | None]]:
    """Dials of a task, each with why the task or the policy refuses it, or None."""
    policy = run.policy()
    for name, changes in recipe.perturbations.items():
        node = {**run.config["perturbation"][name], **{key: changes[key] for key in changes if key != "axes"}}
        for axis in changes.get("axes") or resolve(node["_target_"]).axes or (None,):
            dial = dial_of(name, node, axis)
            try:
                weakest = dial.at(dial.scale.magnitude(0.0))
                weakest.draw(Stream(run.seed, 0), run.task)
                weakest.suits(policy)
            except ConfigError as error:
                yield dial, str(error)
            else:
                yield dial, None


def probe(item: Probe) -> tuple[Probe, Record]:
    """Search for one dial's magnitudes, on episodes of the split ``select``."""
    mine, dial = crew(item.run), item.dial
    lockstep = mine.lockstep("search", mine.policy)  # without samples: one of its own

    def fails(magnitude: float, numbers: range) -> list[bool]:
        specification = dial.at(magnitude)
        launches = [drawn(item.run, "", specification, "select", number) for number in numbers]
        return [not outcome.success for outcome in lockstep.outcomes(launches)]

    tolerance = find_tolerance(dial.scale, fails, **dataclasses.asdict(item.search))
    found = {f"{rate:g}": tolerance.at(rate) for rate in item.rates}
    if not any(magnitude is not None for magnitude in found.values()):
        found = {"": dial.scale.magnitude(0.0 if tolerance.verdict == "always fails" else 1.0)}
    return item, {
        "found": found,
        "verdict": tolerance.verdict,
        "tolerance": tolerance.magnitude,
        "parameter": dial.parameter,
        "trials": [dataclasses.astuple(trial) for trial in tolerance.trials],
    }


def search_digest(recipe: Recipe, run: Run) -> str:
    """Digest of what decides the magnitudes of a task, the dials apart."""
    config = header(run, "policy").config
    return digest(
        [config["task"], config["policy"], config["weights"], run.seed, repr(recipe.search), recipe.failure_rates]
    )


class Kept:
    """What searches have found so far: ``{task: {digest, dials: {label: {node, record}}}}`` in a JSON file."""

    def __init__(self, path: Path, digests: Mapping[str, str]) -> None:
        self.path = path
        self._tasks: dict[str, Record] = {}
        if path.exists():
            try:
                self._tasks = json.loads(path.read_text(encoding="utf-8"))
            except json.JSONDecodeError as error:
                raise StoreError(f"{path.name} is not JSON ({error}); move it away and run the job again") from None
        for task, expected in digests.items():
            if self._tasks.setdefault(task, {"digest": expected, "dials": {}})["digest"] != expected:
                self._refuse("policy, seed, task or search")

    def _refuse(self, changed: str) -> None:
        raise ConfigError(
            f"{self.path.name} was searched with another {changed}; choose another name=..., or move it away"
        )

    def has(self, task: str, dial: Dial) -> bool:
        """Whether a dial was searched; refuses one of the same label that was configured otherwise."""
        entry = self._tasks[task]["dials"].get(dial.label)
        if entry is not None and entry["node"] != dial.node:
            self._refuse(f"perturbation.{dial.name}")
        return entry is not None and "refused" not in entry["record"]

    def put(self, task: str, dial: Dial, record: Record) -> None:
        """Keep one, on disk at once."""
        entry = {"node": dial.node, "record": record}
        if self._tasks[task]["dials"].get(dial.label) != entry:
            self._tasks[task]["dials"][dial.label] = entry
            write_text(self.path, json.dumps(self._tasks, indent=1, sort_keys=True))

    def get(self, task: str, dial: Dial) -> Record:
        """What was found."""
        record: Record = self._tasks[task]["dials"][dial.label]["record"]
        return record


def cells_for(run: Run, recipe: Recipe, found: Mapping[str, Record]) -> list[Cell]:
    """The cells of one task."""
    dials = [dial for dial, why in asked_for(run, recipe) if why is None]
    return [cell for dial in dials for cell in cells_of(dial, found[dial.label]["found"])]


# Episodes


def fill(run: Run, recipe: Recipe, cells: Sequence[Cell]) -> None:
    """Roll what the cells of one task want, in rounds, until none wants more."""
    most = {cell.name: sum(recipe.most.values()) for cell in cells}
    with bars(run.task.name, {"nominal": sum(recipe.nominal.values()), **most}) as advance:
        counted: dict[str, int] = {}
        while True:
            missing, have = plan(run, recipe, cells)
            for name, count in have.items():
                advance(name, count - counted.get(name, 0))
                counted[name] = count
            if not missing:
                return
            items = [Batch(run, part) for part in batches(missing, 2 * run.config["runner"]["scenes"])]
            for names in spread(functools.partial(roll_batch, licence=recipe.licence), items, run.config["runner"]):
                for name in names:
                    advance(name, 1)
                    counted[name] = counted.get(name, 0) + 1


def plan(run: Run, recipe: Recipe, cells: Sequence[Cell]) -> tuple[list[Launch], dict[str, int]]:
    """What is to be rolled next, and how many episodes each cell has.

    Twins come first: a perturbed episode is rolled once its nominal twin is in the store.
    """
    known: dict[str, bool] = {}
    if run.store.exists():
        store = Store.open(run.store)
        known = dict(zip(store.uids, (not success for success in store.episodes["success"]), strict=True))
    needed = {split: int(recipe.nominal.get(split, 0)) for split in {*recipe.nominal, *recipe.least}}
    launches: list[Launch] = []
    have: dict[str, int] = {"nominal": 0}
    for cell in cells:
        specification = cell.dial.at(cell.magnitude)
        for split, least in recipe.least.items():
            mine = list(launches_of(run, cell, specification, split, known, recipe, least))
            needed[split] = max(needed[split], len(mine))
            have[cell.name] = have.get(cell.name, 0) + sum(launch.uid in known for launch in mine)
            launches += [launch for launch in mine if launch.uid not in known]
    nominal = [
        Launch(Stream(run.seed, episode_index(split, number))) for split in needed for number in range(needed[split])
    ]
    have["nominal"] = sum(launch.uid in known for launch in nominal)
    first = [launch for launch in nominal if launch.uid not in known]
    return first or launches, have


def launches_of(
    run: Run,
    cell: Cell,
    specification: Perturbation,
    split: Split,
    known: Mapping[str, bool],
    recipe: Recipe,
    least: int,
) -> Iterator[Launch]:
    """The episodes that a cell wants of a split, given those that are known."""
    failed: list[bool] = []
    number = 0
    while number < wanted(least, recipe.most[split], recipe.failures, failed):
        launch = drawn(run, cell.name, specification, split, number)
        yield launch
        if len(failed) == number and launch.uid in known:
            failed.append(known[launch.uid])
        number += 1


def drawn(run: Run, cell: str, specification: Perturbation, split: Split, number: int) -> Launch:
    """One episode of a cell, its perturbation drawn."""
    stream = Stream(run.seed, episode_index(split, number))
    return Launch(stream, (specification.draw(stream, run.task),), cell=cell)


def roll_batch(batch: Batch, licence: str) -> list[str]:
    """Roll one batch in this process; returns the cells of its episodes."""
    mine = crew(batch.run)
    lockstep = mine.recorder()
    twins = Twins(batch.run.store) if any(launch.perturbations for launch in batch.launches) else None
    head = header(batch.run, "policy", licence)
    rows = write_episodes(batch.run.store, head, lockstep, batch.launches, twins.pair if twins else None)
    return [row["cell"] or "nominal" for row in rows]


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
