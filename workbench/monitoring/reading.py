"""What monitors say of episodes that are over: the same numbers as call by call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.monitoring.monitor import AnyMonitor, Reading, parts_of, scores_of
from workbench.monitoring.scoring import curves
from workbench.types import Array, EpisodeCalls


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
    leaves, _ = parts_of(monitors)
    windowed = {name: [leaf.window.apply(curve) for curve in raw[leaf.score.name]] for name, leaf in leaves.items()}
    groups = {name: raw[leaf.groups.name] for name, leaf in leaves.items() if leaf.groups}
    return read_windowed(monitors, windowed, groups, successes)


def read_windowed(
    monitors: Sequence[AnyMonitor],
    windowed: Mapping[str, Sequence[Array]],
    groups: Mapping[str, Sequence[Array]],
    successes: Sequence[bool] | None = None,
) -> dict[str, list[Reading]]:
    """:func:`read` from the windowed curves (C_i,) of every leaf by its name.

    ``groups`` are those (C_i,) of every call, by the name of a leaf whose threshold is one for each group.
    """
    leaves, _ = parts_of(monitors)
    readings: dict[str, list[Reading]] = {monitor.name: [] for monitor in monitors}
    for i in range(min(map(len, windowed.values()))):
        each = {
            name: leaf.judge(windowed[name][i], 0, groups[name][i] if leaf.groups else None)
            for name, leaf in leaves.items()
        }
        for monitor in monitors:
            readings[monitor.name].append(monitor.combine(each))
        if successes is not None and successes[i]:
            leaves = {
                name: leaf.after(float(each[name].score.max()), bool(each[name].alarm.any()))
                for name, leaf in leaves.items()
            }
    return readings
