"""Effect, onset, point of no return and decisive step of every failed episode, measured by branching."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np

from workbench.attribution.branching import (
    Onset,
    PointOfNoReturn,
    drive,
    find_onset,
    find_point_of_no_return,
    measure_value,
)
from workbench.attribution.decisive import Decision, effect_step, find_decision
from workbench.attribution.laws import judge_luck
from workbench.attribution.lost import LABEL as LOST
from workbench.attribution.lost import lost_with, measure_lost
from workbench.attribution.luck import LABEL as LUCK
from workbench.attribution.luck import looks_of, luck_with, measure_luck
from workbench.attribution.replaying import Replayed, replay_episode
from workbench.config import shown
from workbench.errors import ConfigError, UnknownNameError
from workbench.execution.executor import Executor, batches
from workbench.execution.ledger import Ledger, plain, refuse_other
from workbench.execution.progress import progress
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.gate import calls_remembered
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, branching_setup
from workbench.rollouts.stored import stream_of
from workbench.store import Store
from workbench.types import COLUMNS, SPLITS, Array, Count, Episode, Policy, Positive, Record, Shield, Split, Task
from workbench.types.abilities import stages_of
from workbench.types.reading import Among, Between, Size, checked

EPISODES_PER_BATCH = 10


SEARCHES = ("onset", "point of no return", "decisive step")
VALUES = "values"
"""Name of the stream that chooses at which policy calls the value is measured."""
UNKNOWN: Record = {
    column.name: column.default
    for column in COLUMNS
    if column.label and column.name not in ("failure_mode", "values", *LUCK.columns)
} | {"outcome": "failure"}
"""What is searched for, of an episode of which nothing is known."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How labels are measured.

    Attributes
    ----------
    branches : rising numbers of branches at which a value is looked at, in search of the onset; empty searches none.
    stride : control steps between the expert's first trials.
    windows : rising numbers of control steps whose actions are replaced.
    pairs : branches with and without a replacement, which say how much it gains; 0 searches no decisive step.
    """

    branches: Sequence[int] = (4, 8, 16)
    stride: int = 20
    windows: Sequence[int] = (4, 8, 16, 32)
    pairs: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "branches", tuple(self.branches))
        object.__setattr__(self, "windows", tuple(self.windows))
        if self.stride < 1 or self.pairs < 0:
            raise ConfigError(f"job.stride={self.stride} must be at least 1, job.pairs={self.pairs} at least 0")
        if self.pairs and not self.branches:
            raise ConfigError(
                "job.branches=[] leaves the onset out, without which there is no decisive step: job.pairs=0"
            )
        for name, rising in (("branches", self.branches or (1,)), ("windows", self.windows)):
            if not rising or any(one < 1 for one in rising) or sorted(set(rising)) != list(rising):
                raise ConfigError(f"job.{name}={list(rising)} must be rising numbers from 1 on, for example [4,8,16]")


class ValuesAsked(TypedDict):
    """What a configuration says of :class:`Values`."""

    splits: Sequence[Split]
    calls: Count
    branches: Positive


@dataclasses.dataclass(frozen=True)
class Values:
    """Where the value V(t) is measured, for scores that learn it: of all episodes of some splits, successes too.

    Attributes
    ----------
    splits : of the episodes.
    calls : policy calls of an episode, one from each of so many equal parts of it; 0 for none.
    branches : from each of them.  For learning, many calls with few branches say more than few calls with many.
    """

    splits: Sequence[str] = ("fit", "select")
    calls: int = 0
    branches: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", tuple(self.splits))
        if self.calls < 0 or self.branches < 1:
            raise ConfigError(
                f"job.values.calls={self.calls} must be at least 0, job.values.branches={self.branches} at least 1"
            )
        for split in self.splits:
            if split not in SPLITS:
                raise UnknownNameError("split of job.values", split, SPLITS)


@dataclasses.dataclass(frozen=True)
class ValueBatch:
    """Episodes for one worker whose values are measured."""

    setup: Setup
    store: Path
    values: Values
    numbers: list[int]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Failed episodes for one worker."""

    setup: Setup
    store: Path
    expert: Record
    settings: Settings
    numbers: list[int]


@dataclasses.dataclass(frozen=True)
class Label:
    """What branching found of one episode.

    Attributes
    ----------
    columns : values of the store's label columns.
    steps : search -> control steps that were simulated for it.
    """

    uid: str
    columns: Record
    steps: dict[str, int]
    replay_error: float


def label(
    store: Store,
    task: Task,
    policy: Policy,
    *,
    settings: Settings | None = None,
    values: Values | None = None,
    expert: Mapping[str, Any] = EXPERT,
    runner: Executor | None = None,
    until: str = "success",
    earlier: Record | None = None,
    overwrite: bool = False,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
    lost: bool = False,
    luck: int = 0,
) -> Labelling:
    """Measure effect, onset, point of no return and decisive step of every failed episode of a store, by branching.

    Labels are written into the store batch by batch; those that were measured with these settings already are kept.
    Those of other settings are refused, or with ``overwrite`` replaced once all new ones are measured, so that a store
    never mixes the two.

    Parameters
    ----------
    task, policy : those that the store was rolled with.
    settings : how the searches are made; None for their defaults.
    values : where the value V(t) is measured; None for nowhere.
    expert : configuration of the reference, whose last success is the point of no return.
    runner : where the branches are rolled; they depend on it in nothing.
    earlier : settings of labels that an earlier version of the workbench wrote; None where there are none.
    shields : those behind which the store was rolled.  They stand before the actuators in every branch, the expert's
        too.  No decisive step is measured behind shields: what they remember of replaced actions is not known.
    lost : whether ``t_lost`` is measured, too: the point of no return with twice the task's deadline.
    luck : reruns under other policy noise, of every failure and of as many successes, that say whether it was luck;
        0 for none.  See :mod:`workbench.attribution.luck`.

    Raises
    ------
    OtherSettingsError
        if the store was rolled by another task or policy, behind other shields, or has labels of other settings.
    """
    settings, values = settings or Settings(), values or Values()
    if luck:
        looks_of(luck)
    setup = branching_setup(store, task, policy, runner, shields, until)
    if setup.shields and settings.pairs:
        raise ConfigError("no decisive step can be measured behind shields: set job.pairs=0 for the other labels")
    ledger = Ledger(store.path.with_suffix(".labels.json"))
    if not overwrite:
        refuse_other_labels(store, settings, values, ledger, earlier, dict(expert))
        if lost:
            LOST.refuse_other(store, lost_with(dict(expert), settings.stride), ledger)
        if luck:
            LUCK.refuse_other(store, luck_with(luck), ledger)
    (searched, before), (valued, valued_before) = settings_of(settings, values, ledger, earlier, dict(expert))
    anew, revalued = before != searched and _searched(store), valued_before != valued and _valued(store, values)
    if not (anew or revalued):
        store = forget_other_settings(store, settings, values, ledger, earlier, dict(expert))
    elif values.calls and not revalued:
        ledger.put(VALUED, valued)
    store.annotate_many({})  # finishes the labels that an ended call was writing
    steps, error = _search(store, setup, dict(expert), settings, ledger, anew)
    if lost:
        steps[LOST.name] = measure_lost(Store.open(store.path), setup, dict(expert), settings.stride, ledger)
    if luck:
        steps[LUCK.name] = measure_luck(Store.open(store.path), setup, luck, ledger)
    measure_values(store.path, setup, values, revalued)
    if revalued:
        ledger.put(VALUED, valued)
    return Labelling(Store.open(store.path), settings, values, steps, error, stages_of(task))


@dataclasses.dataclass(frozen=True)
class Labelling:
    """What measuring the labels of a store came to.

    Attributes
    ----------
    store : with its labels.
    settings, values : with which they were measured.
    simulated_steps : search -> control steps that were simulated for it.
    replay_max_abs_error : largest difference between a stored state and its replay; 0.0 is bit for bit.
    stages : names of the task's stages.
    """

    store: Store
    settings: Settings
    values: Values
    simulated_steps: Mapping[str, int]
    replay_max_abs_error: float
    stages: tuple[str, ...] = ()

    def record(self) -> Record:
        """The section ``labels`` of ``metrics.json``."""
        settings = {**dataclasses.asdict(self.settings), "values": dataclasses.asdict(self.values)}
        return {
            "settings": plain(settings),
            "replay_max_abs_error": self.replay_max_abs_error,
            "simulated_steps": dict(self.simulated_steps),
            **summary(self.store.episodes),
            **self._luck(),
        }

    def _luck(self) -> Record:
        """What was measured of luck, over all splits and of test episodes; nothing where nobody asked for it."""
        rows = self.store.episodes
        known = (rows["luck_runs"] > 0) & ~rows["success"].astype(bool)
        if not known.any():
            return {}
        found = {"luck": judge_luck(self.store, stages=self.stages).record()}
        if (known & (rows["split"] == "test")).any():
            found["luck_of_test"] = judge_luck(self.store, stages=self.stages, split="test").record()
        return found


SEARCHED, VALUED = "searches", "values"
"""Items of the ledger beside a store: labels that are searched for, and measured values, each with its settings."""
ANEW = "searches anew"
"""Item of labels that are to take the place of others once all of them are measured."""


_STEPS = Annotated[
    dict[Annotated[str, Among(SEARCHES)], Annotated[int, Between(0)]], Size(len(SEARCHES), len(SEARCHES))
]


@dataclasses.dataclass(frozen=True)
class _Cost:
    """What the ledger says of one episode: steps of each search, error of its replay, and labels not yet in place."""

    steps: _STEPS
    error: Annotated[float, Between(0)]
    columns: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class _Spent:
    """What the ledger says of searches: of earlier versions in sum, and uid -> cost of each episode since."""

    steps: _STEPS
    error: Annotated[float, Between(0)]
    episodes: dict[str, _Cost] = dataclasses.field(default_factory=dict)

    def put(self, ledger: Ledger, key: str, asked: Record) -> None:
        """Note it."""
        ledger.put(key, asked, dataclasses.asdict(self))


def _search(
    store: Store, setup: Setup, expert: Record, settings: Settings, ledger: Ledger, anew: bool = False
) -> tuple[dict[str, int], float]:
    """Label what is not labelled yet; returns steps and replay error of all batches, also of earlier calls.

    With ``anew`` labels of other settings are there; they stay until all of their successors are measured.
    """
    failed, asked, key = failures(store.episodes), searched_with(settings, expert), ANEW if anew else SEARCHED
    uids = [store.uids[number] for number in failed]
    if not anew and (left := ledger.entry(ANEW)) is not None and left.made_with == asked:
        ledger.forget(ANEW)  # they have taken their place already
    spent = _spent(ledger, key, asked if anew else None)
    wanted = [number for number in failed if store.episodes["t_pnr"][number] < 0]
    if anew:
        wanted = [number for number, uid in zip(failed, uids, strict=True) if uid not in spent.episodes]
    with progress("failures", len(failed)) as advance:
        advance(len(failed) - len(wanted))
        items = [Batch(setup, store.path, expert, settings, part) for part in batches(wanted, EPISODES_PER_BATCH)]
        for found in setup.map_unordered(label_batch, items):
            # Batch by batch, so that an interrupted job keeps what it has measured; the cost of each episode by its
            # uid and before its labels, so that it counts once, whenever the job was interrupted.
            costs = {
                label.uid: _Cost(label.steps, label.replay_error, _plain(label) if anew else None) for label in found
            }
            spent = dataclasses.replace(spent, episodes={**spent.episodes, **costs})
            spent.put(ledger, key, asked)
            if not anew:
                store.annotate_many({label.uid: label.columns for label in found})
            advance(len(found))
    if anew:
        stale = {"t_lost": -1} if (store.episodes["t_lost"] >= 0).any() else {}
        store.annotate_many({uid: {**(spent.episodes[uid].columns or {}), **stale} for uid in uids})
        ledger.forget(LOST.name)
        placed = {uid: dataclasses.replace(spent.episodes[uid], columns=None) for uid in uids}
        spent = dataclasses.replace(spent, episodes=placed)
        spent.put(ledger, SEARCHED, asked)
        ledger.forget(ANEW)
    each = [spent.episodes[uid] for uid in uids if uid in spent.episodes]
    steps = {name: spent.steps[name] + sum(cost.steps[name] for cost in each) for name in SEARCHES}
    return steps, float(max([spent.error, *(cost.error for cost in each)]))


def _spent(ledger: Ledger, key: str, made_with: Record | None) -> _Spent:
    """What an item of the ledger says; nothing yet where it is of other settings than those, if any are given."""
    entry = ledger.entry(key)
    if entry is None or not entry.record or (made_with is not None and entry.made_with != made_with):
        return _Spent(dict.fromkeys(SEARCHES, 0), 0.0)
    spent: _Spent = checked(_Spent, entry.record, ledger.source, key)
    return spent


def _plain(label: Label) -> Record:
    """The columns of a label as plain data."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in label.columns.items()}


def searched_with(settings: Settings, expert: Record) -> Record:
    """What decides the labels that are searched for, as the ledger keeps it."""
    made: Record = plain({**dataclasses.asdict(settings), "expert": expert})
    return made


def forget_other_settings(
    store: Store,
    settings: Settings,
    values: Values,
    ledger: Ledger,
    earlier: Record | None = None,
    expert: Record = EXPERT,
) -> Store:
    """Take back what was measured with other settings.

    Values V(t) have settings of their own: they stay when those of the searches change or none are asked for, and the
    other way round.
    """
    (searched, before), (valued, valued_before) = settings_of(settings, values, ledger, earlier, expert)
    if values.calls and valued_before != valued:
        store.annotate_many({uid: {"values": "[]"} for uid in store.uids})
    if before != searched:
        store.annotate_many({store.uids[number]: UNKNOWN for number in failures(store.episodes)})
        ledger.forget(SEARCHED)
        ledger.forget(LOST.name)
    if SEARCHED not in ledger:
        ledger.put(SEARCHED, searched)
    if values.calls or (VALUED not in ledger and valued_before.get("calls")):
        ledger.put(VALUED, valued if values.calls else valued_before)
    return Store.open(store.path)


def refuse_other_labels(
    store: Store,
    settings: Settings,
    values: Values,
    ledger: Ledger,
    earlier: Record | None = None,
    expert: Record = EXPERT,
) -> None:
    """Refuse to measure again, with other settings, what is measured already; nothing where there is nothing."""
    (searched, before), (valued, valued_before) = settings_of(settings, values, ledger, earlier, expert)
    what, remedy = f"the labelling of {shown(store.path)}", "overwrite=true takes them back and measures anew"
    if _searched(store):
        refuse_other(what, before, searched, remedy)
    if _valued(store, values):
        refuse_other(what, {"values": valued_before}, {"values": valued}, remedy)


def _searched(store: Store) -> bool:
    return any(store.episodes["t_pnr"][number] >= 0 for number in failures(store.episodes))


def _valued(store: Store, values: Values) -> bool:
    """Whether values are asked for, and there are some."""
    return values.calls > 0 and any(known != "[]" for known in store.episodes["values"])


def settings_of(
    settings: Settings, values: Values, ledger: Ledger, earlier: Record | None, expert: Record
) -> tuple[tuple[Record, Record], tuple[Record, Record]]:
    """Settings of the searches and of the values, each as asked for and as it was before."""
    searched, valued = searched_with(settings, expert), plain(dataclasses.asdict(values))
    old = dict(earlier or {})
    # Labels of earlier versions say nothing about values: they measured none; nor did they say who the expert was.
    old_values = old.pop("values", valued)
    before = {"expert": searched["expert"], **_made_with(ledger, SEARCHED, old or searched)}
    return (searched, before), (valued, _made_with(ledger, VALUED, old_values))


def _made_with(ledger: Ledger, key: str, otherwise: Any) -> Any:
    """Settings of an item of a ledger, or others where it has none."""
    entry = ledger.entry(key)
    return entry.made_with if entry is not None else otherwise


def failures(episodes: Mapping[str, Array]) -> list[int]:
    """Numbers of the failed episodes that can be replayed."""
    return [
        number
        for number, success in enumerate(episodes["success"])
        if not success and episodes["outcome"][number] != "diverged"
    ]


def label_batch(batch: Batch) -> list[Label]:
    """Label one batch in this process."""
    setup, store = batch.setup, Store.open(batch.store)
    wanted, calls = ("obs/*", "state", "action", "applied"), calls_remembered(setup.shields)
    gated = ("shielded", "stiffness") if setup.shields else ()
    episodes = [store.episode(number, steps=(*wanted, *gated), calls=calls) for number in batch.numbers]
    expert = setup.expert(batch.expert)
    drivers = setup.lockstep("branches", setup.policy), setup.lockstep("expert", expert)
    return label_episodes(episodes, setup.task, *drivers, batch.settings)


def measure_values(path: Path, setup: Setup, values: Values, anew: bool = False) -> None:
    """Measure V(t) where it is wanted and not yet known; or all of it anew, and take the place of what was known."""
    if not values.calls:
        return
    rows = Store.open(path).episodes
    wanted = [
        number
        for number, split in enumerate(rows["split"])
        if split in values.splits and rows["outcome"][number] != "diverged"
    ]
    missing = [number for number in wanted if anew or rows["values"][number] == "[]"]
    measured = {uid: {"values": "[]"} for uid in rows["uid"]}
    with progress("values", len(wanted)) as advance:
        advance(len(wanted) - len(missing))
        items = [ValueBatch(setup, path, values, part) for part in batches(missing, EPISODES_PER_BATCH)]
        for found in setup.map_unordered(value_batch, items):
            new = {uid: {"values": json.dumps(known)} for uid, known in found.items()}
            measured |= new
            if not anew:
                Store.open(path).annotate_many(new)
            advance(len(found))
    if anew:
        Store.open(path).annotate_many(measured)


def value_batch(batch: ValueBatch) -> dict[str, list[list[int]]]:
    """Values of one batch in this process: uid -> [control step, successes, branches] of each call."""
    setup, store = batch.setup, Store.open(batch.store)
    lockstep, scene = setup.lockstep("branches", setup.policy), setup.task.scene()
    calls = calls_remembered(setup.shields)
    episodes = [store.episode(number, steps=("obs/*", "state", "action"), calls=calls) for number in batch.numbers]
    steps = {episode.record["uid"]: spread_calls(episode, batch.values.calls) for episode in episodes}
    rounds = [batch.values.branches]
    asked = [(episode, step) for episode in episodes for step in steps[episode.record["uid"]]]
    found = drive([measure_value(episode, step, setup.policy, scene, rounds) for episode, step in asked], lockstep)
    known: dict[str, list[list[int]]] = {uid: [] for uid in steps}
    for (episode, step), (value, _) in zip(asked, found, strict=True):
        known[episode.record["uid"]].append([step, value.successes, value.branches])
    return known


def spread_calls(episode: Episode, count: int) -> list[int]:
    """Control steps of ``count`` policy calls of an episode, drawn from as many equal parts of it; each call once."""
    called = episode.calls["step"]
    drawn = stream_of(episode).child(VALUES).at().random(count)
    return sorted({int(called[int(at)]) for at in (np.arange(count) + drawn) / count * len(called)})


def label_episodes(
    episodes: Sequence[Episode], task: Task, policy: Lockstep, expert: Lockstep, settings: Settings
) -> list[Label]:
    """Labels of failed episodes, which need ``obs``, ``state``, ``action``, ``applied`` and their policy calls."""
    scene = task.scene()
    rounds, driver, reference = settings.branches, policy.policy, expert.policy
    twins = nominal_twins(episodes, policy)
    onsets = [(Onset(-1, -1, -1), 0)] * len(episodes)
    if rounds:
        onsets = drive([find_onset(episode, driver, scene, rounds) for episode in episodes], policy)
    points = drive([find_point_of_no_return(episode, settings.stride) for episode in episodes], expert)
    decisions = [(Decision(), 0)] * len(episodes)
    if settings.pairs:
        searches = [
            find_decision(episode, twin, onset.step, driver, reference, scene, settings.windows, settings.pairs)
            for episode, twin, (onset, _) in zip(episodes, twins, onsets, strict=True)
        ]
        decisions = drive(searches, policy)
    return [
        label_of(
            episode, twin, onset, point, decision, replay_episode(scene, episode, len(episode.steps["action"]) // 2)
        )
        for episode, twin, onset, point, decision in zip(episodes, twins, onsets, points, decisions, strict=True)
    ]


def nominal_twins(episodes: Sequence[Episode], policy: Lockstep) -> list[Episode | None]:
    """The nominal twin of every perturbed episode, rolled again; None for nominal ones."""
    perturbed = [place for place, episode in enumerate(episodes) if episode.record["perturbation"]]
    launches = [Launch(stream_of(episodes[place])) for place in perturbed]
    twins: list[Episode | None] = [None] * len(episodes)
    for number, twin in policy.record_numbered(launches):
        twins[perturbed[number]] = twin
    return twins


def label_of(
    episode: Episode,
    twin: Episode | None,
    onset: tuple[Onset, int],
    point: tuple[PointOfNoReturn, int],
    decision: tuple[Decision, int],
    replayed: Replayed,
) -> Label:
    """Put together what the searches found of one episode."""
    (start, start_steps), (lost, lost_steps), (decisive, decisive_steps) = onset, point, decision
    columns = {
        "t_eff": -1 if twin is None else effect_step(episode, twin),
        "t_on": start.step,
        "t_on_low": start.low,
        "t_on_high": start.high,
        "t_pnr": lost.step,
        "t_pnr_low": lost.low,
        "t_pnr_high": lost.high,
        "t_dec": decisive.step,
        "t_dec_end": decisive.end,
        "t_dec_by": decisive.by,
        "responsibility": decisive.responsibility,
        "responsibility_low": decisive.low,
        "responsibility_high": decisive.high,
        "twin": "" if twin is None else twin.record["uid"],
        "outcome": kind_of_failure(start, lost),
    }
    rolled = decisive_steps + decisive.detour_steps + (0 if twin is None else int(twin.record["length"]))
    steps = dict(zip(SEARCHES, (start_steps, lost_steps, rolled), strict=True))
    return Label(episode.record["uid"], columns, steps, replayed.max_abs_error)


def kind_of_failure(onset: Onset, point: PointOfNoReturn) -> str:
    """Recoverable: when the policy had lost, the expert could still have won.  Without an onset there is no telling."""
    if onset.step < 0:
        return "failure"
    return "recoverable failure" if point.step > onset.step else "catastrophic failure"


def summary(episodes: Mapping[str, Array]) -> Record:
    """Counts and medians over the labelled failures."""
    failed = failures(episodes)
    labelled = [number for number in failed if episodes["t_pnr"][number] >= 0]
    with_onset = [number for number in labelled if episodes["t_on"][number] >= 0]
    decided = [number for number in labelled if episodes["t_dec"][number] >= 0]

    def column(name: str, numbers: Sequence[int] = labelled) -> list[int]:
        return [int(episodes[name][number]) for number in numbers]

    def median(values: Sequence[float]) -> float | None:
        return float(np.median(values)) if len(values) else None

    def width(name: str, numbers: Sequence[int]) -> float | None:
        bounds = zip(column(f"{name}_low", numbers), column(f"{name}_high", numbers), strict=True)
        return median([high - low for low, high in bounds])

    effects = [step for step in column("t_eff") if step >= 0]
    return {
        "failed": len(failed),
        "labelled": len(labelled),
        "with_onset": len(with_onset),
        "median_onset": median(column("t_on", with_onset)),
        "median_onset_interval_steps": width("t_on", with_onset),
        "median_pnr": median(column("t_pnr")),
        "median_pnr_interval_steps": width("t_pnr", labelled),
        "with_effect": len(effects),
        "median_effect": median(effects),
        "decided": len(decided),
        "median_decisive": median(column("t_dec", decided)),
        "median_window_steps": median([episodes["t_dec_end"][n] - episodes["t_dec"][n] for n in decided]),
        "median_responsibility": median([float(episodes["responsibility"][number]) for number in decided]),
        "recoverable": sum(episodes["outcome"][number] == "recoverable failure" for number in labelled),
        "onsets": column("t_on", with_onset),
        "points_of_no_return": column("t_pnr"),
        **_summary_of_lost(episodes, labelled),
    }


def _summary_of_lost(episodes: Mapping[str, Array], labelled: Sequence[int]) -> Record:
    """The same of the label *lost*; nothing where it was not measured."""
    known = [number for number in labelled if episodes["t_lost"][number] >= 0]
    if not known:
        return {}
    steps = [int(episodes["t_lost"][number]) for number in known]
    return {
        "with_lost": len(known),
        "median_lost": float(np.median(steps)),
        "not_lost": sum(step >= int(episodes["length"][number]) for step, number in zip(steps, known, strict=True)),
    }
