"""Monitors: scores, windows, thresholds, and the alarms that they give, live and over stored episodes."""
