"""How long it takes until a task that is tried again and again is done, and whether a doomed attempt is worth ending.

Watson and Correll ("Optimal Decision Making in Robotic Assembly and Other Trial-and-Error Tasks", 2023): attempts are
independent and end after a random time, and a predictor of failure may end one before.  The number of attempts is then
geometric, and the mean time follows from the confusion matrix of the predictor and the mean durations of its four cells
(by Wald's identity, whatever the distributions).  Their running times are exponential: a Markov jump process.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from workbench.config.metrics import finite
from workbench.errors import ConfigError
from workbench.recovery.economics import refuse_unless_share
from workbench.types import Array, Record


@dataclasses.dataclass(frozen=True)
class Duration:
    """How long something takes: mean in seconds, and variance in seconds squared."""

    mean_s: float
    variance_s2: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.mean_s < math.inf and 0 <= self.variance_s2 < math.inf):
            raise ConfigError(f"a duration of {self.mean_s} s with variance {self.variance_s2}: 0 or more, and finite")

    @classmethod
    def exponential(cls, mean_s: float) -> Duration:
        """Of a Markov jump process."""
        return cls(mean_s, mean_s**2)


@dataclasses.dataclass(frozen=True)
class Trials:
    """What is known of attempts at a task.

    Attributes
    ----------
    failure_rate : chance that an attempt fails, if it is left alone.
    success, failure : how long each takes to its end.
    restart_s : seconds until the next attempt after one that did not succeed.
    """

    failure_rate: float
    success: Duration
    failure: Duration
    restart_s: float = 0.0

    def __post_init__(self) -> None:
        refuse_unless_share("failure_rate", self.failure_rate)
        if not 0 <= self.restart_s < math.inf:
            raise ConfigError(f"restart_s={self.restart_s} must be 0 or more, and finite")


@dataclasses.dataclass(frozen=True)
class Predictor:
    """What says during an attempt that it will fail.

    Attributes
    ----------
    tpr, fpr : chance that it speaks in an attempt that would fail, and in one that would succeed.
    caught, false_alarm : how long until it speaks in each.
    missed, passed : how long failures and successes take in which it does not speak; None for as long as all do.
    """

    tpr: float
    fpr: float
    caught: Duration
    false_alarm: Duration
    missed: Duration | None = None
    passed: Duration | None = None

    def __post_init__(self) -> None:
        refuse_unless_share("tpr", self.tpr)
        refuse_unless_share("fpr", self.fpr)


@dataclasses.dataclass(frozen=True)
class Makespan:
    """Time until the task is done.

    Attributes
    ----------
    mean_s, deviation_s : mean and standard deviation; infinite if no attempt can succeed.
    attempts : mean number of them, the last one included.
    """

    mean_s: float
    deviation_s: float
    attempts: float

    def record(self) -> Record:
        """Plain data; None for what is infinite."""
        plain: Record = finite(dataclasses.asdict(self))
        return plain


def makespan(trials: Trials, predictor: Predictor | None = None) -> Makespan:
    """Mean and deviation of the time until an attempt succeeds, in closed form.

    With the four cells of the predictor's confusion matrix, their chances P and mean durations t, and restart c, the
    mean is ``(sum P t + c (1 - P_passed)) / P_passed``.  Without a predictor every attempt runs to its end, and it is
    ``t_success + p / (1 - p) (t_failure + c)``.
    """
    lost, last = _cells(trials, predictor)
    done, again = last[0], sum(share for share, _ in lost)
    if done == 0:
        return Makespan(math.inf, math.inf, math.inf)
    mean, variance = _mixed(lost, trials.restart_s)
    losses = again / done  # mean of the number of attempts that do not succeed; geometric
    spread = losses * variance + again / done**2 * mean**2 + last[1].variance_s2
    return Makespan(losses * mean + last[1].mean_s, math.sqrt(spread), 1 / done)


Cell = tuple[float, Duration]


def _cells(trials: Trials, predictor: Predictor | None) -> tuple[list[Cell], Cell]:
    """Chance and duration of every way in which an attempt does not succeed, and of the one in which it does."""
    fails, succeeds = trials.failure_rate, 1 - trials.failure_rate
    if predictor is None:
        return [(fails, trials.failure)], (succeeds, trials.success)
    caught, false_alarm = fails * predictor.tpr, succeeds * predictor.fpr
    missed, passed = fails * (1 - predictor.tpr), succeeds * (1 - predictor.fpr)
    lost = [
        (caught, predictor.caught),
        (false_alarm, predictor.false_alarm),
        (missed, predictor.missed or trials.failure),
    ]
    return lost, (passed, predictor.passed or trials.success)


def _mixed(cells: list[Cell], restart_s: float) -> tuple[float, float]:
    """Mean and variance of the time that an attempt costs which is one of some cells, restart included."""
    total = sum(share for share, _ in cells)
    if total == 0:
        return 0.0, 0.0
    mean = sum(share * time.mean_s for share, time in cells) / total
    within = sum(share * time.variance_s2 for share, time in cells) / total
    between = sum(share * (time.mean_s - mean) ** 2 for share, time in cells) / total
    return mean + restart_s, within + between


@dataclasses.dataclass(frozen=True)
class Preemption:
    """The makespan with every attempt run to its end, and with each ended when the predictor speaks."""

    to_the_end: Makespan
    preemptive: Makespan

    @property
    def pays(self) -> bool:
        """Whether ending attempts saves time on average."""
        return self.preemptive.mean_s < self.to_the_end.mean_s

    @property
    def best(self) -> Makespan:
        """That of the rule: end attempts where it pays, and there alone."""
        return self.preemptive if self.pays else self.to_the_end

    def record(self) -> Record:
        """Plain data."""
        both = {"to_the_end": self.to_the_end.record(), "preemptive": self.preemptive.record()}
        return {**both, "pays": self.pays}


def preemption(trials: Trials, predictor: Predictor) -> Preemption:
    """Whether attempts that a predictor gives up should be ended and begun anew: the makespan rule."""
    return Preemption(makespan(trials), makespan(trials, predictor))


def least_ratio(trials: Trials, caught_s: float, false_alarm_s: float) -> float:
    """The ratio TPR / FPR above which ending attempts at an alarm saves time; infinite if it never does.

    From ``p (tpr - fpr) t_failure > p tpr t_caught + (1 - p) fpr t_false_alarm + c fpr`` where what the predictor does
    not speak of takes as long as the rest: the ratio is ``(p t_failure + (1 - p) t_false_alarm + c) / (p (t_failure -
    t_caught))``.

    Parameters
    ----------
    caught_s, false_alarm_s : mean seconds until it speaks in an attempt that would fail, and in one that would succeed.
    """
    fails, failure_s = trials.failure_rate, trials.failure.mean_s
    saved = fails * (failure_s - caught_s)
    if saved <= 0:
        return math.inf
    return (fails * failure_s + (1 - fails) * false_alarm_s + trials.restart_s) / saved


def simulate_makespan(
    trials: Trials, predictor: Predictor | None = None, *, runs: int = 10_000, seed: int = 0
) -> Array:
    """Seconds (runs,) until the task was done, attempt by attempt: what :func:`makespan` is held against.

    Each attempt is one that would fail or succeed, the predictor speaks in it or does not, and its time passes; times
    are gamma distributed with their mean and variance, which is exponential for :meth:`Duration.exponential`.

    Raises
    ------
    ConfigError
        if no attempt can succeed: no run would end.
    """
    if trials.failure_rate == 1 or (predictor is not None and predictor.fpr == 1):
        raise ConfigError("no attempt can succeed: failure_rate and fpr must both be below 1")
    random = np.random.default_rng(seed)
    clock, going = np.zeros(runs), np.arange(runs)
    while len(going):
        fails, spoken = random.random(len(going)) < trials.failure_rate, np.zeros(len(going), bool)
        takes = np.where(fails, _times(trials.failure, fails, random), _times(trials.success, ~fails, random))
        if predictor is not None:
            spoken = random.random(len(going)) < np.where(fails, predictor.tpr, predictor.fpr)
            for time, when in (
                (predictor.caught, fails & spoken),
                (predictor.false_alarm, ~fails & spoken),
                (predictor.missed, fails & ~spoken),
                (predictor.passed, ~fails & ~spoken),
            ):
                takes = takes if time is None else np.where(when, _times(time, when, random), takes)
        clock[going] += takes
        going = going[fails | spoken]
        clock[going] += trials.restart_s
    return clock


def _times(duration: Duration, where: Array, random: np.random.Generator) -> Array:
    """Drawn times (N,) in the places where they are wanted, 0 in the others."""
    times = np.zeros(len(where))
    if duration.variance_s2 == 0 or duration.mean_s == 0:
        times[where] = duration.mean_s
    else:
        scale = duration.variance_s2 / duration.mean_s
        times[where] = random.gamma(duration.mean_s / scale, scale, int(where.sum()))
    return times
