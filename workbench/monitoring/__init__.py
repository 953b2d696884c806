"""Monitors: scores, windows, thresholds, and the alarms that they give, live and over stored episodes.

::

    fit split --> fit_score() --> FittedScore --.
    calibrate split ---------------------------> calibrate() --> Monitor --> offline() over episodes
                                                                    '-----> OnlineMonitor, call by call

Splits are disjoint by construction: :func:`fit_score` takes nothing but the fit split, :func:`calibrate` nothing but
the calibrate split, and never an episode on which its score was fitted.  What tells groups of calls apart for a
threshold of each is fitted by :func:`fit_score` too, and obeys the same rules.
"""

from workbench.monitoring.assembly import MonitorSettings
from workbench.monitoring.calibration import calibrate
from workbench.monitoring.drift import Drift, FalseAlarmDrift
from workbench.monitoring.files import Monitors, load
from workbench.monitoring.fitting import fit
from workbench.monitoring.monitor import And, AnyMonitor, Monitor, Or, Reading
from workbench.monitoring.online import OnlineMonitor
from workbench.monitoring.reading import offline
from workbench.monitoring.scoring import FittedScore, fit_score
from workbench.monitoring.window import Window

__all__ = [
    "And",
    "AnyMonitor",
    "Drift",
    "FalseAlarmDrift",
    "FittedScore",
    "Monitor",
    "MonitorSettings",
    "Monitors",
    "OnlineMonitor",
    "Or",
    "Reading",
    "Window",
    "calibrate",
    "fit",
    "fit_score",
    "load",
    "offline",
]
