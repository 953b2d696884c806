"""The first alarm of a monitor."""

from __future__ import annotations

from workbench.attribution.attributors.reading.series import first, watched
from workbench.types.attribution import MONITORS, Attribution, Case


class FirstAlarm:
    """Names the policy call of a monitor's first alarm; none where it never alarms.

    Parameters
    ----------
    monitor : name of a fitted monitor.
    """

    needs = frozenset({MONITORS})

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def attribute(self, case: Case) -> Attribution:
        """The step of the alarm."""
        call = first(watched(case.log, self.monitor, "first_alarm").alarm)
        return Attribution() if call is None else Attribution((int(case.log.calls.step[call]),))
