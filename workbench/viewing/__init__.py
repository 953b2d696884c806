"""Rerun sessions: one episode, its scene, its monitors, and where it went wrong.

:func:`view` writes a stored episode as a :class:`Recording`, :func:`view_beside` a strategy beside the placebo.
No module imports rerun before something is written.
"""

from workbench.viewing.beside import Beside, view_beside
from workbench.viewing.episode import MonitorTrace, ShownEpisode, record_episode
from workbench.viewing.recording import Recording, view

__all__ = ["Beside", "MonitorTrace", "Recording", "ShownEpisode", "record_episode", "view", "view_beside"]
