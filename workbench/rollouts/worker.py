"""What a worker process keeps from batch to batch: the composed run, its scenes, and the policies it has loaded.

Batches are plain data (a configuration, launches or episode numbers), so that they can be sent to any process.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from workbench.config import Run, build, digest
from workbench.errors import PolicyServerError
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Episode, Policy, Record

Item = TypeVar("Item")


class Crew:
    """Everything that rolls for one configuration in one process."""

    def __init__(self, config: Record, root: str) -> None:
        self.run = Run(config, Path(root))
        self._locksteps: dict[str, Lockstep] = {}

    @functools.cached_property
    def policy(self) -> Policy:
        """The trained policy of the run."""
        return self.run.policy()

    def lockstep(
        self, name: str, policy: Policy, samples: int = 0, images: bool = True, signals: Sequence[str] = ()
    ) -> Lockstep:
        """Scenes for one driver, kept for the next batch; see :class:`workbench.rollouts.loop.Lockstep`."""
        if name not in self._locksteps:
            settings = self.run.config
            self._locksteps[name] = Lockstep(
                self.run.task,
                policy,
                settings["runner"]["scenes"],
                samples=samples,
                signals=signals,
                images=images,
                until=settings["rollout"]["until"],
            )
        return self._locksteps[name]

    def recorder(self) -> Lockstep:
        """Scenes that the trained policy drives, with everything that the configuration wants recorded."""
        asked = self.run.config["rollout"]
        return self.lockstep("policy", self.policy, asked["samples"], asked["images"], asked["signals"])

    def expert(self, node: Record) -> Policy:
        """The scripted expert that a job names."""
        policy: Policy = build(node, task=self.run.task)
        return policy


@functools.lru_cache(maxsize=4)
def _crew(config: str, root: str, weights: str) -> Crew:
    return Crew(json.loads(config), root)


def crew(run: Run) -> Crew:
    """The crew of a run in this process; new weights make a new crew."""
    return _crew(json.dumps(run.config, sort_keys=True), str(run.root), weights_digest(run.checkpoint))


def weights_digest(folder: Path) -> str:
    """Short digest of a checkpoint's record and weights; "" where there is none."""
    if not folder.is_dir():
        return ""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".json", ".safetensors")]
    return digest({file.name: hash_file(file) for file in files})


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Consecutive batches; smaller ones when there is little to do, so that every worker has some."""
    return [list(items[first : first + size]) for first in range(0, len(items), size)]


def try_cameras(run: Run) -> None:
    """Draw one image, where any are asked for, so that what is wrong with them is said before a store is made."""
    if run.config["task"].get("cameras"):
        run.task.scene().images()


def header(run: Run, policy: str, licence: str = "CC-BY-4.0") -> StoreHeader:
    """Header of a store that this run writes: what decides its episodes, and what made it."""
    return StoreHeader(
        task=run.task.name,
        control_hz=run.task.control_hz,
        deadline=run.task.deadline,
        config={
            "policy": run.config["policy"] if policy != "expert" else policy,
            "weights": weights_digest(run.checkpoint) if policy != "expert" else "",
            "task": run.config["task"],
            "rollout": run.config["rollout"],
        },
        versions=versions(),
        seed=run.seed,
        licence=licence,
    )


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what decides results."""
    from importlib.metadata import version

    names = ("failure-workbench", "mujoco", "robosuite", "torch", "numpy", "mapie", "zarr")
    return {name: version(name) for name in names}


def write_episodes(
    store: Path,
    head: StoreHeader,
    lockstep: Lockstep,
    launches: Sequence[Launch],
    finish: Callable[[Episode], None] | None = None,
) -> list[Record]:
    """Roll launches into a part of the store that is this process's own; returns the rows of ``episodes/``.

    ``finish`` completes an episode's record before it is written.
    """
    rows: list[Record] = []
    # Named after the process of the pool: one part a worker, however many batches it rolls.
    with StoreWriter.open(store, head, part=multiprocessing.current_process().name) as writer:
        for episode in lockstep.record(launches):
            if finish is not None:
                finish(episode)
            writer.append(episode)
            rows.append(episode.record)
    return rows


@contextlib.contextmanager
def telling_what_is_kept(run: Run) -> Iterator[None]:
    """Where the policy's server is lost, say what the store holds by then, and how to go on."""
    try:
        yield
    except PolicyServerError as error:
        kept = "nothing was kept"
        if run.store.exists():
            store = Store.open(run.store)
            kept = (
                f"{len(store)} finished episodes are kept in {run.shown(run.store)}, and {store.aborted} that were "
                "under way are marked aborted and count for nothing"
            )
        raise PolicyServerError(
            f"{str(error).rstrip('.')}. {kept}. Once the server answers again, run the same command to go on"
        ) from None


def advance_all(results: Iterator[list[Any]], advance: Any) -> list[Any]:
    """Collect lists of results while a progress bar advances."""
    collected = []
    for result in results:
        collected.extend(result)
        advance(len(result))
    return collected
