"""How the promises of monitors fare on judged episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from workbench.benchmarking.judged import JudgedEpisode
from workbench.monitoring.monitor import AnyMonitor
from workbench.monitoring.promises import FALSE_ALARMS, MISSED, Promise, Verdict, promise_of


def verdict_of(monitor: AnyMonitor, episodes: Sequence[JudgedEpisode], seen: bool) -> Verdict | None:
    """How the promise of a monitor fared; None where it makes none, or none whose law is known.

    Parameters
    ----------
    seen : whether the calibrate split has failures of all the faults that failed here, without which nothing is
        promised of how many are found.
    """
    promise = promise_of(monitor)
    if promise is None:
        return None
    judged = [episode for episode in episodes if is_promised(promise, episode)]
    missed = promise.errors == MISSED
    wrong = np.array([(episode.alarm_step >= 0) != missed for episode in judged], bool)
    verdict = promise.verdict(wrong, np.array([episode.group for episode in judged], int))
    if missed and not seen:
        return dataclasses.replace(verdict, p_value=None, broken=False, chance=0.0, tested=False)
    return verdict


def false_alarms(episodes: Sequence[JudgedEpisode]) -> Verdict:
    """Those in nominal successes, of a monitor of which nothing is promised."""
    alarms = [episode.alarm_step >= 0 for episode in episodes if episode.success and not episode.perturbed]
    return Verdict(FALSE_ALARMS, sum(alarms), len(alarms), p_value=None, broken=False, chance=0.0)


def is_promised(promise: Promise, episode: JudgedEpisode) -> bool:
    """Whether anything is promised of an episode that ended like this one: what calibrators rank is nominal."""
    if promise.errors == MISSED:
        return not episode.success
    return episode.success and (promise.allowance is not None or not episode.perturbed)


def same_faults(calibrated: Iterable[str], judged: Iterable[str]) -> bool:
    """Whether the faults of the judged failures are all among those of the calibrate split's."""
    return set(judged) <= set(calibrated)
