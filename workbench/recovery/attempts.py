"""Trial and error on stored episodes: attempts that a monitor gives up are ended and begun anew.

Every stored episode is one attempt.  Its monitor's alarm ends it; without an alarm it runs to success or to the
deadline.  A sequence of attempts is carried out until one succeeds, and its total time is the executed makespan, beside
what the closed form of :mod:`workbench.recovery.makespan` predicts from other episodes.

Failures that run to a deadline are longer than successes, so elapsed time alone already tells them apart.  What a
monitor saves is therefore shown beside a clock: every attempt is ended at one time, the best one for the episodes that
the prediction was made from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.config.files import shown
from workbench.config.metrics import finite
from workbench.errors import ConfigError, StoreError
from workbench.monitoring.episodes import diverged, sound
from workbench.monitoring.monitor import AnyMonitor, needs_of, refuse_silent
from workbench.monitoring.reading import offline
from workbench.recovery.makespan import Duration, Makespan, Predictor, Trials, makespan
from workbench.stats.bootstrap import stratified_weights
from workbench.types import Array, Record, Split
from workbench.types.results import Tabular

if TYPE_CHECKING:
    from workbench.store import Store

TO_THE_END, CLOCK = "to the end", "clock"
RESAMPLES, SEQUENCES, OF_THE_DATA = 1000, 1000, 50_000
"""Resamples of the episodes, sequences of attempts in each, and sequences of the episodes as they are."""


@dataclasses.dataclass(frozen=True)
class Attempts:
    """Attempts that were made, in seconds from the beginning of each.

    Attributes
    ----------
    success : (N,) whether it would succeed if it were left alone.
    length_s : (N,) when it would end.
    alarm_s : (N,) when it is given up; infinite if it is not.
    """

    success: Array
    length_s: Array
    alarm_s: Array

    @property
    def ended(self) -> Array:
        """Whether each (N,) is given up before its end."""
        given_up: Array = self.alarm_s < self.length_s
        return given_up

    @property
    def done(self) -> Array:
        """Whether the task is done by each (N,)."""
        return self.success & ~self.ended

    @property
    def takes_s(self) -> Array:
        """How long each (N,) takes."""
        return np.minimum(self.alarm_s, self.length_s)

    def until(self, end_s: float) -> Attempts:
        """The same attempts, each given up at one time and at no alarm."""
        return dataclasses.replace(self, alarm_s=np.full(len(self.success), end_s))

    def shares(self, restart_s: float) -> tuple[Trials, Predictor]:
        """What is counted and measured of them, as the closed form takes it."""
        caught, missed = ~self.success & self.ended, ~self.success & ~self.ended
        false_alarm, passed = self.success & self.ended, self.done
        trials = Trials(
            failure_rate=float((~self.success).mean()),
            success=_duration(self.length_s[self.success]),
            failure=_duration(self.length_s[~self.success]),
            restart_s=restart_s,
        )
        return trials, Predictor(
            tpr=_share(caught, ~self.success),
            fpr=_share(false_alarm, self.success),
            caught=_duration(self.alarm_s[caught]),
            false_alarm=_duration(self.alarm_s[false_alarm]),
            missed=_duration(self.length_s[missed]),
            passed=_duration(self.length_s[passed]),
        )

    def predicted(self, restart_s: float) -> Makespan:
        """The makespan in closed form."""
        return makespan(*self.shares(restart_s))


def _duration(times: Array) -> Duration:
    return Duration(float(times.mean()), float(times.var())) if len(times) else Duration(0.0)


def _share(some: Array, of: Array) -> float:
    return float(some.sum() / of.sum()) if of.any() else 0.0


@dataclasses.dataclass(frozen=True)
class MakespanRow:
    """What one way of giving up comes to, on the judged episodes unless it says otherwise.

    Attributes
    ----------
    tpr, fpr : share of the failures that are given up, and of the successes.
    caught_s, false_alarm_s : mean seconds until then; None where there are none.
    predicted : closed form from the learned-from episodes.
    closed_form : closed form from the judged ones; the executed mean differs from it by chance alone.
    executed_s, executed_ci95 : mean seconds of executed sequences, with a 95 % bootstrap interval over episodes.
    saved_s, saved_ci95 : by how much that is less than running to the end, on the same sequences.
    over_clock_s, over_clock_ci95 : by how much it is less than what the clock comes to.
    pays : whether it is less by the prediction; the makespan rule ends attempts only then.
    """

    name: str
    tpr: float
    fpr: float
    caught_s: float | None
    false_alarm_s: float | None
    predicted: Makespan
    closed_form: Makespan
    executed_s: float
    executed_ci95: tuple[float, float]
    saved_s: float
    saved_ci95: tuple[float, float]
    over_clock_s: float
    over_clock_ci95: tuple[float, float]
    pays: bool = False

    def record(self) -> Record:
        """Plain data; None for what is infinite."""
        plain: Record = finite(dataclasses.asdict(self))
        return plain


@dataclasses.dataclass(frozen=True)
class TrialAndError(Tabular):
    """Attempts run to the end, ended by the clock, and ended by each monitor.

    Attributes
    ----------
    rows : the first is of attempts that run to their end.
    restart_s : seconds until the next attempt.
    learned, judged : failures and successes among the episodes of the prediction, and among those that were executed.
    clock_s : when the clock ends an attempt.
    diverged : judged episodes that were left out because their physics diverged.
    """

    rows: tuple[MakespanRow, ...]
    restart_s: float
    learned: tuple[int, int]
    judged: tuple[int, int]
    clock_s: float
    diverged: int = 0

    def rows_of_table(self) -> list[Record]:
        """One row a way of giving up."""
        return [row.record() for row in self.rows]

    def record(self) -> Record:
        """The section ``attempts`` of ``metrics.json``."""
        plain: Record = finite(dataclasses.asdict(self))
        return plain


def trial_and_error(
    store: Store,
    monitors: Sequence[AnyMonitor],
    *,
    restart_s: float,
    learn: Split = "calibrate",
    judge: Split = "test",
    seed: int = 0,
) -> TrialAndError:
    """Whether restarting at a monitor's first alarm gets the task done sooner, on stored episodes.

    Parameters
    ----------
    monitors : whose thresholds come from other episodes than those that they are judged on.
    restart_s : seconds from the end of an attempt that did not succeed to the beginning of the next.
    learn : split from whose episodes the makespan is predicted, the clock set, and decided whether ending pays; of
        thresholds that were calibrated there, the false alarms are those of nominal successes that set them.
    judge : split whose episodes are the attempts that are carried out.  They are drawn independently, so the next
        attempt meets another scene; where the same scene is tried again, failures repeat.

    Raises
    ------
    StoreError
        if a split has no success: attempts would never end.
    """
    learned, judged = (attempts_of(store, monitors, split) for split in (learn, judge))
    found = executed_against_predicted(learned, judged, restart_s=restart_s, seed=seed)
    return dataclasses.replace(found, diverged=diverged(store, judge))


def attempts_of(store: Store, monitors: Sequence[AnyMonitor], split: Split) -> dict[str, Attempts]:
    """Name of every monitor -> the episodes of a split as attempts that end at its first alarm."""
    for monitor in monitors:
        refuse_silent(monitor)
    numbers, hz = sound(store, split), store.header.control_hz
    success = store.episodes["success"][numbers].astype(bool)
    if not success.any():
        raise StoreError(f"{shown(store.path)} has no success in the {split} split: attempts would never end")
    calls = [store.calls(number, needs_of(monitors)) for number in numbers]
    length_s = store.episodes["length"][numbers] / hz
    found = {}
    for name, readings in offline(monitors, calls).items():
        first = [each.step[reading.alarm] for each, reading in zip(calls, readings, strict=True)]
        alarm_s = np.array([steps[0] / hz if len(steps) else math.inf for steps in first])
        found[name] = Attempts(success, length_s, alarm_s)
    return found


def executed_against_predicted(
    learned: Mapping[str, Attempts], judged: Mapping[str, Attempts], *, restart_s: float, seed: int = 0
) -> TrialAndError:
    """:func:`trial_and_error` on attempts that are already there, by the monitor's name.

    All of one side are of the same episodes, which differ between monitors by their alarms alone.
    """
    if not judged or learned.keys() != judged.keys():
        raise ConfigError(f"attempts of the same monitors are needed, not of {[*learned]} and {[*judged]}")
    known, new = next(iter(learned.values())), next(iter(judged.values()))
    clock_s = best_end(known, restart_s)
    ends = {TO_THE_END: math.inf, CLOCK: clock_s}
    predicted = {**{name: known.until(end) for name, end in ends.items()}, **learned}
    carried_out = {**{name: new.until(end) for name, end in ends.items()}, **judged}
    samples = makespans(list(carried_out.values()), restart_s, seed)
    rows = [
        _row(name, predicted[name].predicted(restart_s), attempts, restart_s, samples[place], samples[:2])
        for place, (name, attempts) in enumerate(carried_out.items())
    ]
    least = rows[0].predicted.mean_s
    rows = [dataclasses.replace(row, pays=row.predicted.mean_s < least) for row in rows]
    counts = [(int((~each.success).sum()), int(each.success.sum())) for each in (known, new)]
    return TrialAndError(tuple(rows), restart_s, counts[0], counts[1], clock_s)


def best_end(attempts: Attempts, restart_s: float) -> float:
    """The one time in seconds at which to give up all attempts for the least makespan; infinite for never."""
    ends: list[float] = [*np.unique(attempts.length_s[attempts.success]).tolist(), math.inf]
    return min(reversed(ends), key=lambda end: attempts.until(end).predicted(restart_s).mean_s)


def makespans(arms: Sequence[Attempts], restart_s: float, seed: int = 0) -> Array:
    """Mean seconds (A, 1 + R) of executed sequences by each arm, for the episodes as they are and for resamples.

    All arms meet the same episodes in the same order.  Infinite in a resample in which no attempt of an arm succeeds.
    """
    random, size = np.random.default_rng(seed), len(arms[0].success)
    weights = stratified_weights(np.zeros(size, int), np.arange(size), RESAMPLES, seed)
    as_they_are = executed(arms, weights[:, :1], restart_s, OF_THE_DATA, random)
    return np.hstack([as_they_are, executed(arms, weights[:, 1:], restart_s, SEQUENCES, random)])


def executed(
    arms: Sequence[Attempts], weights: Array, restart_s: float, sequences: int, random: np.random.Generator
) -> Array:
    """Mean seconds (A, R) of so many sequences of attempts, drawn by the weights (N, R) of each resample."""
    size, resamples = weights.shape
    # One line of numbers for all resamples: those of resample r lie between r and r + 1.
    upper = (np.cumsum(weights, axis=0) / weights.sum(axis=0)).T + np.arange(resamples)[:, None]
    upper[:, -1] = np.arange(resamples) + 1
    owner = np.repeat(np.arange(resamples), sequences)
    clocks = np.zeros((len(arms), len(owner)))
    possible = np.stack([weights[arm.done].sum(axis=0) > 0 for arm in arms])
    going = possible[:, owner]
    while going.any():
        anybody = np.flatnonzero(going.any(axis=0))
        place = owner[anybody] + random.random(len(anybody))
        found = np.searchsorted(upper.ravel(), place, side="right") - owner[anybody] * size
        drawn = np.minimum(found, size - 1)  # a sum that is rounded up to the next resample
        for arm, clock, open_ in zip(arms, clocks, going, strict=True):
            tried, episode = anybody[open_[anybody]], drawn[open_[anybody]]
            done = arm.done[episode]
            clock[tried] += arm.takes_s[episode] + np.where(done, 0.0, restart_s)
            open_[tried[done]] = False
    means = clocks.reshape(len(arms), resamples, sequences).mean(axis=2)
    return np.where(possible, means, math.inf)


def _row(
    name: str, predicted: Makespan, attempts: Attempts, restart_s: float, samples: Array, others: Array
) -> MakespanRow:
    _, predictor = attempts.shares(restart_s)
    with np.errstate(invalid="ignore"):  # infinite less infinite
        saved, over_clock = others - samples
    return MakespanRow(
        name=name,
        tpr=predictor.tpr,
        fpr=predictor.fpr,
        caught_s=predictor.caught.mean_s if predictor.tpr else None,
        false_alarm_s=predictor.false_alarm.mean_s if predictor.fpr else None,
        predicted=predicted,
        closed_form=attempts.predicted(restart_s),
        executed_s=float(samples[0]),
        executed_ci95=_interval(samples[1:]),
        saved_s=float(saved[0]),
        saved_ci95=_interval(saved[1:]),
        over_clock_s=float(over_clock[0]),
        over_clock_ci95=_interval(over_clock[1:]),
    )


def _interval(samples: Array) -> tuple[float, float]:
    """95 % interval; an end may be infinite, so values are taken as they are and not interpolated."""
    known = samples[~np.isnan(samples)]
    low, high = np.quantile(known, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)
