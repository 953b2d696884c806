"""Demonstrations of the scripted expert, with noise on what is executed and none on what is stored (DART).

Source of the idea: Laskey et al., DART: Noise Injection for Robust Imitation Learning, CoRL 2017.
"""

from __future__ import annotations

import dataclasses

from workbench.config import Run, build
from workbench.errors import ConfigError
from workbench.execution.processes import spread
from workbench.execution.progress import console, progress
from workbench.rollouts.launch import Launch
from workbench.rollouts.worker import advance_all, batches, crew, header, try_cameras, write_episodes
from workbench.store import Store
from workbench.types import Record, Stream, Task, episode_index


@dataclasses.dataclass(frozen=True)
class Batch:
    """Launches for one worker."""

    run: Run
    expert: Record
    launches: list[Launch]


def run(run: Run, episodes: int, expert: Record, noise: Record | None) -> None:
    """Collect demonstrations into ``datasets/<demos>.zarr``; those that are there already are kept."""
    if episodes < 1:
        raise ConfigError(f"job.episodes={episodes} must be at least 1")
    try_cameras(run)
    done = set(Store.open(run.demos).uids) if run.demos.exists() else set()
    specification = build(with_strength(noise, run.task)) if noise else None
    launches = []
    for number in range(episodes):
        stream = Stream(run.seed, episode_index("train", number))
        records = (specification.draw(stream, run.task),) if specification else ()
        launches.append(Launch(stream, records))
    wanted = [launch for launch in launches if launch.uid not in done]
    with progress("demonstrations", len(launches)) as advance:
        advance(len(launches) - len(wanted))
        items = [Batch(run, expert, part) for part in batches(wanted, run.config["runner"]["scenes"])]
        advance_all(spread(collect_batch, items, run.config["runner"]), advance)
    stored = Store.open(run.demos).episodes
    successes = int(sum(stored["success"]))
    run.update_metrics(demonstrations={"episodes": len(stored["success"]), "successes": successes})
    console.print(f"{successes} of {len(stored['success'])} demonstrations succeed: {run.shown(run.demos)}")


def with_strength(noise: Record, task: Task) -> Record:
    """The noise's specification, as strong as the task bears unless it says how strong."""
    if noise.get("std_fraction", 0) is not None:
        return noise
    return noise | {"std_fraction": list(task.demonstration_noise)}


def collect_batch(batch: Batch) -> list[Record]:
    """Roll one batch in this process."""
    mine = crew(batch.run)
    lockstep = mine.lockstep("expert", mine.expert(batch.expert))
    return write_episodes(batch.run.demos, header(batch.run, "expert"), lockstep, batch.launches)
