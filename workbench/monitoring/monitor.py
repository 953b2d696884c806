"""Monitors: a fitted score, a window and a calibrated threshold; the same numbers online and offline.

::

    fit split --> fit_score() --> FittedScore --.
    calibrate split ---------------------------> calibrate() --> Monitor --> offline() over episodes
                                                                    '-----> OnlineMonitor, call by call

Splits are disjoint by construction: :func:`fit_score` takes nothing but the fit split, :func:`calibrate` nothing but
the calibrate split, and never an episode on which its score was fitted.  What tells groups of calls apart for a
threshold of each is fitted by :func:`fit_score` too, and obeys the same rules.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeGuard

import numpy as np

from workbench.errors import CalibrationError, CheckpointError, ConfigError, ScoreError, SplitError, UnknownNameError
from workbench.types import (
    AdaptiveThreshold,
    Array,
    Calibrator,
    EpisodeCalls,
    EpisodeTruth,
    PolicyCall,
    Record,
    Score,
    Scorer,
    Split,
    SupervisedScore,
    Threshold,
)

LOCKSTEP = 32
"""Episodes that are scored together offline; bounds the memory, not the result."""
WINDOW = "workbench.monitoring.window.Window"
"""Target from which windows are built."""
TENSORS, RECORDS = "monitors.safetensors", "monitors.json"


class Window(Protocol):
    """Combination of the last scores of an episode; see :class:`workbench.monitoring.window.Window`."""

    kind: str
    width: int
    drift: float

    def begin(self) -> Record: ...
    def update(self, memories: Sequence[Record], scores: Array) -> Array: ...
    def apply(self, curve: Array) -> Array: ...
    def settle(self, curves: Sequence[Array]) -> Window: ...


class Reading(NamedTuple):
    """What a monitor says: (N,) for one call of N scenes, (C,) for the calls of one episode.

    ``score`` is windowed; ``margin`` is (score - threshold) / scale, NaN without a threshold; ``alarm`` is margin > 0.
    """

    score: Array
    margin: Array
    alarm: Array


@dataclasses.dataclass(frozen=True, eq=False)
class FittedScore:
    """A score and what it was fitted on.

    Attributes
    ----------
    name : as in the configuration.
    episodes : uids of the episodes it was fitted on.
    seed : with which it was fitted.
    """

    name: str
    score: Scorer
    episodes: frozenset[str]
    seed: int

    def update(
        self, memories: Sequence[Record], call: PolicyCall, scenes: Sequence[str], numbers: Sequence[int]
    ) -> Array:
        """Scores (N,) of one call.

        ``scenes`` and ``numbers`` are how each scene is called and which call of its episode this is, for the error.

        Raises
        ------
        ScoreError
            if the score is not finite, or lacks what it needs.
        """
        scores = np.asarray(self.score.update(memories, call), np.float64)
        if not np.isfinite(scores).all():
            i = int(np.flatnonzero(~np.isfinite(scores))[0])
            read = " and ".join(sorted(self.score.needs)) or "output"
            raise ScoreError(
                f"score {self.name} is {scores[i]} in {scenes[i]} at policy call {numbers[i]} (control step "
                f"{int(call.step[i])}): look for NaN or huge numbers in the policy's {read}"
            )
        return scores


def fit_score(
    name: str,
    score: Score | SupervisedScore,
    episodes: Sequence[EpisodeCalls],
    seed: int,
    truths: Sequence[EpisodeTruth] = (),
) -> FittedScore:
    """Fit a score on episodes of the fit split: successful ones, or for a supervised one all, with their truths.

    Raises
    ------
    SplitError
        if an episode is of another split, or comes twice.
    ScoreError
        if a score that learns from successes is given a failure, or truths are not those of the episodes.
    """
    _require("fit", episodes, f"score {name} is fitted on")
    if [truth.uid for truth in truths] != [episode.uid for episode in episodes] and (truths or supervised(score)):
        raise ScoreError(f"score {name} needs the truth of every episode that it is fitted on, in the same order")
    if supervised(score):
        score.fit(episodes, seed, truths)
    else:
        if failed := [truth.uid for truth in truths if not truth.success]:
            raise ScoreError(f"score {name} learns from successes alone, and {failed[0]} failed")
        score.fit(episodes, seed)  # type: ignore[call-arg]
    return FittedScore(name, score, frozenset(episode.uid for episode in episodes), seed)


def supervised(score: Score | SupervisedScore) -> TypeGuard[SupervisedScore]:
    """Whether a score learns from outcomes."""
    return bool(getattr(score, "supervised", False))


def curves(score: FittedScore, episodes: Sequence[EpisodeCalls]) -> list[Array]:
    """Raw scores (C_i,) of every episode, by the very ``update`` that runs online, many episodes in lockstep."""
    if len({episode.execute for episode in episodes}) > 1:
        raise ScoreError(f"score {score.name} cannot score episodes of policies with different `execute` together")
    blocks = [episodes[first : first + LOCKSTEP] for first in range(0, len(episodes), LOCKSTEP)]
    return [curve for block in blocks for curve in _lockstep(score, block)]


def _lockstep(score: FittedScore, episodes: Sequence[EpisodeCalls]) -> list[Array]:
    memories = [score.score.begin() for _ in episodes]
    scores = [np.zeros(len(episode.step)) for episode in episodes]
    for number in range(max(len(curve) for curve in scores)):
        alive = [i for i, curve in enumerate(scores) if number < len(curve)]
        names = [f"episode {episodes[i].uid}" for i in alive]
        call = _call([episodes[i] for i in alive], number)
        values = score.update([memories[i] for i in alive], call, names, [number] * len(alive))
        for i, value in zip(alive, values, strict=True):
            scores[i][number] = value
    return scores


def _call(episodes: Sequence[EpisodeCalls], number: int) -> PolicyCall:
    def stacked(parts: Sequence[Array | None]) -> Array | None:
        there = [part[number] for part in parts if part is not None]
        return np.stack(there) if len(there) == len(episodes) else None

    def common(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        shared = set.intersection(*(set(part) for part in parts))
        return {key: np.stack([part[key][number] for part in parts]) for key in sorted(shared)}

    return PolicyCall(
        step=np.array([episode.step[number] for episode in episodes]),
        chunk=np.stack([episode.chunk[number] for episode in episodes]),
        samples=stacked([episode.samples for episode in episodes]),
        embedding=stacked([episode.embedding for episode in episodes]),
        execute=episodes[0].execute,
        instructions=[episode.instruction for episode in episodes],
        signals=common([episode.signals for episode in episodes]),
        observation=common([episode.observation for episode in episodes]),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Monitor:
    """Score, window and threshold.

    Attributes
    ----------
    calibrator : name of the rule behind the threshold.
    level : nominal false-alarm rate that was asked for.
    threshold : None where it could not be computed; such a monitor never alarms.
    reason : why there is no threshold.
    groups : what tells the groups of calls apart where the threshold is one for each; else None.
    """

    name: str
    score: FittedScore
    window: Window
    calibrator: str
    level: float
    threshold: Threshold | None
    reason: str = ""
    groups: FittedScore | None = None

    @property
    def guarantee(self) -> str:
        """What is promised, in one sentence."""
        return self.threshold.guarantee if self.threshold else f"none: {self.reason}"

    @property
    def threshold_episodes(self) -> int:
        """How many calibration episodes stand behind the threshold."""
        return self.threshold.episodes if self.threshold else 0

    def leaves(self) -> tuple[Monitor, ...]:
        """Itself: the monitors whose readings decide this one's."""
        return (self,)

    def judge(self, windowed: Array, first_call: int = 0, groups: Array | None = None) -> Reading:
        """Reading along a windowed curve (C,) that starts at call ``first_call``; ``groups`` (C,) are its calls'."""
        margin = np.full(len(windowed), np.nan)
        if self.threshold is not None:
            margin = self.threshold.margin(windowed, first_call, groups)
        return Reading(windowed, margin, margin > 0)

    def after(self, highest: float, alarmed: bool) -> Monitor:
        """The monitor for the next episode, after a successful one with that highest windowed score.

        It differs where the threshold is adaptive; ``alarmed`` is whether the monitor of that episode alarmed.
        """
        if not isinstance(self.threshold, AdaptiveThreshold):
            return self
        return dataclasses.replace(self, threshold=self.threshold.after(highest, alarmed))

    def combine(self, readings: Mapping[str, Reading]) -> Reading:
        """Its own reading, out of those of all leaves by name."""
        return readings[self.name]


@dataclasses.dataclass(frozen=True, eq=False)
class _Combination:
    name: str
    legs: tuple[Monitor, ...]

    def __post_init__(self) -> None:
        if len(self.legs) < 2:
            raise ConfigError(f"monitor {self.name} combines at least two others, not {len(self.legs)}")

    @property
    def reason(self) -> str:
        """Why it can never alarm; empty if it can."""
        return "; ".join(f"{leg.name}: {leg.reason}" for leg in self.legs if leg.threshold is None)

    @property
    def threshold_episodes(self) -> int:
        """How many calibration episodes stand behind the leg that has fewest."""
        return min(leg.threshold_episodes for leg in self.legs)

    def leaves(self) -> tuple[Monitor, ...]:
        """The legs."""
        return self.legs

    def _no_guarantee(self) -> str:
        """Why nothing is promised; empty if the legs' promises carry over."""
        if self.reason:
            return f"none: {self.reason}"
        # A promise of recall is broken by an And; by an Or, that of another leg about false alarms.
        recall = [leg.name for leg in self.legs if leg.threshold is not None and leg.threshold.on_failures]
        return f"none: {recall[0]} promises recall, which says nothing of the combination" if recall else ""

    def _promises(self) -> str:
        return "; ".join(f"{leg.name}: {leg.guarantee}" for leg in self.legs)


@dataclasses.dataclass(frozen=True, eq=False)
class And(_Combination):
    """Alarm where all legs exceed their thresholds at the same call; the margin is the smallest of the legs'.

    FIPER's combination (Römer et al., NeurIPS 2025) of a novelty and an uncertainty score.  An alarm of it is an alarm
    of every leg, so each leg's guarantee holds for it too.  A leg without a threshold silences it.
    """

    @property
    def level(self) -> float:
        """The smallest of the legs' levels: an upper bound of its own false-alarm rate."""
        return min(leg.level for leg in self.legs)

    @property
    def guarantee(self) -> str:
        """What is promised, in one sentence."""
        return self._no_guarantee() or (
            f"an alarm of all legs is an alarm of each, so each leg's holds: {self._promises()}"
        )

    def combine(self, readings: Mapping[str, Reading]) -> Reading:
        """Smallest margin; there is no common unit but the margin, so the score is the margin too."""
        margin: Array = np.min([readings[leg.name].margin for leg in self.legs], axis=0)
        return Reading(margin, margin, margin > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Or(_Combination):
    """Alarm where any leg exceeds its threshold; the margin is the largest of the legs'.

    Sentinel's combination (Agia et al., CoRL 2024) of a consistency and a progress score.  By the union bound the
    legs' levels add up, so for a level of its own each leg is calibrated at that level divided by their number.  A leg
    without a threshold silences it: with the other alone it would be another monitor.
    """

    @property
    def level(self) -> float:
        """The sum of the legs' levels: an upper bound of its own false-alarm rate."""
        return sum(leg.level for leg in self.legs)

    @property
    def guarantee(self) -> str:
        """What is promised, in one sentence."""
        without = [leg.name for leg in self.legs if leg.guarantee.startswith("none")]
        if without and not self.reason:
            return f"none: {without[0]} promises nothing"
        return self._no_guarantee() or (
            f"an alarm is one of some leg, so the legs' false-alarm rates add up to at most {self.level:g} (union "
            f"bound) where each leg's promise holds: {self._promises()}"
        )

    def combine(self, readings: Mapping[str, Reading]) -> Reading:
        """Largest margin, which is the score too."""
        margin: Array = np.max([readings[leg.name].margin for leg in self.legs], axis=0)
        return Reading(margin, margin, margin > 0)


COMBINATIONS: Mapping[str, type[And] | type[Or]] = {"all": And, "any": Or}
"""How legs are combined, in the words of ``monitor.combine``."""
AnyMonitor = Monitor | And | Or


def calibrate(
    name: str,
    score: FittedScore,
    window: Window,
    calibrator: Calibrator,
    episodes: Sequence[EpisodeCalls],
    level: float,
    raw: Sequence[Array] | None = None,
    failures: Sequence[EpisodeCalls] = (),
    raw_failures: Sequence[Array] | None = None,
    groups: FittedScore | None = None,
    raw_groups: Sequence[Array] | None = None,
) -> Monitor:
    """Monitor with a threshold from (successful) episodes of the calibrate split.

    Where the calibrator says that the episodes cannot carry the level, the monitor has no threshold and a ``reason``.
    ``failures`` are failed episodes of the calibrate split and ``groups`` what tells calls apart; both are read by
    calibrators whose ``uses`` name them.  ``raw`` is what ``curves(score, episodes)`` returned, where several windows,
    calibrators or levels share it, and so are ``raw_failures`` of the failures and ``raw_groups`` of the groups.

    Raises
    ------
    SplitError
        if an episode is of another split, comes twice, or the score or the groups were fitted on it.
    ConfigError
        if the calibrator needs groups and none are given.
    """
    _require("calibrate", [*episodes, *failures], f"monitor {name} is calibrated on")
    uses: frozenset[str] = getattr(calibrator, "uses", frozenset())
    if "groups" not in uses:
        groups = None
    elif groups is None:
        raise ConfigError(f"monitor {name} needs groups of calls: set the calibrator's groups, such as task or stage")
    for fitted in (score, groups) if groups else (score,):
        _refuse_fitted(name, fitted, [*episodes, *failures])

    def windowed(over: Sequence[EpisodeCalls], known: Sequence[Array] | None) -> list[Array]:
        return [window.apply(curve) for curve in (curves(score, over) if known is None else known)]

    given: dict[str, Callable[[], Sequence[Array]]] = {
        "failures": lambda: windowed(failures, raw_failures),
        "groups": lambda: curves(groups, episodes) if groups and raw_groups is None else raw_groups or (),
        "held_out": lambda: windowed((), list(getattr(score.score, "leave_one_out", dict)().values())),
    }
    rule = type(calibrator).__name__
    try:
        threshold = threshold_of(calibrator, windowed(episodes, raw), level, given)
    except CalibrationError as error:
        return Monitor(name, score, window, rule, level, None, str(error), groups)
    return Monitor(name, score, window, rule, level, threshold, "", groups)


def threshold_of(
    calibrator: Calibrator, known: Sequence[Array], level: float, given: Mapping[str, Callable[[], Sequence[Array]]]
) -> Threshold:
    """Threshold from windowed curves of successes, and of what else is given that which the calibrator uses."""
    uses: frozenset[str] = getattr(calibrator, "uses", frozenset())
    return calibrator.calibrate(known, level, **{name: make() for name, make in given.items() if name in uses})


def _refuse_fitted(name: str, score: FittedScore, episodes: Sequence[EpisodeCalls]) -> None:
    if seen := sorted(score.episodes & {episode.uid for episode in episodes}):
        raise SplitError(
            f"monitor {name} cannot be calibrated on {len(seen)} episodes that score {score.name} was fitted on "
            f"({', '.join(seen[:3])}): their scores are too low, and so would the threshold be"
        )


def _require(split: Split, episodes: Sequence[EpisodeCalls], purpose: str) -> None:
    strangers = [episode for episode in episodes if episode.split != split]
    if strangers:
        raise SplitError(
            f"{purpose} the {split} split alone, but {len(strangers)} of {len(episodes)} episodes are of another "
            f"(such as {strangers[0].uid}, of {strangers[0].split})"
        )
    uids = [episode.uid for episode in episodes]
    if len(set(uids)) < len(uids):
        twice = next(uid for uid in uids if uids.count(uid) > 1)
        raise SplitError(f"{purpose} different episodes, but {twice} comes {uids.count(twice)} times")


def _leaves(monitors: Iterable[AnyMonitor]) -> tuple[dict[str, Monitor], dict[str, FittedScore]]:
    """Distinct monitors, and scores and groups behind some monitors, by name; one name for two things is refused."""
    leaves: dict[str, Monitor] = {}
    scores: dict[str, FittedScore] = {}
    taken: dict[str, AnyMonitor] = {}
    for monitor in monitors:
        for part in {id(part): part for part in (monitor, *monitor.leaves())}.values():
            if taken.setdefault(part.name, part) is not part:
                raise ConfigError(f"two monitors are called {part.name}: give each a name of its own")
        for leaf in monitor.leaves():
            leaves[leaf.name] = leaf
            for score in (leaf.score, leaf.groups):
                if score is not None and scores.setdefault(score.name, score) is not score:
                    raise ConfigError(f"two fitted scores are called {score.name}: give each a name of its own")
    return leaves, scores


def needs_of(monitors: Iterable[AnyMonitor]) -> frozenset[str]:
    """What some monitors read of a call, in the words of :class:`workbench.types.Scorer`."""
    _, scores = _leaves(monitors)
    return frozenset(need for score in scores.values() for need in score.score.needs)


def groups_of(rule: str) -> str:
    """Under which name what tells groups apart for a calibrator is fitted and kept."""
    return f"groups of {rule}"


def scores_of(monitors: Sequence[AnyMonitor]) -> dict[str, FittedScore]:
    """Fitted scores behind some monitors, and what tells groups apart for them, by name."""
    return _leaves(monitors)[1]


def offline(
    monitors: Sequence[AnyMonitor], episodes: Sequence[EpisodeCalls], successes: Sequence[bool] | None = None
) -> dict[str, list[Reading]]:
    """Readings (C_i,) of every monitor for every episode; each score is computed once.

    ``successes`` says how each episode ended; adaptive thresholds follow it from episode to episode in their order.
    Without it they stay as they were calibrated.
    """
    raw = {name: curves(score, episodes) for name, score in scores_of(monitors).items()}
    return read(monitors, raw, successes)


def read(
    monitors: Sequence[AnyMonitor], raw: Mapping[str, Sequence[Array]], successes: Sequence[bool] | None = None
) -> dict[str, list[Reading]]:
    """:func:`offline` from what :func:`curves` returned for every score, and for everything that tells groups apart.

    ``raw`` is by the names of these fitted scores.
    """
    leaves, scores = _leaves(monitors)
    readings: dict[str, list[Reading]] = {monitor.name: [] for monitor in monitors}
    for i in range(min(len(raw[name]) for name in scores)):
        each = {}
        for name, leaf in leaves.items():
            groups = raw[leaf.groups.name][i] if leaf.groups else None
            each[name] = leaf.judge(leaf.window.apply(raw[leaf.score.name][i]), 0, groups)
        for monitor in monitors:
            readings[monitor.name].append(monitor.combine(each))
        if successes is not None and successes[i]:
            leaves = {
                name: leaf.after(float(each[name].score.max()), bool(each[name].alarm.any()))
                for name, leaf in leaves.items()
            }
    return readings


class OnlineMonitor:
    """Monitors that are fed call by call, for slots that each run one episode at a time.

    ``begin(slot)`` before an episode, then ``update(slots, call)`` for every policy call; each score is computed once.
    ``end(slot, success)`` after it lets adaptive thresholds follow; an episode keeps those that it began with.
    """

    def __init__(self, monitors: Sequence[AnyMonitor]) -> None:
        self.monitors = tuple(monitors)
        self._leaves, self._scores = _leaves(monitors)
        self._slots: dict[int, _Slot] = {}

    def begin(self, slot: int) -> None:
        """Forget the slot's episode; a new one begins."""
        self._slots[slot] = _Slot(
            leaves=dict(self._leaves),
            memories={name: score.score.begin() for name, score in self._scores.items()},
            windows={name: leaf.window.begin() for name, leaf in self._leaves.items()},
            highest=dict.fromkeys(self._leaves, -np.inf),
            alarmed=dict.fromkeys(self._leaves, False),
        )

    def update(self, slots: Sequence[int], call: PolicyCall) -> dict[str, Reading]:
        """Readings (n,) of every monitor for one call whose n scenes are those of ``slots``."""
        running = [self._slots[slot] for slot in slots]
        numbers = [each.calls for each in running]
        names = [f"slot {slot}" for slot in slots]
        raw = {
            name: score.update([each.memories[name] for each in running], call, names, numbers)
            for name, score in self._scores.items()
        }
        readings = {name: self._read(name, running, raw) for name in self._leaves}
        for each in running:
            each.calls += 1
        return {monitor.name: monitor.combine(readings) for monitor in self.monitors}

    def _read(self, name: str, running: Sequence[_Slot], raw: Mapping[str, Array]) -> Reading:
        """Readings (n,) of one leaf, each slot by the thresholds that its episode began with."""
        leaf = self._leaves[name]
        windowed = leaf.window.update([each.windows[name] for each in running], raw[leaf.score.name])
        read = []
        for i, each in enumerate(running):
            groups = raw[leaf.groups.name][i : i + 1] if leaf.groups else None
            read.append(each.leaves[name].judge(windowed[i : i + 1], each.calls, groups))
            each.highest[name] = max(each.highest[name], float(windowed[i]))
            each.alarmed[name] |= bool(read[-1].alarm[0])
        return Reading(*(np.concatenate(part) for part in zip(*read, strict=True)))

    def end(self, slot: int, success: bool) -> None:
        """The slot's episode is over; what it says of a success moves adaptive thresholds for those that begin next."""
        ended = self._slots.pop(slot)
        if success and ended.calls:
            for name, leaf in self._leaves.items():
                self._leaves[name] = leaf.after(ended.highest[name], ended.alarmed[name])


@dataclasses.dataclass
class _Slot:
    """One running episode: its thresholds, memories, and what it has said so far, each by the name of its leaf."""

    leaves: Mapping[str, Monitor]
    memories: Mapping[str, Record]
    windows: Mapping[str, Record]
    highest: dict[str, float]
    alarmed: dict[str, bool]
    calls: int = 0


def save(folder: Path, monitors: Sequence[AnyMonitor]) -> None:
    """Write monitors with their scores, thresholds, fitted uids and guarantees: safetensors and JSON, no pickle.

    The JSON goes first and comes last: killed at any point, the folder holds whole monitors or visibly none.
    """
    from safetensors.numpy import save as to_bytes

    leaves, scores = _leaves(monitors)
    tensors = {f"score/{n}/{key}": value for n, score in scores.items() for key, value in score.score.state().items()}
    for name, leaf in leaves.items():
        if leaf.threshold is not None:
            tensors[f"threshold/{name}/values"] = leaf.threshold.values
            tensors[f"threshold/{name}/scale"] = leaf.threshold.scale
            if isinstance(leaf.threshold, AdaptiveThreshold):
                tensors[f"threshold/{name}/recent"] = leaf.threshold.recent
    record = {
        "scores": {n: {"seed": score.seed, "episodes": sorted(score.episodes)} for n, score in scores.items()},
        "leaves": {name: _leaf_record(leaf) for name, leaf in leaves.items()},
        "monitors": {monitor.name: _composition(monitor) for monitor in monitors},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORDS).unlink(missing_ok=True)
    (folder / TENSORS).write_bytes(to_bytes({key: np.array(value, order="C") for key, value in tensors.items()}))
    partial = folder / f".{RECORDS}.partial"
    partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
    partial.replace(folder / RECORDS)


def _composition(monitor: AnyMonitor) -> Record:
    """How a monitor is combined of which legs; empty for a leaf."""
    legs = [leaf.name for leaf in monitor.leaves()]
    return {how: legs for how, kind in COMBINATIONS.items() if isinstance(monitor, kind)}


def _leaf_record(leaf: Monitor) -> Record:
    record: Record = {
        "score": leaf.score.name,
        "window": {key: getattr(leaf.window, key) for key in ("kind", "width", "drift")},
        "calibrator": leaf.calibrator,
        "level": leaf.level,
        "reason": leaf.reason,
        "groups": leaf.groups.name if leaf.groups else None,
        "threshold": None,
    }
    if leaf.threshold is not None:
        fields = dataclasses.asdict(leaf.threshold)
        record["threshold"] = {key: value for key, value in fields.items() if not isinstance(value, np.ndarray)}
    return record


def load(folder: Path, scores: Mapping[str, Scorer], window: Callable[[str, int, float], Window]) -> list[AnyMonitor]:
    """The inverse of :func:`save`.

    ``scores`` maps the name of each score, and of what tells groups apart, to a newly built one of that kind, into
    which what was learnt is loaded;
    ``window`` makes a window from its kind, width and drift.

    Raises
    ------
    CheckpointError
        if a file is missing or damaged.
    UnknownNameError
        if a score of the folder was not handed in.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        record = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
        tensors: dict[str, Array] = from_bytes((folder / TENSORS).read_bytes())
        fitted = {name: _load_score(name, part, scores, tensors) for name, part in record["scores"].items()}
        leaves = {name: _load_leaf(name, part, fitted, window, tensors) for name, part in record["leaves"].items()}
        return [_load_monitor(name, part, leaves) for name, part in record["monitors"].items()]
    except UnknownNameError:
        raise
    except OSError as error:
        raise CheckpointError(f"there are no monitors in {folder} ({error}): fit them there first") from None
    except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"the monitors in {folder} are damaged ({error!r}): fit them again") from error


def _load_monitor(name: str, composition: Record, leaves: Mapping[str, Monitor]) -> AnyMonitor:
    for how, legs in composition.items():
        return COMBINATIONS[how](name, tuple(leaves[leg] for leg in legs))
    return leaves[name]


def _load_score(name: str, part: Record, scores: Mapping[str, Scorer], tensors: Mapping[str, Array]) -> FittedScore:
    if name not in scores:
        raise UnknownNameError("score", name, scores)
    start = f"score/{name}/"
    scores[name].load({key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)})
    return FittedScore(name, scores[name], frozenset(part["episodes"]), int(part["seed"]))


def _load_leaf(
    name: str,
    part: Record,
    scores: Mapping[str, FittedScore],
    window: Callable[[str, int, float], Window],
    tensors: Mapping[str, Array],
) -> Monitor:
    threshold = None
    if part["threshold"] is not None:
        start = f"threshold/{name}/"
        arrays: Record = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        kind = AdaptiveThreshold if "recent" in arrays else Threshold
        threshold = kind(**arrays, **part["threshold"])
    made = window(part["window"]["kind"], int(part["window"]["width"]), float(part["window"]["drift"]))
    groups = scores[part["groups"]] if part["groups"] is not None else None
    return Monitor(
        name=name,
        score=scores[part["score"]],
        window=made,
        calibrator=part["calibrator"],
        level=float(part["level"]),
        threshold=threshold,
        reason=part["reason"],
        groups=groups,
    )
