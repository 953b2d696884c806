"""A corrector judged on episodes that it never saw: what it says, and what its corrections come to.

FailSafe (arXiv 2510.01642, 2025) states how often its answer is right, and the cosine between its correction and one
that was drawn at random: of many right corrections that is one.  Here the correction is carried out from the exact
state and the policy goes on, beside no motion and a motion at random under the same noises.  Successes are corrected,
too: there it can only do harm.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from workbench.config import build, shown
from workbench.config.metrics import finite
from workbench.errors import ConfigError, StoreError
from workbench.execution.executor import Executor, batches
from workbench.execution.progress import progress
from workbench.monitoring.episodes import sound
from workbench.recovery.benefit import RESAMPLES, Interval, interval
from workbench.recovery.correcting import (
    EPISODES_PER_BATCH,
    Batch,
    Candidate,
    CorrectionSettings,
    Trial,
    Tried,
    joined,
    no_return_of,
    nothing,
    spread,
)
from workbench.recovery.corrections import CORRECTOR, KINDS, PLACEBO, RANDOM, Corrections
from workbench.recovery.corrector import SPLIT, TAUGHT, failing_from
from workbench.recovery.gains import Gain
from workbench.recovery.tables import all_calls, one_call
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.guard import steps_beyond
from workbench.rollouts.setup import Setup, branching_setup
from workbench.stats.bootstrap import stratified_weights
from workbench.stats.concordance import concordance, peaks_by_step, weighted_mean
from workbench.stats.proportions import Proportion, of_effective, proportion
from workbench.store import Store
from workbench.types import Alarm, Array, Policy, PolicyCall, Record, Shield, Split, Strategy, Task
from workbench.types.results import Tabular

STRATEGY: Record = {"_target_": "workbench.policies.recovery.correct.Correct"}
"""Who asks the corrector, and carries out what it says."""
SAID = 0.5
"""Chance from which it says that an episode is failing."""
BEFORE, BEHIND, SUCCEEDED = "failing, recoverable", "failing, lost", "succeeding"
"""Where a call lies: between onset and point of no return; in a failure without such a call, at the first one from the
onset on; in an episode that succeeded."""
PLACES = (BEFORE, BEHIND, SUCCEEDED)
VERIFIED = "verified"
"""The best motion that is known to be right from the same call."""
ARMS = (CORRECTOR, RANDOM, PLACEBO, VERIFIED)
SHARES = tuple(number / 10 for number in range(10, 0, -1))
"""Shares of the calls at which the corrector acts, on the abstention curve."""


@dataclasses.dataclass(frozen=True)
class ArmRow:
    """What one motion comes to from calls of one place, to the horizon and within the task's deadline.

    Attributes
    ----------
    place, arm : of :data:`PLACES` and :data:`ARMS`.
    calls : one an episode.
    won, in_time : mean share of the noises under which the policy then succeeds.
    won_ci95, in_time_ci95 : exact intervals, as of one noise a call: too wide rather than too narrow.
    over_placebo, over_redraw : less that of no motion from the same calls, to the horizon and within the deadline.
    verified : of how many calls it wins at least half of the branches, and more than no motion does.
    """

    place: str
    arm: str
    calls: int
    won: float
    won_ci95: tuple[float, float]
    in_time: float
    in_time_ci95: tuple[float, float]
    over_placebo: Interval
    over_redraw: Interval
    verified: Proportion

    def record(self) -> Record:
        """Plain data."""
        gains = {key: getattr(self, key)._asdict() for key in ("over_placebo", "over_redraw")}
        return {**dataclasses.asdict(self), **gains}


@dataclasses.dataclass(frozen=True)
class AbstentionRow:
    """What becomes of all replayed calls where the corrector acts at some, and abstains at the others.

    Attributes
    ----------
    least : chance of failing from which it acts; it is chosen here by how often it then does, and not by what comes
        of it.
    acted : at how many of the calls it acts, by place.
    calls : all of them, by place.
    won, in_time : mean share of the noises that succeed; where it abstains, those of the placebo.
    over_placebo : less that of the placebo everywhere.
    """

    least: float
    acted: Mapping[str, int]
    calls: Mapping[str, int]
    won: float
    in_time: float
    over_placebo: Interval

    def record(self) -> Record:
        """Plain data."""
        return {**dataclasses.asdict(self), "over_placebo": self.over_placebo._asdict()}


@dataclasses.dataclass(frozen=True)
class CorrectorJudgement(Tabular):
    """A corrector judged on one split: at one policy call of every episode.

    Attributes
    ----------
    failing, false_failing : failures, and successes, in which it says there that the episode is failing.
    auroc : of its highest chance of failing by half the deadline, failure against success, each pair at a time at
        which both were running: elapsed time alone has one half.
    mode, majority : failures whose mode it says, and those whose mode is ``majority_mode``, the commonest of the fit
        split.
    mode_over_majority : the two compared, failure by failure.
    rows : the replays.
    abstention : from acting at every replayed call on.
    unlabelled : failures that are left out because they have neither onset nor effect.
    chance, places : (N,) of failing at the replayed call of each of ``replays.uids``, and where that lies.
    replays : every motion that was carried out, with what came of it.
    """

    split: Split
    failing: Proportion
    false_failing: Proportion
    auroc: Interval
    mode: Proportion
    majority: Proportion
    majority_mode: str
    mode_over_majority: Gain
    rows: tuple[ArmRow, ...]
    abstention: tuple[AbstentionRow, ...]
    unlabelled: int
    chance: Array = dataclasses.field(repr=False)
    places: Array = dataclasses.field(repr=False)
    replays: Corrections = dataclasses.field(repr=False)

    def rows_of_table(self) -> list[Record]:
        """One row a place and motion."""
        return [row.record() for row in self.rows]

    def record(self) -> Record:
        """The section ``corrector`` of ``metrics.json``."""
        said = {key: getattr(self, key) for key in ("split", "failing", "false_failing", "mode", "majority")}
        plain: Record = finite(
            {
                **said,
                "auroc": self.auroc._asdict(),
                "majority_mode": self.majority_mode,
                "mode_over_majority": dataclasses.asdict(self.mode_over_majority),
                "rows": self.rows_of_table(),
                "abstention": [row.record() for row in self.abstention],
                "unlabelled": self.unlabelled,
                "branches": self.replays.ended.shape[1],
                "simulated_steps": self.replays.simulated,
                "seconds": self.replays.seconds,
            }
        )
        return plain


class _Adviser(Strategy, Protocol):
    """The strategy that goes by a corrector."""

    def advice(self, call: PolicyCall) -> Any:
        """What the corrector says of a call of n scenes."""
        ...


@dataclasses.dataclass(frozen=True)
class _Heard:
    """What the corrector says of one episode, (C,) chances of failing and modes, and the call at which it is judged."""

    number: int
    step: Array
    chance: Array
    mode: Sequence[str]
    at: int
    place: str
    true_mode: str


@dataclasses.dataclass(frozen=True)
class JudgedBatch(Batch):
    """Episodes for one worker, each with its one call.

    Attributes
    ----------
    corrector : folder of its checkpoint.
    noises : numbers of the noises.
    known : episode -> the best verified motion of its call, as kind and correction.
    """

    corrector: Path
    noises: range
    known: Mapping[int, tuple[str, Array]]


def judge_corrector(
    store: Store,
    corrector: Path,
    task: Task,
    policy: Policy,
    *,
    split: Split = "test",
    episodes: int = 10,
    branches: int = 4,
    corrections: Corrections | None = None,
    horizon: float = 2.0,
    expert: Mapping[str, Any] = EXPERT,
    runner: Executor | None = None,
    shields: Iterable[Shield | str] | Mapping[str, Shield] = (),
    seed: int = 0,
) -> CorrectorJudgement:
    """Ask a corrector at one policy call of every episode of a split, and carry out what it says at some of them.

    Of a failure it is the middle one of the calls between onset (or effect) and point of no return; of one that has
    none of these, the first from the onset on; of a success the middle one of all.

    Parameters
    ----------
    store : with labels of ``workbench label``.
    corrector : folder that :func:`workbench.train_corrector` wrote.
    task, policy : those that the store was rolled with.
    episodes : failed ones of each failure mode that are replayed, at most, spread evenly; and as many successes as
        these are in all.
    branches : K, noises of the policy that goes on.
    corrections : of the same split, of :func:`workbench.verify_corrections`: where it holds verified motions from a
        call between onset and point of no return, that call is judged, and the best of them stands beside the
        corrector's.  All are replayed under noises that nothing was chosen by.
    horizon : deadlines that every branch lasts at most.
    shields : those behind which the store was rolled.
    seed : of the intervals, which are a bootstrap over episodes where they are not exact.

    Raises
    ------
    ConfigError
        if it is the split that correctors learn from.
    StoreError
        if no failed episode of the split has labels.
    """
    if split == SPLIT:
        raise ConfigError(f"a corrector learns from the {SPLIT} split and is judged on another, such as split='test'")
    terms = CorrectionSettings(episodes, randoms=1, branches=branches)
    setup = branching_setup(store, task, policy, runner, shields)
    known = {} if corrections is None else _best_of(corrections)
    heard, unlabelled = _heard(store, split, _adviser(corrector, task), known)
    lost, won = [[each for each in heard if (each.place == SUCCEEDED) == success] for success in (False, True)]
    if not lost:
        raise StoreError(
            f"{shown(store.path)} has no failed episode of split {split} with labels to judge a corrector on; "
            "workbench label makes them, of episodes that workbench rollout perturbation=[...] makes fail"
        )
    picked = _picked(lost, won, episodes)
    first = 0 if corrections is None else corrections.ended.shape[1]
    replays = _replayed(store, setup, corrector, picked, known, first, terms, horizon, expert)
    modes = np.array([each.true_mode for each in lost])
    right = np.array([each.mode[_row(each)] for each in lost]) == modes
    common = _commonest(store)
    chance = np.array([each.chance[_row(each)] for each in picked])
    places = np.array([each.place for each in picked])
    return CorrectorJudgement(
        split=split,
        failing=_says_failing(lost),
        false_failing=_says_failing(won),
        auroc=_auroc(store, lost, won, task.deadline, seed),
        mode=proportion(int(right.sum()), len(right)),
        majority=proportion(int((modes == common).sum()), len(right)),
        majority_mode=common,
        mode_over_majority=Gain.of(right, modes == common),
        rows=tuple(_arm_rows(replays, places, seed)),
        abstention=tuple(abstention(replays, places, chance, seed)),
        unlabelled=unlabelled,
        chance=chance,
        places=places,
        replays=replays,
    )


def _adviser(corrector: Path, task: Task) -> _Adviser:
    """The strategy, acting whatever the chance of failing is."""
    made: _Adviser = build({**STRATEGY, "least": 0.0}, task=task, corrector=corrector)
    return made


def _best_of(corrections: Corrections) -> dict[tuple[str, int], tuple[str, Array]]:
    """Uid and step of a call -> the verified motion that won most there, as kind and correction."""
    rate, found = corrections.rate(), {}
    taught = np.isin(corrections.kind, [KINDS.index(kind) for kind in TAUGHT])
    rows = np.flatnonzero(corrections.verified() & taught)
    for row in sorted(rows, key=lambda row: (rate[row], -row)):
        cell = corrections.uids[corrections.episode[row]], int(corrections.step[row])
        found[cell] = KINDS[corrections.kind[row]], corrections.correction[row]
    return found


def _heard(
    store: Store, split: Split, adviser: _Adviser, known: Mapping[tuple[str, int], Any]
) -> tuple[list[_Heard], int]:
    """What is said of every episode of a split, and how many failures have no labels."""
    rows, found, unlabelled = store.episodes, [], 0
    for number in sound(store, split):
        begun, calls = failing_from(store, number), store.calls(number, adviser.needs)
        if rows["success"][number]:
            at, place = spread([int(step) for step in calls.step], 1)[0], SUCCEEDED
        elif begun < 0 or not (calls.step >= begun).any():
            unlabelled += 1
            continue
        else:
            at, place = judged_call(calls.step, begun, no_return_of(store, number), store.uids[number], known)
        advice = adviser.advice(all_calls(calls))
        mode = str(rows["failure_mode"][number])
        found.append(_Heard(number, calls.step, advice.failing, advice.mode, at, place, mode))
    return found, unlabelled


def judged_call(
    calls: Array, begun: int, no_return: int, uid: str, known: Mapping[tuple[str, int], Any]
) -> tuple[int, str]:
    """The call (control step) at which a failure is judged, and its place; if any, one with a known right motion."""
    between = [int(step) for step in calls if begun <= step < no_return]
    if not between:
        return int(calls[calls >= begun][0]), BEHIND
    taught = [step for step in between if (uid, step) in known]
    return spread(taught or between, 1)[0], BEFORE


def _picked(lost: Sequence[_Heard], won: Sequence[_Heard], episodes: int) -> list[_Heard]:
    """Those that are replayed: some failures of every mode, and as many successes."""
    by_mode = collections.defaultdict(list)
    for each in lost:
        by_mode[each.true_mode].append(each)
    failures = [each for mode in sorted(by_mode) for each in spread(by_mode[mode], episodes)]
    return [*failures, *spread(won, len(failures))]


def _replayed(
    store: Store,
    setup: Setup,
    corrector: Path,
    picked: Sequence[_Heard],
    known: Mapping[tuple[str, int], tuple[str, Array]],
    first: int,
    terms: CorrectionSettings,
    horizon: float,
    expert: Mapping[str, Any],
) -> Corrections:
    """Every motion from every picked call, under noises from a number on."""
    until = steps_beyond(setup.task.deadline, horizon)
    best = {each.number: known[cell] for each in picked if (cell := (store.uids[each.number], each.at)) in known}
    noises, found = range(first, first + terms.branches), dict[int, Tried]()
    wanted = [(each.number, (each.at,), None) for each in picked]
    with progress("corrected episodes", len(wanted)) as advance:
        items = [
            JudgedBatch(setup, store.path, dict(expert), until, terms, part, Path(corrector), noises, best)
            for part in batches(wanted, EPISODES_PER_BATCH)
        ]
        for ended in setup.map_unordered(judged_batch, items):
            found |= {tried.number: tried for tried in ended}
            advance(len(ended))
    return joined(store, [found[each.number] for each in picked], setup, until)


def judged_batch(batch: JudgedBatch) -> list[Tried]:
    """What the corrector says of each call of a batch, carried out beside what it is held against."""
    setup, store = batch.setup, Store.open(batch.store)
    going_on = setup.lockstep("corrected", setup.policy, images=False)
    expert = setup.lockstep("expert", setup.expert(batch.expert), images=False)
    adviser, found = _adviser(batch.corrector, setup.task), []
    for number, (step,), _ in batch.episodes:
        began = time.process_time()
        calls = store.calls(number, adviser.needs)
        call = one_call(calls, int(np.searchsorted(calls.step, step)))
        asked = adviser.act(adviser.begin(), Alarm(call, setup.policy, setup.task.deadline))
        assert asked is not None
        said = Candidate(CORRECTOR, adviser.advice(call).correction[0], asked)
        trial = Trial(store.episode(number), None, batch, expert)
        tried = [nothing(), said, *trial.at_random(step, [said])]
        if number in batch.known:
            kind, correction = batch.known[number]
            tried.append(trial.moved(kind, step, correction))
        rows, simulated = trial.replayed([(step, each) for each in tried], [batch.noises], going_on)
        found.append(Tried(number, rows, simulated, time.process_time() - began))
    return found


def _row(heard: _Heard) -> int:
    """Row of the call at which it is judged."""
    return int(np.searchsorted(heard.step, heard.at))


def _says_failing(heard: Sequence[_Heard]) -> Proportion:
    return proportion(sum(bool(each.chance[_row(each)] >= SAID) for each in heard), len(heard))


def _commonest(store: Store) -> str:
    """The commonest failure mode of the split that correctors learn from; "" without any failure."""
    rows = store.episodes
    seen = collections.Counter(str(rows["failure_mode"][n]) for n in sound(store, SPLIT) if not rows["success"][n])
    return min(seen, key=lambda mode: (-seen[mode], mode)) if seen else ""


def _auroc(store: Store, lost: Sequence[_Heard], won: Sequence[_Heard], deadline: int, seed: int) -> Interval:
    """Of the highest chance of failing so far, each pair at a time at which both were running."""
    if not won:
        return Interval(None, None, None)
    of_lost, of_won = (np.array([store.episodes["length"][each.number] for each in some]) for some in (lost, won))
    longest = int(max(of_lost.max(), of_won.max()))
    failed, successful = (
        np.stack([peaks_by_step(each.step, each.chance, longest) for each in some]) for some in (lost, won)
    )
    strata = np.repeat([0, 1], [len(lost), len(won)])
    weights = stratified_weights(strata, np.arange(len(strata)), RESAMPLES, seed)
    higher = concordance(failed, successful, of_lost, of_won, deadline // 2)
    return interval(weighted_mean(higher, weights[: len(lost)], weights[len(lost) :]))


def _arm_rows(replays: Corrections, places: Array, seed: int) -> list[ArmRow]:
    """One row a place and arm that has any call."""
    names = np.array([KINDS[kind] if KINDS[kind] in ARMS else VERIFIED for kind in replays.kind])
    shares = [(replays.rate(within), replays.luck(within)) for within in (replays.horizon, replays.deadline)]
    found = []
    for place in PLACES:
        for arm in ARMS:
            rows = np.flatnonzero((names == arm) & (places[replays.episode] == place))
            if not len(rows):
                continue
            (won, luck), (in_time, luck_in_time) = [(rate[rows], luck[rows]) for rate, luck in shares]
            found.append(
                ArmRow(
                    place,
                    arm,
                    len(rows),
                    float(won.mean()),
                    of_effective(float(won.mean()), len(rows)),
                    float(in_time.mean()),
                    of_effective(float(in_time.mean()), len(rows)),
                    mean_over(won - luck, seed),
                    mean_over(in_time - luck_in_time, seed),
                    proportion(int(replays.verified()[rows].sum()), len(rows)),
                )
            )
    return found


def abstention(replays: Corrections, places: Array, chance: Array, seed: int) -> list[AbstentionRow]:
    """The abstention curve, from acting at all calls on.

    Parameters
    ----------
    places, chance : (N,) of each of ``replays.uids``, with one call.
    """
    acts, ranked = np.flatnonzero(replays.kind == KINDS.index(CORRECTOR)), np.sort(chance)[::-1]
    order = np.argsort(replays.episode[acts])
    won, luck, in_time, luck_in_time = (
        each[acts][order]
        for within in (replays.horizon, replays.deadline)
        for each in (replays.rate(within), replays.luck(within))
    )
    found = {}
    for share in SHARES:
        least = float(ranked[max(1, round(share * len(ranked))) - 1])
        acted = chance >= least
        found[least] = AbstentionRow(
            least,
            {place: int((acted & (places == place)).sum()) for place in PLACES},
            {place: int((places == place).sum()) for place in PLACES},
            float(np.where(acted, won, luck).mean()),
            float(np.where(acted, in_time, luck_in_time).mean()),
            mean_over(np.where(acted, won - luck, 0.0), seed),
        )
    return list(found.values())


def mean_over(values: Array, seed: int) -> Interval:
    """Mean of one number an episode (N,), with its 95 % bootstrap interval; none of numbers that are all alike."""
    if len(np.unique(values)) < 2:  # resamples of them say nothing of others
        return Interval(float(values.mean()) if len(values) else None, None, None)
    weights = stratified_weights(np.zeros(len(values), int), np.arange(len(values)), RESAMPLES, seed)
    return interval(values @ weights / weights.sum(axis=0))
