"""Monitors: scores, windows, thresholds, and the alarms that they give, live and over stored episodes.

::

    fit split --> fit_score() --> FittedScore --.
    calibrate split ---------------------------> calibrate() --> Monitor --> offline() over episodes
                                                                    '-----> OnlineMonitor, call by call

Splits are disjoint by construction: :func:`fit_score` takes nothing but the fit split, :func:`calibrate` nothing but
the calibrate split, and never an episode on which its score was fitted.  What tells groups of calls apart for a
threshold of each is fitted by :func:`fit_score` too, and obeys the same rules.
"""
