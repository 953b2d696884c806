"""What alarms are worth: net benefit by look-up, as a function of the threshold, and detectors ranked by it.

An episode's outcomes hold, from every policy call, the control step by which each arm succeeds.  An alarm at a call is
worth the arm's share of successes there less that of a reference from the same call with the same noise and the same
total time: within the task's deadline the *redraw*, the same policy with fresh noise, which is what luck alone would
have done; within all that is allowed the *placebo*, the same with more time.  No alarm is worth nothing.  Total time
counts from the beginning of the episode, for time that floats with the alarm rewards late alarms.  Only first alarms
are judged: behind an intervention the states are not in the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from workbench.config.metrics import finite
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.stats.bootstrap import percentiles, stratified_weights
from workbench.types import Array, Record
from workbench.types.results import Tabular

Over = Literal["redraw", "placebo"]
OVER: tuple[Over, Over] = ("redraw", "placebo")
"""What an arm's successes are held against."""
RESAMPLES = 1000
PER = 100
"""Episodes that a net benefit is stated for."""
MOST_THRESHOLDS = 200
"""Of a sweep: more candidates are thinned evenly in rank."""
ALWAYS, CLOCK, GIVEN = "always", "clock", "given"


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What became of every arm from every policy call of one episode.

    Attributes
    ----------
    step : (C,) control step of every call.
    success, length : how the episode itself ended, and control steps done.
    succeeded_by : name of the arm -> (C, K) int, control step of the episode, counted from its beginning, by which each
        branch succeeded; 0 for never; below 0 for a branch that was not run.
    horizon : control step until which all branches were run.
    weight : how many episodes it stands for.
    """

    uid: str
    step: Array
    success: bool
    length: int
    succeeded_by: Mapping[str, Array]
    horizon: int
    weight: float = 1.0

    def share(self, arm: str, until: int) -> Array:
        """Share (C,) of an arm's branches that succeed by a control step; NaN at a call from which none was run."""
        if arm not in self.succeeded_by:
            raise UnknownNameError(f"arm of episode {self.uid}", arm, self.succeeded_by)
        if until > self.horizon:
            raise ConfigError(
                f"episode {self.uid} was branched until control step {self.horizon}: success by {until} is not known"
            )
        by = np.asarray(self.succeeded_by[arm])
        if by.ndim != 2 or len(by) != len(self.step):
            raise StoreError(f"episode {self.uid} has {len(self.step)} policy calls, and arm {arm} {by.shape} outcomes")
        run, won = (by >= 0).sum(axis=1), ((by > 0) & (by <= until)).sum(axis=1)
        share: Array = np.divide(won, run, out=np.full(len(by), np.nan), where=run > 0)
        return share


@dataclasses.dataclass(frozen=True)
class Terms:
    """On what terms an arm is judged.

    Attributes
    ----------
    arm, placebo : names among the outcomes.
    deadline : the task's, in control steps, within which the arm is held against the redraw.
    allowed : control step within which it is held against the placebo; the deadline, or later.
    """

    arm: str
    deadline: int
    allowed: int
    placebo: str = "placebo"

    def __post_init__(self) -> None:
        if not 0 < self.deadline <= self.allowed:
            raise ConfigError(f"allowed={self.allowed} control steps in all must be at least deadline={self.deadline}")

    def gains(self, episode: Outcomes) -> dict[Over, Array]:
        """Worth (C,) of an alarm at every call, over each reference, in the same total time."""
        return {
            over: episode.share(self.arm, until) - episode.share(self.placebo, until)
            for over, until in zip(OVER, (self.deadline, self.allowed), strict=True)
        }


class Interval(NamedTuple):
    """A number with its 95 % bootstrap interval over episodes; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Benefit:
    """What the first alarms at one threshold are worth.

    Attributes
    ----------
    alarmed_failures, alarmed_successes : share of the failed episodes with an alarm, and of the others; None of none.
    over_redraw, over_placebo : successes more by the arm, per 100 episodes.
    """

    name: str
    threshold: float
    alarmed_failures: float | None
    alarmed_successes: float | None
    over_redraw: Interval
    over_placebo: Interval

    def over(self, reference: Over) -> Interval:
        """The net benefit over one of the references."""
        return self.over_redraw if reference == "redraw" else self.over_placebo

    def record(self) -> Record:
        """Plain data; the threshold is None where it is infinite."""
        both = {"over_redraw": self.over_redraw._asdict(), "over_placebo": self.over_placebo._asdict()}
        plain: Record = finite({**dataclasses.asdict(self), **both})
        return plain


class Judge:
    """Episodes and terms, with the weights (N, 1 + R) of each episode in every resample."""

    def __init__(self, episodes: Sequence[Outcomes], terms: Terms, seed: int) -> None:
        if len(episodes) < 2 or len({episode.uid for episode in episodes}) < len(episodes):
            raise ConfigError(f"{len(episodes)} episodes: net benefit needs at least two, each of them once")
        self.episodes, self.terms = episodes, terms
        self.failed = np.array([not episode.success for episode in episodes])
        places = np.arange(len(episodes))
        stands_for = np.array([episode.weight for episode in episodes])[:, None]
        self.weights = stands_for * stratified_weights(np.zeros(len(episodes), int), places, RESAMPLES, seed)
        self.gains = [terms.gains(episode) for episode in episodes]

    def curves(self, name: str, curves: Sequence[Array]) -> list[Array]:
        """The curves (C,) of a score as they are; refused unless each has a number at every call of its episode."""
        found = [np.asarray(curve, float) for curve in curves]
        if [len(curve) for curve in found] != [len(episode.step) for episode in self.episodes]:
            raise ConfigError(f"{name} does not have one number for every policy call of these episodes")
        if any(np.isnan(curve).any() for curve in found):
            raise ConfigError(f"{name} is not a number at some calls: a monitor without threshold has no net benefit")
        return found

    def samples(self, alarms: Array, over: Over) -> Array:
        """Net benefit (T, 1 + R) of first alarms (T, N) at these calls, -1 being none."""
        worth = np.zeros(alarms.shape)
        for row, (episode, gains) in enumerate(zip(self.episodes, self.gains, strict=True)):
            there = alarms[:, row] >= 0
            worth[there, row] = gains[over][alarms[there, row]]
            if np.isnan(worth[:, row]).any():
                call = alarms[np.isnan(worth[:, row])][0, row]
                raise StoreError(f"episode {episode.uid} has an alarm at policy call {call}, from which no arm was run")
        weighed: Array = PER * (worth @ self.weights) / self.weights.sum(axis=0)
        return weighed

    def benefits(self, names: Sequence[str], thresholds: Array, alarms: Array) -> list[Benefit]:
        """What alarms (T, N) come to, each with its name and threshold (T,)."""
        redraw, placebo = (self.samples(alarms, over) for over in OVER)
        spoken, weight = alarms >= 0, self.weights[:, 0]

        def alarmed(place: int, rows: Array) -> float | None:
            return float(spoken[place, rows] @ weight[rows] / weight[rows].sum()) if rows.any() else None

        return [
            Benefit(
                name,
                float(thresholds[place]),
                alarmed(place, self.failed),
                alarmed(place, ~self.failed),
                interval(redraw[place]),
                interval(placebo[place]),
            )
            for place, name in enumerate(names)
        ]

    @property
    def clock(self) -> list[Array]:
        """Elapsed time as a score: the control step of every call."""
        return [np.asarray(episode.step, float) for episode in self.episodes]


def interval(samples: Array) -> Interval:
    """Value and 95 % interval of samples (1 + R,), the first of the data as they are."""
    value = None if np.isnan(samples[0]) else float(samples[0])
    return Interval(value, *percentiles(samples))


def first_alarms(curves: Sequence[Array], thresholds: Array) -> Array:
    """The first call (T, N) of each curve that is above each threshold, -1 for none; the first of all above -inf."""
    found = np.full((len(thresholds), len(curves)), -1)
    for row, curve in enumerate(curves):
        peaks = np.maximum.accumulate(curve)
        call = np.where(np.isneginf(thresholds), 0, np.searchsorted(peaks, thresholds, side="right"))
        found[:, row] = np.where(call < len(curve), call, -1)
    return found


def candidates(curves: Sequence[Array]) -> Array:
    """Thresholds (T,) that alarm differently: never, at every new peak of a curve, and always."""
    peaks = np.unique(np.concatenate([np.maximum.accumulate(curve) for curve in curves]))
    if len(peaks) > MOST_THRESHOLDS:
        peaks = peaks[np.unique(np.linspace(0, len(peaks) - 1, MOST_THRESHOLDS).round().astype(int))]
    return np.concatenate([[-np.inf], peaks, [np.inf]])


@dataclasses.dataclass(frozen=True)
class BenefitCurve(Tabular):
    """Net benefit at every threshold, the lowest first: there the first call of every episode is an alarm."""

    terms: Terms
    rows: tuple[Benefit, ...]

    def rows_of_table(self) -> list[Record]:
        """One row a threshold."""
        return [row.record() for row in self.rows]

    def best(self, over: Over = "placebo") -> Benefit:
        """The threshold of the largest net benefit, of equal ones the highest.

        On these episodes it is too good by having been chosen on them; :func:`recommended_threshold` judges it on
        others.
        """
        return max(reversed(self.rows), key=lambda row: row.over(over).value or 0.0)


def net_benefit(
    episodes: Sequence[Outcomes],
    curves: Sequence[Array],
    terms: Terms,
    *,
    thresholds: Sequence[float] | None = None,
    seed: int = 0,
) -> BenefitCurve:
    """Net benefit of the first alarms of a score, as a function of its threshold.

    Parameters
    ----------
    curves : (C,) of each episode: the score, or a monitor's margin, at every policy call; an alarm is above the
        threshold.  Of ``episode.step`` it is the clock.
    thresholds : None for all that alarm differently, thinned to 200; the lowest of them always alarms.
    """
    judge = Judge(episodes, terms, seed)
    known = judge.curves("this score", curves)
    tried = candidates(known) if thresholds is None else np.unique(np.asarray(thresholds, float))
    names = [f"{threshold:g}" for threshold in tried]
    return BenefitCurve(terms, tuple(judge.benefits(names, tried, first_alarms(known, tried))))


@dataclasses.dataclass(frozen=True)
class Recommendation(Tabular):
    """A threshold that was chosen on some episodes, judged on others beside what needs no detector.

    Attributes
    ----------
    over : the reference that it was chosen against.
    chosen : what it came to where it was chosen: too good by that.
    judged : what it comes to on the other episodes.
    given : the same of a threshold that was there already; None if there was none.
    always : of an alarm at the first call of every episode.
    clock : of an alarm at one control step, chosen as the threshold was.
    ahead : by how much ``judged`` is ahead of each of the others, on the same episodes.
    """

    terms: Terms
    over: Over
    chosen: Benefit
    judged: Benefit
    given: Benefit | None
    always: Benefit
    clock: Benefit
    ahead: Mapping[str, Interval]

    @property
    def threshold(self) -> float:
        """The recommended threshold; infinite where no alarm is worth anything."""
        return self.judged.threshold

    def rows_of_table(self) -> list[Record]:
        """One row each: chosen, judged, given, always, clock."""
        rows = [self.chosen, self.judged, self.given, self.always, self.clock]
        return [row.record() for row in rows if row is not None]


def recommended_threshold(
    choosing: Sequence[Outcomes],
    choosing_curves: Sequence[Array],
    judging: Sequence[Outcomes],
    judging_curves: Sequence[Array],
    terms: Terms,
    *,
    over: Over = "placebo",
    given: float | None = None,
    seed: int = 0,
) -> Recommendation:
    """The threshold of the largest net benefit on some episodes, judged on others.

    Parameters
    ----------
    choosing, judging : episodes of two splits; none may be in both.
    given : a threshold to compare it with, such as a calibrated one: 0 for margins.
    """
    if shared := {episode.uid for episode in choosing} & {episode.uid for episode in judging}:
        raise ConfigError(f"a threshold is judged on other episodes than it is chosen on, not on {min(shared)} too")
    best = net_benefit(choosing, choosing_curves, terms, seed=seed).best(over)
    clock = net_benefit(choosing, [episode.step for episode in choosing], terms, seed=seed).best(over)
    judge = Judge(judging, terms, seed)
    known = judge.curves("this score", judging_curves)
    scores = {"recommended": (known, best.threshold), ALWAYS: (known, -np.inf), CLOCK: (judge.clock, clock.threshold)}
    if given is not None:
        scores[GIVEN] = known, given
    thresholds = np.array([threshold for _, threshold in scores.values()])
    alarms = np.concatenate([first_alarms(curves, np.array([threshold])) for curves, threshold in scores.values()])
    rows = dict(zip(scores, judge.benefits(list(scores), thresholds, alarms), strict=True))
    samples = judge.samples(alarms, over)
    return Recommendation(
        terms,
        over,
        chosen=dataclasses.replace(best, name="where it was chosen"),
        judged=rows["recommended"],
        given=rows.get(GIVEN),
        always=rows[ALWAYS],
        clock=rows[CLOCK],
        ahead={name: interval(samples[0] - samples[place]) for place, name in enumerate(rows) if place},
    )
