"""Which episode is shown: the one that shows most of what a monitor is for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.errors import StoreError
from workbench.monitoring.monitor import AnyMonitor, Reading, needs_of
from workbench.monitoring.reading import offline
from workbench.store import Store
from workbench.types import EpisodeCalls

AUTO = "auto"
"""Asks for the most telling episode; see :func:`most_telling`."""


def chosen(store: Store, episode: int | str, monitors: Sequence[AnyMonitor] = ()) -> int:
    """Number of the episode that is asked for by number, by uid or by ``auto``."""
    return most_telling(store, monitors) if episode == AUTO else store.number_of(episode)


def most_telling(store: Store, monitors: Sequence[AnyMonitor]) -> int:
    """Number of the failed, perturbed test episode that shows most of what a monitor is for.

    See :func:`interest`; of equals the first.  Without such an episode, the first of the store.
    """
    if not len(store):
        raise StoreError(f"{store.path} is empty; roll some episodes first with: workbench rollout")
    rows = store.episodes
    failed = [
        number
        for number in range(len(store))
        if rows["split"][number] == "test" and rows["perturbation"][number] != "" and not rows["success"][number]
    ]
    calls = [store.calls(number, needs_of(monitors)) for number in failed]
    readings = offline(monitors, calls) if monitors and failed else {}

    def worth(place: int) -> tuple[bool, bool, bool, int, int]:
        said = [first_alarm(calls[place], each[place]) for each in readings.values()]
        return interest(int(rows["t_inj"][failed[place]]), int(rows["t_pnr"][failed[place]]), said)

    return failed[max(range(len(failed)), key=worth)] if failed else 0  # max() keeps the first of equals


def failure_to_tell(store: Store, uid: str) -> int | None:
    """Number of the failed episode that a report opens with: that of a uid, else the most telling; None without any."""
    failed = np.flatnonzero(~store.episodes["success"])
    if not len(failed):
        return None
    wanted = store.uids.index(uid) if uid in store.uids else most_telling(store, [])
    return wanted if wanted in failed else int(failed[0])


def interest(t_inj: int, t_pnr: int, alarms: Sequence[int]) -> tuple[bool, bool, bool, int, int]:
    """What an episode has to show, most important first; greater is more.

    Whether the fault strikes in mid-episode; whether any monitor alarms after it and in time; whether all were quiet
    until then; how many alarm in time; and how many control steps lie between fault and point of no return.
    ``alarms`` are the monitors' first, -1 for none.
    """
    timely = sum(t_inj < alarm < t_pnr for alarm in alarms)
    quiet_before = not any(0 <= alarm <= t_inj for alarm in alarms)
    return t_inj > 0, timely > 0, quiet_before, timely, t_pnr - t_inj


def first_alarm(calls: EpisodeCalls, reading: Reading) -> int:
    """Control step of a monitor's first alarm, or -1."""
    alarms = np.flatnonzero(reading.alarm)
    return int(calls.step[alarms[0]]) if len(alarms) else -1
