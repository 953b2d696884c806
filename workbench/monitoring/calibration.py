"""Thresholds: from windowed curves of the calibrate split, by rules that are handed what they read."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

from workbench.errors import CalibrationError, ConfigError, SplitError, UnknownNameError
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.scoring import FittedScore, curves, require
from workbench.monitoring.window import Window
from workbench.types import Array, Calibrator, EpisodeCalls, Threshold


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What the thresholds of one score are computed from, whichever the calibrator and the level.

    Attributes
    ----------
    score, window : of every curve here.
    uids : of the episodes of the calibrate split that the curves are of.
    successes : (C_i,) windowed curves of successful episodes of the calibrate split.
    failures : gives those of its failed ones; asked for by calibrators whose ``uses`` names them.
    held_out : gives those of the score's own fit episodes, each scored without itself; as failures.
    """

    score: FittedScore
    window: Window
    uids: frozenset[str]
    successes: Sequence[Array]
    failures: Callable[[], Sequence[Array]]
    held_out: Callable[[], Sequence[Array]]


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """What tells groups of calls apart, and the groups (C_i,) of the calls of the successes, in their order."""

    score: FittedScore
    successes: Sequence[Array]


def calibrate(
    name: str,
    score: FittedScore,
    window: Window,
    calibrator: Calibrator,
    episodes: Sequence[EpisodeCalls],
    level: float,
    failures: Sequence[EpisodeCalls] = (),
    groups: FittedScore | None = None,
) -> Monitor:
    """Monitor with a threshold from (successful) episodes of the calibrate split.

    Where the calibrator says that the episodes cannot carry the level, the monitor has no threshold and a ``reason``.
    ``failures`` are failed episodes of the calibrate split and ``groups`` what tells calls apart; both are read by
    calibrators whose ``uses`` names them.

    Raises
    ------
    SplitError
        if an episode is of another split, comes twice, or the score or the groups were fitted on it.
    ConfigError
        if the calibrator needs groups and none are given.
    """
    evidence = evidence_of(score, window, episodes, failures)
    grouped = Groups(groups, curves(groups, episodes)) if groups and "groups" in uses(calibrator) else None
    return calibrated(name, evidence, calibrator, level, grouped)


def evidence_of(
    score: FittedScore, window: Window, episodes: Sequence[EpisodeCalls], failures: Sequence[EpisodeCalls]
) -> Evidence:
    """Evidence from episodes of the calibrate split; SplitError if one is of another or comes twice."""
    require("calibrate", [*episodes, *failures], f"a threshold of score {score.name} is computed on")

    def windowed(raw: Sequence[Array]) -> list[Array]:
        return [window.apply(curve) for curve in raw]

    return Evidence(
        score=score,
        window=window,
        uids=frozenset(episode.uid for episode in (*episodes, *failures)),
        successes=windowed(curves(score, episodes)),
        failures=functools.cache(lambda: windowed(curves(score, failures))),
        held_out=functools.cache(lambda: windowed(score.held_out())),
    )


def calibrated(
    name: str, evidence: Evidence, calibrator: Calibrator, level: float, groups: Groups | None = None
) -> Monitor:
    """Monitor with a threshold from the evidence, or with the reason why it has none; raises as :func:`calibrate`."""
    if "groups" not in uses(calibrator):
        groups = None
    elif groups is None:
        raise ConfigError(f"monitor {name} needs groups of calls: set the calibrator's groups, such as task or stage")
    apart = groups.score if groups else None
    for fitted in (evidence.score, apart) if apart else (evidence.score,):
        if seen := sorted(fitted.episodes & evidence.uids):
            raise SplitError(
                f"monitor {name} cannot be calibrated on {len(seen)} episodes that score {fitted.name} was fitted on "
                f"({', '.join(seen[:3])}): their scores are too low, and so would the threshold be"
            )
    threshold, reason = None, ""
    try:
        threshold = threshold_of(calibrator, evidence, level, groups)
    except CalibrationError as error:
        reason = str(error)
    rule = type(calibrator).__name__
    return Monitor(name, evidence.score, evidence.window, rule, level, threshold, reason, apart)


def threshold_of(calibrator: Calibrator, evidence: Evidence, level: float, groups: Groups | None) -> Threshold:
    """Threshold from the successes, and from what else the calibrator uses."""
    given: dict[str, Callable[[], Sequence[Array]]] = {
        "failures": evidence.failures,
        "held_out": evidence.held_out,
        "groups": lambda: groups.successes if groups else (),
    }
    wanted = uses(calibrator)
    if unknown := sorted(wanted - given.keys()):
        raise UnknownNameError(f"name in the uses of {type(calibrator).__name__}", unknown[0], given)
    return calibrator.calibrate(evidence.successes, level, **{name: given[name]() for name in wanted})


def uses(calibrator: Calibrator) -> frozenset[str]:
    """What a calibrator reads beside the curves of successes."""
    read: frozenset[str] = getattr(calibrator, "uses", frozenset())
    return read
