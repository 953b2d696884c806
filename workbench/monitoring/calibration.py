"""Thresholds: from windowed curves of the calibrate split, by rules that are handed what they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from workbench.errors import CalibrationError, ConfigError, SplitError
from workbench.monitoring.monitor import Monitor
from workbench.monitoring.scoring import FittedScore, curves, require
from workbench.monitoring.window import Window
from workbench.types import Array, Calibrator, EpisodeCalls, Threshold


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
    require("calibrate", [*episodes, *failures], f"monitor {name} is calibrated on")
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


def groups_of(rule: str) -> str:
    """Under which name what tells groups apart for a calibrator is fitted and kept."""
    return f"groups of {rule}"
