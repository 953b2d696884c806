"""Episodes of the trained policy, nominal or perturbed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from workbench.attribution import instructions as followed
from workbench.config import Run, build
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.processes import spread
from workbench.execution.progress import console, progress
from workbench.reporting.report import terminal_tables
from workbench.rollouts.launch import Launch
from workbench.rollouts.worker import (
    advance_all,
    batches,
    crew,
    header,
    telling_what_is_kept,
    try_cameras,
    write_episodes,
)
from workbench.stats.proportions import confusion
from workbench.store import Store
from workbench.types import SPLITS, Array, Perturbation, Policy, Record, Split, Stream, episode_index


@dataclasses.dataclass(frozen=True)
class Batch:
    """Launches for one worker."""

    run: Run
    launches: list[Launch]


def run(run: Run, episodes: Mapping[str, int], one_each: bool) -> None:
    """Roll episodes of each split into ``datasets/<store>.zarr``; those that are there already are kept."""
    run.refuse_other_store()
    specifications = {name: build(node) for name, node in run.config["perturbation"].items()}
    launches = plan(run, specifications, episodes, one_each)
    try_cameras(run)
    head = header(run, "policy")
    policy = run.policy()  # a missing or foreign checkpoint is refused here, once, and not in every worker
    show_server(run, policy)
    for specification in specifications.values():
        specification.suits(policy)
    done = refuse_foreign(run, head.config)
    wanted = [launch for launch in launches if launch.uid not in done]
    with telling_what_is_kept(run), progress("episodes", len(launches)) as advance:
        advance(len(launches) - len(wanted))
        items = [Batch(run, part) for part in batches(wanted, 2 * run.config["runner"]["scenes"])]
        advance_all(spread(roll_batch, items, run.config["runner"]), advance)
    store = Store.open(run.store)
    outcomes = dict(zip(store.uids, store.episodes["outcome"], strict=True))
    told = followed.summary(followed.told(store, run.task))
    run.update_metrics(**summary(store.episodes), **told, store=run.shown(run.store))
    console.print(*terminal_tables(run.metrics(), only=("policy", "instructions", "misled", "perturbed", "modes")))
    console.print(f"store: {run.shown(run.store)}")
    if diverged := [launch.uid for launch in launches if outcomes[launch.uid] == "diverged"]:
        console.print(
            f"the physics diverged in {len(diverged)} of {len(launches)} episodes; they are kept up to the action that "
            f"did it: workbench replay job.episode={diverged[0]}"
        )


def show_server(run: Run, policy: Policy) -> None:
    """What the server of a remote policy says of itself; another one may not go on with what the first began."""
    if not hasattr(policy, "metadata"):
        return
    said = json.dumps(policy.metadata, default=str, skipkeys=True)
    before = run.metrics().get("server")
    if before not in (None, said) and run.store.exists():
        raise StoreError(
            f"{run.shown(run.store)} was begun with a server that says {before}, and this one says {said}; choose "
            "another name=... and store=..., or move both away"
        )
    run.update_metrics(server=said)
    console.print("server:", said, markup=False)


def plan(
    run: Run, specifications: Mapping[str, Perturbation], episodes: Mapping[str, int], one_each: bool
) -> list[Launch]:
    """What is to be rolled; with ``one_each`` every perturbation gets that many episodes of its own."""
    if one_each and not specifications:
        raise ConfigError("job.one_each=true needs perturbations, for example perturbation=[slip,object_shift]")
    launches = []
    for split, count in episodes.items():
        if split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        if count < 0:
            raise ConfigError(f"job.episodes.{split}={count} must be 0 or more")
        groups = [[one] for one in specifications.values()] if one_each else [list(specifications.values())]
        for number in range(count * len(groups)):
            launches.append(launch(run, split, number, groups[number // count]))
    return launches


def launch(run: Run, split: Split, number: int, specifications: list[Perturbation]) -> Launch:
    """One episode, its perturbations drawn."""
    stream = Stream(run.seed, episode_index(split, number))
    return Launch(stream, tuple(one.draw(stream, run.task) for one in specifications))


def refuse_foreign(run: Run, config: Record) -> set[str]:
    """Uids that the store holds already; refuses a store that another policy or task wrote."""
    if not run.store.exists():
        return set()
    store = Store.open(run.store)
    if store.header.config != config:
        changed = [key for key in config if store.header.config.get(key) != config[key]]
        raise StoreError(
            f"{run.shown(run.store)} was written with another {' and '.join(changed) or 'configuration'}; "
            "choose another one with store=NAME, or move it away"
        )
    return set(store.uids)


def roll_batch(batch: Batch) -> list[Record]:
    """Roll one batch in this process."""
    mine = crew(batch.run)
    lockstep = mine.recorder()
    return write_episodes(batch.run.store, header(batch.run, "policy"), lockstep, batch.launches)


def summary(episodes: Mapping[str, Array]) -> Record:
    """Counts of the test split: nominal, by perturbation, and by perturbation and failure mode."""
    test = [row for row, split in enumerate(episodes["split"]) if split == "test"]
    counts: dict[str, list[bool]] = {}
    channels: dict[str, str] = {}
    for row in test:
        name = str(episodes["perturbation"][row])
        counts.setdefault(name, []).append(bool(episodes["success"][row]))
        channels[name] = "+".join(record["channel"] for record in json.loads(episodes["perturbations"][row]))
    nominal = counts.pop("", [])
    return {
        "policy": {"nominal": {"episodes": len(nominal), "successes": sum(nominal)}},
        "perturbed": [
            {"perturbation": name, "channel": channels[name], "episodes": len(successes), "successes": sum(successes)}
            for name, successes in sorted(counts.items())
        ],
        "modes": confusion({name: [episodes[name][row] for row in test] for name in ("perturbation", "failure_mode")}),
    }
