"""A log as tokens <stage, contact, direction of motion>, in the place of FAMAS's <agent, action, state>."""

from __future__ import annotations

import dataclasses

import numpy as np

from workbench.types import Array
from workbench.types.attribution import EpisodeLog, Surroundings

Token = tuple[int, str, str]
STILL_M_S = 0.02
"""Speed below which the hand does not move, as in the failure modes."""
AXES = "xyz"


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """A token that stands from one control step on, until another one does."""

    token: Token
    step: int


def tokens(log: EpisodeLog, task: Surroundings) -> list[Occurrence]:
    """The tokens of an episode in their order; one that stands for many steps in a row occurs once."""
    found: list[Occurrence] = []
    for step, token in enumerate(zip(*_columns(log, task), strict=True)):
        if not found or found[-1].token != token:
            found.append(Occurrence(token, step))
    return found


def _columns(log: EpisodeLog, task: Surroundings) -> tuple[list[int], list[str], list[str]]:
    stage = [int(number) for number in log.stage]
    return stage, contacts(log, task), directions(log, task)


def contacts(log: EpisodeLog, task: Surroundings) -> list[str]:
    """What the hand touches at every control step, by the roles of the task."""
    names = ("held", "other_held", "collision", "obstructed")
    there = {role: log.predicates[task.roles[role]] > 0 for role in names if role in task.roles}
    return [next((role for role, holds in there.items() if holds[step]), "free") for step in range(log.length)]


def directions(log: EpisodeLog, task: Surroundings) -> list[str]:
    """Where the hand moves at every control step: the axis that it moves along most, with its sign; or "still"."""
    named = [task.roles[f"hand_{axis}"] for axis in AXES if f"hand_{axis}" in task.roles]
    if not named:
        return ["unknown"] * log.length
    place = np.stack([log.predicates[name] for name in named], axis=1)
    speed = np.diff(place, axis=0, prepend=place[:1]) * task.control_hz
    return [_direction(row) for row in speed]


def _direction(speed_m_s: Array) -> str:
    axis = int(np.argmax(np.abs(speed_m_s)))
    if abs(speed_m_s[axis]) < STILL_M_S:
        return "still"
    return f"{'+' if speed_m_s[axis] > 0 else '-'}{AXES[axis]}"
