"""Attributors, judged against executed decisive steps and measured onsets."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from workbench.attribution.cases import BRANCHED, LOGGED, log_of, offers, surroundings
from workbench.config import described, digest, origin_of, shown
from workbench.config.named import parts
from workbench.errors import ConfigError, ContractError, UnknownNameError
from workbench.execution.executor import Executor, batches
from workbench.execution.ledger import Ledger, plain
from workbench.execution.progress import progress
from workbench.monitoring.episodes import DIVERGED
from workbench.monitoring.monitor import AnyMonitor, needs_of
from workbench.monitoring.reading import offline
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.setup import Setup, branching_setup
from workbench.stats.proportions import clopper_pearson
from workbench.store import Store
from workbench.types import Array, Policy, Record, Task
from workbench.types.attribution import (
    CORRECTIONS,
    MONITORS,
    RERUNS,
    Attribution,
    Attributor,
    Lesson,
    Watched,
    learns,
)
from workbench.types.reading import Between, Size, brief, checked

if TYPE_CHECKING:
    import pandas as pd

EPISODES_PER_BATCH = 5
TOLERANCES = (0, 5, 10)
"""Control steps by which a named step may lie beside the truth."""
KEPT_STEPS = 10
"""Named steps of an episode that are kept, the likeliest first."""
GROUPS = ("perturbation", "task")
"""By what failures are told apart."""
NOMINAL = "no fault"


@dataclasses.dataclass(frozen=True)
class Said:
    """What an attributor said of one episode, and the control steps that were simulated for it."""

    steps: Annotated[list[Annotated[int, Between(0)]], Size(0, KEPT_STEPS)]
    simulated_steps: Annotated[int, Between(0)]
    confidence: Annotated[float, Between(0, 1)] | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
    """One attributor on one failure.

    Attributes
    ----------
    step : that it named first; -1 where it named none.
    decisive, decisive_end : the executed truth, t_dec and t_dec_end.
    onset_low, onset_high : the measured interval of the onset.
    simulated_steps : control steps that were simulated for it.
    """

    attributor: str
    uid: str
    task: str
    perturbation: str
    step: int
    decisive: int
    decisive_end: int
    onset_low: int
    onset_high: int
    simulated_steps: int

    def finds_decisive(self, tolerance: int) -> bool:
        """Whether the step lies in [t_dec, t_dec_end), give or take so many steps."""
        return self.step >= 0 and self.decisive - tolerance <= self.step < self.decisive_end + tolerance

    def finds_onset(self, tolerance: int) -> bool:
        """Whether the step lies in [t_on_low, t_on_high], give or take so many steps."""
        return self.step >= 0 and self.onset_low - tolerance <= self.step <= self.onset_high + tolerance

    @property
    def error_steps(self) -> int:
        """Distance to t_dec; only where a step was named."""
        return abs(self.step - self.decisive)


@dataclasses.dataclass(frozen=True)
class AttributorFigures:
    """How an attributor does on some failures.

    Attributes
    ----------
    group : "" for all, or the fault or task that they have in common.
    named : failures of which it named a step; the others count as misses.
    decisive, onset : tolerance -> failures whose decisive window, or onset, it found.
    mean_error_steps : mean distance to t_dec where it named a step; None where it never did.
    simulated_steps : control steps that were simulated for it, a failure, on average.
    """

    attributor: str
    group: str
    episodes: int
    named: int
    decisive: Mapping[int, int]
    onset: Mapping[int, int]
    mean_error_steps: float | None
    simulated_steps: float

    @classmethod
    def of(cls, attributor: str, group: str, rows: Sequence[Judged]) -> AttributorFigures:
        """The figures of some rows of one attributor."""
        errors = [row.error_steps for row in rows if row.step >= 0]
        return cls(
            attributor,
            group,
            len(rows),
            len(errors),
            {tolerance: sum(row.finds_decisive(tolerance) for row in rows) for tolerance in TOLERANCES},
            {tolerance: sum(row.finds_onset(tolerance) for row in rows) for tolerance in TOLERANCES},
            float(np.mean(errors)) if errors else None,
            float(np.mean([row.simulated_steps for row in rows])),
        )

    def record(self) -> Record:
        """As a section of ``metrics.json`` holds it."""
        said = {"attributor": self.attributor, "group": self.group, "episodes": self.episodes, "named": self.named}
        for truth, found in (("decisive", self.decisive), ("onset", self.onset)):
            said |= {f"{truth}_{tolerance}": count for tolerance, count in found.items()}
        return {**said, "mean_error_steps": self.mean_error_steps, "simulated_steps": self.simulated_steps}


@dataclasses.dataclass(frozen=True)
class Attributions:
    """What attributors said of failures, beside the truth.

    Attributes
    ----------
    rows : one an attributor and failure.
    failures : failed test episodes of the store; those without a decisive step are not judged.
    """

    rows: tuple[Judged, ...]
    failures: int

    def figures(self, by: str = "") -> list[AttributorFigures]:
        """One an attributor, best first; with ``by`` (of :data:`GROUPS`) one for each fault or task, too.

        Raises
        ------
        UnknownNameError
            for another group.
        """
        if by and by not in GROUPS:
            raise UnknownNameError("group of failures", by, GROUPS)
        grouped: dict[tuple[str, str], list[Judged]] = {}
        for row in self.rows:
            group = (getattr(row, by) or NOMINAL) if by else ""
            grouped.setdefault((group, row.attributor), []).append(row)
        made = [AttributorFigures.of(name, group, rows) for (group, name), rows in grouped.items()]
        return sorted(made, key=lambda each: (each.group, -each.decisive[TOLERANCES[1]], each.attributor))

    def table(self, by: str = "") -> pd.DataFrame:
        """The same for pandas: shares of found steps with their exact 95 % intervals (Clopper and Pearson)."""
        import pandas as pd

        rows = []
        for each in self.figures(by):
            row: Record = {"attributor": each.attributor, **({by: each.group} if by else {}), "episodes": each.episodes}
            for truth, found in (("decisive", each.decisive), ("onset", each.onset)):
                for tolerance, count in found.items():
                    low, high = clopper_pearson(count, each.episodes)
                    name = f"{truth}_{tolerance}"
                    row |= {name: count / each.episodes, f"{name}_low": low, f"{name}_high": high}
            error = {"named": each.named, "mean_error_steps": each.mean_error_steps}
            rows.append({**row, **error, "simulated_steps": each.simulated_steps})
        return pd.DataFrame(rows)

    def record(self) -> Record:
        """The section ``attribution`` of ``metrics.json``."""
        return {
            "failures": self.failures,
            "judged": len({row.uid for row in self.rows}),
            "rows": [each.record() for each in self.figures()],
            "by_fault": [each.record() for each in self.figures("perturbation")],
        }


@dataclasses.dataclass(frozen=True)
class Batch:
    """Failed episodes for one worker, each with the names of the attributors that have not seen it."""

    setup: Setup
    store: Path
    expert: Record
    attributors: Mapping[str, Attributor]
    reruns: int
    monitors: Mapping[int, Mapping[str, Watched]]
    wanted: Sequence[tuple[int, Sequence[str]]]


def attribute(
    store: Store,
    attributors: Iterable[Any] | Mapping[str, Any],
    task: Task,
    policy: Policy,
    *,
    monitors: Mapping[str, AnyMonitor] | None = None,
    reruns: int = 20,
    expert: Mapping[str, Any] = EXPERT,
    seed: int = 0,
    runner: Executor | None = None,
    until: str = "success",
) -> Attributions:
    """Let attributors name the decisive step of failures, and judge them against the one that was executed.

    Judged are the failed test episodes with a decisive step (of :func:`workbench.label`).  Attributors that learn do so
    from the fit split.  What one that has a configuration said of an episode is kept beside the store and not asked
    again; with other settings it is asked anew, and both are kept.  An object of your own is asked at every call, for
    nothing tells what it would say.

    Parameters
    ----------
    attributors : names, or objects of your own; see :class:`workbench.types.attribution.Attributor`.
    task, policy : those that the store was rolled with.
    monitors : by name, for attributors that read them.
    reruns : repeated runs of every failure, for attributors that look at them.
    expert : configuration of the reference that executes corrections.
    seed : for attributors that learn.
    runner : where all is rolled; nothing depends on it.

    Raises
    ------
    OtherSettingsError
        if the store was rolled by another task or policy.
    ConfigError
        where no failure has a decisive step, no monitors are given that are read, or ``reruns`` is below 1.
    """
    chosen = parts("attributor", attributors)
    if not chosen:
        raise ConfigError("no attributor is named: give some of workbench.names('attributor')")
    if reruns < 1:
        raise ConfigError(f"job.reruns={reruns} must be at least 1")
    setup = branching_setup(store, task, policy, runner, until=until)
    judged, failed = _judged(store)
    said = watched(store, judged, chosen, monitors)
    lessons, taught = _lessons(store, chosen, monitors)
    fitted = {name: _fitted(name, part, lessons, task, seed) for name, part in chosen.items()}
    keys = {name: _made_with(part, name, reruns, expert, seed, said, taught) for name, part in chosen.items()}
    ledger = Ledger(store.path.with_suffix(".attribution.json"))
    kept = {name for name, part in chosen.items() if origin_of(part) is not None}
    known = {name: _known(ledger, name, made) if name in kept else {} for name, made in keys.items()}
    uids = {number: str(store.uids[number]) for number in judged}
    wanted = [(number, [name for name in chosen if uid not in known[name]]) for number, uid in uids.items()]
    wanted = [(number, names) for number, names in wanted if names]
    with progress("failures", len(judged)) as advance:
        advance(len(judged) - len(wanted))
        items = [
            Batch(setup, store.path, dict(expert), fitted, reruns, {number: said[number] for number, _ in part}, part)
            for part in batches(wanted, EPISODES_PER_BATCH)
        ]
        for found in setup.map_unordered(attribute_batch, items):
            for name, made in keys.items():
                new = {uid: answers[name] for uid, answers in found.items() if name in answers}
                if new:
                    known[name] |= new
                if new and name in kept:
                    _keep(ledger, name, made, known[name])
            advance(len(found))
    return Attributions(tuple(_rows(store, uids, known)), failed)


def attribute_batch(batch: Batch) -> dict[str, dict[str, Said]]:
    """What the attributors say of one batch, in this process: uid -> name -> answer."""
    setup, store = batch.setup, Store.open(batch.store)
    episodes = [store.episode(number, steps=BRANCHED) for number, _ in batch.wanted]
    asked = {name for _, names in batch.wanted for name in names}
    needs = frozenset(need for name in asked for need in batch.attributors[name].needs)
    whole = any(need == "samples" or need.startswith("signals/") for need in needs)
    lockstep = setup.recorder() if whole else setup.lockstep("branches", setup.policy)
    expert = setup.expert(batch.expert) if CORRECTIONS in needs else None
    monitors = [batch.monitors[number] for number, _ in batch.wanted]
    made = offers(episodes, monitors, setup.task, lockstep, expert, needs, batch.reruns)
    found: dict[str, dict[str, Said]] = {}
    for offer, episode, (_, names) in zip(made, episodes, batch.wanted, strict=True):
        answers = found.setdefault(str(episode.record["uid"]), {})
        for name in names:
            case, cost = offer.for_one(batch.attributors[name].needs)
            answer = refuse_impossible(name, batch.attributors[name].attribute(case), case.log.length)
            corrected = offer.corrector.simulated if offer.corrector is not None else 0
            answers[name] = Said(list(answer.steps[:KEPT_STEPS]), cost + corrected, answer.confidence)
    return found


def refuse_impossible(name: str, answer: Attribution, length: int) -> Attribution:
    """The answer with plain whole numbers; ContractError where it names what is no step of the episode."""
    steps = getattr(answer, "steps", None)
    if not isinstance(steps, tuple) or any(int(step) != step or not 0 <= step < length for step in steps):
        raise ContractError(
            f"attributor {name} answers {brief(repr(answer))} of an episode of {length} "
            "steps: Attribution(steps) takes a tuple of whole numbers from 0 on, below that"
        )
    return Attribution(tuple(int(step) for step in steps), answer.confidence)


def watched(
    store: Store,
    numbers: Sequence[int],
    attributors: Mapping[str, Attributor],
    monitors: Mapping[str, AnyMonitor] | None,
) -> dict[int, dict[str, Watched]]:
    """What monitors said of some episodes, where any attributor reads them: number -> name -> readings."""
    readers = [name for name, part in attributors.items() if MONITORS in part.needs]
    if not readers or not numbers:
        return {number: {} for number in numbers}
    speaking = {name: monitor for name, monitor in (monitors or {}).items() if not monitor.reason}
    if not speaking:
        raise ConfigError(f"attributor {readers[0]} reads monitors, and none are given: workbench fit makes some")
    needs = needs_of(speaking.values())
    readings = offline(list(speaking.values()), [store.calls(number, needs) for number in numbers])
    each = {name: readings[monitor.name] for name, monitor in speaking.items()}
    return {
        number: {name: Watched(read[place].score, read[place].alarm) for name, read in each.items()}
        for place, number in enumerate(numbers)
    }


def _judged(store: Store) -> tuple[list[int], int]:
    """Numbers of the failures that are judged, and how many failures there are."""
    rows = store.episodes
    failed = [
        number
        for number, split in enumerate(rows["split"])
        if split == "test" and not rows["success"][number] and rows["outcome"][number] != DIVERGED
    ]
    judged = [number for number in failed if rows["t_dec"][number] >= 0]
    if not judged:
        raise ConfigError(
            f"{shown(store.path)} has no failed test episode with an executed decisive step (of {len(failed)} failed "
            "ones): measure it first with workbench label"
        )
    return judged, len(failed)


def _lessons(
    store: Store, attributors: Mapping[str, Attributor], monitors: Mapping[str, AnyMonitor] | None
) -> tuple[list[Lesson], str]:
    """What attributors learn from, and its digest; nothing where none learns."""
    learners = {name: part for name, part in attributors.items() if learns(part)}
    rows = store.episodes
    numbers = [
        number
        for number, split in enumerate(rows["split"])
        if learners
        and split == "fit"
        and rows["outcome"][number] != DIVERGED
        and (rows["t_dec"][number] >= 0 or (rows["success"][number] and not rows["perturbation"][number]))
    ]
    said = watched(store, numbers, learners, monitors)
    lessons = []
    for number in numbers:
        window = int(rows["t_dec"][number]), int(rows["t_dec_end"][number])
        log = log_of(store.episode(number, steps=LOGGED), said[number])
        lessons.append(Lesson(log, window if window[0] >= 0 and not log.success else None))
    uids = [str(store.uids[number]) for number in numbers]
    windows = [lesson.decisive for lesson in lessons]
    return lessons, digest({"content": store.digest_of(uids), "windows": windows, "monitors": _digest(said)})


def _fitted(name: str, part: Attributor, lessons: Sequence[Lesson], task: Task, seed: int) -> Attributor:
    """The attributor, or a copy that has learned."""
    if not learns(part):
        return part
    copied: Any = copy.deepcopy(part)
    copied.fit(lessons, surroundings(task), seed)
    fitted: Attributor = copied
    return fitted


def _made_with(
    part: Attributor,
    name: str,
    reruns: int,
    expert: Mapping[str, Any],
    seed: int,
    said: Mapping[int, Mapping[str, Watched]],
    taught: str,
) -> Record:
    """Everything that decides what an attributor says."""
    made: Record = {"attributor": described(part)}
    if RERUNS in part.needs:
        made["reruns"] = reruns
    if CORRECTIONS in part.needs:
        made["expert"] = dict(expert)
    if MONITORS in part.needs:
        made["monitors"] = _digest(said)
    if learns(part):
        made |= {"seed": seed, "lessons": taught}
    found: Record = plain(made)
    return found


def _digest(said: Mapping[int, Mapping[str, Watched]]) -> str:
    found = hashlib.sha256()
    for number in sorted(said):
        for name, each in sorted(said[number].items()):
            found.update(name.encode() + np.asarray(each.score, np.float64).tobytes() + _bytes(each.alarm))
    return found.hexdigest()[:16]


def _bytes(alarm: Array) -> bytes:
    return np.asarray(alarm, bool).tobytes()


def _key(name: str, made: Record) -> str:
    return f"{name} {digest(made)}"


def _known(ledger: Ledger, name: str, made: Record) -> dict[str, Said]:
    entry = ledger.entry(_key(name, made))
    if entry is None:
        return {}
    found: dict[str, Said] = checked(dict[str, Said], entry.record, ledger.source, name)
    return found


def _keep(ledger: Ledger, name: str, made: Record, known: Mapping[str, Said]) -> None:
    ledger.put(_key(name, made), made, {uid: dataclasses.asdict(said) for uid, said in known.items()})


def _rows(store: Store, uids: Mapping[int, str], known: Mapping[str, Mapping[str, Said]]) -> Iterable[Judged]:
    rows = store.episodes
    for name, answers in known.items():
        for number, uid in uids.items():
            said = answers[uid]
            yield Judged(
                attributor=name,
                uid=uid,
                task=store.header.task,
                perturbation=str(rows["perturbation"][number]),
                step=said.steps[0] if said.steps else -1,
                decisive=int(rows["t_dec"][number]),
                decisive_end=int(rows["t_dec_end"][number]),
                onset_low=int(rows["t_on_low"][number]),
                onset_high=int(rows["t_on_high"][number]),
                simulated_steps=said.simulated_steps,
            )
