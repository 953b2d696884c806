"""Recoveries: learnt from verified branches of one split, judged against a placebo on another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.attribution.branching import intervene
from workbench.config import Run, build, parameters_of, resolve
from workbench.config.parts import load_policy
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.processes import spread
from workbench.execution.progress import console, progress
from workbench.jobs.fit import load_monitors
from workbench.jobs.train import demonstration, read_demonstrations, seen_by
from workbench.monitoring.monitor import needs_of, offline
from workbench.reporting.report import terminal_tables
from workbench.rollouts.launch import Launch, Outcome
from workbench.rollouts.stored import bare_start, perturbations_of, stream_of
from workbench.rollouts.worker import advance_all, batches, crew
from workbench.stats.proportions import paired_test
from workbench.store import Store
from workbench.types import Demonstration, Policy, Record, Strategy

PLACEBO, CONTINUE = "placebo", "continue"
EPISODES_PER_BATCH = 15
BRANCH_ARRAYS = ("obs/*", "state", "action")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Episodes for one worker, each with the control steps to branch from."""

    run: Run
    expert: Record
    allowance_steps: int
    starts: list[tuple[int, tuple[int, ...]]]


def run(run: Run, monitor: str, allowance_steps: int, expert: Record, moments: int, trainer: Record) -> None:
    """Train the head if a strategy needs it, then branch from every alarm with every strategy."""
    if allowance_steps < 1 or moments < 1:
        raise ConfigError(f"job.allowance_steps={allowance_steps} and job.moments={moments} must be at least 1")
    for needed in (CONTINUE, PLACEBO):
        if needed not in run.config["strategy"]:
            raise ConfigError(f"strategy must include {needed!r}: nothing can be judged without it")
    run.refuse_other_store()
    store = Store.open(run.store)
    if needs_head(run) and (run.overwrite or not head_folder(run).exists()):
        train_head(run, store, expert, allowance_steps, moments, trainer)
    starts = alarms(run, store, monitor)
    names = list(run.config["strategy"])
    with progress("branches from alarms", len(starts)) as advance:
        items = [Batch(run, expert, allowance_steps, part) for part in batches(starts, EPISODES_PER_BATCH)]
        judged = advance_all(spread(judge_batch, items, run.config["runner"]), advance)
    rows = compare(names, judged)
    run.update_metrics(strategies=rows, strategies_monitor=monitor)
    console.print(*terminal_tables(run.metrics(), only=("strategies",)))


def head_folder(run: Run) -> Path:
    """Where a run keeps its recovery head."""
    return run.folder / "head"


def needs_head(run: Run) -> bool:
    """Whether any strategy is driven by the learned head."""
    return any("head" in parameters_of(node["_target_"]) for node in run.config["strategy"].values())


def strategies(run: Run, expert: Record) -> dict[str, Strategy]:
    """Strategies by name, each given what its constructor asks for: the expert, the head, or nothing."""
    made = {}
    for name, node in run.config["strategy"].items():
        wanted = parameters_of(node["_target_"])
        parts: dict[str, Policy] = {}
        if "expert" in wanted:
            parts["expert"] = build(expert, task=run.task)
        if "head" in wanted:
            parts["head"] = load_policy(resolve(run.config["policy"]["_target_"]), head_folder(run), run.task)
        made[name] = build(node, **parts)
    return made


def train_head(run: Run, store: Store, expert: Record, allowance_steps: int, moments: int, trainer: Record) -> None:
    """Fine-tune the policy on the expert's recoveries from failed episodes of the fit split, and its demonstrations."""
    rows = store.episodes
    failed = [number for number in range(len(store)) if rows["split"][number] == "fit" and not rows["success"][number]]
    if not failed:
        raise StoreError(
            f"{run.shown(run.store)} has no failed episode in the fit split to learn recoveries from; roll some with "
            "perturbation=[...] job.episodes.fit=50"
        )
    starts = [(number, moments_of(int(rows["length"][number]), moments)) for number in failed]
    with progress("verified recoveries", len(starts)) as advance:
        items = [Batch(run, expert, allowance_steps, part) for part in batches(starts, EPISODES_PER_BATCH)]
        found = advance_all(spread(recovery_batch, items, run.config["runner"]), advance)
    recoveries: list[Demonstration] = [recovery for each in found for recovery in each]
    policy = run.policy()
    with progress("training the head", int(trainer["iterations"])) as advance:
        build({**trainer, "_partial_": True})(
            policy,
            [*recoveries, *read_demonstrations(run, policy.cameras)],
            task=run.task.name,
            groups=run.task.action_groups,
            seed=run.seed,
            progress=lambda iteration, loss: advance(1),
        )
    policy.save(head_folder(run))
    run.update_metrics(head={"failed_episodes": len(failed), "verified_recoveries": len(recoveries)})


def moments_of(length: int, moments: int) -> tuple[int, ...]:
    """Control steps spread evenly over an episode, neither its first nor its last."""
    return tuple(int(step) for step in np.linspace(0, length, moments + 2)[1:-1])


def recovery_batch(batch: Batch) -> list[list[Demonstration]]:
    """The expert's branches that succeed, as demonstrations, for each episode of a batch."""
    mine = crew(batch.run)
    store = Store.open(batch.run.store)
    launches, owner = [], []
    for place, (number, steps) in enumerate(batch.starts):
        episode = store.episode(number, steps=BRANCH_ARRAYS, calls=())
        for step in steps:
            launches.append(
                Launch(
                    stream_of(episode),
                    perturbations_of(episode),
                    bare_start(episode, step),
                    deadline=step + batch.allowance_steps,
                )
            )
            owner.append(place)
    found: list[list[Demonstration]] = [[] for _ in batch.starts]
    cameras = mine.policy.cameras
    lockstep = mine.lockstep("expert", mine.expert(batch.expert), images=bool(cameras))
    seen = seen_by(batch.run, cameras)
    for number, episode in lockstep.record_numbered(launches):
        if episode.record["success"] and len(episode.steps["action"]) > 1:
            found[owner[number]].append(demonstration(episode, seen))
    return found


def alarms(run: Run, store: Store, name: str) -> list[tuple[int, tuple[int, ...]]]:
    """Test episodes with an alarm, and the control step of their first one."""
    monitors = {monitor.name: monitor for monitor in load_monitors(run)}
    if name not in monitors:
        raise UnknownNameError("monitor", name, monitors)
    found: list[tuple[int, tuple[int, ...]]] = []
    for number in range(len(store)):
        if store.episodes["split"][number] == "test" and store.episodes["outcome"][number] != "diverged":
            calls = store.calls(number, needs_of([monitors[name]]))
            (reading,) = offline([monitors[name]], [calls])[name]
            if reading.alarm.any():
                found.append((number, (int(calls.step[int(np.argmax(reading.alarm))]),)))
    return found


def judge_batch(batch: Batch) -> list[dict[str, Outcome]]:
    """Outcome of every strategy from the alarm of every episode of a batch."""
    mine = crew(batch.run)
    store = Store.open(batch.run.store)
    episodes = [store.episode(number, steps=BRANCH_ARRAYS, calls=("step", "chunk")) for number, _ in batch.starts]
    outcomes: dict[str, list[Outcome]] = {}
    for name, strategy in strategies(batch.run, batch.expert).items():
        launches = [
            intervene(episode, steps[0], strategy, mine.policy, batch.allowance_steps)
            for episode, (_, steps) in zip(episodes, batch.starts, strict=True)
        ]
        lockstep = mine.lockstep(f"strategy {name}", strategy.driver(mine.policy))
        outcomes[name] = lockstep.outcomes(launches)
    return [{name: ended[place] for name, ended in outcomes.items()} for place in range(len(batch.starts))]


def compare(names: Sequence[str], judged: Sequence[dict[str, Outcome]]) -> list[Record]:
    """Rescued and kept episodes of every strategy, and its paired test against the placebo."""
    would_fail = np.array([not each[CONTINUE].success for each in judged], dtype=bool)

    def successes(name: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.array([each[name].success for each in judged], dtype=bool)

    rows = []
    for name in names:
        won = successes(name)
        row: Record = {
            "name": name,
            "alarmed": len(judged),
            "rescued": [int(won[would_fail].sum()), int(would_fail.sum())],
            "kept": [int(won[~would_fail].sum()), int((~would_fail).sum())],
            "p_vs_placebo": None if name == PLACEBO else paired_test(won, successes(PLACEBO))["p_value"],
            "median_steps": float(np.median([each[name].length for each in judged])) if judged else None,
        }
        rows.append(row)
    return rows
