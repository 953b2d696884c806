"""Onset and point of no return of every failed episode, measured by branching."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.branch import drive, find_onset, find_point_of_no_return, replay
from workbench.config import Run
from workbench.crew import batches, crew
from workbench.errors import ConfigError
from workbench.progress import console, progress
from workbench.report import terminal_tables
from workbench.runner import spread
from workbench.store import Store
from workbench.types import Array, Record

EPISODES_PER_BATCH = 10


@dataclasses.dataclass(frozen=True)
class Batch:
    """Failed episodes for one worker."""

    run: Run
    expert: Record
    branches: tuple[int, ...]
    stride: int
    numbers: list[int]


@dataclasses.dataclass(frozen=True)
class Label:
    """What branching found of one episode."""

    uid: str
    columns: Record
    replay_error: float


def run(run: Run, expert: Record, branches: Sequence[int], stride: int) -> None:
    """Label the failed episodes of ``datasets/<store>.zarr``; those labelled already with these settings are kept."""
    run.refuse_other_store()
    if stride < 1:
        raise ConfigError(f"job.stride={stride} must be at least 1")
    if not branches or any(b < 1 for b in branches) or sorted(set(branches)) != list(branches):
        raise ConfigError(f"job.branches={list(branches)} must be rising numbers of branches, for example [4,8,16]")
    store = Store.open(run.store)
    forget_other_settings(run, store, {"branches": list(branches), "stride": stride})
    store = Store.open(run.store)
    failed = failures(store.episodes)
    wanted = [number for number in failed if store.episodes["t_on"][number] < 0]
    with progress("labels", len(failed)) as advance:
        advance(len(failed) - len(wanted))
        items = [Batch(run, expert, tuple(branches), stride, part) for part in batches(wanted, EPISODES_PER_BATCH)]
        errors = [run.metrics().get("labels", {}).get("replay_max_abs_error", 0.0)]
        for found in spread(label_batch, items, run.config["runner"]):
            # Batch by batch, so that an interrupted job keeps what it has measured.
            store.annotate_many({label.uid: label.columns for label in found})
            errors += [label.replay_error for label in found]
            run.update_metrics(labels={"replay_max_abs_error": max(errors)})
            advance(len(found))
    run.update_metrics(labels=summary(Store.open(run.store).episodes))
    console.print(*terminal_tables(run.metrics(), only=("labels",)))


def forget_other_settings(run: Run, store: Store, settings: Record) -> None:
    """Take back labels that were measured with other settings, so that a store never mixes the two."""
    before = run.metrics().get("labels", {}).get("settings")
    if before not in (None, settings):
        unknown = dict.fromkeys(("t_on", "t_on_low", "t_on_high", "t_pnr"), -1) | {"outcome": "failure"}
        store.annotate_many({store.uids[number]: unknown for number in failures(store.episodes)})
    run.update_metrics(labels={"settings": settings})


def failures(episodes: Mapping[str, Array]) -> list[int]:
    """Numbers of the failed episodes that can be replayed."""
    return [
        number
        for number, success in enumerate(episodes["success"])
        if not success and episodes["outcome"][number] != "diverged"
    ]


def label_batch(batch: Batch) -> list[Label]:
    """Label one batch in this process."""
    mine = crew(batch.run)
    store = Store.open(batch.run.store)
    wanted = ("obs/*", "state", "action")
    episodes = [store.episode(number, steps=wanted, calls=("step", "chunk")) for number in batch.numbers]
    policy = mine.lockstep("branches", mine.policy)
    expert = mine.lockstep("expert", mine.expert(batch.expert))
    scene = batch.run.task.scene()
    onsets = drive([find_onset(episode, mine.policy, scene, batch.branches) for episode in episodes], policy)
    points = drive([find_point_of_no_return(episode, batch.stride) for episode in episodes], expert)
    labels = []
    for episode, onset, point in zip(episodes, onsets, points, strict=True):
        columns = {
            "t_on": onset.step,
            "t_on_low": onset.low,
            "t_on_high": onset.high,
            "t_pnr": point,
            # Recoverable: when the policy had lost, the expert could still have won.
            "outcome": "recoverable failure" if point > onset.step else "catastrophic failure",
        }
        middle = len(episode.steps["action"]) // 2
        labels.append(Label(episode.record["uid"], columns, replay(scene, episode, middle).max_abs_error))
    return labels


def summary(episodes: Mapping[str, Array]) -> Record:
    """Counts and medians over the labelled failures."""
    failed = failures(episodes)
    labelled = [number for number in failed if episodes["t_on"][number] >= 0]

    def column(name: str) -> list[int]:
        return [int(episodes[name][number]) for number in labelled]

    onsets, points = column("t_on"), column("t_pnr")
    widths = np.subtract(column("t_on_high"), column("t_on_low"))
    return {
        "failed": len(failed),
        "with_onset": len(labelled),
        "median_onset": float(np.median(onsets)) if onsets else None,
        "median_onset_interval_steps": float(np.median(widths)) if onsets else None,
        "median_pnr": float(np.median(points)) if points else None,
        "recoverable": sum(episodes["outcome"][number] == "recoverable failure" for number in labelled),
        "onsets": onsets,
        "points_of_no_return": points,
    }
