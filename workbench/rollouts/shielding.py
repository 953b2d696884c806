"""Shields by name: how they are made, what a store says of them, and what they did in its episodes."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import Run, compose, described, made, parameters_of, recalled, shown, write_text
from workbench.config.named import node_of, nodes
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.ledger import plain
from workbench.monitoring.files import folder_of, load
from workbench.monitoring.monitor import AnyMonitor, needs_of, parts_of
from workbench.rollouts.gate import Shields
from workbench.store import Store
from workbench.types import Array, PolicyCall, Record, Shield, Task
from workbench.types.reading import Source, checked
from workbench.types.results import Tabular


@dataclasses.dataclass(frozen=True)
class Kept:
    """Where the monitors of a run lie, and the configurations of what they are made of."""

    folder: str
    scores: Record
    calibrators: Record

    def monitors(self, task: Task) -> Mapping[str, AnyMonitor]:
        """The monitors, as ``workbench fit`` saved them; refused if they were fitted on another task."""
        found = load(Path(self.folder), self.scores, self.calibrators)
        found.refuse_other_source(shown(Path(self.folder)), task)
        return found


class MonitorJudge:
    """A monitor as a shield is handed one; see :class:`workbench.types.PlanJudge`.

    Attributes
    ----------
    kept : where it comes from; None for one that was never saved.
    """

    def __init__(self, monitor: AnyMonitor, kept: Kept | None = None) -> None:
        if any(leaf.threshold is None for leaf in monitor.leaves()):
            raise ConfigError(f"monitor {monitor.name} has no threshold, so no shield can go by it: {monitor.reason}")
        self.monitor, self.kept = monitor, kept
        self.needs = needs_of([monitor])
        self._leaves, self._scores = parts_of([monitor])

    def begin(self) -> Record:
        """Memory of an episode that has not begun."""
        return {
            "calls": 0,
            "scores": {name: score.score.begin() for name, score in self._scores.items()},
            "windows": {name: leaf.window.begin() for name, leaf in self._leaves.items()},
        }

    def margin(self, memory: Record, call: PolicyCall) -> float:
        """Margin of one call of one scene (N = 1)."""
        number = memory["calls"]
        memory["calls"] += 1
        raw = {
            name: score.update([memory["scores"][name]], call, ["a scene"], [number])
            for name, score in self._scores.items()
        }
        readings = {}
        for name, leaf in self._leaves.items():
            windowed = leaf.window.update([memory["windows"][name]], raw[leaf.score.name])
            readings[name] = leaf.judge(windowed, number, raw[leaf.groups.name] if leaf.groups else None)
        return float(self.monitor.combine(readings).margin[0])

    @functools.cached_property
    def digest(self) -> str:
        """Names what was learnt and calibrated."""
        found = hashlib.sha256(self.monitor.name.encode())
        arrays = {name: score.score.state() for name, score in self._scores.items()}
        for name, leaf in self._leaves.items():
            assert leaf.threshold is not None
            arrays[f"{name} {leaf.window}"] = {"values": leaf.threshold.values, "scale": leaf.threshold.scale}
        for name, state in sorted(arrays.items()):
            for key, values in sorted(state.items()):
                found.update(f"{name}/{key}".encode() + np.ascontiguousarray(values).tobytes())
        return found.hexdigest()[:16]


def shield(name: str, task: Task, *, monitors: Mapping[str, AnyMonitor] | None = None, **settings: Any) -> Shield:
    """A shield by name for a task, with settings in the place of its yaml's.

    Parameters
    ----------
    monitors : those that ``fit`` returns, for a shield that judges plans by one of them.

    Raises
    ------
    UnknownNameError
        if there is no such shield, setting or monitor.
    ConfigError
        if the task has not what it needs.
    """
    return made_shield({**node_of("shield", name), **settings}, task, monitors)


def made_shield(node: Mapping[str, Any], task: Task, monitors: Mapping[str, AnyMonitor] | Kept | None = None) -> Shield:
    """A shield from its configuration, and the monitors of which it may name one."""
    extra: Record = {"task": task}
    if "judge" in parameters_of(node["_target_"]):
        extra["judge"] = _judge(str(node.get("monitor")), monitors, task)
    found: Shield = made(node, **extra)
    return found


def shields_for(task: Task, given: Iterable[Any] | Mapping[str, Any]) -> dict[str, Shield]:
    """Shields for a task by name, in their order, from names, objects of one's own, or name -> one of the two."""
    return {
        name: made_shield(part, task) if isinstance(part, Mapping) else part
        for name, part in nodes("shield", given).items()
    }


def _judge(monitor: str, monitors: Mapping[str, AnyMonitor] | Kept | None, task: Task) -> MonitorJudge:
    if monitors is None:
        raise ConfigError(
            f"a shield judges plans by the monitor {monitor}, and no monitors are given: hand it those that fit returns"
        )
    kept = monitors if isinstance(monitors, Kept) else None
    known = monitors.monitors(task) if isinstance(monitors, Kept) else monitors
    if monitor not in known:
        raise UnknownNameError("monitor", monitor, known)
    return MonitorJudge(known[monitor], kept)


def shields_of(run: Run) -> dict[str, Shield]:
    """The shields that a run's configuration asks for, in its order."""
    return {
        name: made_shield(node, run.task, _kept(run, node.get("fitted_in")))
        for name, node in run.config["shield"].items()
    }


def _kept(run: Run, name: str | None) -> Kept:
    """Where the monitors of a run lie, or those of another one below the same root, with what that remembers."""
    if name is not None:
        said = [f"name={name}", f"root={run.root}"]
        run = Run(compose([*said, *recalled(said)]))
    return Kept(str(folder_of(run)), run.config["score"], run.config["calibrator"])


def described_shields(shields: Shields) -> Record:
    """What a store's header says of shields: their configurations, their reasons, and of a monitor what it learnt."""
    found = {}
    for name, one in shields.items():
        judge = getattr(one, "judge", None)
        learnt = {"learnt": judge.digest} if isinstance(judge, MonitorJudge) else {}
        found[name] = {**described(one), "reasons": list(one.reasons), **learnt}
    return found


def travelling_shields(shields: Shields) -> Record:
    """Shields as plain data, from which :func:`again` makes the same in another process."""
    found = {}
    for name, said in described_shields(shields).items():
        judge = getattr(shields[name], "judge", None)
        kept = judge.kept if isinstance(judge, MonitorJudge) else None
        if isinstance(judge, MonitorJudge) and kept is None:
            raise ConfigError(
                f"shield {name} judges plans by a monitor that was never saved, and cannot travel to worker "
                "processes: roll with workers=1, or fit the monitor with workbench fit"
            )
        found[name] = {"said": said, "kept": dataclasses.asdict(kept) if kept else None}
    return found


def again(travelled: Record, task: Task) -> dict[str, Shield]:
    """The shields that :func:`travelling_shields` described."""
    added = ("reasons", "learnt")
    return {
        name: made_shield(
            {key: value for key, value in each["said"].items() if key not in added},
            task,
            Kept(**each["kept"]) if each["kept"] else None,
        )
        for name, each in travelled.items()
    }


@dataclasses.dataclass(frozen=True)
class Said:
    """What one shield said at one control step of an episode.

    Attributes
    ----------
    perturbation : faults of the episode, joined by "+"; "" for a nominal one.
    vetoed : whether the asked motion was not run at all; otherwise it was changed.
    value, limit : what was measured and what is allowed.
    """

    uid: str
    perturbation: str
    step: int
    shield: str
    vetoed: bool
    reason: str
    value: float
    limit: float


@dataclasses.dataclass(frozen=True)
class VetoLog(Tabular):
    """What the shields of a store said, by episode, control step and shield in their order."""

    rows: tuple[Said, ...]

    def rows_of_table(self) -> list[Record]:
        """One row a note."""
        return [dataclasses.asdict(row) for row in self.rows]

    def write(self, path: Path) -> None:
        """Write them as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(Said)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows_of_table())
        write_text(path, text.getvalue())


def veto_log(store: Store) -> VetoLog:
    """What the shields changed and vetoed in the episodes of a store, step by step; no rows where there were none."""
    return VetoLog(tuple(said for number in range(len(store)) for said in _said_in(store, number)))


def _said_in(store: Store, number: int) -> Iterator[Said]:
    reasons = reasons_of(store)
    if not reasons:
        return
    episode = store.episode(number, steps=[f"shields/{name}" for name in reasons], calls=())
    notes = {name: episode.steps[f"shields/{name}"] for name in reasons}
    for step in np.flatnonzero(np.any([rows[:, 0] != 0 for rows in notes.values()], axis=0)):
        for name, rows in notes.items():
            coded, value, limit = rows[step].tolist()
            if coded:
                if abs(coded) not in range(1, len(reasons[name]) + 1):
                    raise StoreError(f"{store.path} says {coded} of shield {name}, which has no such reason")
                uid, fault = str(episode.record["uid"]), str(episode.record["perturbation"])
                reason = reasons[name][int(abs(coded)) - 1]
                yield Said(uid, fault, int(step), name, coded < 0, reason, value, limit)


def reasons_of(store: Store) -> dict[str, list[str]]:
    """Shield -> what its notes can say, of those that stood before the actuators in a store's episodes."""
    source = Source(f"{store.path}, its shields,", StoreError)
    said = checked(dict[str, dict[str, Any]], plain(store.header.config.get("shields", {})), source)
    return {name: checked(list[str], each.get("reasons"), source, f"{name}.reasons") for name, each in said.items()}


def shield_rows(store: Store, split: str = "test") -> list[Record]:
    """What shields did in the episodes of a split, one row for each and each fault; "" is no fault."""
    episodes = store.episodes
    counts: dict[tuple[str, str], Array] = {}
    names = list(reasons_of(store))
    for number in np.flatnonzero(episodes["split"] == split) if names else ():
        stored = store.episode(int(number), steps=[f"shields/{name}" for name in names], calls=())
        for name in names:
            coded = stored.steps[f"shields/{name}"][:, 0]
            vetoed, changed = int((coded < 0).sum()), int((coded > 0).sum())
            key = (name, str(stored.record["perturbation"]))
            row = np.array([1, vetoed > 0, changed > 0, len(coded), vetoed, changed])
            counts[key] = counts.get(key, np.zeros(6, int)) + row
    words = ("episodes", "with_veto", "with_change", "steps", "vetoed_steps", "changed_steps")
    ordered = sorted(counts.items(), key=lambda item: (names.index(item[0][0]), item[0][1]))
    return [
        {"shield": name, "perturbation": fault, **dict(zip(words, map(int, row), strict=True))}
        for (name, fault), row in ordered
    ]
