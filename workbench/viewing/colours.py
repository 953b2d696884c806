"""Colours of a session: cool for what is measured, warm for what happens, so that no event is taken for a series.

None is so dark or so bright that it vanishes in the viewer's dark or light theme.
"""

from __future__ import annotations

from collections.abc import Mapping

Colour = tuple[int, int, int]

SERIES_COLOURS = (
    (0, 114, 178),
    (0, 158, 115),
    (86, 180, 233),
    (96, 86, 170),
    (40, 125, 125),
    (130, 140, 60),
    (120, 120, 120),
)
EVENT_COLOURS: Mapping[str, Colour] = {
    "start": (130, 136, 142),
    "injected": (204, 121, 167),
    "onset": (230, 159, 0),
    "decisive": (120, 70, 150),
    "point of no return": (213, 94, 0),
    "success": (0, 140, 90),
    "failure": (150, 75, 62),
}
ALARM_COLOUR = (225, 45, 70)
OTHER_EVENT_COLOUR = (110, 90, 70)
NOMINAL_COLOUR = (205, 210, 215)
STAGE_COLOURS = ((166, 189, 219), (103, 169, 207), (54, 144, 192), (2, 129, 138), (1, 100, 80), (1, 70, 54))
THRESHOLD_COLOUR = (110, 110, 110)
PATH_COLOUR = (0, 90, 200)
PLAN_COLOUR = (255, 225, 60)
BACKGROUND_COLOUR = (171, 181, 191)
GROUND_COLOUR = (140, 150, 161)


def series_colour(number: int) -> Colour:
    """Colour of the series of that number."""
    return SERIES_COLOURS[number % len(SERIES_COLOURS)]


def event_colour(name: str) -> Colour:
    """Colour of an event."""
    return EVENT_COLOURS.get(name, OTHER_EVENT_COLOUR)
