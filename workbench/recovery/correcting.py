"""Candidates for corrections, tried from policy calls of failed episodes; see :mod:`workbench.recovery.corrections`."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.attribution.branching import intervene, simulated_steps
from workbench.config import build, shown
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.executor import Executor, batches
from workbench.execution.ledger import plain, refuse_other
from workbench.execution.progress import progress
from workbench.monitoring.episodes import sound
from workbench.recovery.corrections import KINDS, PLACEBO, Corrections
from workbench.recovery.tables import FIRST_BRANCHES, NEVER, NOT_ROLLED, succeeded_at
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.guard import steps_beyond
from workbench.rollouts.launch import Launch, Wheel, fresh_noise
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import Setup, branching_setup
from workbench.rollouts.stored import bare_start, perturbations_of, stream_of
from workbench.store import Store
from workbench.types import Array, Episode, Intervention, Policy, Record, Shield, Split, Task
from workbench.types.pose import CORRECTION_SIZE, Pose

EXPERT_STEPS = (16, 32)
"""Control steps after which the expert's pose is a candidate."""
SAME_PLACE_M = 0.002
"""By how much the object is elsewhere than in the twin before its pose is moved with it."""
REACH: Record = {"_target_": "workbench.policies.recovery.motion.reach.Reach"}
"""Who carries a correction out."""
EPISODES_PER_BATCH = 4
SPLITS: tuple[Split, ...] = ("fit",)
HORIZON = 2.0
"""Deadlines that every branch lasts at most."""
DECIDING = ("splits", "settings", "horizon", "expert")
"""Arguments of :func:`verify_corrections` that decide what it finds; the others say how it is done."""


@dataclasses.dataclass(frozen=True)
class CorrectionSettings:
    """Which candidates are tried, and how often.

    Attributes
    ----------
    episodes : failed episodes of each failure mode, at most: the first ones of the store.
    before, beyond : policy calls between effect and point of no return, and from there on, spread evenly.
    targets : poses of the twin that are tried from each.
    randoms : random controls that are tried from each.
    branches : K, noises of the policy under which it goes on; those beyond two only where one of these succeeds.
    """

    episodes: int = 20
    before: int = 3
    beyond: int = 1
    targets: int = 4
    randoms: int = 2
    branches: int = 4

    def __post_init__(self) -> None:
        least = {"episodes": 1, "before": 1, "beyond": 0, "targets": 1, "randoms": 0, "branches": FIRST_BRANCHES}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ConfigError(f"job.{name}={getattr(self, name)} must be at least {lowest}")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Failed episodes for one worker, each with its calls and its twin's number (None for none in the store)."""

    setup: Setup
    store: Path
    expert: Record
    horizon: int
    settings: CorrectionSettings
    episodes: Sequence[tuple[int, tuple[int, ...], int | None]]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A motion that is tried from a call.

    Attributes
    ----------
    kind : of :data:`KINDS`.
    correction : (7,) from the pose at the call.
    asked : who carries it out, for how many control steps at most; nobody of a placebo.
    """

    kind: str
    correction: Array
    asked: Intervention


Row = tuple[int, Candidate, list[int], int]
"""A candidate with its call, the control steps of success of its branches, and that of the expert behind it."""


@dataclasses.dataclass(frozen=True)
class Tried:
    """What came of the candidates of one episode, each with its call."""

    number: int
    rows: Sequence[Row]
    simulated: int
    seconds: float


def verify_corrections(
    store: Store,
    task: Task,
    policy: Policy,
    *,
    splits: Iterable[Split] = SPLITS,
    settings: CorrectionSettings | None = None,
    horizon: float = HORIZON,
    expert: Mapping[str, Any] = EXPERT,
    runner: Executor | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
) -> Corrections:
    """Try corrections from calls of labelled failed episodes, and replay each from the exact state.

    From every call candidates of all :data:`KINDS` are carried out.  Then the policy goes on, with fresh noise that is
    the same for all of them at the same control step, to one absolute horizon; and once the expert in its place.

    Parameters
    ----------
    store : with labels of ``workbench label``: effect, point of no return, nominal twin; failures without a fault are
        corrected from their onset on, if that is known.
    task, policy : those that it was rolled with.
    splits : of the episodes; a head that learns from corrections must not meet those it is judged on.
    horizon : deadlines that every branch lasts at most, such as 2.0.
    shields : those behind which the store was rolled; they stand before the actuators in every branch, too.

    Raises
    ------
    StoreError
        if no failed episode of these splits has labels.
    ConfigError
        if the task's actions do not command a hand's pose.
    """
    chosen, splits = settings or CorrectionSettings(), tuple(splits)
    setup = branching_setup(store, task, policy, runner, shields)
    build(REACH, task=task)  # refused once, and not in every worker
    wanted = _wanted(store, splits, chosen)
    shared = setup, store.path, dict(expert), steps_beyond(task.deadline, horizon), chosen
    found: dict[int, Tried] = {}
    with progress("failed episodes", len(wanted)) as advance:
        items = [Batch(*shared, part) for part in batches(wanted, EPISODES_PER_BATCH)]
        for ended in setup.map_unordered(correction_batch, items):
            found |= {tried.number: tried for tried in ended}
            advance(len(ended))
    made = joined(store, [found[number] for number, *_ in wanted], setup, shared[3])
    return dataclasses.replace(made, made_with=decided_by(store, splits, settings, horizon, expert))


def keep_corrections(store: Store, task: Task, policy: Policy, *, overwrite: bool = False, **asked: Any) -> Corrections:
    """Those that the store holds, if they were made with these settings; otherwise they are made and put there.

    Parameters
    ----------
    asked : as of :func:`verify_corrections`.

    Raises
    ------
    OtherSettingsError
        if the store holds others, unless ``overwrite`` replaces them.
    """
    if not overwrite:
        with contextlib.suppress(UnknownNameError):
            kept = Corrections.load(store)
            now = decided_by(store, **{key: asked[key] for key in DECIDING if key in asked})
            refuse_other(
                f"the corrections in {shown(store.path)}", kept.made_with, now, "overwrite=true makes them anew"
            )
            return kept
    found = verify_corrections(store, task, policy, **asked)
    found.save(store, overwrite=overwrite)
    return found


def decided_by(
    store: Store,
    splits: Iterable[Split] = SPLITS,
    settings: CorrectionSettings | None = None,
    horizon: float = HORIZON,
    expert: Mapping[str, Any] = EXPERT,
) -> Record:
    """What decides corrections: plain data, of the arguments of :func:`verify_corrections`."""
    chosen = settings or CorrectionSettings()
    asked = {**dataclasses.asdict(chosen), "splits": list(splits), "horizon": horizon, "expert": dict(expert)}
    decided: Record = plain({**asked, "episodes and labels": store.digest()})
    return decided


def _wanted(
    store: Store, splits: Sequence[Split], settings: CorrectionSettings
) -> list[tuple[int, tuple[int, ...], int | None]]:
    """Failed episodes with labels, at most so many of each failure mode, with their calls and twins."""
    rows, taken, found = store.episodes, dict[str, int](), []
    for number in sound(store, *splits):
        mode = str(rows["failure_mode"][number])
        begun, no_return = begun_by(store, number), int(rows["t_pnr"][number])
        labelled = begun >= 0 and no_return >= 0
        if rows["success"][number] or not labelled or taken.get(mode, 0) >= settings.episodes:
            continue
        steps = calls_between(store.calls(number, ()).step, begun, no_return, settings)
        if steps:
            taken[mode] = taken.get(mode, 0) + 1
            found.append((number, steps, _twin(store, number)))
    if not found:
        raise StoreError(
            f"{shown(store.path)} has no failed episode of split {' or '.join(splits)} with labels to correct; "
            "workbench label makes them, of episodes that workbench rollout perturbation=[...] makes fail"
        )
    return found


def begun_by(store: Store, number: int) -> int:
    """Effect of a fault; without a fault the onset, by which the policy itself has erred; -1 where that is unknown."""
    effect, onset = (int(store.episodes[key][number]) for key in ("t_eff", "t_on"))
    return effect if effect >= 0 else onset


def calls_between(calls: Array, effect: int, no_return: int, settings: CorrectionSettings) -> tuple[int, ...]:
    """Policy calls from the effect to the point of no return, and some from there on, each spread evenly."""
    before = spread([int(step) for step in calls if effect <= step < no_return], settings.before)
    beyond = spread([int(step) for step in calls if step >= max(effect, no_return)], settings.beyond)
    return (*before, *beyond)


def spread(some: Sequence[Any], count: int) -> list[Any]:
    """So many of them, spread evenly; all if there are no more."""
    if len(some) <= count:
        return list(some)
    return [some[int(place)] for place in (np.arange(count) + 0.5) * len(some) / count]


def _twin(store: Store, number: int) -> int | None:
    uid = str(store.episodes["twin"][number])
    return store.number_of(uid) if uid in store.uids else None


def correction_batch(batch: Batch) -> list[Tried]:
    """The candidates of a batch of episodes, replayed."""
    setup, store = batch.setup, Store.open(batch.store)
    going_on = setup.lockstep("corrected", setup.policy, images=False)
    expert = setup.lockstep("expert", setup.expert(batch.expert), images=False)
    found = []
    for number, steps, twin in batch.episodes:
        began = time.process_time()
        episode = store.episode(number)
        beside = twin_of(episode, going_on) if twin is None else store.episode(twin)
        trial = Trial(episode, beside if beside.record["success"] else None, batch, expert)
        rows, simulated = trial.tried(steps, going_on)
        found.append(Tried(number, rows, simulated, time.process_time() - began))
    return found


def twin_of(episode: Episode, lockstep: Lockstep) -> Episode:
    """The same episode without faults, rolled by the same policy with the same noise."""
    ((_, twin),) = lockstep.record_numbered([Launch(stream_of(episode))])
    return twin


class Trial:
    """What is tried from calls of one episode; ``twin`` is None for none, and for one that fails, too."""

    def __init__(self, episode: Episode, twin: Episode | None, batch: Batch, expert: Lockstep) -> None:
        self.episode, self.twin, self.expert = episode, twin, expert
        self.task, self.policy, self.horizon = batch.setup.task, batch.setup.policy, batch.horizon
        self.settings = batch.settings
        self._reach = build(REACH, task=self.task)

    def tried(self, steps: Sequence[int], lockstep: Lockstep) -> tuple[list[Row], int]:
        """Every candidate with what came of it, and the control steps that were simulated."""
        paths, simulated = self._expert_paths(steps)
        asked = [(step, each) for step in steps for each in self._candidates(step, paths.get(step))]
        rounds = range(FIRST_BRANCHES), range(FIRST_BRANCHES, self.settings.branches)
        rows, more = self.replayed(asked, rounds, lockstep)
        return rows, simulated + more

    def replayed(
        self, asked: Sequence[tuple[int, Candidate]], rounds: Sequence[range], lockstep: Lockstep
    ) -> tuple[list[Row], int]:
        """Some candidates with what came of each, and the control steps that were simulated.

        Parameters
        ----------
        rounds : numbers of the noises; a further round is rolled only of those that have won in one before.
        """
        found: list[list[int]] = [[] for _ in asked]
        simulated = 0
        for numbers in rounds:
            going = [place for place, ended in enumerate(found) if not ended or max(ended) > NEVER]
            launches = [self._launch(*asked[place], number) for place in going for number in numbers]
            outcomes = lockstep.outcomes(launches)
            simulated += sum(map(simulated_steps, launches, outcomes))
            ended = iter(outcomes)
            for place in going:
                found[place] += [succeeded_at(next(ended)) for _ in numbers]
        by_expert, more = self._by_expert(asked)
        branches = sum(map(len, rounds))
        rolled = [ended + [NOT_ROLLED] * (branches - len(ended)) for ended in found]
        rows = [(*each, ended, won) for each, ended, won in zip(asked, rolled, by_expert, strict=True)]
        return rows, simulated + more

    def _launch(self, step: int, candidate: Candidate, number: int) -> Launch:
        """The motion, and then the policy."""
        return intervene(self.episode, step, candidate.asked, self.policy, horizon=self.horizon, branch=number)

    def _by_expert(self, asked: Sequence[tuple[int, Candidate]]) -> tuple[list[int], int]:
        """When the expert succeeds that goes on behind each motion."""
        launches = []
        for step, candidate in asked:
            launch = self._expert_launch(step)
            assert launch.start is not None
            wheel = Wheel().turned(candidate.asked, step, fresh_noise(launch.stream), self.horizon)
            launches.append(dataclasses.replace(launch, start=dataclasses.replace(launch.start, wheel=wheel)))
        outcomes = self.expert.outcomes(launches)
        return [succeeded_at(outcome) for outcome in outcomes], sum(map(simulated_steps, launches, outcomes))

    def _expert_launch(self, step: int) -> Launch:
        episode = self.episode
        return Launch(stream_of(episode), perturbations_of(episode), bare_start(episode, step), deadline=self.horizon)

    def _expert_paths(self, steps: Sequence[int]) -> tuple[dict[int, Episode], int]:
        """What the expert does from each call, for as long as its poses are candidates."""
        launches = [
            dataclasses.replace(self._expert_launch(step), deadline=min(step + EXPERT_STEPS[-1] + 1, self.horizon))
            for step in steps
        ]
        paths = dict(self.expert.record_numbered(launches))
        rolled = sum(len(path.steps["action"]) for path in paths.values())
        return {steps[place]: path for place, path in paths.items()}, rolled

    def _candidates(self, step: int, path: Episode | None) -> list[Candidate]:
        """All that is tried from a call."""
        here = pose_before(self.episode, step)
        found = [nothing()]
        found += [self._to("twin", here, there) for there in self._twin_poses(step)]
        found += [self._to("object", here, there) for there in self._twin_poses(step, with_object=True)]
        for after in EXPERT_STEPS:
            if path is not None and after < len(path.steps["action"]):
                there = pose_at(path, after)
                found.append(self._to("expert", here, there))
                drives = Intervention(self.expert.policy, after, fresh_noise=True, more_time=True)
                found.append(Candidate("segment", here.to(there), drives))
        motions = [each for each in found if each.kind not in (PLACEBO, "segment")]
        return [*found, *self.at_random(step, motions)]

    def moved(self, kind: str, step: int, correction: Array) -> Candidate:
        """The motion that a correction (7,) says from the pose at a call."""
        here = pose_before(self.episode, step)
        return self._to(kind, here, here.corrected(correction))

    def _to(self, kind: str, here: Pose, there: Pose) -> Candidate:
        return Candidate(kind, here.to(there), self._reach.to(here, there))

    def _twin_poses(self, step: int, with_object: bool = False) -> list[Pose]:
        """Poses of the twin in the same stage and the one before, spread evenly; moved as the object is, if asked."""
        if self.twin is None:
            return []
        stage = stage_before(self.episode, step)
        reached = [stage_before(self.twin, t) for t in range(len(self.twin.steps["action"]))]
        near = [t for t, other in enumerate(reached) if other in (stage, stage - 1)]
        chosen = spread(near, self.settings.targets)
        if not with_object:
            return [pose_at(self.twin, t) for t in chosen]
        moved = []
        for t in chosen:
            aside = self._object_moved(step, t)
            if np.linalg.norm(aside) > SAME_PLACE_M:
                pose = pose_at(self.twin, t)
                moved.append(dataclasses.replace(pose, position_m=pose.position_m + aside))
        return moved

    def _object_moved(self, step: int, twin_step: int) -> Array:
        """(3,) by which the object is elsewhere in the plane than the twin's was; zeros where no task says."""
        names = [self.task.roles.get(role) for role in ("object_x", "object_y")]
        assert self.twin is not None
        if None in names:
            return np.zeros(3)
        mine, theirs = (
            [each.steps[f"predicates/{name}"][max(t - 1, 0)] for name in names]
            for each, t in ((self.episode, step), (self.twin, twin_step))
        )
        return np.append(np.subtract(mine, theirs), 0.0)

    def at_random(self, step: int, others: Sequence[Candidate]) -> list[Candidate]:
        """Controls: as far as some other candidate, in any direction, with any fingers."""
        if not others:
            return []
        here = pose_before(self.episode, step)
        rng = stream_of(self.episode).child("corrections").at(step)
        found = []
        for _ in range(self.settings.randoms):
            like = others[int(rng.integers(len(others)))].correction
            ways = _directions(rng) * np.linalg.norm(like[:6].reshape(2, 3), axis=1, keepdims=True)
            fingers = 1.0 if rng.random() < 0.5 else -1.0
            found.append(self._to("random", here, here.corrected(np.append(ways, fingers))))
        return found


def nothing() -> Candidate:
    """The placebo: no motion."""
    return Candidate(PLACEBO, np.zeros(CORRECTION_SIZE), Intervention(fresh_noise=True, more_time=True))


def _directions(rng: np.random.Generator) -> Array:
    """Two directions (2, 3), evenly over the sphere."""
    drawn = rng.normal(size=(2, 3))
    directions: Array = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return directions


def pose_at(episode: Episode, step: int) -> Pose:
    """Of the hand at a control step, with the fingers as the action of that step has them: where to go."""
    seen = {key: episode.steps[f"obs/{key}"][step] for key in ("eef_pos", "eef_quat")}
    return Pose.of(seen, bool(episode.steps["action"][step][-1] > 0))


def pose_before(episode: Episode, step: int) -> Pose:
    """Of the hand at a control step, with the fingers as they were told until then: where it is."""
    return dataclasses.replace(pose_at(episode, step), closed=pose_at(episode, max(step - 1, 0)).closed)


def no_return_of(store: Store, number: int) -> int:
    """The point of no return of an episode; its end, of a success."""
    key = "length" if store.episodes["success"][number] else "t_pnr"
    return int(store.episodes[key][number])


def stage_before(episode: Episode, step: int) -> int:
    """Stage before a control step; the first at the beginning."""
    return int(episode.steps["stage"][step - 1]) if step else 0


def joined(store: Store, found: Sequence[Tried], setup: Setup, horizon: int) -> Corrections:
    """What came of several episodes, in their order."""
    rows = [(place, *row) for place, tried in enumerate(found) for row in tried.rows]
    place, step, candidates, ended, by_expert = zip(*rows, strict=True)
    episode = np.array(place, np.int32)
    no_return = np.array([no_return_of(store, tried.number) for tried in found])
    return Corrections(
        uids=tuple(store.uids[tried.number] for tried in found),
        modes=tuple(str(store.episodes["failure_mode"][tried.number]) for tried in found),
        task=setup.task.name,
        deadline=setup.task.deadline,
        horizon=horizon,
        episode=episode,
        step=np.array(step, np.int32),
        kind=np.array([KINDS.index(each.kind) for each in candidates], np.int8),
        correction=np.stack([each.correction for each in candidates]),
        motion_steps=np.array([each.asked.steps or 0 for each in candidates], np.int32),
        ended=np.array(ended, np.int16),
        by_expert=np.array(by_expert, np.int16),
        recoverable=np.array(step) < no_return[episode],
        simulated=sum(tried.simulated for tried in found),
        seconds=sum(tried.seconds for tried in found),
    )
