"""Rerun sessions: one episode, its scene, its monitors, and where it went wrong.

:func:`view` writes a stored episode as a :class:`Recording`.  No module imports rerun before something is written.
"""

from workbench.viewing.episode import MonitorTrace, ShownEpisode, record_episode
from workbench.viewing.recording import Recording, view

__all__ = ["MonitorTrace", "Recording", "ShownEpisode", "record_episode", "view"]
